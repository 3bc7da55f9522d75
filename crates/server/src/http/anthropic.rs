//! The routes that Anthropic's clients know.

pub(crate) mod messages;
