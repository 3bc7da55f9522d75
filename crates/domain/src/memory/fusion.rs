//! Fusion: several rankings of the same records become one.
//!
//! A *leg* is one search: a method ([`Method::Dense`] or [`Method::Sparse`]) over one representation. Its scores are brought to
//! 0..=1, weighted and added. Two rules keep a record from being counted twice: of several hits of one record in one leg (the parts
//! of a representation) the best counts, and legs that share a *slot* compete for it, so that the best weighted one counts. Legs that
//! share a *scale* are brought to 0..=1 together: where few records have a representation, the best of those is no match by that alone.
//!
//! It is not reciprocal rank fusion: measured on long chats, that loses to scores (nDCG@10 .43 with k = 60, .48 with k = 2, .55 with
//! scores). Nothing depends on the order in which hits arrive; ties are broken by the id.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Timestamp;

/// How much of the fused score each kind of leg may say, relative to the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// The dense legs together, where there is an embedder.
    pub dense: f64,
    /// The keyword leg over the text, and those over its descriptions.
    pub text: f64,
    /// The keyword leg over the text with its neighbours.
    pub window: f64,
}

impl Shares {
    /// Those that were measured to be best on long chats.
    pub const MEASURED: Self = Self { dense: 0.2, text: 0.5, window: 0.3 };
}

/// Cosines that lie closer together than this are not spread over the whole range: their order is mostly noise.
const DENSE_SPAN_MIN: f64 = 0.05;

/// How a leg searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// By vector; the score is the cosine.
    Dense,
    /// By keyword; the score is BM25, greater is better (SQLite's `bm25()` has it the other way round).
    Sparse,
}

impl Method {
    /// Its name in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

/// One search: a method over a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg<R> {
    /// How.
    pub method: Method,
    /// Over which representation.
    pub representation: R,
}

/// What a leg found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit<I> {
    /// The record.
    pub id: I,
    /// As the index says, greater is better. A hit whose score is not a number is no hit.
    pub score: f64,
}

/// The answer of one leg. A leg that did not run (no embedder, or it failed) is left out: the others then share the whole score.
#[derive(Clone, Debug, PartialEq)]
pub struct LegHits<I, R> {
    /// Which leg.
    pub leg: Leg<R>,
    /// In any order.
    pub hits: Vec<Hit<I>>,
}

/// How much a leg says.
#[derive(Clone, Debug, PartialEq)]
pub struct LegWeight<R> {
    /// Which leg.
    pub leg: Leg<R>,
    /// Its weight, relative to the others.
    pub weight: f64,
    /// Legs of the same slot compete, slots are added.
    pub slot: u16,
    /// Scores of legs of the same method and scale are compared as they are.
    pub scale: u16,
}

/// The weights of all legs. A leg without a weight counts for nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights<R> {
    legs: Vec<LegWeight<R>>,
}

/// Why weights are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// A weight that is negative or no number.
    #[error("a weight must be a number of at least 0, not {0}")]
    NoWeight(String),
    /// All weights are 0.
    #[error("no leg has a weight; give at least one more than 0")]
    AllZero,
    /// A leg has two weights.
    #[error("a {} leg has two weights", .0.as_str())]
    Twice(Method),
}

impl<R: Ord + Clone> Weights<R> {
    /// Checks weights.
    ///
    /// # Errors
    /// When one is no weight, all are 0, or a leg has two.
    pub fn new(mut legs: Vec<LegWeight<R>>) -> Result<Self, WeightsError> {
        if let Some(wrong) = legs.iter().find(|leg| !leg.weight.is_finite() || leg.weight < 0.0) {
            return Err(WeightsError::NoWeight(wrong.weight.to_string()));
        }
        if legs.iter().all(|leg| leg.weight == 0.0) {
            return Err(WeightsError::AllZero);
        }
        legs.sort_by(|a, b| a.leg.cmp(&b.leg));
        if let Some([twice, _]) = legs.array_windows().find(|[a, b]| a.leg == b.leg) {
            return Err(WeightsError::Twice(twice.leg.method));
        }
        Ok(Self { legs })
    }

    /// The weights that were measured to be best.
    #[must_use]
    pub fn measured(text: R, window: R, further: impl IntoIterator<Item = R>) -> Self {
        Self { legs: legs_of(&text, &window, further, Shares::MEASURED) }
    }

    /// The weights of these shares.
    ///
    /// # Errors
    /// When one is no weight, or all are 0.
    pub fn of_shares(
        text: R,
        window: R,
        further: impl IntoIterator<Item = R>,
        shares: Shares,
    ) -> Result<Self, WeightsError> {
        Self::new(legs_of(&text, &window, further, shares))
    }

