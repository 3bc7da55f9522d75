//! What is wanted of a key, as people write it on the command line and in the API: read, or refused with the field at fault.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use privet_domain::key_limits::{BadLimits, KeyLimits};
use privet_domain::scope::{Scope, Scopes};
use privet_domain::time::{Timestamp, parse_duration};

/// A name of a key, a user or a project is not longer than this.
const NAME_CHARS_MAX: usize = 200;
/// No value is longer than this.
const VALUE_CHARS_MAX: usize = 200;
/// A list is not longer than this: what it may hold at most is less.
const VALUES_MAX: usize = 1_000;
/// A key that shall live longer may live for ever.
const LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A field of a key that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyField {
    /// What its owner calls it.
    Name,
    /// The user it belongs to.
    User,
    /// The project whose data it sees.
    Project,
    /// What it may do.
    Scopes,
    /// Which models it may use.
    Models,
    /// How much it may spend.
    Budgets,
    /// How many requests it may make.
    Rates,
    /// How many tokens it may use.
    TokenRates,
    /// How many calls it may have under way.
    Concurrency,
    /// How many requests may come from one address.
    AddressRate,
    /// For how long its answers are kept for the same question.
    Cache,
}

impl KeyField {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::User => "user",
            Self::Project => "project",
            Self::Scopes => "scopes",
            Self::Models => "models",
            Self::Budgets => "budgets",
            Self::Rates => "rates",
            Self::TokenRates => "token_rates",
            Self::Concurrency => "concurrency",
            Self::AddressRate => "address_rate",
            Self::Cache => "cache",
        }
    }
}

/// A value that cannot be taken: where it stands, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {reason}", field.as_str())]
pub struct WrongSetting {
    /// The field.
    pub field: KeyField,
    /// The value and the remedy, in words.
    pub reason: String,
}

/// What is wanted of a key: `None` leaves a field as it is, an empty list removes its limit.
#[derive(Clone, Debug, Default)]
pub struct KeySettings {
    /// Names of scopes.
    pub scopes: Option<Vec<String>>,
    /// Models, or their beginnings.
    pub models: Option<Vec<String>>,
    /// Budgets such as `1.00/day`.
    pub budgets: Option<Vec<String>>,
    /// Rates of requests such as `60/1m`.
    pub rates: Option<Vec<String>>,
    /// Rates of tokens such as `100000/1m`.
    pub token_rates: Option<Vec<String>>,
    /// How many calls at once; `Some(None)` for any number.
    pub concurrency: Option<Option<u32>>,
    /// The rate of requests of one address; `Some(None)` for the configured one.
    pub address_rate: Option<Option<String>>,
    /// For how long its answers are kept for the same question, such as `10m`; `Some(None)` for not at all.
    pub cache: Option<Option<String>>,
}

impl KeySettings {
    /// Puts what is wanted over what is.
    ///
    /// # Errors
    /// When a value is wrong or contradicts another.
    pub fn apply(&self, scopes: &mut Scopes, limits: &mut KeyLimits) -> Result<(), WrongSetting> {
        if let Some(names) = &self.scopes {
            *scopes = read_scopes(names)?;
        }
        if let Some(models) = &self.models {
            limits.models = read_all(KeyField::Models, models)?;
        }
        if let Some(budgets) = &self.budgets {
            limits.budgets = read_all(KeyField::Budgets, budgets)?;
        }
        if let Some(rates) = &self.rates {
            limits.requests = read_all(KeyField::Rates, rates)?;
        }
        if let Some(rates) = &self.token_rates {
            limits.tokens = read_all(KeyField::TokenRates, rates)?;
        }
        if let Some(concurrency) = self.concurrency {
            limits.concurrency = concurrency;
        }
        if let Some(rate) = &self.address_rate {
            limits.address = rate.as_deref().map(|rate| read(KeyField::AddressRate, rate)).transpose()?;
        }
        if let Some(time) = &self.cache {
            limits.cache = time.as_deref().map(|time| read(KeyField::Cache, time)).transpose()?;
        }
        limits.check().map_err(|error| wrong(field_of(&error), error))
    }
}

const fn field_of(error: &BadLimits) -> KeyField {
    match error {
        BadLimits::TwoBudgets(..) => KeyField::Budgets,
        BadLimits::TwoRates(..) | BadLimits::ManyRates(_) => KeyField::Rates,
        BadLimits::TwoTokenRates(..) | BadLimits::ManyTokenRates(_) => KeyField::TokenRates,
        BadLimits::ManyModels(_) => KeyField::Models,
        BadLimits::NoConcurrency => KeyField::Concurrency,
    }
}

fn read_scopes(names: &[String]) -> Result<Scopes, WrongSetting> {
    let scopes: Vec<Scope> = read_all(KeyField::Scopes, names)?;
    if scopes.is_empty() {
        let all: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
        let reason = format!("a key without any scope opens nothing; name at least one of {}", all.join(", "));
        return Err(wrong(KeyField::Scopes, reason));
    }
    Ok(Scopes::of(&scopes))
}

fn read_all<T: FromStr<Err: Display>>(field: KeyField, texts: &[String]) -> Result<Vec<T>, WrongSetting> {
    if texts.len() > VALUES_MAX {
        return Err(wrong(field, format!("{} values are too many", texts.len())));
    }
    texts.iter().map(|text| read(field, text)).collect()
}

