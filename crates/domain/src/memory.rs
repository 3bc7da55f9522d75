//! Memory: what is decided about recalled texts, without I/O.

pub mod evaluation;
pub mod fusion;
pub mod pack;
