//! `privet.toml` as dotted keys with their lines, and its lists of tables as rows.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::ConfigError;

/// What the file says.
#[derive(Default)]
pub(super) struct TomlFile {
    /// Values by their dotted keys; an inline table is the same as a section.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Lists of tables (`[[budgets]]`) by their names.
    pub(super) rows: BTreeMap<String, Vec<Row>>,
}

/// A value of the file.
pub(super) struct Entry {
    /// As it is written; the members of a list joined by commas.
    pub(super) text: String,
    /// The members of a list; otherwise the one value.
    pub(super) items: Vec<String>,
    pub(super) line: usize,
    pub(super) is_list: bool,
}

/// One table of a list of them.
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) fields: BTreeMap<String, Entry>,
}

/// Reads the file; a missing one is empty unless it must exist.
pub(super) fn read(path: &Path, must_exist: bool) -> Result<TomlFile, ConfigError> {
    let place = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(TomlFile::default()),
        Err(source) => return Err(ConfigError::File { path: place, source }),
    };
    let table = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
        place: format!("{place}:{}", error.span().map_or(1, |span| line_of(&text, span.start))),
        problem: error.message().to_owned(),
    })?;
    let mut file = TomlFile::default();
    Source { text: &text, place: &place }.flatten("", table.get_ref(), &mut file)?;
    Ok(file)
}

struct Source<'a> {
    text: &'a str,
    place: &'a str,
}

impl Source<'_> {
    fn flatten(&self, prefix: &str, table: &DeTable<'_>, file: &mut TomlFile) -> Result<(), ConfigError> {
        for (name, value) in table {
            let name_text = name.get_ref();
            let key = if prefix.is_empty() { name_text.to_string() } else { format!("{prefix}.{name_text}") };
            let line = line_of(self.text, name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.flatten(&key, inner, file)?,
                DeValue::Array(array) if is_of_tables(array) => {
                    let rows = self.rows(&key, array)?;
                    file.rows.insert(key, rows);
                }
                value => {
                    let entry = self.entry(&key, value, line)?;
                    file.entries.insert(key, entry);
                }
            }
        }
        Ok(())
    }

    fn rows(&self, key: &str, array: &DeArray<'_>) -> Result<Vec<Row>, ConfigError> {
        let rows = array.iter().map(|value| {
            let line = line_of(self.text, value.span().start);
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.wrong(line, format!("`{key}` mixes tables and values")));
            };
            let fields = table.iter().map(|(name, value)| {
                let line = line_of(self.text, name.span().start);
                let entry = self.entry(&format!("{key}.{}", name.get_ref()), value.get_ref(), line)?;
                Ok((name.get_ref().to_string(), entry))
            });
            Ok(Row { line, fields: fields.collect::<Result<_, ConfigError>>()? })
        });
        rows.collect()
    }

    fn entry(&self, key: &str, value: &DeValue<'_>, line: usize) -> Result<Entry, ConfigError> {
        let items = match value {
            DeValue::Array(array) => array.iter().map(|member| scalar(member.get_ref())).collect::<Option<Vec<_>>>(),
            value => scalar(value).map(|text| vec![text]),
        };
        let items = items.ok_or_else(|| {
            self.wrong(line, format!("`{key}` takes a value, or a list of values where several may stand"))
        })?;
        Ok(Entry { text: items.join(", "), items, line, is_list: matches!(value, DeValue::Array(_)) })
    }

    fn wrong(&self, line: usize, problem: String) -> ConfigError {
        ConfigError::Syntax { place: format!("{}:{line}", self.place), problem }
    }
}

fn is_of_tables(array: &DeArray<'_>) -> bool {
    array.iter().any(|member: &Spanned<DeValue<'_>>| matches!(member.get_ref(), DeValue::Table(_)))
}

pub(super) fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
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
