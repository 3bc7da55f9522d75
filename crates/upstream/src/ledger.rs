//! The mock's own bill: what each call cost, in integer nano-dollars, by the tokens the mock itself reports.
//! It is the oracle that a gateway's ledger is compared with, so nothing here is shared with the product.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::behaviour::Usage;
use super::request::Dialect;

/// Nano-dollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input that is neither read from nor written to the cache.
    pub input_nanos: u64,
    /// Input read from the cache.
    pub cached_nanos: u64,
    /// Input written to the cache.
    pub cache_write_nanos: u64,
    /// Output, reasoning included.
    pub output_nanos: u64,
}

impl Price {
    /// One price for all input and one for output.
    pub fn flat(input_nanos: u64, output_nanos: u64) -> Self {
        Self { input_nanos, cached_nanos: input_nanos, cache_write_nanos: input_nanos, output_nanos }
    }

    fn of(self, usage: Usage) -> u64 {
        let fresh = usage.input_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens);
        [
            (fresh, self.input_nanos),
            (usage.cached_tokens, self.cached_nanos),
            (usage.cache_write_tokens, self.cache_write_nanos),
            (usage.output_tokens, self.output_nanos),
        ]
        .into_iter()
        .fold(0, |sum: u64, (tokens, nanos)| sum.saturating_add(tokens.saturating_mul(nanos)))
    }
}

/// Price of a model that is not in the table.
pub const DEFAULT_PRICE: Price =
    Price { input_nanos: 1000, cached_nanos: 1000, cache_write_nanos: 1000, output_nanos: 2000 };

/// How calls end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered to the end.
    Completed,
    /// The client left before the end.
    Cancelled,
    /// The mock answered an error, or cut the stream, as scripted.
    Failed,
}

/// Counters since the start or the last reset. `calls = completed + cancelled + failed + in_flight`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Model calls that arrived; lists of models and token counts are not among them.
    pub calls: u64,
    /// Calls by dialect: `openai`, `anthropic`, `gemini`.
    pub calls_by_dialect: BTreeMap<String, u64>,
    /// Calls answered to the end.
    pub completed: u64,
    /// Calls whose client left before the end.
    pub cancelled: u64,
    /// Calls that the mock failed as scripted: error answers, errors inside a 200, cut streams.
    pub failed: u64,
    /// Calls not ended yet.
    pub in_flight: u64,
    /// Billed input.
    pub input_tokens: u64,
    /// Billed output.
    pub output_tokens: u64,
    /// The bill.
    pub bill_nanos: u64,
    /// The same by the model's name as it was sent.
    pub by_model: BTreeMap<String, ModelStats>,
}

/// One model's part of the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStats {
    /// Model calls that arrived.
    pub calls: u64,
    /// Billed input.
    pub input_tokens: u64,
    /// Billed output.
    pub output_tokens: u64,
    /// The bill.
    pub bill_nanos: u64,
}

pub(super) struct Ledger {
    prices: HashMap<String, Price>,
    by_dialect: [u64; 4],
    by_model: HashMap<String, ModelStats>,
    completed: u64,
    cancelled: u64,
    failed: u64,
    in_flight: u64,
    /// Calls begun before a reset carry an older number and are not counted after it.
    epoch: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            prices: price_table(),
            by_dialect: [0; 4],
            by_model: HashMap::new(),
            completed: 0,
            cancelled: 0,
            failed: 0,
            in_flight: 0,
            epoch: 0,
        }
    }

    pub(super) fn set_price(&mut self, model: String, price: Price) {
        self.prices.insert(model, price);
    }

    /// Counts a call that arrives; the number is handed back to [`Self::end`].
    pub(super) fn begin(&mut self, dialect: Dialect, model: &str) -> u64 {
        if let Some(calls) = self.by_dialect.get_mut(dialect as usize) {
            *calls += 1;
        }
        self.in_flight += 1;
        self.model(model, |stats| stats.calls += 1);
        self.epoch
    }

    pub(super) fn end(&mut self, epoch: u64, model: &str, used: Usage, outcome: Outcome) {
        if epoch != self.epoch {
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Failed => self.failed += 1,
        }
        let price = self.prices.get(model).copied().unwrap_or(DEFAULT_PRICE);
        self.model(model, |stats| {
            stats.input_tokens += used.input_tokens;
            stats.output_tokens += used.output_tokens;
            stats.bill_nanos += price.of(used);
        });
    }

    /// Forgets all calls; the prices stay.
    pub(super) fn reset(&mut self) {
        let prices = std::mem::take(&mut self.prices);
        *self = Self { prices, epoch: self.epoch + 1, ..Self::new() };
    }

    pub(super) fn stats(&self) -> Stats {
        let sum = |part: fn(&ModelStats) -> u64| self.by_model.values().map(part).sum();
        let dialects = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini, Dialect::Responses];
        Stats {
            calls: self.completed + self.cancelled + self.failed + self.in_flight,
            calls_by_dialect: dialects.iter().zip(self.by_dialect).map(|(d, n)| (d.name().to_owned(), n)).collect(),
            completed: self.completed,
            cancelled: self.cancelled,
            failed: self.failed,
            in_flight: self.in_flight,
            input_tokens: sum(|m| m.input_tokens),
            output_tokens: sum(|m| m.output_tokens),
            bill_nanos: sum(|m| m.bill_nanos),
            by_model: self.by_model.iter().map(|(name, stats)| (name.clone(), *stats)).collect(),
        }
    }

    /// Runs on a model's counters; the name is allocated on its first call alone.
    fn model(&mut self, model: &str, change: impl FnOnce(&mut ModelStats)) {
        match self.by_model.get_mut(model) {
            Some(stats) => change(stats),
            None => {
                let mut stats = ModelStats::default();
                change(&mut stats);
                self.by_model.insert(model.to_owned(), stats);
            }
        }
    }
}

/// What the mock charges unless a test sets another price, by the model's name.
pub fn price_table() -> HashMap<String, Price> {
    let price = |input_nanos, cached_nanos, cache_write_nanos, output_nanos| Price {
        input_nanos,
        cached_nanos,
        cache_write_nanos,
        output_nanos,
    };
    [
        ("gpt-4o", price(2_500, 1_250, 2_500, 10_000)),
        ("gpt-4o-mini", price(150, 75, 150, 600)),
        ("claude-sonnet-4-5", price(3_000, 300, 3_750, 15_000)),
        ("gemini-2.5-flash", price(300, 30, 300, 2_500)),
        ("gpt-image-1", price(5_000, 1_250, 5_000, 40_000)),
        ("omni-moderation-latest", price(0, 0, 0, 0)),
        ("tts-1", price(15_000, 15_000, 15_000, 0)),
        ("whisper-1", price(100_000, 100_000, 100_000, 0)),
        ("text-embedding-3-small", price(20, 20, 20, 0)),
        ("text-embedding-3-large", price(130, 130, 130, 0)),
        ("gemini-embedding-001", price(150, 150, 150, 0)),
    ]
    .into_iter()
    .map(|(model, price)| (model.to_owned(), price))
    .collect()
}
