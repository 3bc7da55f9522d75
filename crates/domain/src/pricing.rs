//! Prices: what tokens cost, what a call may cost at most, and what it did cost. Pure arithmetic; nothing is looked up here.
//!
//! A price counts nano-dollars for a million tokens, so that $0.0375 a million is a whole number. Sums are taken exactly and
//! rounded up once, to the next nano-dollar.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ability::Profile;
use crate::money::Nanos;
use crate::time::Timestamp;
use crate::usage::Usage;

const TOKENS_PER_PRICE: i128 = 1_000_000;

/// Prices of the kinds of tokens, in nano-dollars for a million of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Input that no other price is for.
    pub input: Nanos,
    /// Input read from the provider's cache.
    pub cached_input: Nanos,
    /// Input written to the provider's cache for 5 minutes.
    pub cache_write_5m: Nanos,
    /// Input written to the provider's cache for 1 hour.
    pub cache_write_1h: Nanos,
    /// Sound in the input.
    pub audio_input: Nanos,
    /// Pictures in the input.
    pub image_input: Nanos,
    /// Output, reasoning included, that no other price is for.
    pub output: Nanos,
    /// Sound in the output.
    pub audio_output: Nanos,
    /// Pictures in the output.
    pub image_output: Nanos,
}

impl Rates {
    /// All input at one price and all output at another.
    #[must_use]
    pub const fn flat(input: Nanos, output: Nanos) -> Self {
        Self {
            input,
            cached_input: input,
            cache_write_5m: input,
            cache_write_1h: input,
            audio_input: input,
            image_input: input,
            output,
            audio_output: output,
            image_output: output,
        }
    }

    /// Whether any kind of token costs more than by other rates.
    fn are_dearer_than(&self, other: &Self) -> bool {
        let all = |rates: &Self| {
            let Self {
                input,
                cached_input,
                cache_write_5m,
                cache_write_1h,
                audio_input,
                image_input,
                output,
                audio_output,
                image_output,
            } = *rates;
            [
                input,
                cached_input,
                cache_write_5m,
                cache_write_1h,
                audio_input,
                image_input,
                output,
                audio_output,
                image_output,
            ]
        };
        all(self).into_iter().zip(all(other)).any(|(own, other)| own > other)
    }
}

/// Other rates for a whole request whose input is longer than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongContext {
    /// Input of more tokens than this.
    pub above_tokens: u64,
    /// What then holds for all tokens of the request.
    pub rates: Rates,
}

/// A row of the price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// `provider/model`; a `*` at the end stands for any ending.
    pub model: String,
    /// From when it holds.
    pub from: Timestamp,
    /// Where it was read.
    pub source: String,
    /// What holds unless something else does.
    pub standard: Rates,
    /// What holds for long input.
    pub long_context: Option<LongContext>,
    /// What holds in the provider's other service tiers, by their names (`flex`, `priority`).
    pub tiers: BTreeMap<String, Rates>,
    /// Input and output together are never more tokens than this.
    pub context_tokens: Option<u64>,
    /// Output is never more tokens than this.
    pub output_tokens_max: Option<u64>,
    /// The most tokens that one picture of the input is counted as.
    pub image_tokens_max: Option<u64>,
    /// Whether the provider writes to its cache unasked, and has it paid.
    pub caches_unasked: bool,
    /// What the model is, besides.
    pub profile: Profile,
}

/// What a call may need at most, counted before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Input tokens, text and everything not counted below.
    pub text_tokens: u64,
    /// Pictures in the input.
    pub images: u64,
    /// Input tokens of sound.
    pub audio_tokens: u64,
    /// Parts whose size only the provider knows: they may fill the model's context.
    pub unknown_parts: u64,
    /// Output tokens of all answers together.
    pub output_tokens: u64,
    /// Whether the request writes to the provider's cache.
    pub writes_cache: bool,
    /// Whether the answer may be sound.
    pub speaks: bool,
    /// Whether the answer may hold pictures.
    pub draws: bool,
    /// The service tier that the request names.
    pub tier: Option<&'a str>,
}

/// One line of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CostLine {
    /// Which tokens: a field of [`Rates`].
    pub kind: &'static str,
    /// How many.
    pub tokens: u64,
    /// Nano-dollars for a million of them.
    pub nanos_per_million: Nanos,
}

