//! What traced generations cost by the price book, where their sender does not say.

use std::collections::{BTreeMap, BTreeSet};

use privet_domain::money::Nanos;
use privet_domain::pricing::PriceBook;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{TOTAL, is_output};
use privet_domain::usage::Usage;
use privet_store::Pricing;

/// The price book. A sender of traces names the model and seldom the provider: then the first provider that has such a model.
pub struct BookPricing {
    prices: PriceBook,
    providers: BTreeSet<String>,
}

impl BookPricing {
    /// By this book.
    #[must_use]
    pub fn new(prices: PriceBook) -> Self {
        let providers = prices.rows().filter_map(|row| row.model.split_once('/')).map(|(provider, _)| provider);
        let providers = providers.map(str::to_owned).collect();
        Self { prices, providers }
    }
}

impl Pricing for BookPricing {
    fn cost(&self, model: &str, usage: &BTreeMap<String, u64>, at: NanoTimestamp) -> Option<BTreeMap<String, Nanos>> {
        let named = model.split_once('/').and_then(|(provider, model)| self.prices.find(provider, model, at.into()));
        let found = || {
            let by_provider = |provider: &String| {
                let price = self.prices.find(provider, model, at.into())?;
                // A row for whatever a provider has says nothing of whose model it is.
                (price.model.strip_prefix(provider.as_str()) != Some("/*")).then_some(price)
            };
            self.providers.iter().find_map(by_provider)
        };
        let price = named.or_else(found)?;
        let usage = read(usage);
        let total = price.cost(&usage, None)?;
        let lines = price.lines(&usage, None).into_iter().filter_map(|line| {
            let nanos = i128::from(line.tokens) * i128::from(line.nanos_per_million.as_i64()) / 1_000_000;
            Some((line.kind.to_owned(), Nanos::new(i64::try_from(nanos).ok()?)))
        });
        Some(lines.chain([(TOTAL.to_owned(), total)]).collect())
    }
}

/// Tokens by kind as Langfuse names them: `input` and `output`, and apart from them kinds such as `input_cached_tokens`,
/// `cache_read_input_tokens`, `cache_creation_input_tokens`, `output_reasoning_tokens`, `input_audio_tokens`.
fn read(kinds: &BTreeMap<String, u64>) -> Usage {
    let mut usage = Usage::default();
    let add = |sum: &mut u64, tokens: u64| *sum = sum.saturating_add(tokens);
    for (kind, &tokens) in kinds {
        let has = |part: &str| kind.contains(part);
        if kind == TOTAL {
            continue;
        }
        if is_output(kind) {
            add(&mut usage.output, tokens);
            if has("reasoning") {
                add(&mut usage.reasoning, tokens);
            } else if has("audio") {
                add(&mut usage.audio_output, tokens);
            } else if has("image") {
                add(&mut usage.image_output, tokens);
            }
            continue;
        }
        add(&mut usage.input, tokens);
        if has("creation") || has("write") {
            add(if has("1h") { &mut usage.cache_write_1h } else { &mut usage.cache_write_5m }, tokens);
        } else if has("cache") {
            add(&mut usage.cached_input, tokens);
        } else if has("audio") {
            add(&mut usage.audio_input, tokens);
        } else if has("image") {
            add(&mut usage.image_input, tokens);
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use privet_domain::pricing::{Price, Rates};
    use privet_domain::time::Timestamp;

    use super::*;

    fn book() -> PriceBook {
        let dollars = |text| Nanos::parse_dollars(text).unwrap();
        let standard = Rates { cached_input: dollars("1"), ..Rates::flat(dollars("2"), dollars("8")) };
        let price = Price {
            model: "openai/gpt-4o".to_owned(),
            from: Timestamp::from_micros(0),
            source: "the test".to_owned(),
            standard,
            long_context: None,
            tiers: BTreeMap::new(),
            context_tokens: None,
            output_tokens_max: None,
            image_tokens_max: None,
            caches_unasked: false,
            profile: privet_domain::ability::Profile::default(),
        };
        let free =
            Price { model: "offline/*".to_owned(), standard: Rates::flat(Nanos::ZERO, Nanos::ZERO), ..price.clone() };
        PriceBook::new(vec![free, price])
    }

    #[test]
    fn kinds_have_their_own_prices_and_the_total_is_their_sum() {
        let pricing = BookPricing::new(book());
        let kinds =
            [("input", 10), ("input_cached_tokens", 4), ("output", 3), ("output_reasoning_tokens", 2), ("total", 19)];
        let usage = kinds.map(|(kind, tokens)| (kind.to_owned(), tokens)).into();
        let at = NanoTimestamp::from_nanos(1);
        let cost = pricing.cost("gpt-4o", &usage, at).unwrap();
        assert_eq!(cost.get(TOTAL), Some(&Nanos::new(10 * 2_000 + 4 * 1_000 + 5 * 8_000)));
        assert_eq!(cost.get("cached_input"), Some(&Nanos::new(4_000)));
        assert_eq!(pricing.cost("openai/gpt-4o", &usage, at), Some(cost));
        assert_eq!(pricing.cost("unheard-of", &usage, at), None, "and never nothing");
    }
}
