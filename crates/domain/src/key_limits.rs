//! What a key is bounded by: its models, rates, concurrency and budgets. Whether a bound is reached is counted elsewhere.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::budget::Allowance;
use crate::rate::Rate;
use crate::time::parse_duration;

/// A name of a model is not longer than this.
const PATTERN_CHARS_MAX: usize = 200;
/// Each request is compared with all of them.
const PATTERNS_MAX: usize = 100;
/// Each request is counted against all of them.
const RATES_MAX: usize = 8;
/// Of an unknown name so much is repeated.
const NAME_CHARS_SHOWN: usize = 100;

/// The limits of a key. What is absent does not limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// The models that it may use; all if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelPattern>,
    /// How many requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Rate>,
    /// How many tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Rate>,
    /// How many calls at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How much money, by it and its successors together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Allowance>,
    /// How many requests from each address, in place of the configured rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Rate>,
    /// For how long its answers are kept for the same question; not at all where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTime>,
}

/// For how long an answer is kept for the same question: whole seconds, at most a year. Written as `10m` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheTime(pub Duration);

/// Nobody means to be told today what a model said so long ago.
const CACHE_TIME_MAX: Duration = Duration::from_hours(365 * 24);

impl FromStr for CacheTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text)
            .filter(|time| (1..=CACHE_TIME_MAX.as_secs()).contains(&time.as_secs()))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "`{text}` is no time for which answers are kept; write one such as `10m` or `7d`, at most `365d`"
                )
            })
    }
}

impl fmt::Display for CacheTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            days if days % 86_400 == 0 => write!(f, "{}d", seconds / 86_400),
            hours if hours % 3_600 == 0 => write!(f, "{}h", seconds / 3_600),
            minutes if minutes % 60 == 0 => write!(f, "{}m", seconds / 60),
            _ => write!(f, "{seconds}s"),
        }
    }
}

impl Serialize for CacheTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CacheTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why limits cannot stand together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimits {
    /// Two budgets are of one period.
    #[error("`{0}` and `{1}` are two budgets of one period; keep one of them")]
    TwoBudgets(Allowance, Allowance),
    /// Two rates of requests are of one period.
    #[error("`{0}` and `{1}` are two rates of one period; keep one of them")]
    TwoRates(Rate, Rate),
    /// Two rates of tokens are of one period.
    #[error("`{0}` and `{1}` are two rates of one period; keep one of them")]
    TwoTokenRates(Rate, Rate),
    /// Too many rates of requests.
    #[error("{0} rates are too many; write at most {RATES_MAX}")]
    ManyRates(usize),
    /// Too many rates of tokens.
    #[error("{0} rates are too many; write at most {RATES_MAX}")]
    ManyTokenRates(usize),
    /// Too many models.
    #[error("{0} models are too many; write at most {PATTERNS_MAX}, or beginnings such as `openai/*`")]
    ManyModels(usize),
    /// No call at once is no call at all.
    #[error("`0` calls at once would refuse every call; write at least 1, or revoke the key")]
    NoConcurrency,
}

impl KeyLimits {
    /// Checks that the limits can stand together.
    ///
    /// # Errors
    /// When two of them contradict each other, or they are too many.
    pub fn check(&self) -> Result<(), BadLimits> {
        if self.models.len() > PATTERNS_MAX {
            return Err(BadLimits::ManyModels(self.models.len()));
        }
        if self.requests.len() > RATES_MAX {
            return Err(BadLimits::ManyRates(self.requests.len()));
        }
        if self.tokens.len() > RATES_MAX {
            return Err(BadLimits::ManyTokenRates(self.tokens.len()));
        }
        if self.concurrency == Some(0) {
            return Err(BadLimits::NoConcurrency);
        }
        if let Some((one, other)) = alike(&self.requests, |rate| rate.per) {
            return Err(BadLimits::TwoRates(*one, *other));
        }
        if let Some((one, other)) = alike(&self.tokens, |rate| rate.per) {
            return Err(BadLimits::TwoTokenRates(*one, *other));
        }
        match alike(&self.budgets, |budget| budget.period) {
            Some((one, other)) => Err(BadLimits::TwoBudgets(one.clone(), other.clone())),
            None => Ok(()),
        }
    }

