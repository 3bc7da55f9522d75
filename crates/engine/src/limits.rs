//! The limits that the engine keeps, as they are configured: those of keys, of calls under way and of money.

use std::time::Duration;

use privet_domain::budget::ZoneName;
use privet_domain::rate::Rate;

/// What a budgeted request may write when it does not say how much, in tokens; the lesson's number.
pub const OUTPUT_TOKENS: u64 = 4096;

/// What is limited besides the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// What holds for keys that have no limit of their own.
    pub key: KeyDefaults,
    /// How many calls may be under way in the whole server.
    pub concurrency: u32,
    /// The calendar of budgets that name none.
    pub time_zone: ZoneName,
    /// The output limit that is set on a request of a budgeted key which names none, in tokens.
    pub output_tokens: u64,
    /// So long a request waits for money that calls under way hold.
    pub budget_wait: Duration,
    /// Models (`provider/model`) that a budgeted key may use although no price of theirs is known.
    pub unpriced: Vec<String>,
    /// Whether a budgeted key may use what costs a fee besides its tokens, such as a provider's web search. No budget counts it.
    pub fees: bool,
}

/// The limits of a key that has none of its own; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyDefaults {
    /// Requests in a time.
    pub requests: Option<Rate>,
    /// Tokens in a time, input and output together.
    pub tokens: Option<Rate>,
    /// Calls under way at once.
    pub concurrency: Option<u32>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            key: KeyDefaults::default(),
            concurrency: 512,
            time_zone: ZoneName::utc(),
            output_tokens: OUTPUT_TOKENS,
            budget_wait: Duration::from_secs(10),
            unpriced: Vec::new(),
            fees: false,
        }
    }
}
