//! The configuration: flags, then the environment, then `.env`, then `privet.toml`, then defaults.
//!
//! Every value remembers where it came from, so that `privet config show --origin` can say it and an error can point at it.

mod alerts;
mod error;
mod images;
mod langfuse;
mod layers;
mod limits;
pub(crate) mod memory;
mod models;
mod prices;
mod providers;
mod routing;
mod setting;
mod toml_file;
mod traces;
mod trusted_proxies;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use privet_domain::budget::Budget;
use privet_domain::key_limits::CacheTime;
use privet_domain::pricing::PriceBook;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::RecordMode;
use privet_engine::completion::CacheSettings;
use privet_engine::limits::LimitSettings;
use privet_engine::memory::MemorySettings;
use privet_engine::router::Alias;
use privet_index::QdrantSettings;
use privet_providers::{MediaSettings, ProviderSettings};
use privet_store::{Durability, Location};
use secrecy::SecretString;

pub(crate) use alerts::AlertSettings;
pub(crate) use error::ConfigError;
pub(crate) use langfuse::LangfuseSettings;
pub(crate) use layers::{Flags, Surroundings};
use layers::{Layers, Origin};
pub(crate) use limits::DoorSettings;
pub(crate) use models::DefaultModel;
pub(crate) use providers::best_known_model_of;
pub(crate) use routing::RoutingSettings;
pub(crate) use setting::Shown;
pub(crate) use traces::{ExportSettings, TraceSettings};
pub(crate) use trusted_proxies::{TrustedProxies, TrustedRanges};

/// The file read when no other is named.
pub(crate) const DEFAULT_FILE: &str = "privet.toml";

/// The configuration, every value checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) server: ServerLimits,
    pub(crate) door: DoorSettings,
    pub(crate) limits: LimitSettings,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) alerts: Option<AlertSettings>,
    pub(crate) traces: TraceSettings,
    /// How memory works; `None` where nothing is remembered.
    pub(crate) memory: Option<MemorySettings>,
    /// Where memory's index is, beside PostgreSQL.
    pub(crate) qdrant: Option<QdrantSettings>,
    pub(crate) database: Location,
    pub(crate) durability: Durability,
    pub(crate) record: RecordMode,
    /// How answers are kept for the same question, where that is asked for.
    pub(crate) cache: CacheSettings,
    pub(crate) providers: Vec<ProviderSettings>,
    pub(crate) aliases: BTreeMap<String, Alias>,
    pub(crate) default_model: DefaultModel,
    pub(crate) routing: RoutingSettings,
    /// How images that a request names by URL are fetched, where their provider does not.
    pub(crate) images: MediaSettings,
    pub(crate) personal_api_key: Option<SecretString>,
    /// Whether it stands in `.env`, where a shell does not see it.
    pub(crate) personal_api_key_in_dot_env: bool,
    pub(crate) langfuse: LangfuseSettings,
    pub(crate) log: LogSettings,
    /// What tokens cost.
    pub(crate) prices: PriceBook,
    /// What can be meant so, and most likely is not: for whoever starts the server.
    pub(crate) warnings: Vec<String>,
    /// Every value with its origin, secrets redacted.
    pub(crate) shown: Vec<Shown>,
}

/// The limits of the server itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerLimits {
    pub(crate) body_bytes_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) connections_max: usize,
    pub(crate) drain_timeout: Duration,
}

