//! Fusion by example and by property.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rep {
    Text,
    Window,
    Facts,
}

const DENSE: Leg<Rep> = Leg { method: Method::Dense, representation: Rep::Text };
const DENSE_FACTS: Leg<Rep> = Leg { method: Method::Dense, representation: Rep::Facts };
const FACTS: Leg<Rep> = Leg { method: Method::Sparse, representation: Rep::Facts };
const TEXT: Leg<Rep> = Leg { method: Method::Sparse, representation: Rep::Text };
const WINDOW: Leg<Rep> = Leg { method: Method::Sparse, representation: Rep::Window };

fn weights() -> Weights<Rep> {
    Weights::measured(Rep::Text, Rep::Window, [Rep::Facts])
}

fn leg(leg: Leg<Rep>, hits: &[(u32, f64)]) -> LegHits<u32, Rep> {
    LegHits { leg, hits: hits.iter().map(|&(id, score)| Hit { id, score }).collect() }
}

fn ids(candidates: &[Candidate<u32, Rep>]) -> Vec<u32> {
    candidates.iter().map(|candidate| candidate.id).collect()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn scores_are_normalised_weighted_and_added() {
    let found = [
        leg(DENSE, &[(1, 0.9), (2, 0.5), (3, 0.7)]),
        leg(TEXT, &[(2, 10.0), (3, 5.0)]),
        leg(WINDOW, &[(3, 8.0), (1, 2.0)]),
    ];
    let fused = fuse(&found, &weights());
    assert_eq!(ids(&fused), [3, 2, 1]);
    close(fused[0].fused, 0.2 * 0.5 + 0.5 * 0.5 + 0.3);
    close(fused[1].fused, 0.5);
    close(fused[2].fused, 0.2 + 0.3 * 0.25);
    assert_eq!((fused[0].dense, fused[0].sparse), (Some(0.7), Some(8.0)));
    assert_eq!(fused[0].legs.iter().map(|leg| leg.rank).collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn without_an_embedder_the_keyword_legs_have_the_whole_score() {
    let fused = fuse(&[leg(TEXT, &[(1, 4.0), (2, 2.0)]), leg(WINDOW, &[(1, 4.0)])], &weights());
    close(fused[0].fused, 1.0);
    close(fused[1].fused, 0.25 / 0.8);
    assert_eq!(fused[0].dense, None);
}

#[test]
fn several_hits_of_a_record_in_a_leg_count_once() {
    let once = fuse(&[leg(TEXT, &[(1, 4.0), (2, 5.0)])], &weights());
    let twice = fuse(&[leg(TEXT, &[(1, 4.0), (2, 5.0), (1, 3.9), (1, 3.8)])], &weights());
    assert_eq!(once, twice);
    assert_eq!(ids(&twice), [2, 1]);
}

#[test]
fn representations_of_a_slot_compete_instead_of_adding_up() {
    let found = [leg(DENSE, &[(1, 0.9), (2, 0.4)]), leg(DENSE_FACTS, &[(1, 0.8), (2, 0.3)])];
    let fused = fuse(&found, &weights());
    close(fused[0].fused, 1.0);
    assert_eq!(fused[0].legs.iter().map(|leg| leg.counts).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn where_few_records_have_a_representation_the_best_of_those_is_no_match_by_that_alone() {
    let found = [leg(TEXT, &[(1, 10.0), (2, 6.0)]), leg(FACTS, &[(3, 1.0)])];
    let fused = fuse(&found, &weights());
    assert_eq!(ids(&fused), [1, 2, 3]);
    close(fused[2].fused, 0.1);
    let found = [leg(DENSE, &[(1, 0.9), (2, 0.5)]), leg(DENSE_FACTS, &[(3, 0.6)])];
    let fused = fuse(&found, &weights());
    assert_eq!(ids(&fused), [1, 3, 2]);
    close(fused[1].fused, 0.25);
    let found = [leg(TEXT, &[(1, 6.0)]), leg(FACTS, &[(1, 2.0), (2, 12.0)])];
    assert_eq!(ids(&fuse(&found, &weights())), [2, 1], "what says it best is the best");
}

#[test]
fn cosines_that_are_all_alike_are_not_spread() {
    let found = [leg(DENSE, &[(1, 0.801), (2, 0.8)]), leg(TEXT, &[(2, 3.0), (1, 2.9)])];
    // A thousandth of cosine does not outweigh a thirtieth of BM25.
    assert_eq!(ids(&fuse(&found, &weights())), [2, 1]);
}

#[test]
fn scores_that_are_no_numbers_are_no_hits() {
    let fused = fuse(&[leg(DENSE, &[(1, f64::NAN), (2, f64::INFINITY), (3, 0.1)])], &weights());
    assert_eq!(ids(&fused), [3]);
}

#[test]
fn ties_are_broken_by_the_id() {
    let fused = fuse(&[leg(TEXT, &[(9, 1.0), (3, 1.0), (7, 1.0)])], &weights());
    assert_eq!(ids(&fused), [3, 7, 9]);
}

#[test]
fn weights_that_mean_nothing_are_refused() {
    let one = |weight| Weights::new(vec![LegWeight { leg: TEXT, weight, slot: 0, scale: 0 }]);
    assert!(matches!(one(f64::NAN), Err(WeightsError::NoWeight(_))));
    assert!(matches!(one(-1.0), Err(WeightsError::NoWeight(_))));
    assert_eq!(one(0.0), Err(WeightsError::AllZero));
    let twice = Weights::new(vec![LegWeight { leg: TEXT, weight: 1.0, slot: 0, scale: 0 }; 2]);
    assert_eq!(twice, Err(WeightsError::Twice(Method::Sparse)));
}

#[test]
fn a_leg_of_no_weight_adds_no_candidates() {
    let only_text = Weights::new(vec![LegWeight { leg: TEXT, weight: 1.0, slot: 0, scale: 0 }]).unwrap();
    let fused = fuse(&[leg(DENSE, &[(1, 0.9)]), leg(TEXT, &[(2, 1.0)])], &only_text);
    assert_eq!(ids(&fused), [2]);
}

#[test]
fn age_takes_its_share_and_no_more() {
    let recency = Recency { half_life: Duration::from_secs(60), share: 0.5 };
    close(recency.factor(Duration::ZERO), 1.0);
    close(recency.factor(Duration::from_secs(60)), 0.75);
    close(recency.factor(Duration::from_secs(60 * 10_000)), 0.5);
    close(Recency { half_life: Duration::ZERO, share: 1.0 }.factor(Duration::ZERO), 1.0);
    let mut fused = fuse(&[leg(TEXT, &[(1, 1.0), (2, 0.9)])], &weights());
    let now = Timestamp::from_micros(3_600_000_000);
    rank_by_age(&mut fused, &recency, now, |id| Some(if *id == 1 { Timestamp::from_micros(0) } else { now }));
    assert_eq!(ids(&fused), [2, 1]);
    close(fused[0].score, 0.9);
    close(fused[1].fused, 1.0);
}

fn any_leg() -> impl Strategy<Value = Leg<Rep>> {
    let rep = prop_oneof![Just(Rep::Text), Just(Rep::Window), Just(Rep::Facts)];
    let method = prop_oneof![Just(Method::Dense), Just(Method::Sparse)];
    (method, rep).prop_map(|(method, representation)| Leg { method, representation })
}

fn any_found() -> impl Strategy<Value = Vec<LegHits<u32, Rep>>> {
    let score = prop_oneof![4 => -1.0..20.0_f64, 1 => Just(1.0), 1 => any::<f64>()];
    let hits = prop::collection::vec((0_u32..12, score).prop_map(|(id, score)| Hit { id, score }), 0..12);
    prop::collection::vec((any_leg(), hits).prop_map(|(leg, hits)| LegHits { leg, hits }), 0..8)
}

proptest! {
    #[test]
    fn the_order_of_arrival_changes_nothing(found in any_found(), seed in any::<usize>()) {
        let mut other = found.clone();
        if !other.is_empty() {
            let by = seed % other.len();
            other.rotate_left(by);
        }
        for leg in &mut other {
            leg.hits.reverse();
        }
        prop_assert_eq!(fuse(&found, &weights()), fuse(&other, &weights()));
    }

    #[test]
    fn scores_are_between_0_and_1_and_every_record_is_ranked_once(found in any_found()) {
        let fused = fuse(&found, &weights());
        let mut seen = std::collections::BTreeSet::new();
        for pair in fused.windows(2) {
            prop_assert!(pair[0].score >= pair[1].score);
        }
        for candidate in &fused {
            prop_assert!(candidate.fused >= 0.0 && candidate.fused <= 1.0, "{}", candidate.fused);
            prop_assert!(seen.insert(candidate.id));
            prop_assert!(candidate.legs.iter().any(|leg| leg.counts));
        }
    }

    #[test]
    fn the_best_of_every_leg_is_the_best(found in any_found()) {
        let mut found = found;
        for leg in &mut found {
            leg.hits.retain(|hit| hit.score.is_finite() && hit.score.abs() < 1e6);
            leg.hits.push(Hit { id: 0, score: 2e6 });
        }
        if let Some(best) = fuse(&found, &weights()).first() {
            prop_assert_eq!(best.id, 0);
            prop_assert!((best.fused - 1.0).abs() < 1e-9);
        }
    }
}
