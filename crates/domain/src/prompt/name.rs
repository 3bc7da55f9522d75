//! What prompts and labels are called.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The label of the highest version. It moves by itself.
pub const LATEST: &str = "latest";
/// The label that is fetched when nobody says otherwise.
pub const PRODUCTION: &str = "production";

const NAME_CHARS_MAX: usize = 255;
const LABEL_CHARS_MAX: usize = 36;
/// Names that clients' own pages use for something else.
const RESERVED: [&str; 3] = ["new", "metrics", "prompt-detail"];

/// A prompt's name. Slashes in it are folders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PromptName(String);

/// Why a text is no prompt's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NameError {
    reason: String,
}

impl FromStr for PromptName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |reason: &str| Err(NameError { reason: reason.to_owned() });
        match text {
            _ if text.trim().is_empty() => refuse("a prompt needs a name"),
            _ if text.chars().count() > NAME_CHARS_MAX => refuse("a prompt's name has at most 255 characters"),
            _ if text.contains('|') => refuse("a prompt's name holds no `|`: references use it"),
            _ if text.contains(char::is_control) || text.contains("@@@") => {
                refuse("a prompt's name holds no control characters and no `@@@`")
            }
            _ if text.starts_with('/') || text.ends_with('/') || text.contains("//") => {
                refuse("slashes in a prompt's name divide folders: none stands at an end, and no two together")
            }
            _ if RESERVED.contains(&text) => {
                Err(NameError { reason: format!("`{text}` is reserved; choose another name for the prompt") })
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl PromptName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PromptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label, which points to one version of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

/// A text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no label: 1 to 36 small letters, digits, `_`, `-` and `.`")]
pub struct LabelError(pub String);

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let fits = (1..=LABEL_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'));
        let shown = || text.chars().take(LABEL_CHARS_MAX + 1).collect();
        if fits { Ok(Self(text.to_owned())) } else { Err(LabelError(shown())) }
    }
}

impl Label {
    /// The label that is fetched when nobody says otherwise.
    #[must_use]
    pub fn production() -> Self {
        Self(PRODUCTION.to_owned())
    }

    /// The label of the highest version.
    #[must_use]
    pub fn latest() -> Self {
        Self(LATEST.to_owned())
    }

    /// Whether it moves by itself.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.0 == LATEST
    }

    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_folders_and_most_characters() {
        for name in ["Answer", "support/first reply", "zażółć", "a.b-c_d", "new/one", &"x".repeat(255)] {
            assert_eq!(name.parse::<PromptName>().unwrap().as_str(), name);
        }
        for name in
            ["", " ", "/a", "a/", "a//b", "a|b", "new", "metrics", "prompt-detail", "a\nb", "a@@@", &"x".repeat(256)]
        {
            assert!(name.parse::<PromptName>().is_err(), "{name}");
        }
    }

    #[test]
    fn labels_are_small_words() {
        for label in ["production", "v1.2", "a_b-c", &"x".repeat(36)] {
            assert_eq!(label.parse::<Label>().unwrap().as_str(), label);
        }
        for label in ["", "Production", "a b", "ż", "a/b", &"x".repeat(37)] {
            assert!(label.parse::<Label>().is_err(), "{label}");
        }
    }
}
