//! How well recall finds what it should: recall@k, nDCG@k and MRR over cases, with confidence intervals, by group, and two settings
//! compared case by case.
//!
//! Intervals are percentiles of a bootstrap over the cases. The seed is an argument, so that the same cases give the same figures.

use std::collections::{BTreeMap, BTreeSet};

/// How often the cases are drawn anew, unless somebody says otherwise.
pub const RESAMPLES: usize = 2_000;
/// The share of resamples inside an interval.
const CONFIDENCE: f64 = 0.95;

/// A question and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Case<I> {
    /// What should be found. A case without anything is not judged.
    pub expected: BTreeSet<I>,
    /// What was found, best first. What is named twice counts once.
    pub found: Vec<I>,
    /// What the case belongs to, such as `("language", "pl")`.
    pub groups: Vec<(String, String)>,
}

/// The figures of one case.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// The share of the expected among the first k.
    pub recall: f64,
    /// The gain of the first k, discounted by the logarithm of the rank, against the best possible.
    pub ndcg: f64,
    /// One divided by the rank of the first that was expected; 0 if it is not among the first k.
    pub reciprocal_rank: f64,
}

/// Judges the first `k`; `None` when nothing is expected, or `k` is 0.
#[must_use]
pub fn judge<I: Ord>(expected: &BTreeSet<I>, found: &[I], k: usize) -> Option<Figures> {
    if expected.is_empty() || k == 0 {
        return None;
    }
    let mut seen = BTreeSet::new();
    let distinct = found.iter().filter(|id| seen.insert(*id)).take(k);
    let (mut hits, mut gain, mut reciprocal_rank) = (0_usize, 0.0, 0.0);
    for (at, _) in distinct.enumerate().filter(|(_, id)| expected.contains(id)) {
        if hits == 0 {
            reciprocal_rank = 1.0 / number(at + 1);
        }
        hits += 1;
        gain += discount(at);
    }
    let best: f64 = (0..expected.len().min(k)).map(discount).sum();
    Some(Figures { recall: number(hits) / number(expected.len()), ndcg: gain / best, reciprocal_rank })
}

fn discount(at: usize) -> f64 {
    1.0 / number(at + 2).log2()
}

/// A mean with its interval of 95 %.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// Over the cases.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The figures of many cases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many cases were judged.
    pub cases: usize,
    /// recall@k.
    pub recall: Interval,
    /// nDCG@k.
    pub ndcg: Interval,
    /// The mean reciprocal rank, within the first k.
    pub mrr: Interval,
}

/// The figures of all cases and of each group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How many were looked at in each case.
    pub k: usize,
    /// All cases.
    pub all: Summary,
    /// By the group's name and value.
    pub groups: BTreeMap<(String, String), Summary>,
    /// Cases that expect nothing.
    pub unjudged: usize,
}

/// How the bootstrap draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Where the draws begin.
    pub seed: u64,
    /// How many draws of all cases.
    pub resamples: usize,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { seed: 1, resamples: RESAMPLES }
    }
}

/// Judges all cases.
#[must_use]
pub fn evaluate<I: Ord>(cases: &[Case<I>], k: usize, bootstrap: Bootstrap) -> Report {
    let mut all = Vec::new();
    let mut groups: BTreeMap<(String, String), Vec<Figures>> = BTreeMap::new();
    let mut unjudged = 0;
    for case in cases {
        let Some(figures) = judge(&case.expected, &case.found, k) else {
            unjudged += 1;
            continue;
        };
        all.push(figures);
        let own: BTreeSet<&(String, String)> = case.groups.iter().collect();
        for group in own {
            groups.entry(group.clone()).or_default().push(figures);
        }
    }
    let groups = groups.into_iter().map(|(group, figures)| (group, summarise(&figures, bootstrap))).collect();
    Report { k, all: summarise(&all, bootstrap), groups, unjudged }
}

/// The means of figures with their intervals.
#[must_use]
pub fn summarise(figures: &[Figures], bootstrap: Bootstrap) -> Summary {
    let of = |field: fn(&Figures) -> f64| {
        let values: Vec<f64> = figures.iter().map(field).collect();
        interval(&values, bootstrap)
    };
    Summary {
        cases: figures.len(),
        recall: of(|figures| figures.recall),
        ndcg: of(|figures| figures.ndcg),
        mrr: of(|figures| figures.reciprocal_rank),
    }
}

