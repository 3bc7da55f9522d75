//! The layers of the configuration and which of them gives a value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use super::limits;
use super::setting::{ENVIRONMENT_SECTIONS, SETTINGS, Setting, Shown, Value};
use super::toml_file::{self, Entry, TomlFile};
use super::{DEFAULT_FILE, models, providers, routing, traces};

/// Variables of ours that are no settings.
const NOT_SETTINGS: [&str; 2] = ["PRIVET_CONFIG", "PRIVET_API_KEY"];

/// What was said on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) data: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) listen: Option<String>,
}

/// What the process finds around it.
pub(crate) struct Surroundings {
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) working_dir: PathBuf,
}

impl Surroundings {
    /// Those of this process. A variable that is no text cannot be meant for us.
    pub(crate) fn of_process() -> std::io::Result<Self> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self { environment, working_dir: std::env::current_dir()? })
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Environment(String),
    DotEnv { path: String, variable: String },
    File { path: String, line: usize },
    Default,
}

impl Origin {
    /// Where to look, at the head of an error.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Flag(flag) => (*flag).to_owned(),
            Self::Environment(variable) => format!("environment {variable}"),
            Self::DotEnv { path, variable } => format!("{path} {variable}"),
            Self::File { path, line } => format!("{path}:{line}"),
            Self::Default => "default".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// A table of a list of tables.
pub(super) struct Row {
    pub(super) origin: Origin,
    pub(super) fields: BTreeMap<String, Value>,
}

/// All layers, read.
pub(super) struct Layers {
    flags: BTreeMap<&'static str, (&'static str, String)>,
    environment: BTreeMap<String, String>,
    dot_env_path: String,
    dot_env: BTreeMap<String, String>,
    file_path: String,
    file: TomlFile,
}

impl Layers {
    pub(super) fn read(flags: &Flags, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let dot_env_path = surroundings.working_dir.join(".env");
        let dot_env = read_dot_env(&dot_env_path)?;
        let file_path = match &flags.config {
            Some(path) => path.clone(),
            None => match surroundings.environment.get("PRIVET_CONFIG").or_else(|| dot_env.get("PRIVET_CONFIG")) {
                Some(path) => path.into(),
                None => surroundings.working_dir.join(DEFAULT_FILE),
            },
        };
        let must_exist = flags.config.is_some() || file_path.file_name().is_none_or(|name| name != DEFAULT_FILE);
        let layers = Self {
            flags: named_flags(flags),
            environment: surroundings.environment.clone(),
            dot_env_path: dot_env_path.display().to_string(),
            dot_env,
            file: toml_file::read(&file_path, must_exist)?,
            file_path: file_path.display().to_string(),
        };
        layers.refuse_unknown()?;
        Ok(layers)
    }

    /// The folder of the configuration file.
    pub(super) fn folder(&self) -> &std::path::Path {
        std::path::Path::new(&self.file_path).parent().unwrap_or(std::path::Path::new(""))
    }

    /// The value of one of [`SETTINGS`].
    pub(super) fn value(&self, key: &str) -> Value {
        let unlisted = Setting { key: "", environment: &[], default: "", secret: false, list: false };
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap_or(&unlisted);
        self.find(key, setting.environment, setting.secret).unwrap_or_else(|| Value {
            key: key.to_owned(),
            text: setting.default.to_owned(),
            items: lines(setting.default),
            origin: Origin::Default,
            secret: setting.secret,
        })
    }

    /// The same, noted as one that `privet config show` shows.
    pub(super) fn shown(&self, key: &str, shown: &mut Vec<Shown>) -> Value {
        let value = self.value(key);
        shown.push(value.shown(key));
        value
    }

    /// The value that flags, environment, `.env` or file give, in this order.
    pub(super) fn find(&self, key: &str, environment: &[&str], secret: bool) -> Option<Value> {
        let outside = self
            .flags
            .get(key)
            .map(|(flag, text)| (text.clone(), Origin::Flag(flag)))
            .or_else(|| environment.iter().find_map(|variable| self.variable(variable)))
            .map(|(text, origin)| (lines(&text), text, origin));
        let (items, text, origin) = outside.or_else(|| {
            let entry = self.file.entries.get(key)?;
            Some((entry.items.clone(), entry.text.clone(), self.line(entry.line)))
        })?;
        Some(Value { key: key.to_owned(), text, items, origin, secret })
    }

