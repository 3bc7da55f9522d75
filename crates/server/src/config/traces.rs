//! Traces: `[traces]`.

use std::time::Duration;

use axum::http::HeaderMap;
use privet_domain::time::parse_duration;
use privet_providers::Collector;
use reqwest::Url;

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::Shown;

/// What is traced, and how long it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceSettings {
    /// Whether requests to models leave traces by themselves.
    pub(crate) requests: bool,
    /// Traces that were last written longer ago expire; `None` is never.
    pub(crate) keep: Option<Duration>,
    /// Above so many bytes the oldest traces go first.
    pub(crate) disk_bytes_max: u64,
    /// Where they are exported to.
    pub(crate) export: Option<ExportSettings>,
}

/// A collector.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExportSettings {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl std::fmt::Debug for ExportSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers hold keys.
        f.debug_struct("ExportSettings").field("url", &self.url.host_str()).finish_non_exhaustive()
    }
}

pub(super) fn traces(layers: &Layers, shown: &mut Vec<Shown>) -> Result<TraceSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    Ok(TraceSettings {
        requests: value("traces.requests").parse(truth)?,
        keep: value("traces.keep").parse(keep)?,
        disk_bytes_max: value("traces.disk_max").parse(bytes)?,
        export: {
            let url = value("traces.export.url").parse(url)?;
            let headers = value("traces.export.headers").parse(Collector::headers)?;
            url.map(|url| ExportSettings { url, headers })
        },
    })
}

fn url(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(Some).ok_or_else(|| "write an address such as \"https://collector.example.org:4318\"".to_owned())
}

fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".to_owned())
}

fn keep(text: &str) -> Result<Option<Duration>, String> {
    if text == "forever" {
        return Ok(None);
    }
    parse_duration(text).map(Some).ok_or_else(|| "write a time such as \"30d\", or \"forever\"".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];
    let sized =
        units.iter().find_map(|(unit, size)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*size));
    sized.filter(|bytes| *bytes > 0).ok_or_else(|| "write a size such as \"5GB\" or \"500MB\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_with_their_units() {
        assert_eq!(keep("30d"), Ok(Some(Duration::from_secs(30 * 86_400))));
        assert_eq!(keep("forever"), Ok(None));
        assert_eq!(bytes("5GB"), Ok(5_000_000_000));
        assert_eq!(bytes("500 MB"), Ok(500_000_000));
        for wrong in ["", "5", "0GB", "-1GB", "many"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert!(keep("soon").is_err());
    }
}