/// How the log is written.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Pretty,
    Json,
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// Naming file, line and key, when a key is unknown or a value is wrong.
    pub(crate) fn load(flags: &Flags, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let layers = Layers::read(flags, surroundings)?;
        let mut shown = Vec::new();
        let data: PathBuf = layers.shown("data", &mut shown).text.into();
        let listen = layers.shown("server.listen", &mut shown).parse(setting::listen)?;
        let server = ServerLimits::read(&layers, &mut shown)?;
        let door = limits::door(&layers, &mut shown)?;
        let limits = limits::limits(&layers, &mut shown)?;
        let budgets = limits::budgets(&layers, &limits.time_zone, &mut shown)?;
        let alerts = alerts::alerts(&layers, &mut shown)?;
        let traces = traces::traces(&layers, &mut shown)?;
        let mut value = |key: &str| layers.shown(key, &mut shown);
        let database_url = value("database_url");
        let database = match database_url.text.as_str() {
            "" => Location::Folder(data.clone()),
            _ => Location::postgres(database_url.parse(setting::postgres_url)?),
        };
        let cache = CacheSettings {
            ttl: value("cache.ttl").parse(|text| text.parse::<CacheTime>())?.0,
            bytes_max: value("cache.disk_max").parse(traces::bytes)?,
        };
        let durability = value("durability").parse(setting::durability)?;
        let record = value("history.record").parse(setting::record)?;
        let log = LogSettings {
            format: value("log.format").parse(setting::log_format)?,
            filter: value("log.filter").parse(setting::log_filter)?,
        };
        let personal = value("personal_api_key");
        let personal_api_key_in_dot_env = matches!(personal.origin, Origin::DotEnv { .. });
        let personal = personal.parse(setting::api_key)?;
        let personal_api_key = (!personal.is_empty()).then(|| SecretString::from(personal));
        let default_model = value("default_model");
        let prices = value("prices");
        let own_prices = prices::own(&prices, layers.folder())?;
        let langfuse = langfuse::langfuse(&layers, &mut shown)?;
        let mut providers = providers::configured(&layers, &mut shown)?;
        routing::give_timeouts(&layers, &mut providers, &mut shown)?;
        let routing = routing::routing(&layers, &mut shown)?;
        let images = images::images(&layers, &mut shown)?;
        let aliases = models::aliases(&layers, &providers, &mut shown)?;
        let mut warnings: Vec<String> =
            own_prices.iter().filter_map(|row| prices::without_provider(row, &providers)).collect();
        let memory = memory::memory(&layers, &mut shown)?;
        let qdrant = memory::qdrant(&layers, &database, &mut shown)?;
        let default_model = models::default_model(&default_model, &providers, &aliases)?;
        let prices = prices::book(own_prices)?;
        warnings.extend(models::ending(&aliases, &default_model.model, &prices, SystemClock.now()));
        Ok(Self {
            data,
            listen,
            server,
            door,
            limits,
            budgets,
            alerts,
            traces,
            memory,
            qdrant,
            database,
            durability,
            record,
            cache,
            providers,
            aliases,
            default_model,
            routing,
            images,
            personal_api_key,
            personal_api_key_in_dot_env,
            langfuse,
            log,
            prices,
            warnings,
            shown,
        })
    }

    /// Whether a provider answers for a model of that name; `true` where it cannot be told from the name.
    pub(crate) fn may_answer(&self, model: &str) -> bool {
        let Some((provider, _)) = model.split_once('/') else { return true };
        self.aliases.contains_key(model) || self.providers.iter().any(|known| known.name == provider)
    }

    /// The providers' names, for people.
    pub(crate) fn provider_names(&self) -> String {
        let names: Vec<&str> = self.providers.iter().map(|provider| provider.name.as_str()).collect();
        names.join(", ")
    }
}

