//! Anthropic's dialect: the Messages API (<https://docs.claude.com/en/api/messages>).
//!
//! For clients: [`incoming`] reads a request, [`answer`], [`stream_encoder`] and [`error`] write what they get. For providers:
//! [`request`] writes a request, [`response`] and [`stream`] read what they answer. [`relay`] passes a stream from one to the other.

pub mod answer;
mod block;
pub mod error;
pub mod incoming;
mod meaning;
pub mod relay;
pub mod request;
mod request_size;
pub mod response;
pub mod stream;
pub mod stream_encoder;
mod thinking;
mod thread;
mod wire;

pub(crate) use block::OF_OPENAI;
