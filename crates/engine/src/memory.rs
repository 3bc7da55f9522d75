//! Memory: how recalled texts reach a prompt, and how documents become texts.

pub mod quote;