/// How two settings differ on the same cases: the second less the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// The mean difference.
    pub gain: Interval,
    /// Cases in which the second is better.
    pub better: usize,
    /// Cases in which it is worse.
    pub worse: usize,
    /// How often chance alone makes a mean difference at least as large, by swapping the two at random in each case. Small means that
    /// the difference is real.
    pub p_value: f64,
}

/// Two settings side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// How many cases both were judged on.
    pub cases: usize,
    /// recall@k.
    pub recall: Difference,
    /// nDCG@k.
    pub ndcg: Difference,
    /// The reciprocal rank.
    pub mrr: Difference,
}

/// A question, and what two settings found.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<'a, I> {
    /// What should be found.
    pub expected: &'a BTreeSet<I>,
    /// What the first found, best first.
    pub first: &'a [I],
    /// What the second found, best first.
    pub second: &'a [I],
}

/// Compares two settings case by case.
#[must_use]
pub fn compare<I: Ord>(pairs: &[Pair<'_, I>], k: usize, bootstrap: Bootstrap) -> Comparison {
    let judged: Vec<(Figures, Figures)> = pairs
        .iter()
        .filter_map(|pair| Some((judge(pair.expected, pair.first, k)?, judge(pair.expected, pair.second, k)?)))
        .collect();
    let of = |field: fn(&Figures) -> f64| {
        let gains: Vec<f64> = judged.iter().map(|(first, second)| field(second) - field(first)).collect();
        difference(&gains, bootstrap)
    };
    Comparison {
        cases: judged.len(),
        recall: of(|figures| figures.recall),
        ndcg: of(|figures| figures.ndcg),
        mrr: of(|figures| figures.reciprocal_rank),
    }
}

fn difference(gains: &[f64], bootstrap: Bootstrap) -> Difference {
    let mut random = Random(bootstrap.seed);
    let observed = gains.iter().sum::<f64>().abs();
    let mut as_large = 0;
    for _ in 0..bootstrap.resamples {
        let swapped: f64 = gains.iter().map(|gain| if random.next() >> 63 == 0 { *gain } else { -gain }).sum();
        // Sums of the same numbers in another order of signs differ in their last bits.
        if swapped.abs() >= observed - 1e-9 {
            as_large += 1;
        }
    }
    Difference {
        gain: interval(gains, bootstrap),
        better: gains.iter().filter(|gain| **gain > 0.0).count(),
        worse: gains.iter().filter(|gain| **gain < 0.0).count(),
        // The order that was observed is one of the possible ones, so that it is never 0.
        p_value: number(as_large + 1) / number(bootstrap.resamples + 1),
    }
}

/// The mean of values, and the percentiles of the means of draws with replacement.
fn interval(values: &[f64], bootstrap: Bootstrap) -> Interval {
    if values.is_empty() {
        return Interval::default();
    }
    let mean = values.iter().sum::<f64>() / number(values.len());
    let mut random = Random(bootstrap.seed);
    let mut means: Vec<f64> = (0..bootstrap.resamples)
        .map(|_| {
            let drawn = (0..values.len()).filter_map(|_| values.get(random.below(values.len())));
            drawn.sum::<f64>() / number(values.len())
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let outside = number(means.len()) * (1.0 - CONFIDENCE) / 2.0;
    let skipped = outside as usize;
    let low = means.get(skipped).copied().unwrap_or(mean);
    let high = means.iter().rev().nth(skipped).copied().unwrap_or(mean);
    Interval { mean, low: low.min(mean), high: high.max(mean) }
}

fn number(count: usize) -> f64 {
    count as f64
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `end`; the bias is below `end / 2^64`.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn set(ids: &[u32]) -> BTreeSet<u32> {
        ids.iter().copied().collect()
    }

    fn case(expected: &[u32], found: &[u32], language: &str) -> Case<u32> {
        let groups = vec![("language".to_owned(), language.to_owned())];
        Case { expected: set(expected), found: found.to_vec(), groups }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn figures_are_those_computed_by_hand() {
        let figures = judge(&set(&[1, 2]), &[9, 1, 8, 2], 10).unwrap();
        close(figures.recall, 1.0);
        close(figures.reciprocal_rank, 0.5);
        let (second, fourth) = (1.0 / 3.0_f64.log2(), 1.0 / 5.0_f64.log2());
        close(figures.ndcg, (second + fourth) / (1.0 + second));
        let cut = judge(&set(&[1, 2]), &[9, 1, 8, 2], 3).unwrap();
        close(cut.recall, 0.5);
        assert_eq!(judge(&set(&[1]), &[9, 8], 2), Some(Figures::default()));
    }

    #[test]
    fn more_expected_than_k_can_still_be_perfect_in_order() {
        let figures = judge(&set(&[1, 2, 3, 4]), &[4, 3], 2).unwrap();
        close(figures.ndcg, 1.0);
        close(figures.recall, 0.5);
    }

    #[test]
    fn what_is_found_twice_counts_once() {
        assert_eq!(judge(&set(&[1, 2]), &[1, 1, 1, 2], 2), judge(&set(&[1, 2]), &[1, 2], 2));
    }

    #[test]
    fn groups_are_summed_apart_and_cases_without_an_answer_are_not_judged() {
        let cases = [case(&[1], &[1], "pl"), case(&[1], &[2], "en"), case(&[1], &[1], "en"), case(&[], &[1], "en")];
        let report = evaluate(&cases, 10, Bootstrap::default());
        assert_eq!((report.all.cases, report.unjudged), (3, 1));
        let of = |language: &str| &report.groups[&("language".to_owned(), language.to_owned())];
        close(of("pl").recall.mean, 1.0);
        close(of("en").recall.mean, 0.5);
        assert_eq!(of("en").cases, 2);
    }

    #[test]
    fn the_interval_of_many_cases_is_that_of_theory() {
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 2)).collect();
        let Interval { mean, low, high } = interval(&values, Bootstrap::default());
        close(mean, 0.5);
        // 1.96 * 0.5 / sqrt(400)
        assert!((low - 0.451).abs() < 0.012, "{low}");
        assert!((high - 0.549).abs() < 0.012, "{high}");
    }

    #[test]
    fn the_same_seed_gives_the_same_figures() {
        let values = [0.0, 1.0, 0.5, 0.25, 1.0];
        let of = |seed| interval(&values, Bootstrap { seed, resamples: 50 });
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn a_real_difference_is_told_from_chance() {
        let expected = set(&[1]);
        let pair = |first, second| Pair { expected: &expected, first, second };
        let better: Vec<_> = (0..40).map(|n| pair(&[2][..], if n % 4 == 0 { &[2][..] } else { &[1][..] })).collect();
        let clear = compare(&better, 10, Bootstrap::default());
        close(clear.recall.gain.mean, 0.75);
        assert_eq!((clear.recall.better, clear.recall.worse), (30, 0));
        assert!(clear.recall.p_value < 0.01 && clear.recall.gain.low > 0.5, "{clear:?}");
        let mixed: Vec<_> =
            (0..40).map(|n| if n % 2 == 0 { pair(&[1][..], &[2][..]) } else { pair(&[2][..], &[1][..]) }).collect();
        let chance = compare(&mixed, 10, Bootstrap::default());
        assert!(chance.recall.p_value > 0.5 && chance.recall.gain.low < 0.0 && chance.recall.gain.high > 0.0);
    }

    #[test]
    fn nothing_to_judge_is_no_division_by_zero() {
        assert_eq!(evaluate::<u32>(&[], 10, Bootstrap::default()).all, Summary::default());
        assert_eq!(compare::<u32>(&[], 10, Bootstrap::default()).recall.gain, Interval::default());
        let one = evaluate(&[case(&[1], &[1], "pl")], 10, Bootstrap { seed: 1, resamples: 0 });
        assert_eq!(one.all.recall, Interval { mean: 1.0, low: 1.0, high: 1.0 });
    }

    proptest! {
        #[test]
        fn figures_are_shares(
            expected in prop::collection::btree_set(0_u32..20, 1..6),
            found in prop::collection::vec(0_u32..20, 0..15),
            k in 1_usize..12,
        ) {
            let Figures { recall, ndcg, reciprocal_rank } = judge(&expected, &found, k).unwrap();
            for figure in [recall, ndcg, reciprocal_rank] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&figure));
            }
            prop_assert_eq!(recall > 0.0, reciprocal_rank > 0.0);
            prop_assert!(judge(&expected, &found, k + 1).unwrap().recall >= recall);
        }

        #[test]
        fn an_interval_holds_its_mean(values in prop::collection::vec(0.0..=1.0_f64, 1..20), seed in any::<u64>()) {
            let Interval { mean, low, high } = interval(&values, Bootstrap { seed, resamples: 40 });
            prop_assert!(low <= mean && mean <= high && low >= -1e-12 && high <= 1.0 + 1e-12);
        }
    }
}
