//! In which order the targets of a name are tried. Pure: health, conversation and chance are arguments.
//!
//! Of weighted targets one is drawn, and the others follow as if drawn again: the weighted rendezvous hash. A conversation stays
//! with its target without anything being remembered, and when a target goes or comes only its own conversations move.

use privet_domain::id::ConversationId;

use super::{Route, Target, Weighted};

/// How a target stands when a call is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It may be called.
    Good,
    /// All keys of its provider are put aside.
    Limited,
    /// Its breaker is open.
    Failing,
}

/// What decides between weighted targets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draw {
    /// The conversation, so that it stays where it is.
    Conversation(ConversationId),
    /// Chance.
    Chance(u64),
}

/// The targets in the order in which they are tried: drawn by weight, then the fallbacks; those that may be called first.
/// Whoever may not is tried last of all, and only because there is no other.
pub(crate) fn order(route: &Route, draw: Draw, standing: impl Fn(&Target) -> Standing) -> Vec<Target> {
    let in_order = drawn(route, draw).into_iter().chain(&route.fallbacks);
    let mut tried: Vec<(Standing, Target)> = Vec::with_capacity(1 + route.beside.len() + route.fallbacks.len());
    for target in in_order {
        if tried.iter().all(|(_, known)| !known.is_same(target)) {
            tried.push((standing(target), target.clone()));
        }
    }
    // Stable: within a standing the order stays.
    tried.sort_by_key(|(standing, _)| *standing);
    tried.into_iter().map(|(_, target)| target).collect()
}

fn drawn(route: &Route, draw: Draw) -> Vec<&Target> {
    if route.beside.is_empty() {
        return vec![route.first()];
    }
    let arrivals = route.weighted().map(|Weighted { target, weight }| (arrival(target, *weight, draw), target));
    let mut arrivals: Vec<(f64, &Target)> = arrivals.collect();
    arrivals.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    arrivals.into_iter().map(|(_, target)| target).collect()
}

/// When a target arrives in a race of exponential clocks whose rates are the weights: the first has been drawn by weight.
fn arrival(target: &Target, weight: u32, draw: Draw) -> f64 {
    let mut hasher = blake3::Hasher::new();
    match draw {
        Draw::Conversation(id) => hasher.update(id.as_uuid().as_bytes()),
        Draw::Chance(drawn) => hasher.update(&drawn.to_le_bytes()),
    };
    hasher.update(target.provider.name().as_bytes());
    hasher.update(b"/");
    hasher.update(target.model.as_bytes());
    let mut head = [0_u8; 8];
    for (byte, hashed) in head.iter_mut().zip(hasher.finalize().as_bytes()) {
        *byte = *hashed;
    }
    #[expect(clippy::cast_precision_loss, reason = "any fraction will do")]
    let fraction = (u64::from_le_bytes(head) as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    -fraction.ln() / f64::from(weight)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use privet_providers::Provider;
    use proptest::prelude::*;

    use super::*;

    fn target(model: &str) -> Target {
        Target { provider: Arc::new(Provider::Offline), model: model.to_owned() }
    }

    fn route(targets: &[(&str, u32)], fallbacks: &[&str]) -> Route {
        let mut targets = targets.iter().map(|(model, weight)| Weighted { target: target(model), weight: *weight });
        let fallbacks = fallbacks.iter().map(|model| target(model)).collect();
        Route { first: targets.next().unwrap(), beside: targets.collect(), fallbacks, ..Route::to(target("unused")) }
    }

    fn models(targets: &[Target]) -> Vec<&str> {
        targets.iter().map(|target| target.model.as_str()).collect()
    }

    #[test]
    fn fallbacks_follow_in_their_order_and_nothing_is_tried_twice() {
        let route = route(&[("a", 1)], &["b", "a", "c", "b"]);
        let ordered = order(&route, Draw::Chance(7), |_| Standing::Good);
        assert_eq!(models(&ordered), ["a", "b", "c"]);
    }

    #[test]
    fn whoever_may_not_be_called_comes_last() {
        let standing = |target: &Target| match target.model.as_str() {
            "a" => Standing::Failing,
            "b" => Standing::Limited,
            _ => Standing::Good,
        };
        let ordered = order(&route(&[("a", 1)], &["b", "c", "d"]), Draw::Chance(7), standing);
        assert_eq!(models(&ordered), ["c", "d", "b", "a"]);
    }

    #[test]
    fn chance_draws_by_weight() {
        let route = route(&[("a", 3), ("b", 1)], &[]);
        let first = |drawn| order(&route, Draw::Chance(drawn), |_| Standing::Good)[0].model == "a";
        let share = (0..20_000).filter(|drawn| first(*drawn)).count();
        assert!((14_600..15_400).contains(&share), "{share} of 20000, not three of four");
    }

    #[test]
    fn a_conversation_stays_and_a_target_that_goes_moves_only_its_own() {
        let all = route(&[("a", 2), ("b", 1), ("c", 1)], &[]);
        let without = route(&[("a", 2), ("c", 1)], &[]);
        let first = |route: &Route, id| order(route, Draw::Conversation(id), |_| Standing::Good)[0].model.clone();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..2_000 {
            let id = ConversationId::new();
            let (before, after) = (first(&all, id), first(&without, id));
            assert_eq!(before, first(&all, id));
            assert!(before == after || before == "b");
            *counts.entry(before).or_default() += 1;
        }
        assert!((850..1_150).contains(&counts["a"]), "{counts:?}");
    }

    proptest! {
        /// Every target is tried exactly once, those that may be called before those that may not.
        #[test]
        fn every_target_is_tried_once(
            targets in prop::collection::vec((0_u8..12, 1_u32..1_000), 1..8),
            fallbacks in prop::collection::vec(0_u8..12, 0..8),
            standings in prop::collection::vec(0_u8..3, 12),
            drawn in any::<u64>(),
        ) {
            let name = |model: &u8| format!("m{model}");
            let named: Vec<(String, u32)> = targets.iter().map(|(model, weight)| (name(model), *weight)).collect();
            let named: Vec<(&str, u32)> = named.iter().map(|(model, weight)| (model.as_str(), *weight)).collect();
            let after: Vec<String> = fallbacks.iter().map(name).collect();
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            let standing = |target: &Target| {
                let model: usize = target.model[1..].parse().unwrap();
                [Standing::Good, Standing::Limited, Standing::Failing][usize::from(standings[model])]
            };
            let ordered = order(&route(&named, &after), Draw::Chance(drawn), standing);
            prop_assert!(ordered.is_sorted_by_key(standing));
            let mut tried = models(&ordered);
            tried.sort_unstable();
            let mut expected: Vec<&str> = named.iter().map(|(model, _)| *model).chain(after.iter().copied()).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(tried, expected);
        }
    }
}
