//! The routes that Gemini's clients know: `/v1beta/models`, and methods of models under `/v1` too, where official clients can be set to it.

mod json_array;
pub(crate) mod methods;
pub(crate) mod models;
