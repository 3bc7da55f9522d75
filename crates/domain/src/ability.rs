//! What models can do, as the price book says of each. Of a model of which it says nothing everything is believed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Something that not every model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// It sees pictures in the input.
    Images,
    /// It hears sound in the input.
    Audio,
    /// It reads documents in the input, such as PDF.
    Documents,
    /// It calls functions.
    Tools,
    /// It keeps to a JSON schema.
    StructuredOutput,
    /// It thinks before it answers.
    Thinking,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Images, Self::Audio, Self::Documents, Self::Tools, Self::StructuredOutput, Self::Thinking];

    /// Its name in the price book and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Documents => "documents",
            Self::Tools => "tools",
            Self::StructuredOutput => "structured_output",
            Self::Thinking => "thinking",
        }
    }

    /// What a model without it does not do, for people.
    #[must_use]
    pub const fn deed(self) -> &'static str {
        match self {
            Self::Images => "see pictures",
            Self::Audio => "hear sound",
            Self::Documents => "read documents",
            Self::Tools => "call tools",
            Self::StructuredOutput => "keep to a JSON schema",
            Self::Thinking => "think before it answers",
        }
    }
}

impl FromStr for Ability {
    type Err = UnknownAbility;

    fn from_str(name: &str) -> Result<Self, UnknownAbility> {
        Self::ALL.into_iter().find(|ability| ability.as_str() == name).ok_or_else(|| UnknownAbility(name.to_owned()))
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no ability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ability; write images, audio, documents, tools, structured_output or thinking")]
pub struct UnknownAbility(pub String);

/// What a model is, besides its prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// What it can do; `None` where nobody says.
    pub abilities: Option<BTreeSet<Ability>>,
    /// From when on its provider does not serve it any more.
    pub shutdown_at: Option<Timestamp>,
    /// What its provider names in its place, as `provider/model`.
    pub replacement: Option<String>,
}

impl Profile {
    /// Whether it can do everything, as far as is said.
    #[must_use]
    pub fn can_all(&self) -> bool {
        self.abilities.as_ref().is_none_or(|abilities| abilities.len() == Ability::ALL.len())
    }

    /// The first of what is needed that it cannot do.
    #[must_use]
    pub fn lacks(&self, needed: &BTreeSet<Ability>) -> Option<Ability> {
        let abilities = self.abilities.as_ref()?;
        needed.difference(abilities).next().copied()
    }

    /// When its provider ends it and what it names in its place, in words; `None` where nobody says that it does.
    #[must_use]
    pub fn ending(&self, now: Timestamp) -> Option<String> {
        let at = self.shutdown_at?;
        let instead = self.replacement.as_ref().map(|model| format!(", use {model}")).unwrap_or_default();
        let verb = if at <= now { "is shut down since" } else { "will be shut down on" };
        Some(format!("{verb} {}{instead}", at.day()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_lacks_what_is_not_said_of_it_and_one_of_which_nothing_is_said_lacks_nothing() {
        let needed = BTreeSet::from([Ability::Tools, Ability::Images]);
        assert_eq!(Profile::default().lacks(&needed), None);
        let of = |abilities: &[Ability]| Profile {
            abilities: Some(abilities.iter().copied().collect()),
            ..Profile::default()
        };
        assert!(Profile::default().can_all() && of(&Ability::ALL).can_all() && !of(&[Ability::Tools]).can_all());
        assert_eq!(of(&[]).lacks(&BTreeSet::new()), None);
        assert_eq!(of(&[Ability::Tools]).lacks(&needed), Some(Ability::Images));
        assert_eq!(of(&[Ability::Tools, Ability::Images, Ability::Audio]).lacks(&needed), None);
    }

    #[test]
    fn names_read_back_and_others_are_refused() {
        for ability in Ability::ALL {
            assert_eq!(ability.as_str().parse(), Ok(ability));
        }
        assert!("vision".parse::<Ability>().unwrap_err().to_string().contains("images, audio"));
    }
}
