//! OpenAI's Responses API (<https://platform.openai.com/docs/api-reference/responses>).
//!
//! For clients: [`incoming`] reads a request, [`answer`] and [`stream_encoder`] write what the client gets; both write items by [`output`]
//! and what a response says of its request by [`echo`], so that a stream, a whole answer and what is read later are the same. For
//! providers: [`request`] writes a request, [`response`] and [`stream`] read what they answer. Between a client and a provider of this
//! dialect stands the canonical form too: a response's id and what is kept of it are Privet's own.

pub mod answer;
pub mod echo;
pub mod id;
pub mod incoming;
mod item;
mod meaning;
pub mod output;
pub mod request;
mod request_size;
pub mod response;
mod seal;
pub mod stream;
pub mod stream_encoder;
