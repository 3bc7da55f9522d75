//! OpenAI's dialect: chat completions, embeddings, reranking beside them, pictures, moderations, sound, models, errors
//! (<https://platform.openai.com/docs/api-reference/chat>).

pub mod audio;
pub mod chat_request;
pub mod chat_response;
mod chunk;
pub mod embeddings;
pub mod error;
pub mod message;
pub mod passed;
pub mod relay;
pub mod request;
pub mod request_size;
pub mod rerank;
pub mod stream;
pub mod stream_encoder;
pub mod unbounded_field;
pub mod usage;
