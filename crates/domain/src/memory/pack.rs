//! Packing: which of the ranked texts go into a budget, in which order they are told, and why each is in or out.
//!
//! The best come first, and one that does not fit leaves its place to the next that does. What is chosen is told in order of time.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// How many bytes of text a token has about, where nobody counted.
const TOKEN_BYTES: usize = 4;

/// How many tokens a text has about. An estimate: what may be spent is bounded by bytes.
#[must_use]
pub fn estimate_tokens(text: &str) -> usize {
    text.len().div_ceil(TOKEN_BYTES)
}

/// What recalled texts may take of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackBudget {
    /// Estimated tokens, labels included.
    pub tokens_max: usize,
    /// Bytes, labels included.
    pub bytes_max: usize,
    /// How many texts.
    pub count_max: usize,
    /// What the label of each text (source, author, date) takes, in bytes.
    pub label_bytes: usize,
    /// A longer text is cut to so many bytes. Otherwise one long text would be recalled whole or never.
    pub text_bytes_max: usize,
    /// Candidates with a lower score stay out.
    pub score_min: f64,
}

impl Default for PackBudget {
    /// About 40 turns of a chat; 20 turns are 800 tokens.
    fn default() -> Self {
        Self {
            tokens_max: 1_600,
            bytes_max: 32 * 1024,
            count_max: 40,
            label_bytes: 80,
            text_bytes_max: 2_400,
            score_min: 0.0,
        }
    }
}

/// A ranked text.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer<'a, I> {
    /// The record.
    pub id: I,
    /// What would be told.
    pub text: &'a str,
    /// The hash of the content, where it is known.
    pub content_hash: Option<[u8; 32]>,
    /// The score it was ranked by.
    pub score: f64,
    /// When it was said.
    pub created_at: Timestamp,
    /// From when on it must not be recalled any more.
    pub expires_at: Option<Timestamp>,
}

/// What the model sees anyway.
#[derive(Clone, Debug)]
pub struct LiveThread<I> {
    ids: Vec<I>,
    texts: Vec<TextKey>,
}

impl<I: Ord> LiveThread<I> {
    /// Of the records and the texts in the thread.
    #[must_use]
    pub fn new<'a>(ids: impl IntoIterator<Item = I>, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ids: Vec<I> = ids.into_iter().collect();
        ids.sort();
        let mut texts: Vec<TextKey> = texts.into_iter().map(text_key).collect();
        texts.sort_unstable();
        Self { ids, texts }
    }

    fn holds(&self, id: &I, key: &TextKey) -> bool {
        self.ids.binary_search(id).is_ok() || self.texts.binary_search(key).is_ok()
    }
}

/// Why a candidate is in or out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason<I> {
    /// In, as it is.
    Chosen,
    /// In, cut to the most that one text may have.
    Shortened,
    /// Out: it has expired.
    Expired,
    /// Out: it says nothing.
    Empty,
    /// Out: the thread holds it already.
    InThread,
    /// Out: a better candidate says the same.
    DuplicateOf(I),
    /// Out: its score is too low.
    ScoreTooLow,
    /// Out: the budget is used up by better ones.
    OverBudget,
    /// Out: there are enough.
    Enough,
}

impl<I> Reason<I> {
    /// Its name in explanations and traces.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Shortened => "chosen_shortened",
            Self::Expired => "expired",
            Self::Empty => "empty",
            Self::InThread => "in_thread",
            Self::DuplicateOf(_) => "duplicate",
            Self::ScoreTooLow => "score_too_low",
            Self::OverBudget => "over_budget",
            Self::Enough => "enough",
        }
    }

    /// Whether the candidate is in.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        matches!(self, Self::Chosen | Self::Shortened)
    }
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<I> {
    /// The record.
    pub id: I,
    /// Why it is in or out.
    pub reason: Reason<I>,
}