/// Service tiers by which no provider charges more than the standard.
const TIERS_NOT_DEARER: [&str; 8] =
    ["auto", "default", "standard", "standard_only", "on_demand", "flex", "batch", "scale"];

/// The most tokens that a picture is counted as where the price book does not say.
///
/// The dearest tiles of OpenAI's and Anthropic's documentation are below it, but for `gpt-4o-mini`, which has a row.
pub const IMAGE_TOKENS_MAX: u64 = 6_000;

impl Price {
    /// Whether it is known what a service tier costs: it has rates of its own, or is none that costs more than the standard.
    #[must_use]
    pub fn knows_tier(&self, tier: &str) -> bool {
        self.tiers.contains_key(tier) || TIERS_NOT_DEARER.contains(&tier)
    }

    /// Whether a service tier costs more than the standard.
    #[must_use]
    pub fn has_dearer_tier(&self) -> bool {
        self.tiers.values().any(|rates| rates.are_dearer_than(&self.standard))
    }

    /// The most that a call can cost: all its input and the largest output at the highest rates that can apply.
    ///
    /// `None` when it cannot be told: an unknown size without a known context, a service tier without a price that may be
    /// dearer than the standard, or an amount beyond all money.
    #[must_use]
    pub fn most(&self, ask: &Ask<'_>) -> Option<Nanos> {
        if !ask.tier.is_none_or(|tier| self.knows_tier(tier)) {
            return None;
        }
        let (input, image, audio) = self.input_tokens(ask)?;
        let output = ask.output_tokens;
        let total = input.checked_add(image)?.checked_add(audio)?;
        self.applicable(ask, total)
            .map(|rates| {
                let writes =
                    (ask.writes_cache || self.caches_unasked).then_some(rates.cache_write_5m.max(rates.cache_write_1h));
                let of_input = rates.input.max(rates.cached_input).max(writes.unwrap_or(Nanos::ZERO));
                let of_output = [
                    Some(rates.output),
                    ask.speaks.then_some(rates.audio_output),
                    ask.draws.then_some(rates.image_output),
                ];
                let of_output = of_output.into_iter().flatten().max().unwrap_or_default();
                sum(&[
                    (input, of_input),
                    (image, of_input.max(rates.image_input)),
                    (audio, of_input.max(rates.audio_input)),
                    (output, of_output),
                ])
            })
            .try_fold(Nanos::ZERO, |most, amount| Some(most.max(amount?)))
    }

    /// The largest output, in tokens, whose call costs at most `money`; `None` if not even the input does.
    #[must_use]
    pub fn affordable_output(&self, ask: &Ask<'_>, money: Nanos) -> Option<u64> {
        let fits = |output_tokens| self.most(&Ask { output_tokens, ..*ask }).is_some_and(|most| most <= money);
        if !fits(0) {
            return None;
        }
        let (mut most, mut too_many) = (0, ask.output_tokens.saturating_add(1));
        while too_many - most > 1 {
            let middle = most + (too_many - most) / 2;
            if fits(middle) { most = middle } else { too_many = middle }
        }
        Some(most)
    }

    /// What a call did cost. `tier` is the service tier that the provider names in its answer.
    ///
    /// `None` when the amount is beyond all money.
    #[must_use]
    pub fn cost(&self, usage: &Usage, tier: Option<&str>) -> Option<Nanos> {
        let lines = self.lines(usage, tier);
        sum(&lines.iter().map(|line| (line.tokens, line.nanos_per_million)).collect::<Vec<_>>())
    }

    /// The bill, line by line; lines of no tokens are left out. The kinds never sum up to more than all input or all output,
    /// whatever the provider says of them.
    #[must_use]
    pub fn lines(&self, usage: &Usage, tier: Option<&str>) -> Vec<CostLine> {
        let rates = self.rates_for(usage.input, tier);
        let (mut input, mut output) = (usage.input, usage.output);
        // Where kinds overlap, the usually dearer one is taken first.
        let audio_input = take(&mut input, usage.audio_input);
        let cache_write_1h = take(&mut input, usage.cache_write_1h);
        let cache_write_5m = take(&mut input, usage.cache_write_5m);
        let image_input = take(&mut input, usage.image_input);
        let cached_input = take(&mut input, usage.cached_input);
        let audio_output = take(&mut output, usage.audio_output);
        let image_output = take(&mut output, usage.image_output);
        let lines = [
            ("input", input, rates.input),
            ("cached_input", cached_input, rates.cached_input),
            ("cache_write_5m", cache_write_5m, rates.cache_write_5m),
            ("cache_write_1h", cache_write_1h, rates.cache_write_1h),
            ("audio_input", audio_input, rates.audio_input),
            ("image_input", image_input, rates.image_input),
            ("output", output, rates.output),
            ("audio_output", audio_output, rates.audio_output),
            ("image_output", image_output, rates.image_output),
        ];
        let said = lines.into_iter().filter(|(_, tokens, _)| *tokens > 0);
        said.map(|(kind, tokens, nanos_per_million)| CostLine { kind, tokens, nanos_per_million }).collect()
    }

