//! Memory: what is decided about recalled texts, without I/O.

pub mod embedder;
pub mod evaluation;
pub mod fusion;
pub mod pack;
