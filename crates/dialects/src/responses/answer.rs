//! A whole answer as a response.

use bytes::Bytes;

use super::echo::{Echo, Standing, Status};
use super::output::{self, ItemStyle};
use crate::canonical::ChatResponse;

/// Writes an answer. A client of this dialect asks for one alone.
#[must_use]
pub fn encode(response: &ChatResponse, echo: &Echo) -> Bytes {
    let choice = response.choices.first();
    let parts = choice.map(|choice| choice.message.parts.as_slice()).unwrap_or_default();
    let status = Status::of(choice.and_then(|choice| choice.finish.as_ref()));
    let style = ItemStyle { response: echo.id, seals: echo.seals, is_cut: status.is_cut() };
    let standing = Standing {
        output: output::items(parts, style),
        status,
        model: &response.model,
        usage: response.usage,
        tier: response.tier.as_deref(),
    };
    Bytes::from(echo.response(standing).to_string())
}