    /// A variable of the environment or of `.env`; an empty one counts as absent.
    pub(super) fn variable(&self, name: &str) -> Option<(String, Origin)> {
        let present = |text: &&String| !text.is_empty();
        if let Some(text) = self.environment.get(name).filter(present) {
            return Some((text.clone(), Origin::Environment(name.to_owned())));
        }
        let text = self.dot_env.get(name).filter(present)?;
        Some((text.clone(), Origin::DotEnv { path: self.dot_env_path.clone(), variable: name.to_owned() }))
    }

    /// The names in a section of the file that holds names of the user's choosing, such as `providers`.
    pub(super) fn names_in(&self, section: &str) -> Vec<String> {
        let prefix = format!("{section}.");
        let names = self.file.entries.keys().filter_map(|key| key.strip_prefix(&prefix)?.split('.').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        names
    }

    /// The keys in a section of the file, those of lists of tables too.
    pub(super) fn keys_in<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        let keys = self.file.entries.keys().chain(self.file.rows.keys()).map(String::as_str);
        keys.filter(move |key| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The rows of a list of tables of the file.
    pub(super) fn rows(&self, name: &str) -> Vec<Row> {
        let rows = self.file.rows.get(name).into_iter().flatten().map(|row| {
            let fields = row.fields.iter().map(|(field, entry)| {
                let key = format!("{name}.{field}");
                let (text, items) = (entry.text.clone(), entry.items.clone());
                (field.clone(), Value { key, text, items, origin: self.line(entry.line), secret: false })
            });
            Row { origin: self.line(row.line), fields: fields.collect() }
        });
        rows.collect()
    }

    fn line(&self, line: usize) -> Origin {
        Origin::File { path: self.file_path.clone(), line }
    }

    fn refuse_unknown(&self) -> Result<(), ConfigError> {
        for (key, entry) in &self.file.entries {
            self.refuse_unknown_key(key, entry)?;
        }
        self.refuse_unknown_rows()?;
        self.refuse_unknown_variables()
    }

    fn refuse_unknown_key(&self, key: &str, entry: &Entry) -> Result<(), ConfigError> {
        let place = self.line(entry.line).place();
        let mut parts = key.split('.');
        let mut takes_list = false;
        match (parts.next(), parts.next(), parts.next()) {
            (Some(models::MODELS), Some(_), _) => takes_list = self.model_takes_list(key, &place)?,
            (Some("providers"), Some(name), Some(field)) => {
                takes_list = providers::LISTS.contains(&field);
                if !providers::FIELDS.contains(&field) {
                    let known: Vec<String> =
                        providers::FIELDS.iter().map(|field| format!("providers.{name}.{field}")).collect();
                    return Err(ConfigError::unknown(place, key, known.iter().map(String::as_str)));
                }
            }
            (Some(list @ (limits::BUDGETS | routing::TIMEOUTS)), Some(_), None) => {
                let problem = format!("{list} are a list of tables; write [[{list}]] above each of them");
                return Err(ConfigError::Syntax { place, problem });
            }
            _ if key.strip_prefix(traces::PROJECTS).is_some_and(|rest| rest.starts_with('.')) => {
                let problem = format!("`{0}` is a list of tables; write [[{0}]] above each of them", traces::PROJECTS);
                return Err(ConfigError::Syntax { place, problem });
            }
            _ if key.strip_prefix(traces::HEADERS).is_some_and(|rest| rest.starts_with('.')) => {}
            _ => match SETTINGS.iter().find(|setting| setting.key == key) {
                Some(setting) => takes_list = setting.list,
                None => return Err(ConfigError::unknown(place, key, SETTINGS.iter().map(|setting| setting.key))),
            },
        }
        self.refuse_list(key, entry, takes_list)
    }

    /// Whether a key of `[models]` takes a list. A field that a table of them does not have is refused.
    fn model_takes_list(&self, key: &str, place: &str) -> Result<bool, ConfigError> {
        let field = match models::split(key) {
            Some((_, Some(field))) => return Ok(models::LISTS.contains(&field)),
            Some((name, None)) => name.rsplit_once('.'),
            None => None,
        };
        let Some((alias, _)) = field else { return Ok(true) };
        let known: Vec<String> = models::FIELDS.map(|field| format!("{}.{alias}.{field}", models::MODELS)).to_vec();
        if self.keys_in(models::MODELS).any(|key| known.iter().any(|known| known == key)) {
            return Err(ConfigError::unknown(place.to_owned(), key, known.iter().map(String::as_str)));
        }
        Ok(true)
    }

    fn refuse_list(&self, key: &str, entry: &Entry, takes_list: bool) -> Result<(), ConfigError> {
        if takes_list || !entry.is_list {
            return Ok(());
        }
        let problem = format!("`{key}` takes one value, not a list");
        Err(ConfigError::Syntax { place: self.line(entry.line).place(), problem })
    }

    fn refuse_unknown_rows(&self) -> Result<(), ConfigError> {
        for (name, rows) in &self.file.rows {
            for row in rows {
                let (fields, lists): (&[&str], &[&str]) = match name.as_str() {
                    limits::BUDGETS => (&limits::BUDGET_FIELDS, &[]),
                    traces::PROJECTS => (&traces::PROJECT_FIELDS, &traces::PROJECT_LISTS),
                    routing::TIMEOUTS => (&routing::TIMEOUT_FIELDS, &[]),
                    key if models::is_targets(key) => (&models::TARGET_FIELDS, &[]),
                    _ => {
                        let problem = format!("`{name}` is no list of tables; write [{name}] if it is a section");
                        return Err(ConfigError::Syntax { place: self.line(row.line).place(), problem });
                    }
                };
                for (field, entry) in &row.fields {
                    let key = format!("{name}.{field}");
                    if !fields.contains(&field.as_str()) {
                        let known: Vec<String> = fields.iter().map(|field| format!("{name}.{field}")).collect();
                        let place = self.line(entry.line).place();
                        return Err(ConfigError::unknown(place, &key, known.iter().map(String::as_str)));
                    }
                    self.refuse_list(&key, entry, lists.contains(&field.as_str()))?;
                }
            }
        }
        Ok(())
    }

    fn refuse_unknown_variables(&self) -> Result<(), ConfigError> {
        let known = || SETTINGS.iter().flat_map(|setting| setting.environment.iter().copied());
        for (place, variables) in [("environment", &self.environment), (self.dot_env_path.as_str(), &self.dot_env)] {
            for variable in variables.keys() {
                if !variable.starts_with("PRIVET_") || NOT_SETTINGS.contains(&variable.as_str()) {
                    continue;
                }
                if known().any(|name| name == variable) {
                    continue;
                }
                // Other programs have variables of that beginning too: one that resembles none of ours is not meant for us.
                let ours = ENVIRONMENT_SECTIONS.iter().any(|section| variable.starts_with(section));
                let error = ConfigError::unknown(place.to_owned(), variable, known());
                if ours || matches!(&error, ConfigError::UnknownKey { suggestion: Some(_), .. }) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn named_flags(flags: &Flags) -> BTreeMap<&'static str, (&'static str, String)> {
    let mut named = BTreeMap::new();
    if let Some(data) = &flags.data {
        named.insert("data", ("--data", data.display().to_string()));
    }
    if let Some(listen) = &flags.listen {
        named.insert("server.listen", ("--listen", listen.clone()));
    }
    named
}

fn read_dot_env(path: &std::path::Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let place = path.display().to_string();
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(ConfigError::Syntax { place, problem: error.to_string() }),
    };
    let mut variables = BTreeMap::new();
    for line in lines {
        // The line itself may hold a secret, so only the place is told.
        let (name, text) = line.map_err(|_| ConfigError::Syntax {
            place: place.clone(),
            problem: format!(
                "a line after {} variables is not NAME=VALUE; put values with spaces in quotes",
                variables.len()
            ),
        })?;
        variables.insert(name, text);
    }
    Ok(variables)
}
