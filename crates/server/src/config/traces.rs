//! Traces: `[traces]`, `[[traces.projects]]` and `[traces.export]`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use privet_domain::time::parse_duration;
use privet_engine::traces::{ContentPolicy, MaskKind, Masks, PrivacySettings};
use privet_providers::AddressPolicy;
use reqwest::Url;

use super::error::ConfigError;
use super::layers::{Layers, Row};
use super::setting::{self, Shown, Value};

/// The list of tables that holds what is different for some projects.
pub(super) const PROJECTS: &str = "traces.projects";
/// The fields of a project.
pub(super) const PROJECT_FIELDS: [&str; 4] = ["project", "content", "masks", "patterns"];
/// Those of them that take lists.
pub(super) const PROJECT_LISTS: [&str; 2] = ["masks", "patterns"];
/// The section that holds headers by their names.
pub(super) const HEADERS: &str = "traces.export.headers";
/// The path of OTLP where the address has none.
const OTLP_PATH: &str = "/v1/traces";

/// What is traced, and how long it stays.
#[derive(Clone, Debug)]
pub(crate) struct TraceSettings {
    /// Whether requests to models leave traces by themselves.
    pub(crate) requests: bool,
    /// Traces that were begun longer ago expire; `None` is never.
    pub(crate) keep: Option<Duration>,
    /// Above so many bytes the oldest traces go first.
    pub(crate) disk_bytes_max: u64,
    /// What of them is written.
    pub(crate) privacy: PrivacySettings,
    /// Where they go besides.
    pub(crate) export: Option<ExportSettings>,
}

/// A collector of OTLP.
#[derive(Clone, Debug)]
pub(crate) struct ExportSettings {
    pub(crate) url: Url,
    /// The values are marked as sensitive, so that they are never shown.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Only theirs; empty for all.
    pub(crate) projects: Vec<String>,
}

pub(super) fn traces(layers: &Layers, shown: &mut Vec<Shown>) -> Result<TraceSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    Ok(TraceSettings {
        requests: value("traces.requests").parse(setting::truth)?,
        keep: value("traces.keep").parse(keep)?,
        disk_bytes_max: value("traces.disk_max").parse(bytes)?,
        privacy: privacy(layers, shown)?,
        export: export(layers, shown)?,
    })
}

fn keep(text: &str) -> Result<Option<Duration>, String> {
    const SHORTEST: Duration = Duration::from_secs(3_600);
    if text == "forever" {
        return Ok(None);
    }
    let time = parse_duration(text).filter(|time| *time >= SHORTEST);
    time.map(Some).ok_or_else(|| "write a time of an hour or more such as \"30d\", or \"forever\"".to_owned())
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];
    let sized =
        units.iter().find_map(|(unit, size)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*size));
    sized.filter(|bytes| *bytes > 0).ok_or_else(|| "write a size such as \"5GB\" or \"500MB\"".to_owned())
}

/// What `content` says, before the masks are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ContentMode {
    All,
    Metadata,
    Mask,
}

fn content(text: &str) -> Result<ContentMode, String> {
    match text {
        "all" => Ok(ContentMode::All),
        "metadata" => Ok(ContentMode::Metadata),
        "mask" => Ok(ContentMode::Mask),
        _ => Err("write \"all\", \"metadata\" or \"mask\"".to_owned()),
    }
}

fn privacy(layers: &Layers, shown: &mut Vec<Shown>) -> Result<PrivacySettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let (mode, kinds, patterns) = (value("traces.content"), value("traces.masks"), value("traces.patterns"));
    let default = policy(&mode, &kinds, &patterns)?;
    let mut projects = HashMap::new();
    for row in layers.rows(PROJECTS) {
        let project = project_name(&row)?;
        let field = |name: &str, default: &Value| row.fields.get(name).unwrap_or(default).clone();
        let own = policy(&field("content", &mode), &field("masks", &kinds), &field("patterns", &patterns))?;
        shown.extend(row.fields.iter().filter(|(field, _)| *field != "project").map(|(field, value)| Shown {
            key: format!("{PROJECTS}.{project}.{field}"),
            value: value.text.clone(),
            origin: value.origin.to_string(),
        }));
        if projects.insert(project.clone(), own).is_some() {
            let problem = format!("the project `{project}` stands twice in `{PROJECTS}`; keep one of them");
            return Err(ConfigError::Syntax { place: row.origin.place(), problem });
        }
    }
    Ok(PrivacySettings { default, projects })
}