    /// Text, picture and sound tokens of the input, at most.
    fn input_tokens(&self, ask: &Ask<'_>) -> Option<(u64, u64, u64)> {
        let image = ask.images.checked_mul(self.image_tokens_max.unwrap_or(IMAGE_TOKENS_MAX))?;
        let counted = ask.text_tokens.checked_add(image)?.checked_add(ask.audio_tokens)?;
        match self.context_tokens {
            // More than the context holds is refused by the provider, and costs nothing. What may be sound counts as sound.
            Some(context) if ask.unknown_parts > 0 || counted > context => {
                let audio = if ask.audio_tokens > 0 { context } else { 0 };
                Some((context - audio, 0, audio))
            }
            None if ask.unknown_parts > 0 => None,
            _ => Some((ask.text_tokens, image, ask.audio_tokens)),
        }
    }

    /// All rates that can apply to a call of at most so many input tokens.
    fn applicable<'a>(&'a self, ask: &'a Ask<'_>, input_tokens: u64) -> impl Iterator<Item = &'a Rates> {
        let long = self.long_context.as_ref().filter(move |long| input_tokens > long.above_tokens);
        let tiers = self.tiers.iter().filter(|(name, _)| match ask.tier {
            // The provider chooses.
            Some("auto") => true,
            Some(tier) => tier == name.as_str(),
            None => false,
        });
        std::iter::once(&self.standard).chain(long.map(|long| &long.rates)).chain(tiers.map(|(_, rates)| rates))
    }

    fn rates_for(&self, input_tokens: u64, tier: Option<&str>) -> &Rates {
        if let Some(rates) = tier.and_then(|tier| self.tiers.get(tier)) {
            return rates;
        }
        match &self.long_context {
            Some(long) if input_tokens > long.above_tokens => &long.rates,
            _ => &self.standard,
        }
    }
}

/// Takes tokens of one kind out of all that are left.
fn take(left: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}

/// Tokens times their prices, rounded up once.
fn sum(lines: &[(u64, Nanos)]) -> Option<Nanos> {
    let exact = lines.iter().try_fold(0_i128, |sum, &(tokens, price)| {
        sum.checked_add(i128::from(tokens).checked_mul(i128::from(price.as_i64()))?)
    })?;
    let nanos = exact / TOKENS_PER_PRICE + i128::from(exact % TOKENS_PER_PRICE > 0);
    i64::try_from(nanos).ok().map(Nanos::new)
}

/// All prices, by model.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    /// By `provider/model`, the newest first.
    exact: HashMap<String, Vec<Arc<Price>>>,
    /// Those that end in `*`, the longest first, of the same length the newest first.
    patterns: Vec<Arc<Price>>,
}

impl PriceBook {
    /// From rows. Of two rows of one model and date the later in the list holds.
    #[must_use]
    pub fn new(rows: Vec<Price>) -> Self {
        let mut book = Self::default();
        for row in rows.into_iter().rev().map(Arc::new) {
            if row.model.ends_with('*') {
                book.patterns.push(row);
            } else {
                book.exact.entry(row.model.clone()).or_default().push(row);
            }
        }
        for rows in book.exact.values_mut() {
            rows.sort_by_key(|row| std::cmp::Reverse(row.from));
        }
        book.patterns.sort_by_key(|row| std::cmp::Reverse((row.model.len(), row.from)));
        book
    }

