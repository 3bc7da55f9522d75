//! What the checks cost at most: no more than this the key may spend.

use privet_domain::money::Nanos;
use privet_domain::pricing::{Ask, Price};

use super::checks::{Check, Size};
use super::gateway::Subject;

/// As requests are counted before they are sent: one token a byte, and what providers put around tools.
const SMALL_TOKENS: u64 = 500;
const TOOL_TOKENS: u64 = 3_000;
/// The answer of a check that is left by its client is asked to be longer.
pub(super) const LONG_OUTPUT_TOKENS: u64 = 400;

/// The most that the checks cost; `None` where the price does not say.
pub(super) fn most<'a>(price: &Price, subject: &Subject, checks: impl Iterator<Item = &'a Check>) -> Option<Nanos> {
    let mut sum = Nanos::ZERO;
    for check in checks {
        let (text_tokens, images) = match check.size {
            Size::Free => continue,
            Size::Small => (SMALL_TOKENS, 0),
            Size::Tools => (TOOL_TOKENS, 0),
            Size::Picture => (SMALL_TOKENS, 1),
        };
        let ask = Ask {
            text_tokens,
            images,
            audio_tokens: 0,
            unknown_parts: u64::from(check.name == "image by URL"),
            output_tokens: subject.output_tokens().max(LONG_OUTPUT_TOKENS),
            writes_cache: false,
            speaks: false,
            draws: false,
            tier: None,
        };
        for _ in 0..check.calls {
            sum = sum.checked_add(price.most(&ask)?)?;
        }
    }
    Some(sum)
}
