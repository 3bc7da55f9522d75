//! Types and rules that every part of Privet shares: ids, time, API keys, model names. No I/O.

pub mod api_key;
pub mod id;
pub mod model;
pub mod time;
