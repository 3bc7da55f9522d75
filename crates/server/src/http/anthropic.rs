//! The routes that Anthropic's clients know.

pub(crate) mod count_tokens;
pub(crate) mod messages;
