//! `privet.toml` as dotted keys with their lines.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// A value of the file.
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) line: usize,
}

/// Reads the file; a missing one is empty unless it must exist.
pub(super) fn read(path: &Path, must_exist: bool) -> Result<BTreeMap<String, Entry>, ConfigError> {
    let place = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(BTreeMap::new()),
        Err(source) => return Err(ConfigError::File { path: place, source }),
    };
    let table = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        place: format!("{place}:{}", error.span().map_or(1, |span| line_of(&text, span.start))),
        problem: error.message().to_owned(),
    })?;
    let mut entries = BTreeMap::new();
    flatten(&text, &place, "", table.get_ref(), &mut entries)?;
    Ok(entries)
}

fn flatten(
    text: &str,
    place: &str,
    prefix: &str,
    table: &DeTable<'_>,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        let line = line_of(text, name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, place, &key, inner, entries)?,
            _ => {
                let text = scalar(value).ok_or_else(|| ConfigError::Syntax {
                    place: format!("{place}:{line}"),
                    problem: format!("`{key}` takes one value, not a list"),
                })?;
                entries.insert(key, Entry { text, line });
            }
        }
    }
    Ok(())
}

pub(super) fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}
