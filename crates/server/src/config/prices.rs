//! The price book: rows that come with Privet, and the user's own, which win.
//!
//! A price is read from its decimal text, exactly. What a row leaves out falls back to the row's `input` or `output`; these two
//! must stand there, so that nothing is free by oversight.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use privet_domain::money::Nanos;
use privet_domain::pricing::{LongContext, Price, PriceBook, Rates};
use privet_domain::time::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::setting::Value;
use super::toml_file::{line_of, scalar};

const EMBEDDED: &str = include_str!("../../prices.toml");

/// The kinds of tokens.
const KINDS: [&str; 9] = [
    "input",
    "cached_input",
    "cache_write_5m",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "output",
    "audio_output",
    "image_output",
];

/// What a row may hold besides [`KINDS`].
const FIELDS: [&str; 11] = [
    "model",
    "aliases",
    "from",
    "source",
    "checked",
    "context_tokens",
    "output_tokens_max",
    "image_tokens_max",
    "caches_unasked",
    "long_context",
    "tiers",
];

/// The embedded rows, and those of the file that the setting names, relative to `folder`.
pub(super) fn book(setting: &Value, folder: &Path) -> Result<PriceBook, ConfigError> {
    let mut rows = File { place: "the built-in prices.toml", text: EMBEDDED }.rows()?;
    if !setting.text.is_empty() {
        let path = folder.join(&setting.text);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let remedy =
                format!("the price book {} cannot be read ({error}); mend the path or leave it out", path.display());
            ConfigError::value(&setting.origin, &setting.key, &setting.text, remedy)
        })?;
        let own = File { place: &path.display().to_string(), text: &text }.rows()?;
        let models: HashSet<&str> = own.iter().map(|row| row.model.as_str()).collect();
        rows.retain(|row| !models.contains(row.model.as_str()));
        rows.extend(own);
    }
    Ok(PriceBook::new(rows))
}

/// A price book's text.
#[derive(Clone, Copy)]
struct File<'a> {
    place: &'a str,
    text: &'a str,
}

/// A table of the file: a row, or a table in one.
struct Table<'a> {
    file: File<'a>,
    line: usize,
    /// How errors call it.
    name: String,
    fields: BTreeMap<String, (usize, &'a Spanned<DeValue<'a>>)>,
}

impl<'a> File<'a> {
    fn rows(self) -> Result<Vec<Price>, ConfigError> {
        let root = DeTable::parse(self.text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(self.text, span.start));
            self.wrong(line, error.message().to_owned())
        })?;
        let mut rows = Vec::new();
        let mut seen: HashMap<(String, Timestamp), usize> = HashMap::new();
        for (name, value) in root.get_ref() {
            let line = line_of(self.text, name.span().start);
            if name.get_ref() != "price" {
                return Err(ConfigError::unknown(self.at(line), name.get_ref(), std::iter::once("price")));
            }
            let DeValue::Array(items) = value.get_ref() else {
                return Err(self.wrong(line, "rows begin with `[[price]]`".to_owned()));
            };
            for item in items {
                let line = line_of(self.text, item.span().start);
                let DeValue::Table(fields) = item.get_ref() else {
                    return Err(self.wrong(line, "rows begin with `[[price]]`".to_owned()));
                };
                for row in Table::new(self, line, "the row".to_owned(), fields).row()? {
                    if let Some(first) = seen.insert((row.model.clone(), row.from), line) {
                        let problem = format!(
                            "`{}` has a price from the same date in line {first}; leave one of them out, or give it another `from`",
                            row.model
                        );
                        return Err(self.wrong(line, problem));
                    }
                    rows.push(row);
                }
            }
        }
        Ok(rows)
    }

    fn at(self, line: usize) -> String {
        format!("{}:{line}", self.place)
    }

    fn wrong(self, line: usize, problem: String) -> ConfigError {
        ConfigError::Syntax { place: self.at(line), problem }
    }
}

impl<'a> Table<'a> {
    fn new(file: File<'a>, line: usize, name: String, table: &'a DeTable<'a>) -> Self {
        let field = |(key, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key: &Spanned<std::borrow::Cow<'a, str>> = key;
            (key.get_ref().to_string(), (line_of(file.text, key.span().start), value))
        };
        Self { file, line, name, fields: table.iter().map(field).collect() }
    }

    /// The prices of a row: one for its model, and the same for each alias.
    fn row(mut self) -> Result<Vec<Price>, ConfigError> {
        self.refuse_unknown(KINDS.iter().chain(&FIELDS))?;
        let Some(model) = self.read("model", model)? else {
            return Err(self.lacks("model", "write it as `model = \"provider/model\"`"));
        };
        self.name = format!("the price of `{model}`");
        let mut names = vec![model.clone()];
        names.extend(self.aliases()?);
        let price = Price {
            model,
            from: self.date("from")?.unwrap_or(Timestamp::from_micros(0)),
            source: self.read("source", text)?.unwrap_or_else(|| self.file.at(self.line)),
            standard: self.rates()?,
            long_context: self.long_context()?,
            tiers: self.tiers()?,
            context_tokens: self.read("context_tokens", count)?,
            output_tokens_max: self.read("output_tokens_max", count)?,
            image_tokens_max: self.read("image_tokens_max", count)?,
            caches_unasked: self.read("caches_unasked", flag)?.unwrap_or(false),
        };
        // For people: when somebody last compared the row with its source.
        self.date("checked")?;
        Ok(names.into_iter().map(|model| Price { model, ..price.clone() }).collect())
    }

