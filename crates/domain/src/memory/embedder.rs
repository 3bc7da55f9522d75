//! What an embedder is, how texts are put into its calls, and what its vectors must be. Pure: calls are made in other crates.

use std::borrow::Cow;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

/// What a text is embedded for. Some models want to be told by words in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To be found.
    Memory,
    /// To find.
    Query,
}

/// What is put before the texts (`passage: ` and `query: ` for the E5 family). Empty for most models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Before what is to be found.
    pub memory: String,
    /// Before what is searched for.
    pub query: String,
}

impl Prefixes {
    /// What stands before a text for this purpose.
    #[must_use]
    pub fn of(&self, purpose: Purpose) -> &str {
        match purpose {
            Purpose::Memory => &self.memory,
            Purpose::Query => &self.query,
        }
    }
}

/// What one call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedLimits {
    /// Texts of a call.
    pub texts_max: usize,
    /// Bytes of all texts of a call.
    pub batch_bytes_max: usize,
    /// Bytes of a text. What is beyond is not embedded; keywords find it.
    pub text_bytes_max: usize,
}

impl Default for EmbedLimits {
    /// Within the limits of the large providers, whatever their tokens are: a token has at least one byte. OpenAI takes 2,048 texts,
    /// 300,000 tokens together and 8,192 each, Gemini 100 texts.
    fn default() -> Self {
        Self { texts_max: 100, batch_bytes_max: 256 * 1024, text_bytes_max: 8_000 }
    }
}

impl EmbedLimits {
    /// A text as it is sent: after the prefix, cut between two characters. A text that says nothing is a space, since servers refuse
    /// an empty one, and with it all others of the call.
    #[must_use]
    pub fn prepare<'a>(&self, prefix: &str, text: &'a str) -> Cow<'a, str> {
        let text = text.trim();
        let room = self.text_bytes_max.saturating_sub(prefix.len());
        let text = text.get(..text.floor_char_boundary(room)).unwrap_or(text);
        match (prefix, text) {
            ("", "") => Cow::Borrowed(" "),
            ("", text) => Cow::Borrowed(text),
            (prefix, text) => Cow::Owned(format!("{prefix}{text}")),
        }
    }

    /// Which texts go together, in order. Every range holds at least one text.
    #[must_use]
    pub fn batches<T: AsRef<str>>(&self, texts: &[T]) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut start, mut bytes) = (0, 0_usize);
        for (at, text) in texts.iter().enumerate() {
            let added = text.as_ref().len();
            let is_full = at - start >= self.texts_max.max(1) || bytes.saturating_add(added) > self.batch_bytes_max;
            if at > start && is_full {
                batches.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes = bytes.saturating_add(added);
        }
        if start < texts.len() {
            batches.push(start..texts.len());
        }
        batches
    }
}

/// What is wrong with a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorFault {
    /// It is of another length.
    #[error("a vector has {found} dimensions, and the embedder's have {expected}")]
    Dimensions {
        /// As configured.
        expected: usize,
        /// As it came.
        found: usize,
    },
    /// A component is not a number, or infinite.
    #[error("a vector holds something that is not a finite number")]
    NotFinite,
    /// All components are 0: it has no direction.
    #[error("a vector is zero")]
    Zero,
}

/// Checks the vectors of a call.
///
/// # Errors
/// With the first fault and the place of its vector.
pub fn check_vectors(vectors: &[Vec<f32>], dimensions: usize) -> Result<(), (usize, VectorFault)> {
    for (at, vector) in vectors.iter().enumerate() {
        if vector.len() != dimensions {
            return Err((at, VectorFault::Dimensions { expected: dimensions, found: vector.len() }));
        }
        if !vector.iter().all(|value| value.is_finite()) {
            return Err((at, VectorFault::NotFinite));
        }
        if vector.iter().all(|value| *value == 0.0) {
            return Err((at, VectorFault::Zero));
        }
    }
    Ok(())
}