    /// Whether the key may use a model: by the name that was asked for (an alias, for instance) or by `provider/model`.
    #[must_use]
    pub fn allows(&self, asked: &str, resolved: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|model| model.matches(asked) || model.matches(resolved))
    }

    /// The same as [`KeyLimits::allows`], with the words for a refusal.
    ///
    /// # Errors
    /// When the key may not use the model.
    pub fn permit(&self, asked: &str, resolved: &str) -> Result<(), ModelNotAllowed> {
        if self.allows(asked, resolved) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.models.iter().map(|model| model.0.as_str()).collect();
        let model = asked.chars().take(NAME_CHARS_SHOWN).collect();
        Err(ModelNotAllowed { model, allowed: allowed.join("`, `") })
    }
}

/// The first two that share a period.
fn alike<T, P: PartialEq>(items: &[T], period: impl Fn(&T) -> P) -> Option<(&T, &T)> {
    let pairs = items.iter().enumerate().flat_map(|(at, one)| items.iter().skip(at + 1).map(move |other| (one, other)));
    pairs.into_iter().find(|(one, other)| period(one) == period(other))
}

/// A key may not use the model that its request asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "This key may not use the model `{model}`, only `{allowed}`. Ask for one of those, or let an administrator allow it: `privet keys update ID --models MODELS`."
)]
pub struct ModelNotAllowed {
    /// The name that was asked for.
    pub model: String,
    /// What the key may use.
    pub allowed: String,
}

/// The name of a model, or of all that begin alike: `openai/gpt-4o`, `fast` (an alias), `anthropic/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPattern(String);

/// A text is no pattern of models.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no model; write `provider/model`, an alias, or a beginning with `*` at its end such as `anthropic/*`"
)]
pub struct BadPattern(pub String);

impl ModelPattern {
    /// Whether a name is this one, or begins so.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }
}

impl FromStr for ModelPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let beginning = text.strip_suffix('*').unwrap_or(text);
        let strange = |letter: char| letter == '*' || letter == ',' || letter.is_whitespace() || letter.is_control();
        if text.is_empty() || beginning.contains(strange) || text.chars().count() > PATTERN_CHARS_MAX {
            return Err(BadPattern(text.chars().take(NAME_CHARS_SHOWN).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ModelPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModelPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(models: &[&str]) -> KeyLimits {
        KeyLimits { models: models.iter().map(|model| model.parse().unwrap()).collect(), ..KeyLimits::default() }
    }

    #[test]
    fn a_model_is_allowed_by_its_alias_its_full_name_or_its_beginning() {
        let some = limits(&["fast", "openai/gpt-4o", "anthropic/*"]);
        for (asked, resolved, allowed) in [
            ("fast", "groq/llama", true),
            ("groq/llama", "groq/llama", false),
            ("gpt-4o", "openai/gpt-4o", true),
            ("gpt-4o-mini", "openai/gpt-4o-mini", false),
            ("claude-x", "anthropic/claude-x", true),
            ("anthropicish/x", "anthropicish/x", false),
            ("", "openai/gpt-4o", true),
            ("", "openai/o3", false),
        ] {
            assert_eq!(some.allows(asked, resolved), allowed, "{asked} {resolved}");
        }
        assert!(KeyLimits::default().allows("anything", "openai/anything"));
        assert!(limits(&["*"]).allows("anything", "openai/anything"));
        let words = some.permit("gpt-4o-mini", "openai/gpt-4o-mini").unwrap_err().to_string();
        assert!(words.contains("`gpt-4o-mini`") && words.contains("`anthropic/*`") && words.contains("--models"));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        for wrong in ["", " ", "*/gpt-4o", "open*ai", "a b", "a,b", "a**", "a\0", &"x".repeat(201)] {
            let error = wrong.parse::<ModelPattern>().unwrap_err().to_string();
            assert!(error.contains("anthropic/*") && error.len() < 300, "{error}");
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let rates = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Rate>>();
        let budgets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Allowance>>();
        let none = KeyLimits::default();
        for (limits, hint) in [
            (KeyLimits { budgets: budgets(&["1/day", "5/week", "2/day UTC"]), ..none.clone() }, "`1.00/day`"),
            (KeyLimits { requests: rates(&["60/1m", "30/60s"]), ..none.clone() }, "`60/1m` and `30/1m`"),
            (KeyLimits { tokens: rates(&["60/1m", "30/60s"]), ..none.clone() }, "`60/1m` and `30/1m`"),
            (KeyLimits { concurrency: Some(0), ..none.clone() }, "at least 1"),
            (limits(&["a"; 101]), "101 models"),
        ] {
            let error = limits.check().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        let sound =
            KeyLimits { budgets: budgets(&["1/day", "5/week"]), requests: rates(&["60/1m", "1/1s"]), ..limits(&["a"]) };
        assert_eq!(sound.check(), Ok(()));
    }
}