    fn rates(&self) -> Result<Rates, ConfigError> {
        let remedy = "write dollars for a million tokens, such as `2.50`, or `0` for what is free";
        let need = |kind: &str| self.read(kind, dollars)?.ok_or_else(|| self.lacks(kind, remedy));
        let (input, output) = (need("input")?, need("output")?);
        let or = |kind: &str, fallback: Nanos| Ok::<_, ConfigError>(self.read(kind, dollars)?.unwrap_or(fallback));
        Ok(Rates {
            input,
            cached_input: or("cached_input", input)?,
            cache_write_5m: or("cache_write_5m", input)?,
            cache_write_1h: or("cache_write_1h", input)?,
            audio_input: or("audio_input", input)?,
            image_input: or("image_input", input)?,
            output,
            audio_output: or("audio_output", output)?,
            image_output: or("image_output", output)?,
        })
    }

    fn long_context(&self) -> Result<Option<LongContext>, ConfigError> {
        let Some(table) = self.table("long_context")? else { return Ok(None) };
        table.refuse_unknown(KINDS.iter().chain(&["above_tokens"]))?;
        let Some(above_tokens) = table.read("above_tokens", count)? else {
            return Err(table.lacks("above_tokens", "write from how many input tokens on it holds"));
        };
        Ok(Some(LongContext { above_tokens, rates: table.rates()? }))
    }

    fn tiers(&self) -> Result<BTreeMap<String, Rates>, ConfigError> {
        let Some(tiers) = self.table("tiers")? else { return Ok(BTreeMap::new()) };
        let rates = |name: &String| {
            let Some(tier) = tiers.table(name)? else { return Err(tiers.lacks(name, "write its prices")) };
            tier.refuse_unknown(KINDS.iter())?;
            Ok((name.clone(), tier.rates()?))
        };
        tiers.fields.keys().map(rates).collect()
    }

    fn aliases(&self) -> Result<Vec<String>, ConfigError> {
        let Some((line, value)) = self.fields.get("aliases") else { return Ok(Vec::new()) };
        let wrong = |problem: &str| self.file.wrong(*line, format!("`aliases`: {problem}"));
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong("write a list of names in brackets")) };
        let name = |item: &Spanned<DeValue<'_>>| {
            model(&scalar(item.get_ref()).unwrap_or_default()).map_err(|remedy| wrong(&remedy))
        };
        items.iter().map(name).collect()
    }

    fn table(&self, key: &str) -> Result<Option<Table<'a>>, ConfigError> {
        let Some((line, value)) = self.fields.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(fields) => {
                Ok(Some(Table::new(self.file, *line, format!("`{key}` of {}", self.name), fields)))
            }
            _ => Err(self.file.wrong(*line, format!("`{key}` must be a table: `{key} = {{ … }}`"))),
        }
    }

    fn date(&self, key: &str) -> Result<Option<Timestamp>, ConfigError> {
        let Some((_, value)) = self.fields.get(key) else { return Ok(None) };
        let is_date = matches!(value.get_ref(), DeValue::Datetime(date) if date.time.is_none());
        self.read(key, |text| {
            let date = if is_date { Timestamp::parse(&format!("{text}T00:00:00Z")) } else { None };
            date.ok_or_else(|| "write a day without quotes, such as 2026-10-01".to_owned())
        })
    }

    fn read<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ConfigError> {
        let Some((line, value)) = self.fields.get(key) else { return Ok(None) };
        let text = scalar(value.get_ref()).unwrap_or_else(|| "a list or table".to_owned());
        read(&text).map(Some).map_err(|remedy| ConfigError::Value {
            place: self.file.at(*line),
            key: key.to_owned(),
            value: text,
            remedy,
        })
    }

    fn lacks(&self, key: &str, remedy: &str) -> ConfigError {
        self.file.wrong(self.line, format!("{} has no `{key}`; {remedy}", self.name))
    }

    fn refuse_unknown<'b>(&self, known: impl Iterator<Item = &'b &'b str> + Clone) -> Result<(), ConfigError> {
        let unknown = self.fields.iter().find(|(key, _)| !known.clone().any(|known| known == key));
        match unknown {
            Some((key, (line, _))) => Err(ConfigError::unknown(self.file.at(*line), key, known.copied())),
            None => Ok(()),
        }
    }
}

fn model(text: &str) -> Result<String, String> {
    let is_name = text.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty());
    let stars = text.strip_suffix('*').unwrap_or(text).contains('*');
    if is_name && !stars {
        return Ok(text.to_owned());
    }
    Err("write \"provider/model\"; a `*` may stand at its end, for any ending".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside readers that refuse")]
fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "write a whole number of tokens above 0".to_owned())
}

fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".to_owned())
}

fn dollars(text: &str) -> Result<Nanos, String> {
    Nanos::parse_dollars(text).map_err(|error| format!("{error} (a price is dollars for a million tokens)"))
}
