//! OpenAI's Responses API (<https://platform.openai.com/docs/api-reference/responses>).
//!
//! For clients: [`incoming`] reads a request, [`answer`] and [`stream_encoder`] write what the client gets; both write items by [`output`]
//! and what a response says of its request by [`echo`], so that a stream, a whole answer and what is read later are the same. For
//! providers: [`request`] writes a request, [`response`] and [`stream`] read what they answer. Between a client and a provider of this
//! dialect bytes pass: [`forward`] writes the request, [`relay`] passes the stream; `told.rs` edits what of a response is Privet's to say.

pub mod answer;
pub mod echo;
pub mod forward;
pub mod id;
pub mod incoming;
mod item;
mod meaning;
pub mod output;
pub mod relay;
pub mod request;
mod request_size;
pub mod response;
mod seal;
pub mod stream;
pub mod stream_encoder;
mod told;