fn read<T: FromStr<Err: Display>>(field: KeyField, text: &str) -> Result<T, WrongSetting> {
    if text.chars().count() > VALUE_CHARS_MAX {
        return Err(wrong(field, format!("a value has more than {VALUE_CHARS_MAX} characters; none needs so many")));
    }
    text.trim().parse().map_err(|error| wrong(field, error))
}

fn wrong(field: KeyField, reason: impl Display) -> WrongSetting {
    WrongSetting { field, reason: reason.to_string() }
}

/// Reads the name of a key, a user or a project.
///
/// # Errors
/// When it is blank, too long, or holds what cannot be printed.
pub fn read_name(field: KeyField, text: &str) -> Result<String, WrongSetting> {
    let name = text.trim();
    if name.is_empty() {
        return Err(wrong(field, "it is blank; write a name"));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(wrong(field, format!("it has more than {NAME_CHARS_MAX} characters; write a shorter one")));
    }
    if name.chars().any(char::is_control) {
        return Err(wrong(field, "it holds control characters; write letters"));
    }
    Ok(name.to_owned())
}

/// A time such as `30d`; `None` if the text is none, or means longer than a hundred years.
#[must_use]
pub fn read_life(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|life| *life <= LIFE_MAX)
}

/// An instant in RFC 3339; `None` if the text is none, or it is past.
#[must_use]
pub fn end_at(text: &str, now: Timestamp) -> Option<Timestamp> {
    Timestamp::parse(text).filter(|end| *end > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Option<Vec<String>> {
        Some(texts.iter().map(|&text| text.to_owned()).collect())
    }

    fn apply(settings: &KeySettings, limits: &mut KeyLimits) -> Result<Scopes, WrongSetting> {
        let mut scopes = Scopes::default();
        settings.apply(&mut scopes, limits).map(|()| scopes)
    }

    #[test]
    fn what_is_not_named_stays_and_an_empty_list_removes() {
        let first = KeySettings {
            scopes: list(&["read"]),
            models: list(&["fast", "openai/*"]),
            budgets: list(&["1.00/day", "5/month Europe/Warsaw"]),
            rates: list(&["60/1m"]),
            concurrency: Some(Some(3)),
            address_rate: Some(Some("1/10s".to_owned())),
            cache: Some(Some("90m".to_owned())),
            ..KeySettings::default()
        };
        let mut limits = KeyLimits::default();
        assert_eq!(apply(&first, &mut limits).unwrap().to_string(), "read");
        let json = r#"{"models":["fast","openai/*"],"requests":["60/1m"],"concurrency":3,"budgets":["1.00/day","5.00/month Europe/Warsaw"],"address":"1/10s","cache":"90m"}"#;
        assert_eq!(serde_json::to_string(&limits).unwrap(), json);
        assert_eq!(serde_json::from_str::<KeyLimits>(json).unwrap(), limits);
        assert!(serde_json::from_str::<KeyLimits>(r#"{"modls":[]}"#).is_err(), "an unknown limit is not ignored");

        let second = KeySettings { budgets: list(&[]), concurrency: Some(None), ..KeySettings::default() };
        assert_eq!(apply(&second, &mut limits).unwrap(), Scopes::default());
        let json = r#"{"models":["fast","openai/*"],"requests":["60/1m"],"address":"1/10s","cache":"90m"}"#;
        assert_eq!(serde_json::to_string(&limits).unwrap(), json);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_field_and_the_remedy() {
        let none = KeySettings::default();
        for (settings, field, hint) in [
            (KeySettings { scopes: list(&["chat", "wrte"]), ..none.clone() }, KeyField::Scopes, "`wrte`"),
            (KeySettings { scopes: list(&[]), ..none.clone() }, KeyField::Scopes, "at least one of chat"),
            (KeySettings { models: list(&["*x"]), ..none.clone() }, KeyField::Models, "`*x`"),
            (KeySettings { budgets: list(&["-1/day"]), ..none.clone() }, KeyField::Budgets, "negative"),
            (KeySettings { budgets: list(&["1/day", "2/day"]), ..none.clone() }, KeyField::Budgets, "one period"),
            (KeySettings { budgets: list(&["1/day Mars"]), ..none.clone() }, KeyField::Budgets, "`Mars`"),
            (KeySettings { rates: list(&["0/1m"]), ..none.clone() }, KeyField::Rates, "`0/1m`"),
            (KeySettings { token_rates: list(&["1/1m", "2/60s"]), ..none.clone() }, KeyField::TokenRates, "one period"),
            (KeySettings { concurrency: Some(Some(0)), ..none.clone() }, KeyField::Concurrency, "at least 1"),
            (
                KeySettings { address_rate: Some(Some("x".repeat(1_000_000))), ..none.clone() },
                KeyField::AddressRate,
                "200",
            ),
            (KeySettings { cache: Some(Some("366d".to_owned())), ..none.clone() }, KeyField::Cache, "365d"),
        ] {
            let error = apply(&settings, &mut KeyLimits::default()).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(error.to_string().contains(hint) && error.to_string().len() < 500, "{error}");
        }
    }

    #[test]
    fn an_end_lies_ahead_and_within_a_hundred_years() {
        let now = Timestamp::parse("2026-11-25T12:00:00Z").unwrap();
        assert_eq!(read_life("1d"), Some(Duration::from_secs(86_400)));
        assert_eq!(end_at("2026-11-26T12:00:00Z", now), Timestamp::parse("2026-11-26T12:00:00Z"));
        for wrong in ["", "soon", "0s", "-1d", "99999999d", "2026-11-25T11:59:59Z"] {
            assert_eq!((read_life(wrong), end_at(wrong, now)), (None, None), "{wrong}");
        }
    }
}
