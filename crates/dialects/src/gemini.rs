//! Gemini's dialect.
pub mod request; pub mod response; pub mod stream; pub mod embeddings;
/// x
pub fn chat_path(_m: &str, _s: bool) -> String { String::new() }
/// x
pub fn embeddings_path(_m: &str) -> String { String::new() }