    /// The price of a model of a provider at an instant; `None` if nobody has written one down.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str, at: Timestamp) -> Option<&Arc<Price>> {
        let name = format!("{provider}/{model}");
        let exact = self.exact.get(&name).and_then(|rows| rows.iter().find(|row| row.from <= at));
        exact.or_else(|| {
            let matches = |row: &&Arc<Price>| {
                row.from <= at && row.model.strip_suffix('*').is_some_and(|begin| name.starts_with(begin))
            };
            self.patterns.iter().find(matches)
        })
    }

    /// All rows, those of exact names first.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Price>> {
        self.exact.values().flatten().chain(&self.patterns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Nanos {
        Nanos::parse_dollars(text).unwrap()
    }

    #[test]
    fn a_tier_is_known_by_its_rates_or_as_one_that_is_not_dearer() {
        let known = ["priority", "auto", "default", "flex"].map(|tier| price().knows_tier(tier));
        assert_eq!((known, price().knows_tier("ultra")), ([true; 4], false));
        let half = Rates::flat(dollars("1.50"), dollars("7.50"));
        let cheaper = Price { tiers: BTreeMap::from([("flex".to_owned(), half)]), ..price() };
        assert!(price().has_dearer_tier());
        assert!(!Price { standard: Rates::flat(dollars("3"), dollars("15")), ..cheaper }.has_dearer_tier());
    }

    fn price() -> Price {
        Price {
            model: "test/model".to_owned(),
            from: Timestamp::from_micros(0),
            source: "the test".to_owned(),
            standard: Rates {
                cached_input: dollars("0.30"),
                cache_write_5m: dollars("3.75"),
                cache_write_1h: dollars("6.00"),
                audio_input: dollars("40"),
                ..Rates::flat(dollars("3.00"), dollars("15.00"))
            },
            long_context: Some(LongContext {
                above_tokens: 200_000,
                rates: Rates::flat(dollars("6.00"), dollars("22.50")),
            }),
            tiers: BTreeMap::from([("priority".to_owned(), Rates::flat(dollars("6.00"), dollars("30.00")))]),
            context_tokens: Some(1_000_000),
            output_tokens_max: Some(64_000),
            image_tokens_max: None,
            caches_unasked: false,
            profile: Profile::default(),
        }
    }

    #[test]
    fn wire_23_each_kind_of_token_has_its_own_price() {
        let usage = Usage {
            input: 10_000,
            cached_input: 4_000,
            cache_write_5m: 1_000,
            cache_write_1h: 500,
            output: 2_000,
            reasoning: 1_500,
            ..Usage::default()
        };
        // 4,500 x 3.00 + 4,000 x 0.30 + 1,000 x 3.75 + 500 x 6.00 + 2,000 x 15.00, by the million.
        assert_eq!(price().cost(&usage, None), Some(dollars("0.05145")));
        let long = Usage { input: 200_001, output: 1, ..Usage::default() };
        assert_eq!(price().cost(&long, None), Some(dollars("1.2000285")));
        let priority = Usage { input: 1_000, output: 1_000, ..Usage::default() };
        assert_eq!(price().cost(&priority, Some("priority")), Some(dollars("0.036")));
        assert_eq!(price().cost(&priority, Some("default")), Some(dollars("0.018")));
    }

    #[test]
    fn wire_30_the_most_is_never_less_than_the_cost() {
        let price = price();
        for (ask, usage, tier) in [
            (
                Ask { text_tokens: 100, output_tokens: 50, ..Ask::default() },
                Usage { input: 100, output: 50, ..Usage::default() },
                None,
            ),
            (
                Ask { text_tokens: 100, output_tokens: 50, writes_cache: true, ..Ask::default() },
                Usage { input: 100, cache_write_1h: 100, output: 50, ..Usage::default() },
                None,
            ),
            (
                Ask { text_tokens: 10, audio_tokens: 90, output_tokens: 50, ..Ask::default() },
                Usage { input: 100, audio_input: 90, output: 50, ..Usage::default() },
                None,
            ),
            (
                Ask { unknown_parts: 1, output_tokens: 50, ..Ask::default() },
                Usage { input: 900_000, output: 50, ..Usage::default() },
                None,
            ),
            (
                Ask { text_tokens: 100, output_tokens: 50, tier: Some("auto"), ..Ask::default() },
                Usage { input: 100, output: 50, ..Usage::default() },
                Some("priority"),
            ),
        ] {
            assert!(price.most(&ask).unwrap() >= price.cost(&usage, tier).unwrap(), "{ask:?}");
        }
    }

    #[test]
    fn without_a_size_or_beyond_all_money_there_is_no_most() {
        let price = Price { context_tokens: None, ..price() };
        assert_eq!(price.most(&Ask { unknown_parts: 1, ..Ask::default() }), None);
        assert_eq!(price.most(&Ask { text_tokens: u64::MAX, ..Ask::default() }), None);
        let dearer = Ask { tier: Some("ultrafast"), ..Ask::default() };
        assert_eq!(price.most(&dearer), None, "a tier without a price");
        assert!(price.most(&Ask { tier: Some("flex"), ..dearer }).is_some());
    }

    #[test]
    fn a_cache_that_is_written_unasked_is_held_for() {
        let price = Price { caches_unasked: true, ..price() };
        let ask = Ask { text_tokens: 100, ..Ask::default() };
        let usage = Usage { input: 100, cache_write_5m: 100, ..Usage::default() };
        assert!(price.most(&ask) >= price.cost(&usage, None));
    }

    #[test]
    fn counts_beyond_all_sense_do_no_harm() {
        let all = u64::MAX;
        let hostile = Usage {
            input: all,
            cached_input: all,
            cache_write_5m: all,
            cache_write_1h: all,
            audio_input: all,
            image_input: all,
            output: all,
            reasoning: all,
            audio_output: all,
            image_output: all,
        };
        assert_eq!(price().cost(&hostile, None), None);
        let most = Ask { text_tokens: all, audio_tokens: all, images: all, output_tokens: all, ..Ask::default() };
        assert_eq!(Price { context_tokens: None, ..price() }.most(&most), None);
        assert_eq!(price().most(&most), None);
        // Parts that exceed the whole are cut to it.
        let lying = Usage { input: 10, cached_input: all, output: 1, audio_output: all, ..Usage::default() };
        let lines = price().lines(&lying, None);
        assert_eq!(lines.iter().map(|line| line.tokens).collect::<Vec<_>>(), [10, 1]);
    }

    #[test]
    fn the_affordable_output_is_the_largest_that_fits() {
        let ask = Ask { text_tokens: 1_000, output_tokens: 4_096, ..Ask::default() };
        let money = dollars("0.0075");
        let output = price().affordable_output(&ask, money).unwrap();
        assert_eq!(output, 300);
        assert_eq!(price().affordable_output(&ask, dollars("0.0029")), None);
        assert_eq!(price().affordable_output(&ask, dollars("100")), Some(4_096));
    }

    #[test]
    fn a_fraction_of_a_nano_dollar_is_rounded_up_once() {
        let cheap = Price { standard: Rates::flat(dollars("0.0375"), dollars("0.0375")), ..price() };
        let usage = Usage { input: 1, output: 1, ..Usage::default() };
        assert_eq!(cheap.cost(&usage, None), Some(Nanos::new(75)));
        let usage = Usage { input: 1, output: 0, ..Usage::default() };
        assert_eq!(cheap.cost(&usage, None), Some(Nanos::new(38)));
    }

    #[test]
    fn the_newest_price_that_holds_is_found_and_patterns_come_last() {
        let at = |day: &str| Timestamp::parse(&format!("{day}T00:00:00Z")).unwrap();
        let row = |model: &str, from: &str, input: &str| Price {
            model: model.to_owned(),
            from: at(from),
            standard: Rates::flat(dollars(input), dollars("1")),
            ..price()
        };
        let book = PriceBook::new(vec![
            row("ollama/*", "2026-01-01", "0"),
            row("openai/gpt-4o", "2026-01-01", "2"),
            row("openai/gpt-4o", "2026-06-01", "1"),
            row("openai/gpt-4o", "2026-06-01", "1.5"),
        ]);
        let input = |name: &str, day: &str| book.find("openai", name, at(day)).map(|price| price.standard.input);
        assert_eq!(input("gpt-4o", "2025-12-31"), None);
        assert_eq!(input("gpt-4o", "2026-05-31"), Some(dollars("2")));
        assert_eq!(input("gpt-4o", "2026-06-01"), Some(dollars("1.5")), "the later row overrides");
        assert_eq!(input("gpt-5", "2026-06-01"), None);
        assert!(book.find("ollama", "qwen3:8b", at("2026-06-01")).is_some());
    }
}
