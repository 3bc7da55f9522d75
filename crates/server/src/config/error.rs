//! What is wrong with a configuration: where, which key, and how to mend it.

use super::layers::Origin;

/// An error in the configuration. Its text never repeats a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    /// A file is not what its name says.
    #[error("{place}: {problem}")]
    Syntax { place: String, problem: String },
    /// No such key.
    #[error("{place}: `{key}` is unknown{}", suggest(suggestion.as_deref()))]
    UnknownKey { place: String, key: String, suggestion: Option<String> },
    /// The key is right, its value is not.
    #[error("{place}: `{key}` = `{value}`: {remedy}")]
    Value { place: String, key: String, value: String, remedy: String },
}

impl ConfigError {
    pub(crate) fn value(origin: &Origin, key: &str, value: &str, remedy: impl Into<String>) -> Self {
        Self::Value { place: origin.place(), key: key.to_owned(), value: value.to_owned(), remedy: remedy.into() }
    }

    /// An unknown key, with the known one that is nearest to it.
    pub(crate) fn unknown<'a>(place: String, key: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let nearest = known
            .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
            .filter(|(distance, _)| *distance <= 1 + key.len() / 4)
            .min();
        let suggestion = nearest.map(|(_, candidate)| candidate.to_owned());
        Self::UnknownKey { place, key: key.to_owned(), suggestion }
    }
}

fn suggest(suggestion: Option<&str>) -> String {
    suggestion.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}
