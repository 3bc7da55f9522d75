//! OpenAI's surface, under `/v1`.

pub(crate) mod audio;
pub(crate) mod chat_completions;
pub(crate) mod embeddings;
pub(crate) mod images;
pub(crate) mod models;
pub(crate) mod moderations;
mod passed;
pub(crate) mod responses;