/// How embedding fails, by what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// These texts are refused and will be again; others are not. Of several, one may be at fault: send them one by one.
    #[error("the embedder refuses the text: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// Nothing will be embedded until somebody changes the configuration, the key or the account.
    #[error("the embedder cannot work as it is set up: {reason}")]
    SetUp {
        /// Why.
        reason: String,
    },
    /// Too much at once.
    #[error("the embedder wants fewer calls: {reason}")]
    RateLimited {
        /// When to come again, where it says so.
        retry_after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// It may work the next time.
    #[error("the embedder failed: {reason}")]
    Transient {
        /// Why.
        reason: String,
    },
}

impl EmbedError {
    /// Whether the same call can succeed later without anybody's help.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Transient { .. })
    }
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// One for each text, in order, each of the embedder's dimensions, finite and not zero. Not normalised.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens that were counted, if anybody counts.
    pub tokens: Option<u64>,
}

/// The future of an embedder's call.
pub type EmbedFuture<'a> = Pin<Box<dyn Future<Output = Result<Embedded, EmbedError>> + Send + 'a>>;

/// What makes vectors of texts.
pub trait Embedder: Send + Sync {
    /// The length of its vectors.
    fn dimensions(&self) -> usize;

    /// What one call takes.
    fn limits(&self) -> EmbedLimits;

    /// Embeds one batch of prepared texts. Dropping the future cancels the call.
    fn embed<'a>(&'a self, texts: &'a [&'a str]) -> EmbedFuture<'a>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn texts_are_prepared_within_their_bytes() {
        let limits = EmbedLimits { text_bytes_max: 10, ..EmbedLimits::default() };
        assert_eq!(limits.prepare("", "  short "), "short");
        assert_eq!(limits.prepare("query: ", "żółw"), "query: ż");
        assert_eq!(limits.prepare("", " \n"), " ");
        assert_eq!(EmbedLimits { text_bytes_max: 3, ..limits }.prepare("query: ", "x"), "query: ");
    }

    #[test]
    fn faults_of_vectors_are_told_with_their_place() {
        assert_eq!(check_vectors(&[vec![1.0, 0.0], vec![0.0, 1e-20]], 2), Ok(()));
        let wrong = |vector: Vec<f32>| check_vectors(&[vec![1.0, 0.0], vector], 2).unwrap_err();
        assert_eq!(wrong(vec![1.0]), (1, VectorFault::Dimensions { expected: 2, found: 1 }));
        assert_eq!(wrong(vec![f32::NAN, 1.0]), (1, VectorFault::NotFinite));
        assert_eq!(wrong(vec![f32::INFINITY, 1.0]), (1, VectorFault::NotFinite));
        assert_eq!(wrong(vec![0.0, -0.0]), (1, VectorFault::Zero));
    }

    #[test]
    fn a_text_beyond_the_limit_of_a_batch_goes_alone() {
        let limits = EmbedLimits { texts_max: 10, batch_bytes_max: 4, text_bytes_max: 100 };
        assert_eq!(limits.batches(&["aa", "aa", "aaaaaaaa", "a"]), [0..2, 2..3, 3..4]);
        assert_eq!(limits.batches::<&str>(&[]), []);
    }

    proptest! {
        #[test]
        fn batches_cover_all_texts_once_within_the_limits(
            texts in prop::collection::vec("a{0,20}", 0..40), texts_max in 0_usize..6, batch_bytes_max in 0_usize..60,
        ) {
            let limits = EmbedLimits { texts_max, batch_bytes_max, text_bytes_max: 20 };
            let mut next = 0;
            for batch in limits.batches(&texts) {
                prop_assert_eq!(batch.start, next);
                prop_assert!(!batch.is_empty() && batch.len() <= texts_max.max(1));
                let bytes: usize = texts[batch.clone()].iter().map(String::len).sum();
                prop_assert!(bytes <= batch_bytes_max || batch.len() == 1);
                next = batch.end;
            }
            prop_assert_eq!(next, texts.len());
        }
    }
}
