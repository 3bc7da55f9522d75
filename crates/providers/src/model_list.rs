//! The lists of models of the three dialects.

use privet_dialects::UpstreamFault;
use serde::Deserialize;

/// OpenAI and Anthropic say `data[].id`, Gemini `models[].name` with `models/` in front.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    data: Vec<ById>,
    #[serde(default)]
    models: Vec<ByName>,
}

#[derive(Deserialize)]
struct ById {
    id: String,
}

#[derive(Deserialize)]
struct ByName {
    name: String,
}

pub(crate) fn decode(body: &[u8]) -> Result<Vec<String>, UpstreamFault> {
    let list: List = serde_json::from_slice(body).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
    let by_name = list.models.into_iter().map(|model| match model.name.strip_prefix("models/") {
        Some(name) => name.to_owned(),
        None => model.name,
    });
    Ok(list.data.into_iter().map(|model| model.id).chain(by_name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_shapes_are_read() {
        let openai = br#"{"object":"list","data":[{"id":"gpt-4o","object":"model"}]}"#;
        let anthropic = br#"{"data":[{"type":"model","id":"claude-sonnet-4-5"}],"has_more":false}"#;
        let gemini = br#"{"models":[{"name":"models/gemini-2.5-flash"}]}"#;
        assert_eq!(decode(openai).unwrap(), ["gpt-4o"]);
        assert_eq!(decode(anthropic).unwrap(), ["claude-sonnet-4-5"]);
        assert_eq!(decode(gemini).unwrap(), ["gemini-2.5-flash"]);
        assert!(decode(b"<html>").is_err());
    }
}
