//! The price book: rows that come with Privet, and the user's own, which win.
//!
//! A price is read from its decimal text, exactly. What a row leaves out falls back to the row's `input` or `output`; these two
//! must stand there, so that nothing is free by oversight.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use privet_domain::ability::{Ability, Profile};
use privet_domain::money::Nanos;
use privet_domain::pricing::{LongContext, Price, PriceBook, Rates};
use privet_domain::time::Timestamp;
use privet_providers::ProviderSettings;
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
const FIELDS: [&str; 14] = [
    "model",
    "aliases",
    "from",
    "source",
    "checked",
    "context_tokens",
    "output_tokens_max",
    "image_tokens_max",
    "caches_unasked",
    "abilities",
    "shutdown",
    "replacement",
    "long_context",
    "tiers",
];

/// The rows of the file that the setting names, relative to `folder`.
pub(super) fn own(setting: &Value, folder: &Path) -> Result<Vec<Price>, ConfigError> {
    if setting.text.is_empty() {
        return Ok(Vec::new());
    }
    let path = folder.join(&setting.text);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let remedy =
            format!("the price book {} cannot be read ({error}); mend the path or leave it out", path.display());
        ConfigError::value(&setting.origin, &setting.key, &setting.text, remedy)
    })?;
    File { place: &path.display().to_string(), text: &text }.rows()
}

/// The embedded rows, and the user's own in their place.
pub(super) fn book(own: Vec<Price>) -> Result<PriceBook, ConfigError> {
    let mut rows = File { place: "the built-in prices.toml", text: EMBEDDED }.rows()?;
    let models: HashSet<&str> = own.iter().map(|row| row.model.as_str()).collect();
    rows.retain(|row| !models.contains(row.model.as_str()));
    rows.extend(own);
    Ok(PriceBook::new(rows))
}