/// A text that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a, I> {
    /// The record.
    pub id: I,
    /// Its text, or the beginning of it.
    pub text: &'a str,
    /// When it was said.
    pub created_at: Timestamp,
    /// Whether the text is cut.
    pub shortened: bool,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed<'a, I> {
    /// In order of time.
    pub told: Vec<Told<'a, I>>,
    /// One for each candidate, in order of rank.
    pub verdicts: Vec<Verdict<I>>,
    /// What the chosen take, in bytes, labels included.
    pub bytes: usize,
    /// What the chosen take, in estimated tokens, labels included.
    pub tokens: usize,
}

/// Chooses from `offers`, which are ranked, best first.
#[must_use]
pub fn pack<'a, I: Ord + Clone>(
    offers: &[Offer<'a, I>],
    thread: &LiveThread<I>,
    budget: &PackBudget,
    now: Timestamp,
) -> Packed<'a, I> {
    let empty = Packed { told: Vec::new(), verdicts: Vec::with_capacity(offers.len()), bytes: 0, tokens: 0 };
    let mut packer = Packer { thread, budget, now, packed: empty, by_hash: BTreeMap::new(), by_text: BTreeMap::new() };
    for offer in offers {
        let reason = packer.judge(offer);
        packer.packed.verdicts.push(Verdict { id: offer.id.clone(), reason });
    }
    let mut packed = packer.packed;
    packed.told.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
    packed
}

struct Packer<'p, 'a, I> {
    thread: &'p LiveThread<I>,
    budget: &'p PackBudget,
    now: Timestamp,
    packed: Packed<'a, I>,
    /// What the chosen texts say.
    by_hash: BTreeMap<[u8; 32], I>,
    by_text: BTreeMap<TextKey, I>,
}

impl<'a, I: Ord + Clone> Packer<'_, 'a, I> {
    fn judge(&mut self, offer: &Offer<'a, I>) -> Reason<I> {
        if offer.expires_at.is_some_and(|at| at <= self.now) {
            return Reason::Expired;
        }
        let (text, shortened) = beginning(offer.text.trim(), self.budget.text_bytes_max);
        if text.is_empty() {
            return Reason::Empty;
        }
        let key = text_key(offer.text);
        if self.thread.holds(&offer.id, &key) {
            return Reason::InThread;
        }
        let same_hash = offer.content_hash.as_ref().and_then(|hash| self.by_hash.get(hash));
        if let Some(first) = same_hash.or_else(|| self.by_text.get(&key)) {
            return Reason::DuplicateOf(first.clone());
        }
        // A score that is no number is too low for any limit.
        if offer.score.is_nan() || offer.score < self.budget.score_min {
            return Reason::ScoreTooLow;
        }
        if self.packed.told.len() >= self.budget.count_max {
            return Reason::Enough;
        }
        if !self.takes(text) {
            return Reason::OverBudget;
        }
        self.packed.told.push(Told { id: offer.id.clone(), text, created_at: offer.created_at, shortened });
        if let Some(hash) = offer.content_hash {
            self.by_hash.insert(hash, offer.id.clone());
        }
        self.by_text.insert(key, offer.id.clone());
        if shortened { Reason::Shortened } else { Reason::Chosen }
    }

    /// Takes the room for a text, if there is enough.
    fn takes(&mut self, text: &str) -> bool {
        let PackBudget { label_bytes, bytes_max, tokens_max, .. } = *self.budget;
        let bytes = self.packed.bytes.saturating_add(text.len()).saturating_add(label_bytes);
        let label_tokens = label_bytes.div_ceil(TOKEN_BYTES);
        let tokens = self.packed.tokens.saturating_add(estimate_tokens(text)).saturating_add(label_tokens);
        let fits = bytes <= bytes_max && tokens <= tokens_max;
        if fits {
            (self.packed.bytes, self.packed.tokens) = (bytes, tokens);
        }
        fits
    }
}

