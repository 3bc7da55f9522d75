//! OpenAI's Responses API (<https://platform.openai.com/docs/api-reference/responses>), for clients.
//!
//! [`incoming`] reads a request, [`answer`] and [`stream_encoder`] write what the client gets; both write items by [`output`] and what a
//! response says of its request by [`echo`], so that a stream, a whole answer and what is read later are the same. No provider is
//! spoken to in it: a model of any gets what the request means in its own dialect.

pub mod answer;
pub mod echo;
pub mod id;
pub mod incoming;
mod item;
mod meaning;
pub mod output;
mod request_size;
mod seal;
pub mod stream_encoder;