    /// The legs, in order.
    #[must_use]
    pub fn legs(&self) -> &[LegWeight<R>] {
        &self.legs
    }

    fn of(&self, leg: &Leg<R>) -> Option<&LegWeight<R>> {
        let at = self.legs.binary_search_by(|weight| weight.leg.cmp(leg)).ok()?;
        self.legs.get(at).filter(|weight| weight.weight > 0.0)
    }
}

/// The legs of these shares, in order.
///
/// All dense legs share one slot. Further representations (facts, questions, a summary) add a keyword leg each, in the slot of the
/// text: they say the same thing in other words. They share its scale too, for not every text has them. Without an embedder there
/// are no dense hits, and the keyword legs remain.
fn legs_of<R: Ord + Clone>(
    text: &R,
    window: &R,
    further: impl IntoIterator<Item = R>,
    shares: Shares,
) -> Vec<LegWeight<R>> {
    let mut legs = Vec::new();
    let mut add = |method, representation: &R, weight, slot, scale| {
        legs.push(LegWeight { leg: Leg { method, representation: representation.clone() }, weight, slot, scale });
    };
    for representation in std::iter::once(text.clone()).chain(further) {
        add(Method::Dense, &representation, shares.dense, 0, 0);
        add(Method::Sparse, &representation, shares.text, 1, 0);
    }
    // Every text has a window, and longer ones have other scores.
    add(Method::Dense, window, shares.dense, 0, 1);
    add(Method::Sparse, window, shares.window, 2, 1);
    legs.sort_by(|a, b| a.leg.cmp(&b.leg));
    legs.dedup_by(|a, b| a.leg == b.leg);
    legs
}

/// What one leg said about a record.
#[derive(Clone, Debug, PartialEq)]
pub struct LegScore<R> {
    /// Which leg.
    pub leg: Leg<R>,
    /// The record's place in the leg, from 1.
    pub rank: usize,
    /// As the index said.
    pub raw: f64,
    /// Between 0 and 1.
    pub normalised: f64,
    /// What it adds to the fused score, if it counts.
    pub weighted: f64,
    /// Whether it counts: another leg of the same slot may have said more.
    pub counts: bool,
}

/// A record with its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<I, R> {
    /// The record.
    pub id: I,
    /// What it is ranked by: the fused score, changed by its age where that is asked for.
    pub score: f64,
    /// Between 0 and 1, where 1 is the best of every leg that ran.
    pub fused: f64,
    /// The best cosine of the dense legs.
    pub dense: Option<f64>,
    /// The best BM25 of the keyword legs.
    pub sparse: Option<f64>,
    /// What the record's age multiplied the score by, where it did.
    pub recency: Option<f64>,
    /// How well it fits by a reranker, between 0 and 1, where one judged it. Then it is what the record is ranked by.
    pub reranked: Option<f64>,
    /// What each leg said, in order of the legs.
    pub legs: Vec<LegScore<R>>,
}

/// Joins what the legs found, best first.
#[must_use]
pub fn fuse<I: Ord + Clone, R: Ord + Clone>(found: &[LegHits<I, R>], weights: &Weights<R>) -> Vec<Candidate<I, R>> {
    let mut by_leg: BTreeMap<&Leg<R>, BTreeMap<&I, f64>> = BTreeMap::new();
    for LegHits { leg, hits } in found {
        let best = by_leg.entry(leg).or_default();
        for hit in hits.iter().filter(|hit| hit.score.is_finite()) {
            // Adding 0 makes -0 the same as 0, which an order of bits tells apart.
            let raw = hit.score + 0.0;
            best.entry(&hit.id).and_modify(|score| *score = score.max(raw)).or_insert(raw);
        }
    }
    let mut scales: BTreeMap<(Method, u16), Scale> = BTreeMap::new();
    for (leg, best) in &by_leg {
        if let Some(LegWeight { scale, .. }) = weights.of(leg) {
            let scale = scales.entry((leg.method, *scale)).or_insert(Scale::EMPTY);
            best.values().for_each(|raw| scale.widen(*raw));
        }
    }
    let mut slots: BTreeMap<u16, f64> = BTreeMap::new();
    let mut said: BTreeMap<&I, Vec<(u16, LegScore<R>)>> = BTreeMap::new();
    for (leg, best) in by_leg {
        let Some(LegWeight { weight, slot, scale, .. }) = weights.of(leg) else { continue };
        let scale = scales.get(&(leg.method, *scale)).copied().unwrap_or(Scale::EMPTY);
        let heaviest = slots.entry(*slot).or_insert(*weight);
        *heaviest = heaviest.max(*weight);
        for (id, rank, raw, normalised) in ranked(leg.method, scale, best) {
            let weighted = normalised * weight;
            let score = LegScore { leg: leg.clone(), rank, raw, normalised, weighted, counts: false };
            said.entry(id).or_default().push((*slot, score));
        }
    }
    let whole: f64 = slots.values().sum();
    let mut candidates: Vec<_> = said.into_iter().map(|(id, legs)| candidate(id.clone(), legs, whole)).collect();
    sort(&mut candidates);
    candidates
}