/// The beginning of a text, at most so many bytes, and whether that is not all of it. It ends between two words where one of
/// the last 80 bytes is white.
fn beginning(text: &str, bytes_max: usize) -> (&str, bool) {
    if text.len() <= bytes_max {
        return (text, false);
    }
    let (cut, _) = text.split_at(text.floor_char_boundary(bytes_max));
    let end = cut.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
    let near = end.filter(|at| cut.len() - at <= 80).and_then(|at| cut.get(..at));
    (near.unwrap_or(cut).trim_end(), true)
}

type TextKey = [u8; 32];

/// The same for texts that differ in case and white space only.
fn text_key(text: &str) -> TextKey {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = String::new();
    for word in text.split_whitespace() {
        buffer.clear();
        buffer.extend(word.chars().flat_map(char::to_lowercase));
        buffer.push(' ');
        hasher.update(buffer.as_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    fn offer(id: u32, text: &str) -> Offer<'_, u32> {
        let created_at = Timestamp::from_micros(i64::from(id));
        Offer { id, text, content_hash: None, score: 0.5, created_at, expires_at: None }
    }

    fn no_thread() -> LiveThread<u32> {
        LiveThread::new([], [])
    }

    fn reasons(packed: &Packed<'_, u32>) -> Vec<Reason<u32>> {
        packed.verdicts.iter().map(|verdict| verdict.reason.clone()).collect()
    }

    #[test]
    fn the_best_that_fit_are_chosen_and_told_in_order_of_time() {
        let long = "x".repeat(400);
        let offers = [offer(9, "first"), offer(3, &long), offer(5, "third")];
        let budget = PackBudget { tokens_max: 20, label_bytes: 4, ..PackBudget::default() };
        let packed = pack(&offers, &no_thread(), &budget, NOW);
        assert_eq!(reasons(&packed), [Reason::Chosen, Reason::OverBudget, Reason::Chosen]);
        assert_eq!(packed.told.iter().map(|told| told.id).collect::<Vec<_>>(), [5, 9]);
        assert_eq!((packed.tokens, packed.bytes), (2 + 1 + 2 + 1, 5 + 4 + 5 + 4));
    }

    #[test]
    fn duplicates_by_hash_or_by_text_are_told_once() {
        let hashed = |id, text| Offer { content_hash: Some([7; 32]), ..offer(id, text) };
        let offers = [hashed(1, "My cat"), hashed(2, "a summary"), offer(3, " my\n CAT "), offer(4, "my cats")];
        let packed = pack(&offers, &no_thread(), &PackBudget::default(), NOW);
        let expected = [Reason::Chosen, Reason::DuplicateOf(1), Reason::DuplicateOf(1), Reason::Chosen];
        assert_eq!(reasons(&packed), expected);
    }

    #[test]
    fn what_did_not_fit_is_no_original_of_a_duplicate() {
        let offers = [offer(1, "a b c d e f g h"), offer(2, "short")];
        let budget = PackBudget { bytes_max: 10, label_bytes: 0, ..PackBudget::default() };
        assert_eq!(reasons(&pack(&offers, &no_thread(), &budget, NOW)), [Reason::OverBudget, Reason::Chosen]);
    }

    #[test]
    fn what_the_thread_holds_stays_out() {
        let thread = LiveThread::new([1], ["Said  before"]);
        let offers = [offer(1, "anything"), offer(2, "said before"), offer(3, "new")];
        let packed = pack(&offers, &thread, &PackBudget::default(), NOW);
        assert_eq!(reasons(&packed), [Reason::InThread, Reason::InThread, Reason::Chosen]);
    }

    #[test]
    fn the_expired_the_empty_and_the_weak_stay_out() {
        let expired = Offer { expires_at: Some(NOW), ..offer(1, "old") };
        let later = Offer { expires_at: Some(Timestamp::from_micros(1_001)), ..offer(2, "fresh") };
        let weak = Offer { score: 0.1, ..offer(4, "weak") };
        let odd = Offer { score: f64::NAN, ..offer(5, "odd") };
        let budget = PackBudget { score_min: 0.2, ..PackBudget::default() };
        let packed = pack(&[expired, later, offer(3, " \n"), weak, odd], &no_thread(), &budget, NOW);
        let expected = [Reason::Expired, Reason::Chosen, Reason::Empty, Reason::ScoreTooLow, Reason::ScoreTooLow];
        assert_eq!(reasons(&packed), expected);
    }

    #[test]
    fn a_long_text_is_cut_between_words_and_letters() {
        let text = format!("{} słowo", "ż".repeat(100));
        let budget = PackBudget { text_bytes_max: 205, ..PackBudget::default() };
        let offers = [offer(1, &text)];
        let packed = pack(&offers, &no_thread(), &budget, NOW);
        assert_eq!(reasons(&packed), [Reason::Shortened]);
        assert_eq!(packed.told[0].text, "ż".repeat(100));
        let budget = PackBudget { text_bytes_max: 3, ..PackBudget::default() };
        assert_eq!(pack(&offers, &no_thread(), &budget, NOW).told[0].text, "ż");
    }

    #[test]
    fn enough_is_enough() {
        let budget = PackBudget { count_max: 1, ..PackBudget::default() };
        let packed = pack(&[offer(1, "a"), offer(2, "b")], &no_thread(), &budget, NOW);
        assert_eq!(reasons(&packed), [Reason::Chosen, Reason::Enough]);
    }

    fn any_texts() -> impl Strategy<Value = Vec<(String, i64, f64, Option<i64>)>> {
        let text = "[ aAżŻ\n]{0,12}";
        prop::collection::vec((text, 0_i64..50, 0.0..1.0_f64, prop::option::of(0_i64..2_000)), 0..30)
    }

    proptest! {
        #[test]
        fn no_budget_is_exceeded_and_everyone_gets_a_verdict(
            texts in any_texts(),
            limits in (0_usize..60, 0_usize..200, 0_usize..20, 0_usize..10, 0_usize..12),
            in_thread in any::<bool>(),
        ) {
            let (tokens_max, bytes_max, count_max, label_bytes, text_bytes_max) = limits;
            let budget = PackBudget { tokens_max, bytes_max, count_max, label_bytes, text_bytes_max, score_min: 0.1 };
            let offers: Vec<Offer<'_, usize>> = texts
                .iter()
                .enumerate()
                .map(|(id, (text, at, score, expires))| Offer {
                    id,
                    text,
                    content_hash: None,
                    score: *score,
                    created_at: Timestamp::from_micros(*at),
                    expires_at: expires.map(Timestamp::from_micros),
                })
                .collect();
            let thread = LiveThread::new(in_thread.then_some(0), ["a a"]);
            let packed = pack(&offers, &thread, &budget, NOW);
            prop_assert_eq!(packed.verdicts.len(), offers.len());
            prop_assert!(packed.tokens <= tokens_max && packed.bytes <= bytes_max && packed.told.len() <= count_max);
            let bytes: usize = packed.told.iter().map(|told| told.text.len() + label_bytes).sum();
            prop_assert_eq!(bytes, packed.bytes);
            prop_assert!(packed.told.windows(2).all(|pair| pair[0].created_at <= pair[1].created_at));
            let chosen = packed.verdicts.iter().filter(|verdict| verdict.reason.is_in()).count();
            prop_assert_eq!(chosen, packed.told.len());
            let keys: std::collections::BTreeSet<_> =
                packed.told.iter().map(|told| text_key(offers[told.id].text)).collect();
            prop_assert_eq!(keys.len(), packed.told.len());
            for told in &packed.told {
                prop_assert!(told.text.len() <= text_bytes_max && !told.text.is_empty());
                prop_assert!(offers[told.id].expires_at.is_none_or(|at| at > NOW));
                prop_assert!(!in_thread || told.id != 0);
            }
        }
    }
}