fn project_name(row: &Row) -> Result<String, ConfigError> {
    let missing = || ConfigError::Syntax {
        place: row.origin.place(),
        problem: format!("a table of `{PROJECTS}` needs the name of its project, for example project = \"shop\""),
    };
    row.fields
        .get("project")
        .map(|value| value.text.trim().to_owned())
        .filter(|name| !name.is_empty())
        .ok_or_else(missing)
}

/// Masks are compiled whatever the mode is, so that a wrong one is seen before it is needed.
fn policy(mode: &Value, kinds: &Value, patterns: &Value) -> Result<ContentPolicy, ConfigError> {
    let kinds = kinds.parse(mask_kinds)?;
    let masks = Masks::new(&kinds, &patterns.items)
        .map_err(|error| ConfigError::value(&patterns.origin, &patterns.key, &patterns.text, error.to_string()))?;
    Ok(match mode.parse(content)? {
        ContentMode::All => ContentPolicy::All,
        ContentMode::Metadata => ContentPolicy::Metadata,
        ContentMode::Mask => ContentPolicy::Mask(Arc::new(masks)),
    })
}

fn mask_kinds(text: &str) -> Result<Vec<MaskKind>, String> {
    let known = || MaskKind::ALL.map(MaskKind::as_str).join(", ");
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let kinds = names.map(|name| {
        let kind = MaskKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        kind.ok_or_else(|| format!("`{name}` is no mask; there are {}, and `patterns` for your own", known()))
    });
    kinds.collect()
}

fn export(layers: &Layers, shown: &mut Vec<Shown>) -> Result<Option<ExportSettings>, ConfigError> {
    let url = layers.shown("traces.export.url", shown).parse(collector)?;
    let projects = layers.shown("traces.export.projects", shown).parse(names)?;
    let mut headers = layers.shown(HEADERS, shown).parse(header_list)?;
    for name in layers.names_in(HEADERS) {
        let key = format!("{HEADERS}.{name}");
        let Some(value) = layers.find(&key, &[], true) else { continue };
        shown.push(value.shown(&key));
        let text = expanded(layers, &value)?;
        let header = header(&name, &text);
        headers.push(header.map_err(|remedy| ConfigError::value(&value.origin, &key, "(secret)", remedy))?);
    }
    Ok(url.map(|url| ExportSettings { url, headers, projects }))
}

fn collector(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let mut url = url.ok_or_else(|| "write an address such as \"https://collector.example.org:4318\"".to_owned())?;
    AddressPolicy::operator().check(&url).map_err(|refused| refused.to_string())?;
    if url.path() == "/" {
        url.set_path(OTLP_PATH);
    }
    Ok(Some(url))
}