/// Between which scores the hits of a scale lie.
#[derive(Clone, Copy)]
struct Scale {
    greatest: f64,
    least: f64,
}

impl Scale {
    const EMPTY: Self = Self { greatest: f64::NEG_INFINITY, least: f64::INFINITY };

    fn widen(&mut self, raw: f64) {
        self.greatest = self.greatest.max(raw);
        self.least = self.least.min(raw);
    }
}

/// The hits of a leg with rank, raw and normalised score.
fn ranked<I: Ord>(method: Method, scale: Scale, best: BTreeMap<&I, f64>) -> Vec<(&I, usize, f64, f64)> {
    let Scale { greatest, least } = scale;
    let normalise = |raw: f64| {
        let share = match method {
            // Cosines have no zero that means anything: the least found is 0, unless all are alike.
            Method::Dense => 1.0 - (greatest - raw) / (greatest - least).max(DENSE_SPAN_MIN),
            // The zero of BM25 is a text without any of the words.
            Method::Sparse if greatest > 0.0 => raw / greatest,
            Method::Sparse => 0.0,
        };
        // The difference of two absurdly large numbers is none.
        if share.is_finite() { share.clamp(0.0, 1.0) + 0.0 } else { 0.0 }
    };
    let mut hits: Vec<_> = best.into_iter().collect();
    hits.sort_by(|(a_id, a), (b_id, b)| b.total_cmp(a).then_with(|| a_id.cmp(b_id)));
    hits.into_iter().enumerate().map(|(at, (id, raw))| (id, at + 1, raw, normalise(raw))).collect()
}

fn candidate<I, R>(id: I, legs: Vec<(u16, LegScore<R>)>, whole: f64) -> Candidate<I, R> {
    let best_of = |method| {
        let of_method = legs.iter().filter(|(_, score)| score.leg.method == method);
        of_method.map(|(_, score)| score.raw).max_by(f64::total_cmp)
    };
    let (dense, sparse) = (best_of(Method::Dense), best_of(Method::Sparse));
    let mut winners: BTreeMap<u16, (usize, f64)> = BTreeMap::new();
    for (at, (slot, score)) in legs.iter().enumerate() {
        let winner = winners.entry(*slot).or_insert((at, score.weighted));
        if score.weighted > winner.1 {
            *winner = (at, score.weighted);
        }
    }
    let sum: f64 = winners.values().map(|(_, weighted)| weighted).sum();
    let fused = if whole > 0.0 { (sum / whole).clamp(0.0, 1.0) + 0.0 } else { 0.0 };
    let mut legs: Vec<LegScore<R>> = legs.into_iter().map(|(_, score)| score).collect();
    for (at, _) in winners.values() {
        if let Some(winner) = legs.get_mut(*at) {
            winner.counts = true;
        }
    }
    Candidate { id, score: fused, fused, dense, sparse, recency: None, reranked: None, legs }
}

fn sort<I: Ord, R>(candidates: &mut [Candidate<I, R>]) {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
}

/// How much a record's age takes from its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recency {
    /// After this time half of the share is gone.
    pub half_life: Duration,
    /// The share of the score that age can take, 0 (none) to 1 (all).
    pub share: f64,
}

impl Recency {
    /// What a record of this age is multiplied by, between `1 - share` and 1.
    #[must_use]
    pub fn factor(&self, age: Duration) -> f64 {
        let share = if self.share.is_finite() { self.share.clamp(0.0, 1.0) } else { 0.0 };
        let half_lives = if self.half_life.is_zero() { f64::INFINITY } else { age.div_duration_f64(self.half_life) };
        // No age at all is no loss, whatever the half-life.
        let left = if age.is_zero() { 1.0 } else { 0.5_f64.powf(half_lives) };
        (1.0 - share) + share * left
    }
}

/// Ranks anew with the age of each record. One whose time is not known keeps its fused score.
pub fn rank_by_age<I: Ord, R>(
    candidates: &mut [Candidate<I, R>],
    recency: &Recency,
    now: Timestamp,
    created_at: impl Fn(&I) -> Option<Timestamp>,
) {
    for candidate in &mut *candidates {
        candidate.recency = created_at(&candidate.id).map(|at| recency.factor(now.since(at)));
        candidate.score = candidate.fused * candidate.recency.unwrap_or(1.0);
    }
    sort(candidates);
}

#[cfg(test)]
mod tests;