/// What to say of a row whose provider is not there; its name may be mistyped.
pub(super) fn without_provider(row: &Price, providers: &[ProviderSettings]) -> Option<String> {
    let (provider, _) = row.model.split_once('/')?;
    let is_there = providers.iter().any(|known| known.name == provider);
    (!is_there).then(|| {
        format!("the price of `{}` prices nothing: no provider is called `{provider}` in this configuration", row.model)
    })
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
            profile: self.profile()?,
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

    fn profile(&self) -> Result<Profile, ConfigError> {
        let ability = |name: &str| name.parse::<Ability>().map_err(|error| error.to_string());
        Ok(Profile {
            abilities: self.list("abilities", ability)?.map(BTreeSet::from_iter),
            shutdown_at: self.date("shutdown")?,
            replacement: self.read("replacement", model)?,
        })
    }

    fn aliases(&self) -> Result<Vec<String>, ConfigError> {
        Ok(self.list("aliases", model)?.unwrap_or_default())
    }

    fn list<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<Vec<T>>, ConfigError> {
        let Some((line, value)) = self.fields.get(key) else { return Ok(None) };
        let wrong = |problem: &str| self.file.wrong(*line, format!("`{key}`: {problem}"));
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong("write a list of names in brackets")) };
        let name = |item: &Spanned<DeValue<'_>>| {
            read(&scalar(item.get_ref()).unwrap_or_default()).map_err(|remedy| wrong(&remedy))
        };
        items.iter().map(name).collect::<Result<Vec<T>, _>>().map(Some)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Origin;

    fn embedded() -> PriceBook {
        PriceBook::new(File { place: "prices.toml", text: EMBEDDED }.rows().unwrap())
    }

    fn refused(text: &str) -> String {
        File { place: "p.toml", text }.rows().unwrap_err().to_string()
    }

    fn at(day: &str) -> Timestamp {
        Timestamp::parse(&format!("{day}T00:00:00Z")).unwrap()
    }

    #[test]
    fn the_embedded_book_agrees_with_the_mock_upstreams_bill() {
        let book = embedded();
        for (model, charged) in privet_testkit::upstream::price_table() {
            let provider = match model.split('-').next() {
                Some("claude") => "anthropic",
                Some("gemini") => "gemini",
                _ => "openai",
            };
            let rates = book.find(provider, &model, at("2026-11-25")).expect(&model).standard;
            let ours = [rates.input, rates.cached_input, rates.cache_write_5m, rates.output];
            let theirs = [charged.input_nanos, charged.cached_nanos, charged.cache_write_nanos, charged.output_nanos];
            assert_eq!(ours.map(|nanos| nanos.as_i64()), theirs.map(|nanos| nanos as i64 * 1_000_000), "{model}");
        }
    }

    #[test]
    fn every_embedded_row_is_complete() {
        let mut models = 0;
        for row in embedded().rows() {
            models += 1;
            assert!(!row.source.is_empty() && row.from > Timestamp::from_micros(0), "{}", row.model);
            let is_embedding = row.model.contains("embedding");
            assert!(is_embedding || row.context_tokens.is_some(), "{} has no context", row.model);
            let is_free = row.standard == Rates::default();
            let is_ours = row.model.starts_with("offline/") || row.model.starts_with("local/");
            assert_eq!(is_free, is_ours || row.model.contains("moderation"), "{}", row.model);
        }
        assert!(models > 80, "{models}");
        assert!(embedded().find("offline", "echo", at("2026-01-01")).is_some());
        assert!(!EMBEDDED.contains("checked = 2027"));
    }

    #[test]
    fn what_a_row_leaves_out_falls_back_to_input_or_output() {
        let text = "[[price]]\nmodel = \"a/b\"\naliases = [\"a/c\"]\ninput = 0.0375\ncached_input = 0.01\noutput = 3\n\
                    long_context = { above_tokens = 10, input = 1, output = 5 }\n\
                    tiers = { priority = { input = 2, audio_input = 7, output = 6 } }\n";
        let rows = File { place: "p.toml", text }.rows().unwrap();
        assert_eq!(rows.iter().map(|row| row.model.as_str()).collect::<Vec<_>>(), ["a/b", "a/c"]);
        let dollars = |text| Nanos::parse_dollars(text).unwrap();
        let expected = Rates { cached_input: dollars("0.01"), ..Rates::flat(dollars("0.0375"), dollars("3")) };
        assert_eq!(rows[1].standard, expected);
        assert_eq!(rows[0].long_context.unwrap().rates, Rates::flat(dollars("1"), dollars("5")));
        let priority = Rates { audio_input: dollars("7"), ..Rates::flat(dollars("2"), dollars("6")) };
        assert_eq!(rows[0].tiers["priority"], priority);
        assert_eq!(rows[0].source, "p.toml:1");
    }

    #[test]
    fn a_fault_is_refused_with_file_line_and_remedy() {
        let row = |more: &str| refused(&format!("[[price]]\nmodel = \"a/b\"\n{more}"));
        for (error, expected) in [
            (refused("[[prise]]\n"), "p.toml:1: `prise` is unknown; did you mean `price`?"),
            (refused("[[price]]\nmodel = \"a\"\n"), "p.toml:2: `model` = `a`: write \"provider/model\""),
            (refused("[[price]]\ninput = 1\n"), "p.toml:1: the row has no `model`"),
            (row("inputt = 1\n"), "p.toml:3: `inputt` is unknown; did you mean `input`?"),
            (row("output = 1\n"), "p.toml:1: the price of `a/b` has no `input`; write dollars"),
            (row("input = 1\n"), "p.toml:1: the price of `a/b` has no `output`; write dollars"),
            (row("input = 1\noutput = -2.5\n"), "p.toml:4: `output` = `-2.5`: an amount of money cannot be negative"),
            (
                row("input = 0.00000000001\noutput = 1\n"),
                "p.toml:3: `input` = `0.00000000001`: a nano-dollar is the smallest",
            ),
            (row("input = 1e-3\noutput = 1\n"), "p.toml:3: `input` = `1e-3`: write dollars as a decimal number"),
            (row("input = nan\noutput = 1\n"), "p.toml:3: `input` = `nan`: write dollars as a decimal number"),
            (row("input = 1\noutput = 1\nfrom = \"soon\"\n"), "p.toml:5: `from` = `soon`: write a day without quotes"),
            (
                row("input = 1\noutput = 1\ncontext_tokens = 0\n"),
                "p.toml:5: `context_tokens` = `0`: write a whole number",
            ),
            (
                row("input = 1\noutput = 1\nlong_context = { input = 1, output = 1 }\n"),
                "p.toml:5: `long_context` of the price of `a/b` has no `above_tokens`",
            ),
            (
                row("input = 1\noutput = 1\ntiers = { flex = { input = 1 } }\n"),
                "p.toml:5: `flex` of `tiers` of the price of `a/b` has no `output`",
            ),
            (
                row("input = 1\noutput = 1\n[[price]]\nmodel = \"a/b\"\ninput = 1\noutput = 1\n"),
                "p.toml:5: `a/b` has a price from the same date in line 1",
            ),
            (
                row("input = 1\noutput = 1\nabilities = [\"vision\"]\n"),
                "p.toml:5: `abilities`: `vision` is no ability; write images, audio",
            ),
            (row("input = 1\noutput = 1\nshutdown = \"soon\"\n"), "p.toml:5: `shutdown` = `soon`: write a day"),
            (row("input = \n"), "p.toml:3: "),
        ] {
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
    }

    #[test]
    fn the_users_rows_win_over_those_built_in_whatever_their_date() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[[price]]\nmodel = \"openai/gpt-4o\"\nfrom = 2024-01-01\ninput = 9\noutput = 9\n\n\
                   [[price]]\nmodel = \"mine/*\"\ninput = 0\noutput = 0\n";
        std::fs::write(dir.path().join("own.toml"), text).unwrap();
        let setting = |text: &str| Value {
            items: Vec::new(),
            key: "prices".to_owned(),
            text: text.to_owned(),
            origin: Origin::Default,
            secret: false,
        };
        let rows = own(&setting("own.toml"), dir.path()).unwrap();
        let warnings: Vec<String> = rows.iter().filter_map(|row| without_provider(row, &[])).collect();
        assert!(warnings[1].contains("no provider is called `mine`"), "{warnings:?}");
        let book = book(rows).unwrap();
        let input = |provider: &str, model: &str| {
            book.find(provider, model, at("2026-11-25")).map(|row| row.standard.input.to_string())
        };
        assert_eq!(input("openai", "gpt-4o").as_deref(), Some("$9.00"));
        assert_eq!(input("openai", "gpt-4o-mini").as_deref(), Some("$0.15"));
        assert_eq!(input("mine", "anything").as_deref(), Some("$0.00"));
        let missing = own(&setting("none.toml"), dir.path()).unwrap_err().to_string();
        assert!(missing.contains("none.toml cannot be read"), "{missing}");
    }
}