impl ServerLimits {
    fn read(layers: &Layers, shown: &mut Vec<Shown>) -> Result<Self, ConfigError> {
        let mut value = |key: &str| layers.shown(key, shown);
        Ok(Self {
            body_bytes_max: value("server.body_bytes_max").parse(setting::count)?,
            header_timeout: value("server.header_timeout").parse(setting::duration)?,
            body_timeout: value("server.body_timeout").parse(setting::duration)?,
            connections_max: value("server.connections_max").parse(setting::count)?,
            drain_timeout: value("server.drain_timeout").parse(setting::duration)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("privet.toml");
        std::fs::write(&file, toml).unwrap();
        let flags = Flags { config: Some(file), ..Flags::default() };
        let environment = environment.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let surroundings = Surroundings { environment, working_dir: dir.path().to_owned() };
        Config::load(&flags, &surroundings)
            .map_err(|error| error.to_string().replace(&dir.path().display().to_string(), ""))
    }

    fn origin(config: &Config, key: &str) -> String {
        config.shown.iter().find(|shown| shown.key == key).unwrap().origin.clone()
    }

    #[test]
    fn without_any_configuration_the_offline_provider_answers() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.default_model.model.to_string(), "offline/echo");
        assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(origin(&config, "server.listen"), "default");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_dot_env_stands_between() {
        let toml = "durability = \"process\"\n[server]\nlisten = \"127.0.0.1:1\"\n";
        let config = load(toml, &[("PRIVET_SERVER_LISTEN", "127.0.0.1:2")]).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(origin(&config, "server.listen"), "environment PRIVET_SERVER_LISTEN");
        assert_eq!(config.durability, Durability::Process);
        assert!(origin(&config, "durability").ends_with("privet.toml:1"));
    }

    #[test]
    fn dot_env_gives_a_provider_and_a_key() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "OPENAI_API_KEY=sk-test-canary\nPERSONAL_API_KEY=\"my key\"\n")
            .unwrap();
        let surroundings = Surroundings { environment: BTreeMap::new(), working_dir: dir.path().to_owned() };
        let config = Config::load(&Flags::default(), &surroundings).unwrap();
        assert_eq!(config.default_model.model.to_string(), "openai/gpt-4o");
        assert!(config.personal_api_key.is_some());
        let shown = format!("{:?} {config:?}", config.shown);
        assert!(!shown.contains("canary") && !shown.contains("my key"), "{shown}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_suggestion() {
        let error = load("[server]\n\nlisen = \"x\"\n", &[]).unwrap_err();
        assert_eq!(error, "/privet.toml:3: `server.lisen` is unknown; did you mean `server.listen`?");
        let error = load("", &[("PRIVET_SERVER_LISTN", "x")]).unwrap_err();
        assert_eq!(error, "environment: `PRIVET_SERVER_LISTN` is unknown; did you mean `PRIVET_SERVER_LISTEN`?");
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_right() {
        let error = load("durability = \"most\"\n", &[]).unwrap_err();
        assert_eq!(error, "/privet.toml:1: `durability` = `most`: write \"full\" or \"process\"");
        let error = load("[server]\nlisten = 3000\n", &[]).unwrap_err();
        assert!(error.starts_with("/privet.toml:2: `server.listen` = `3000`: write ADDRESS:PORT"), "{error}");
    }

    #[test]
    fn a_wrong_secret_is_not_repeated_in_the_error() {
        let error = load("database_url = \"mysql://me:canary@db/x\"\n", &[]).unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn broken_toml_names_its_line() {
        let error = load("[server]\nlisten = \n", &[]).unwrap_err();
        assert!(error.starts_with("/privet.toml:2: "), "{error}");
    }

    #[test]
    fn a_model_is_one_line_of_configuration() {
        let toml = "default_model = \"fast\"\n[providers.groq]\nbase_url = \"https://api.groq.com/openai/v1/\"\n\
                    api_key_env = \"GROQ_KEY\"\ntotal_timeout = \"30s\"\n[models]\nfast = \"groq/llama-4\"\n";
        let config = load(toml, &[("GROQ_KEY", "gsk")]).unwrap();
        assert_eq!(config.default_model.model.to_string(), "groq/llama-4");
        let groq = &config.providers[0];
        assert_eq!((groq.name.as_str(), groq.base_url.as_str()), ("groq", "https://api.groq.com/openai/v1"));
        assert_eq!(groq.timeouts.total, Duration::from_secs(30));
        assert_eq!(groq.api_keys.len(), 1);
    }

    #[test]
    fn a_provider_may_have_several_keys_and_none_is_shown() {
        let toml = "[providers.groq]\nbase_url = \"https://groq.example\"\napi_key_env = [\"ONE\", \"TWO\"]\n\
                    [providers.openai]\napi_keys = [\"sk-canary-3\", \"sk-canary-4\"]\n";
        let variables =
            [("ONE", "sk-canary-1"), ("TWO", "sk-canary-2a, sk-canary-2b"), ("OPENAI_API_KEY", "sk-canary-5")];
        let config = load(toml, &variables).unwrap();
        let keys = |name: &str| config.providers.iter().find(|provider| provider.name == name).unwrap().api_keys.len();
        assert_eq!((keys("openai"), keys("groq")), (3, 3));
        assert!(!format!("{config:?}").contains("canary"));
        let config = load("", &[("ANTHROPIC_API_KEYS", "sk-canary-1,sk-canary-2")]).unwrap();
        assert_eq!(config.providers[0].api_keys.len(), 2);
        let error = load(toml, &[("ONE", "sk-canary-1")]).unwrap_err();
        assert!(error.contains("`TWO`") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn an_alias_to_a_missing_provider_is_refused() {
        let error = load("[models]\nfast = \"groq/llama-4\"\n", &[]).unwrap_err();
        assert!(error.contains("privet.toml:2") && error.contains("`groq`"), "{error}");
    }
}
