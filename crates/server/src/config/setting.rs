//! The settings that always exist: their keys, environment variables, defaults and how their values are read.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use privet_domain::api_key::PresentedKey;
use privet_domain::time::parse_duration;
use privet_engine::RecordMode;
use privet_store::Durability;
use serde::Serialize;

use super::LogFormat;
use super::error::ConfigError;
use super::layers::Origin;

/// A setting.
pub(super) struct Setting {
    /// Its key in the file.
    pub(super) key: &'static str,
    /// Its variables in the environment, the first one preferred.
    pub(super) environment: &'static [&'static str],
    /// Its value when nobody gives one.
    pub(super) default: &'static str,
    /// Whether it must not be shown.
    pub(super) secret: bool,
    /// Whether a list may stand in the file.
    pub(super) list: bool,
}

const fn open(key: &'static str, environment: &'static [&'static str], default: &'static str) -> Setting {
    Setting { key, environment, default, secret: false, list: false }
}

const fn secret(key: &'static str, environment: &'static [&'static str]) -> Setting {
    Setting { key, environment, default: "", secret: true, list: false }
}

const fn list(key: &'static str, environment: &'static [&'static str], default: &'static str) -> Setting {
    Setting { key, environment, default, secret: false, list: true }
}

/// All of them.
pub(super) const SETTINGS: &[Setting] = &[
    open("data", &["PRIVET_DATA"], "privet-data"),
    open("default_model", &["PRIVET_DEFAULT_MODEL"], ""),
    secret("personal_api_key", &["PERSONAL_API_KEY"]),
    open("langfuse.public_key", &["LANGFUSE_INIT_PROJECT_PUBLIC_KEY", "LANGFUSE_PUBLIC_KEY"], ""),
    secret("langfuse.secret_key", &["LANGFUSE_INIT_PROJECT_SECRET_KEY", "LANGFUSE_SECRET_KEY"]),
    open("langfuse.project_id", &["LANGFUSE_INIT_PROJECT_ID"], ""),
    open("langfuse.project_name", &["LANGFUSE_INIT_PROJECT_NAME"], ""),
    open("server.listen", &["PRIVET_SERVER_LISTEN", "PRIVET_LISTEN"], "127.0.0.1:3000"),
    open("server.body_bytes_max", &["PRIVET_SERVER_BODY_BYTES_MAX"], "33554432"),
    open("server.header_timeout", &["PRIVET_SERVER_HEADER_TIMEOUT"], "10s"),
    open("server.body_timeout", &["PRIVET_SERVER_BODY_TIMEOUT"], "15s"),
    open("server.connections_max", &["PRIVET_SERVER_CONNECTIONS_MAX"], "4096"),
    open("server.drain_timeout", &["PRIVET_SERVER_DRAIN_TIMEOUT"], "25s"),
    list("server.trusted_proxies", &["PRIVET_SERVER_TRUSTED_PROXIES"], ""),
    open("limits.address.chat", &["PRIVET_LIMITS_ADDRESS_CHAT"], "1/10s"),
    open("limits.address.api", &["PRIVET_LIMITS_ADDRESS_API"], "off"),
    open("limits.address.refused", &["PRIVET_LIMITS_ADDRESS_REFUSED"], "5/1m"),
    open("limits.key.requests", &["PRIVET_LIMITS_KEY_REQUESTS"], "off"),
    open("limits.key.tokens", &["PRIVET_LIMITS_KEY_TOKENS"], "off"),
    open("limits.key.concurrency", &["PRIVET_LIMITS_KEY_CONCURRENCY"], "off"),
    open("limits.concurrency", &["PRIVET_LIMITS_CONCURRENCY"], "512"),
    open("limits.time_zone", &["PRIVET_LIMITS_TIME_ZONE"], "UTC"),
    open("limits.output_tokens", &["PRIVET_LIMITS_OUTPUT_TOKENS"], "4096"),
    open("limits.budget_wait", &["PRIVET_LIMITS_BUDGET_WAIT"], "10s"),
    list("limits.unpriced", &["PRIVET_LIMITS_UNPRICED"], ""),
    open("routing.retries", &["PRIVET_ROUTING_RETRIES"], "2"),
    open("routing.wait_max", &["PRIVET_ROUTING_WAIT_MAX"], "5s"),
    open("routing.breaker.errors", &["PRIVET_ROUTING_BREAKER_ERRORS"], "50"),
    open("routing.breaker.slow", &["PRIVET_ROUTING_BREAKER_SLOW"], "80"),
    open("routing.breaker.slow_after", &["PRIVET_ROUTING_BREAKER_SLOW_AFTER"], "120s"),
    open("routing.breaker.calls", &["PRIVET_ROUTING_BREAKER_CALLS"], "10"),
    open("routing.breaker.window", &["PRIVET_ROUTING_BREAKER_WINDOW"], "60s"),
    open("routing.breaker.pause", &["PRIVET_ROUTING_BREAKER_PAUSE"], "15s"),
    open("cache.ttl", &["PRIVET_CACHE_TTL"], "1h"),
    open("cache.disk_max", &["PRIVET_CACHE_DISK_MAX"], "256MB"),
    open("traces.requests", &["PRIVET_TRACES_REQUESTS"], "true"),
    open("traces.keep", &["PRIVET_TRACES_KEEP"], "30d"),
    open("traces.disk_max", &["PRIVET_TRACES_DISK_MAX"], "5GB"),
    open("traces.content", &["PRIVET_TRACES_CONTENT"], "all"),
    list("traces.masks", &["PRIVET_TRACES_MASKS"], "email, phone, card, iban, key"),
    list("traces.patterns", &["PRIVET_TRACES_PATTERNS"], ""),
    open("traces.export.url", &["PRIVET_TRACES_EXPORT_URL"], ""),
    secret("traces.export.headers", &["PRIVET_TRACES_EXPORT_HEADERS"]),
    list("traces.export.projects", &["PRIVET_TRACES_EXPORT_PROJECTS"], ""),
    open("memory.enabled", &["PRIVET_MEMORY_ENABLED"], "true"),
    open("memory.embedder", &["PRIVET_MEMORY_EMBEDDER"], ""),
    open("memory.dimensions", &["PRIVET_MEMORY_DIMENSIONS"], ""),
    open("memory.describer", &["PRIVET_MEMORY_DESCRIBER"], ""),
    list("memory.describe", &["PRIVET_MEMORY_DESCRIBE"], "summary, facts, questions"),
    open("memory.describe_bytes_min", &["PRIVET_MEMORY_DESCRIBE_BYTES_MIN"], "120"),
    open("memory.describe_pace", &["PRIVET_MEMORY_DESCRIBE_PACE"], "60/1m"),
    open("memory.reranker", &["PRIVET_MEMORY_RERANKER"], ""),
    open("memory.question_timeout", &["PRIVET_MEMORY_QUESTION_TIMEOUT"], "3s"),
    open("memory.weights", &["PRIVET_MEMORY_WEIGHTS"], "dense=0.2, text=0.5, window=0.3"),
    open("memory.tokens", &["PRIVET_MEMORY_TOKENS"], "1600"),
    open("memory.half_life", &["PRIVET_MEMORY_HALF_LIFE"], "off"),
    open("memory.qdrant_url", &["PRIVET_MEMORY_QDRANT_URL"], ""),
    secret("memory.qdrant_api_key", &["PRIVET_MEMORY_QDRANT_API_KEY"]),
    open("memory.qdrant_collection", &["PRIVET_MEMORY_QDRANT_COLLECTION"], "privet"),
    open("memory.format", &["PRIVET_MEMORY_FORMAT"], "entries"),
    open("limits.fees", &["PRIVET_LIMITS_FEES"], "false"),
    list("images.allow", &["PRIVET_IMAGES_ALLOW"], ""),
    open("images.plain_http", &["PRIVET_IMAGES_PLAIN_HTTP"], "false"),
    open("images.bytes_max", &["PRIVET_IMAGES_BYTES_MAX"], "10000000"),
    open("images.count_max", &["PRIVET_IMAGES_COUNT_MAX"], "20"),
    open("images.timeout", &["PRIVET_IMAGES_TIMEOUT"], "15s"),
    open("alerts.webhook", &["PRIVET_ALERTS_WEBHOOK"], ""),
    secret("alerts.secret", &["PRIVET_ALERTS_SECRET"]),
    list("alerts.at", &["PRIVET_ALERTS_AT"], "50, 80, 100"),
    secret("database_url", &["PRIVET_DATABASE_URL", "DATABASE_URL"]),
    open("durability", &["PRIVET_DURABILITY"], "full"),
    open("history.record", &["PRIVET_HISTORY_RECORD"], "all"),
    open("prices", &["PRIVET_PRICES"], ""),
    open("log.format", &["PRIVET_LOG_FORMAT"], "auto"),
    open("log.filter", &["PRIVET_LOG_FILTER", "RUST_LOG"], "info"),
];

/// Sections whose environment variables are checked for typing errors.
pub(super) const ENVIRONMENT_SECTIONS: [&str; 9] = [
    "PRIVET_SERVER_",
    "PRIVET_LIMITS_",
    "PRIVET_ROUTING_",
    "PRIVET_ALERTS_",
    "PRIVET_HISTORY_",
    "PRIVET_TRACES_",
    "PRIVET_MEMORY_",
    "PRIVET_IMAGES_",
    "PRIVET_LOG_",
];

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) key: String,
    pub(super) text: String,
    /// The members of a list, which may hold commas themselves; outside of the file its lines.
    pub(super) items: Vec<String>,
    pub(super) origin: Origin,
    pub(super) secret: bool,
}

/// A value as it may be shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) origin: String,
}

