//! What a call used and cost, in the words of traces.

use std::collections::BTreeMap;

use privet_domain::money::Nanos;
use privet_domain::trace::TOTAL;
use privet_domain::usage::Usage;
use privet_store::Settlement;

/// Tokens by kind; no kind counts what another does.
pub(super) fn usage(usage: &Usage) -> BTreeMap<String, u64> {
    let (mut input, mut output) = (usage.input, usage.output);
    let mut kinds = vec![
        // As the bill takes them apart: where kinds overlap, the usually dearer one comes first.
        ("input_audio_tokens", take(&mut input, usage.audio_input)),
        ("input_cache_creation_1h", take(&mut input, usage.cache_write_1h)),
        ("input_cache_creation_5m", take(&mut input, usage.cache_write_5m)),
        ("input_image_tokens", take(&mut input, usage.image_input)),
        ("input_cached_tokens", take(&mut input, usage.cached_input)),
        ("output_audio_tokens", take(&mut output, usage.audio_output)),
        ("output_image_tokens", take(&mut output, usage.image_output)),
        ("output_reasoning_tokens", take(&mut output, usage.reasoning)),
    ];
    kinds.retain(|(_, tokens)| *tokens > 0);
    kinds.extend([("input", input), ("output", output), (TOTAL, usage.input.saturating_add(usage.output))]);
    kinds.into_iter().map(|(kind, tokens)| (kind.to_owned(), tokens)).collect()
}

fn take(rest: &mut u64, tokens: u64) -> u64 {
    let taken = tokens.min(*rest);
    *rest -= taken;
    taken
}

/// What the ledger says that it cost: in all, and by the lines of the bill. `None` for a model without a price.
pub(super) fn cost(settlement: &Settlement) -> Option<BTreeMap<String, Nanos>> {
    let lines: Vec<(String, u64, i64)> = serde_json::from_str(settlement.bill.as_deref()?).ok()?;
    let lines = lines.into_iter().filter_map(|(kind, tokens, nanos_per_million)| {
        let nanos = i128::from(tokens) * i128::from(nanos_per_million) / 1_000_000;
        Some((kind, Nanos::new(i64::try_from(nanos).ok()?)))
    });
    Some(lines.chain([(TOTAL.to_owned(), settlement.cost)]).collect())
}

/// Of a call that nobody was paid for.
pub(super) fn no_cost() -> BTreeMap<String, Nanos> {
    BTreeMap::from([(TOTAL.to_owned(), Nanos::ZERO)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_apart_and_add_up_to_the_total() {
        let used =
            Usage { input: 100, cached_input: 60, cache_write_5m: 10, output: 20, reasoning: 15, ..Usage::default() };
        let kinds = usage(&used);
        let of = |kind: &str| kinds.get(kind).copied();
        assert_eq!(
            [of("input"), of("input_cached_tokens"), of("input_cache_creation_5m")],
            [Some(30), Some(60), Some(10)]
        );
        assert_eq!([of("output"), of("output_reasoning_tokens"), of(TOTAL)], [Some(5), Some(15), Some(120)]);
        let sum: u64 = kinds.iter().filter(|(kind, _)| *kind != TOTAL).map(|(_, tokens)| tokens).sum();
        assert_eq!(sum, 120);
        assert_eq!(
            usage(&Usage { input: 1, cached_input: 9, ..Usage::default() }).get("input_cached_tokens"),
            Some(&1)
        );
    }
}