fn names(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// `NAME=VALUE`, separated by commas, as `OTEL_EXPORTER_OTLP_HEADERS` has them.
fn header_list(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let headers = pairs.map(|pair| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| "write NAME=VALUE, with commas between them".to_owned())?;
        header(name.trim(), value.trim())
    });
    headers.collect()
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = name.parse().map_err(|_| "its name is none of a header; copy it again".to_owned())?;
    let mut value: HeaderValue =
        value.parse().map_err(|_| "its value holds characters that no header takes; copy it again".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A value with each `${NAME}` replaced by that variable of the environment or of `.env`.
fn expanded(layers: &Layers, value: &Value) -> Result<String, ConfigError> {
    let mut out = String::new();
    let mut rest = value.text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        let wrong = |remedy: String| ConfigError::value(&value.origin, &value.key, "(secret)", remedy);
        let (name, behind) = after.split_once('}').ok_or_else(|| wrong("`${` has no `}`".to_owned()))?;
        let (text, _) =
            layers.variable(name).ok_or_else(|| wrong(format!("the variable `{name}` is not set; set it")))?;
        out.push_str(before);
        out.push_str(&text);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
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
        assert!(keep("soon").is_err() && keep("59m").is_err());
    }

    #[test]
    fn projects_differ_from_what_holds_for_the_others() {
        let toml = "[traces]\ncontent = \"mask\"\nmasks = [\"email\"]\npatterns = [\"x{1,2}y\"]\n\n\
                    [[traces.projects]]\nproject = \"shop\"\ncontent = \"metadata\"\n\n\
                    [[traces.projects]]\nproject = \"web\"\nmasks = [\"card\", \"key\"]\n";
        let privacy = load(toml, &[]).unwrap().traces.privacy;
        let ContentPolicy::Mask(masks) = &privacy.default else { panic!("{privacy:?}") };
        assert_eq!(masks.text("a@b.pl xxy 4111111111111111").unwrap(), "[email] [masked] 4111111111111111");
        assert!(matches!(privacy.projects["shop"], ContentPolicy::Metadata));
        let ContentPolicy::Mask(masks) = &privacy.projects["web"] else { panic!("{privacy:?}") };
        assert_eq!(masks.text("a@b.pl xy 4111111111111111").unwrap(), "a@b.pl [masked] [card]");
        let environment = [("PRIVET_TRACES_CONTENT", "mask"), ("PRIVET_TRACES_PATTERNS", "a{1,2}b\nzz")];
        let ContentPolicy::Mask(masks) = load("", &environment).unwrap().traces.privacy.default else { panic!() };
        assert_eq!(masks.text("aab zz +48 600 700 800").unwrap(), "[masked] [masked] [phone]");
        assert!(matches!(load("", &[]).unwrap().traces.privacy.default, ContentPolicy::All));
    }

    #[test]
    fn an_export_keeps_its_headers_secret() {
        let toml = "[traces.export]\nurl = \"https://c.example.org\"\nprojects = [\"shop\"]\n\
                    headers = { Authorization = \"Bearer ${OTLP_TOKEN}\", X-Scope = \"a\" }\n";
        let config = load(toml, &[("OTLP_TOKEN", "canary")]).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        let export = config.traces.export.unwrap();
        assert_eq!(export.url.as_str(), "https://c.example.org/v1/traces");
        assert_eq!(export.projects, ["shop"]);
        let values: Vec<_> = export.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(values, [("authorization", b"Bearer canary".as_slice()), ("x-scope", b"a")]);
        let environment = [
            ("PRIVET_TRACES_EXPORT_URL", "http://127.0.0.1:4318/api/otel"),
            ("PRIVET_TRACES_EXPORT_HEADERS", "Authorization=Basic Y2FuYXJ5, x-a=b"),
        ];
        let config = load("", &environment).unwrap();
        assert!(!format!("{config:?}").contains("Y2FuYXJ5"));
        let export = config.traces.export.unwrap();
        assert_eq!((export.url.path(), export.headers.len()), ("/api/otel", 2));
        assert!(load("", &[]).unwrap().traces.export.is_none());
    }

    #[test]
    fn wrong_settings_of_traces_are_refused_with_their_line_and_what_is_right() {
        for (toml, line, hint) in [
            ("[traces]\ncontent = \"some\"", 2, "write \"all\", \"metadata\" or \"mask\""),
            ("[traces]\nmasks = [\"mail\"]", 2, "`mail` is no mask; there are key, email, iban, card, phone"),
            ("[traces]\n\npatterns = [\"ok\", \"(\"]", 3, "the pattern `(` is none"),
            ("[traces]\npatterns = [\"x*\"]", 2, "matches the empty text"),
            ("[traces]\nkeep = \"5m\"", 2, "an hour or more"),
            ("[[traces.projects]]\ncontent = \"all\"", 1, "project = \"shop\""),
            ("[[traces.projects]]\nproject = \"a\"\ncontant = \"all\"", 3, "did you mean `traces.projects.content`?"),
            ("[[traces.projects]]\nproject = \"a\"\n[[traces.projects]]\nproject = \"a\"", 3, "stands twice"),
            ("[[traces.projects]]\nproject = \"a\"\npatterns = [\"[\"]", 3, "the pattern `[` is none"),
            ("[traces.projects]\nproject = \"a\"", 2, "write [[traces.projects]]"),
            ("[traces.export]\nurl = \"collector\"", 2, "write an address"),
            ("[traces.export]\nurl = \"http://c\"\nheaders = { a = \"${NOT_THERE}\" }", 3, "`NOT_THERE` is not set"),
            ("[traces.export.headers]\n\"a b\" = \"x\"", 2, "none of a header"),
        ] {
            let error = load(toml, &[]).unwrap_err();
            assert!(error.starts_with(&format!("/privet.toml:{line}: ")) && error.contains(hint), "{toml}: {error}");
        }
    }
}