impl Value {
    pub(super) fn parse<T>(&self, read: fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        read(&self.text).map_err(|remedy| ConfigError::value(&self.origin, &self.key, &self.display(), remedy))
    }

    pub(super) fn shown(&self, key: &str) -> Shown {
        Shown { key: key.to_owned(), value: self.display(), origin: self.origin.to_string() }
    }

    fn display(&self) -> String {
        match (self.secret, self.text.is_empty()) {
            (true, false) => "(secret)".to_owned(),
            _ => self.text.clone(),
        }
    }
}

/// `ADDRESS:PORT`; a name such as `localhost` is looked up.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| "write ADDRESS:PORT, for example \"127.0.0.1:3000\"".to_owned())
}

pub(super) fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".to_owned())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "write a whole number above 0".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a time such as \"500ms\", \"10s\" or \"2m\"".to_owned())
}

pub(super) fn postgres_url(text: &str) -> Result<String, String> {
    let known = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    known.then(|| text.to_owned()).ok_or_else(|| {
        "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, or leave it out to keep everything in SQLite".to_owned()
    })
}

pub(super) fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "full" => Ok(Durability::Full),
        "process" => Ok(Durability::Process),
        _ => Err("write \"full\" or \"process\"".to_owned()),
    }
}

pub(super) fn record(text: &str) -> Result<RecordMode, String> {
    match text {
        "all" => Ok(RecordMode::All),
        "continued" => Ok(RecordMode::Continued),
        "none" => Ok(RecordMode::None),
        _ => Err("write \"all\", \"continued\" or \"none\"".to_owned()),
    }
}

/// A key that Privet made has a checksum: a mistyped one is refused here rather than at each request.
pub(super) fn api_key(text: &str) -> Result<String, String> {
    if PresentedKey::read(text).is_none() {
        return Err("it begins like one of Privet's own keys, but its checksum is wrong; copy it again".to_owned());
    }
    header_value(text)
}

/// What can stand in a header.
pub(super) fn header_value(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    fits.then(|| text.to_owned()).ok_or_else(|| "it holds characters that no header takes; copy it again".to_owned())
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("write for example \"info\" or \"info,privet_store=debug\" ({error})")),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("write \"auto\", \"pretty\" or \"json\"".to_owned()),
    }
}
