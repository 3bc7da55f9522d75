//! Score configurations: what scores of a name must be like.

use serde::{Deserialize, Serialize};

use super::{Score, ScoreType};
use crate::id::ScoreConfigId;
use crate::time::Timestamp;

/// The longest name and label, in characters.
const NAME_CHARS_MAX: usize = 200;
/// The longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 2_000;
const CATEGORIES_MAX: usize = 500;

/// One of the words of a categorical score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreCategory {
    /// Its number.
    pub value: f64,
    /// The word.
    pub label: String,
}

/// What scores that name this configuration must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreConfig {
    /// Its id.
    pub id: ScoreConfigId,
    /// The name of its scores.
    pub name: String,
    /// The type of its scores.
    pub score_type: ScoreType,
    /// The words of a categorical one, and of a boolean one `False` and `True`.
    pub categories: Vec<ScoreCategory>,
    /// The least value of a numeric one.
    pub minimum: Option<f64>,
    /// The greatest value of a numeric one.
    pub maximum: Option<f64>,
    /// What it is for.
    pub description: Option<String>,
    /// Nobody may score by it any more.
    pub is_archived: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What is wrong with a configuration, or with a score by the configuration that it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScoreConfigFault(String);

impl ScoreConfig {
    /// Fills in what its type says, and checks the rest.
    ///
    /// # Errors
    /// What is wrong, with the field's name in the API.
    pub fn checked(mut self) -> Result<Self, ScoreConfigFault> {
        let fault = |text: String| Err(ScoreConfigFault(text));
        let is_length = |text: &str, max: usize| (1..=max).contains(&text.chars().count());
        if !is_length(&self.name, NAME_CHARS_MAX) {
            return fault(format!("`name` has 1 to {NAME_CHARS_MAX} characters"));
        }
        if self.description.as_ref().is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX) {
            return fault(format!("`description` has up to {DESCRIPTION_CHARS_MAX} characters"));
        }
        if self.score_type != ScoreType::Numeric && (self.minimum.is_some() || self.maximum.is_some()) {
            return fault("`minValue` and `maxValue` are for the type `NUMERIC`".to_owned());
        }
        if self.minimum.zip(self.maximum).is_some_and(|(minimum, maximum)| minimum >= maximum) {
            return fault("`minValue` must be less than `maxValue`".to_owned());
        }
        match self.score_type {
            ScoreType::Boolean => {
                let word = |value: f64, label: &str| ScoreCategory { value, label: label.to_owned() };
                self.categories = vec![word(0.0, "False"), word(1.0, "True")];
            }
            ScoreType::Categorical => {
                let count = self.categories.len();
                if !(1..=CATEGORIES_MAX).contains(&count) {
                    return fault(format!("`categories` of the type `CATEGORICAL` are 1 to {CATEGORIES_MAX}"));
                }
                for (place, category) in self.categories.iter().enumerate() {
                    let is_twin =
                        |other: &ScoreCategory| other.label == category.label || other.value == category.value;
                    if !is_length(&category.label, NAME_CHARS_MAX) {
                        return fault(format!("`categories.{place}.label` has 1 to {NAME_CHARS_MAX} characters"));
                    }
                    if self.categories.iter().skip(place + 1).any(is_twin) {
                        return fault(format!("`categories.{place}` has the label or the value of another"));
                    }
                }
            }
            _ if !self.categories.is_empty() => {
                return fault("`categories` are for the type `CATEGORICAL`".to_owned());
            }
            _ => {}
        }
        Ok(self)
    }

    /// Holds a score that names it to it: the value of a word is its category's.
    ///
    /// # Errors
    /// Why the score is none of this configuration.
    pub fn hold(&self, score: &mut Score) -> Result<(), ScoreConfigFault> {
        let fault = |text: String| Err(ScoreConfigFault(format!("{text} by the score configuration `{}`", self.id)));
        if self.is_archived {
            return fault("nobody may score any more".to_owned());
        }
        if score.name != self.name {
            return fault(format!("`name` must be `{}`", self.name));
        }
        // Not said, the type of 0 and 1 is seen as that of numbers.
        if self.score_type == ScoreType::Boolean && score.score_type == ScoreType::Numeric {
            match score.value {
                0.0 => score.text = Some("False".to_owned()),
                1.0 => score.text = Some("True".to_owned()),
                _ => return fault("`value` must be 0 or 1".to_owned()),
            }
            score.score_type = ScoreType::Boolean;
        }
        if score.score_type != self.score_type {
            return fault(format!("`dataType` must be `{}`, not `{}`", self.score_type, score.score_type));
        }
        if score.score_type == ScoreType::Categorical {
            let word = score.text.as_deref().unwrap_or_default();
            let Some(category) = self.categories.iter().find(|category| category.label == word) else {
                let words: Vec<_> = self.categories.iter().map(|category| category.label.as_str()).collect();
                return fault(format!("`value` must be one of `{}`", words.join("`, `")));
            };
            score.value = category.value;
        }
        if self.minimum.is_some_and(|minimum| score.value < minimum) {
            return fault(format!("`value` must be at least {}", self.minimum.unwrap_or_default()));
        }
        if self.maximum.is_some_and(|maximum| score.value > maximum) {
            return fault(format!("`value` must be at most {}", self.maximum.unwrap_or_default()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::time::NanoTimestamp;
    use crate::trace::{ScoreSource, ScoreTarget};

    fn config(score_type: ScoreType) -> ScoreConfig {
        let at = Timestamp::from_micros(1);
        ScoreConfig {
            id: ScoreConfigId::new(),
            name: "tone".to_owned(),
            score_type,
            categories: Vec::new(),
            minimum: None,
            maximum: None,
            description: None,
            is_archived: false,
            created_at: at,
            updated_at: at,
        }
    }

    fn score(score_type: ScoreType, value: f64, text: Option<&str>) -> Score {
        Score {
            id: "s".parse().unwrap(),
            target: ScoreTarget::Session("chat".to_owned()),
            name: "tone".to_owned(),
            score_type,
            value,
            text: text.map(str::to_owned),
            comment: None,
            source: ScoreSource::Api,
            author_user_id: None,
            config_id: None,
            environment: "default".to_owned(),
            metadata: Map::new(),
            timestamp: NanoTimestamp::from(Timestamp::from_micros(1)),
        }
    }

    fn category(value: f64, label: &str) -> ScoreCategory {
        ScoreCategory { value, label: label.to_owned() }
    }

    #[test]
    fn a_word_has_the_value_of_its_category() {
        let categories = vec![category(1.0, "rude"), category(3.0, "kind")];
        let config = ScoreConfig { categories, ..config(ScoreType::Categorical) }.checked().unwrap();
        let mut kind = score(ScoreType::Categorical, 0.0, Some("kind"));
        config.hold(&mut kind).unwrap();
        assert_eq!(kind.value, 3.0);
        let refused = config.hold(&mut score(ScoreType::Categorical, 0.0, Some("odd"))).unwrap_err().to_string();
        assert!(refused.contains("one of `rude`, `kind`"), "{refused}");
    }

    #[test]
    fn a_number_stays_within_its_bounds_and_a_truth_is_told_from_a_number() {
        let bounded = ScoreConfig { minimum: Some(0.0), maximum: Some(5.0), ..config(ScoreType::Numeric) };
        for (value, is_held) in [(-0.1, false), (0.0, true), (5.0, true), (5.1, false)] {
            assert_eq!(bounded.hold(&mut score(ScoreType::Numeric, value, None)).is_ok(), is_held, "{value}");
        }
        let truth = config(ScoreType::Boolean).checked().unwrap();
        let mut yes = score(ScoreType::Numeric, 1.0, None);
        truth.hold(&mut yes).unwrap();
        assert_eq!((yes.score_type, yes.text.as_deref()), (ScoreType::Boolean, Some("True")));
        truth.hold(&mut score(ScoreType::Numeric, 2.0, None)).unwrap_err();
        truth.hold(&mut score(ScoreType::Categorical, 0.0, Some("True"))).unwrap_err();
    }

    #[test]
    fn an_archived_one_and_another_name_hold_nothing() {
        let archived = ScoreConfig { is_archived: true, ..config(ScoreType::Numeric) };
        archived.hold(&mut score(ScoreType::Numeric, 1.0, None)).unwrap_err();
        let other = ScoreConfig { name: "length".to_owned(), ..config(ScoreType::Numeric) };
        other.hold(&mut score(ScoreType::Numeric, 1.0, None)).unwrap_err();
    }

    #[test]
    fn what_makes_no_sense_is_no_configuration() {
        let numeric = || config(ScoreType::Numeric);
        let wrong = [
            ScoreConfig { name: String::new(), ..numeric() },
            ScoreConfig { minimum: Some(2.0), maximum: Some(1.0), ..numeric() },
            ScoreConfig { categories: vec![category(1.0, "a")], ..numeric() },
            ScoreConfig { minimum: Some(0.0), ..config(ScoreType::Boolean) },
            config(ScoreType::Categorical),
            ScoreConfig { categories: vec![category(1.0, "a"), category(1.0, "b")], ..config(ScoreType::Categorical) },
        ];
        for config in wrong {
            config.clone().checked().expect_err(&format!("{config:?}"));
        }
    }
}
