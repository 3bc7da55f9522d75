//! The prompt that a request names: by the header `x-privet-prompt`, or else by `metadata.prompt` of its body.

use axum::http::{HeaderMap, HeaderName};
use privet_dialects::incoming::Incoming;
use privet_domain::prompt::Selector;
use privet_engine::completion::NamedPrompt;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{ApiError, shortened};

/// Names the prompt of a request.
pub(crate) const PROMPT_HEADER: HeaderName = HeaderName::from_static("x-privet-prompt");
const METADATA: &str = "metadata.prompt";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: String,
    label: Option<String>,
    version: Option<Value>,
    variables: Option<Map<String, Value>>,
    placeholders: Option<Map<String, Value>>,
}

/// The prompt of a request, if it names one.
pub(crate) fn read(headers: &HeaderMap, incoming: &Incoming) -> Result<Option<NamedPrompt>, ApiError> {
    read_named(headers, || incoming.metadata().remove("prompt"))
}

/// The prompt of a request, if it names one by the header or in this member of its body.
pub(crate) fn read_named(
    headers: &HeaderMap,
    in_body: impl FnOnce() -> Option<Value>,
) -> Result<Option<NamedPrompt>, ApiError> {
    if let Some(value) = headers.get(PROMPT_HEADER) {
        let text = value
            .to_str()
            .map_err(|_| wrong(PROMPT_HEADER.as_str(), "it is no ASCII text; write JSON with \\u escapes"));
        return read_text(text?, PROMPT_HEADER.as_str()).map(Some);
    }
    match in_body() {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => read_text(&text, METADATA).map(Some),
        Some(value) => read_json(value, METADATA).map(Some),
    }
}

/// `NAME`, `NAME@LABEL`, `NAME@VERSION`, or JSON.
fn read_text(text: &str, place: &str) -> Result<NamedPrompt, ApiError> {
    let text = text.trim();
    if text.starts_with('{') {
        let value = serde_json::from_str(text).map_err(|error| wrong(place, error))?;
        return read_json(value, place);
    }
    let (name, which) = text.rsplit_once('@').map_or((text, None), |(name, which)| (name, Some(which)));
    let version = which.and_then(|which| which.parse::<u32>().ok());
    let label = which.filter(|_| version.is_none());
    let selector = Selector::read(version, label).map_err(|error| wrong(place, error))?;
    Ok(NamedPrompt { name: name.to_owned(), selector, variables: Map::new(), placeholders: Map::new() })
}

fn read_json(value: Value, place: &str) -> Result<NamedPrompt, ApiError> {
    let wish: Wish = serde_json::from_value(value).map_err(|error| wrong(place, error))?;
    let version = match &wish.version {
        None | Some(Value::Null) => None,
        Some(value) => Some(read_version(value).ok_or_else(|| wrong(place, "`version` is a whole number"))?),
    };
    let selector = Selector::read(version, wish.label.as_deref()).map_err(|error| wrong(place, error))?;
    Ok(NamedPrompt {
        name: wish.name,
        selector,
        variables: wish.variables.unwrap_or_default(),
        placeholders: wish.placeholders.unwrap_or_default(),
    })
}

/// A number, or its digits in a string.
fn read_version(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|version| version.try_into().ok()).or_else(|| value.as_str()?.parse().ok())
}

fn wrong(place: &str, reason: impl ToString) -> ApiError {
    let reason = shortened(&reason.to_string());
    let form = r#"Write NAME, NAME@LABEL, NAME@VERSION, or {"name": …, "label" or "version": …, "variables": {…}}"#;
    ApiError::bad_request(format!("`{place}` names no prompt: {reason}. {form}.")).at(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_named_in_short_or_in_json() {
        for (text, name, which) in [
            ("Answer", "Answer", "label 'production'"),
            ("a/b@staging", "a/b", "label 'staging'"),
            ("a@b@3", "a@b", "version 3"),
            (r#"{"name":"x","version":"2"}"#, "x", "version 2"),
            (r#"{"name":"x","label":"7"}"#, "x", "label '7'"),
        ] {
            let wish = read_text(text, "there").unwrap();
            assert_eq!((wish.name.as_str(), wish.selector.to_string().as_str()), (name, which));
        }
        for wrong in
            ["x@", "x@A B", "{", r#"{"label":"x"}"#, r#"{"name":"x","label":"a","version":1}"#, r#"{"name":"x","v":1}"#]
        {
            assert!(read_text(wrong, "there").unwrap_err().message.contains("`there`"), "{wrong}");
        }
    }
}
