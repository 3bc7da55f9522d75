//! Embeddings: requests passed on, answers of other dialects written in OpenAI's shape.

mod vectors;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::usage::WireUsage;
use crate::BadRequest;
use crate::canonical::Usage;
use crate::raw_object::{Edits, RawObject};

pub use vectors::{read_vectors, write_request};

/// An embeddings request as it came.
#[derive(Clone, Debug)]
pub struct IncomingEmbeddings {
    object: RawObject,
    /// How many tokens the input is, where it is tokens.
    pub(super) tokens: u64,
    /// The model.
    pub model: String,
    /// The texts; `None` when the input is tokens.
    pub texts: Option<Vec<String>>,
    /// How many dimensions are asked for.
    pub dimensions: Option<u32>,
    /// Whether vectors are asked for as base64 of little-endian 32-bit floats.
    pub base64: bool,
}

impl IncomingEmbeddings {
    pub(super) const fn object(&self) -> &RawObject {
        &self.object
    }

    /// Reads a request.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse(body: Bytes) -> Result<Self, BadRequest> {
        let object = RawObject::parse(body)?;
        let Some(model) = object.decode::<String>("model")? else {
            return Err(BadRequest::at("model", "`model` is missing: name an embedding model as `provider/model`."));
        };
        let format: Option<String> = object.decode("encoding_format")?;
        let base64 = match format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(BadRequest::at("encoding_format", "`encoding_format` must be `float` or `base64`.")),
        };
        let mut tokens = 0;
        let texts = match object.decode::<Value>("input")? {
            Some(Value::String(text)) => Some(vec![text]),
            Some(Value::Array(items)) if items.is_empty() => return Err(wrong_input()),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                Some(items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
            }
            Some(Value::Array(items)) if items.iter().all(|item| item.is_u64() || item.is_array()) => {
                tokens = items.iter().map(|item| item.as_array().map_or(1, Vec::len) as u64).sum();
                None
            }
            _ => return Err(wrong_input()),
        };
        Ok(Self { model, texts, dimensions: object.decode("dimensions")?, base64, object, tokens })
    }

    /// What is embedded, as its JSON.
    #[must_use]
    pub fn input_json(&self) -> Option<&str> {
        std::str::from_utf8(self.object.get("input")?).ok()
    }

    /// The end user, as the application names them.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.object.decode("user").ok().flatten()
    }

    /// The body for a provider of the same dialect.
    #[must_use]
    pub fn forward(&self, model: &str) -> Bytes {
        let mut edits = Edits::default();
        if self.model != model {
            edits.set("model", json!(model).to_string().into_bytes());
        }
        self.object.render(&edits)
    }
}

/// The tokens that an answer in OpenAI's shape says; its vectors stay unread.
#[must_use]
pub fn usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Counted {
        usage: Option<WireUsage>,
    }
    serde_json::from_slice::<Counted>(body).ok()?.usage.and_then(WireUsage::count)
}

fn wrong_input() -> BadRequest {
    BadRequest::at("input", "`input` must be a text, or an array of texts or tokens that is not empty.")
}

/// Writes vectors in OpenAI's shape.
#[must_use]
pub fn encode_response(model: &str, vectors: &[Vec<f32>], base64: bool, tokens: u64) -> Bytes {
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(BASE64_STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Bytes::from(json!({"object": "list", "data": data, "model": model, "usage": usage}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_changes_on_the_way() {
        let request =
            IncomingEmbeddings::parse(Bytes::from_static(b"{\"model\":\"a/b\", \"input\":[\"x\"],\"f\":1.0}")).unwrap();
        assert_eq!(request.forward("b"), "{\"model\":\"b\",\"input\":[\"x\"],\"f\":1.0}");
        assert_eq!(request.texts, Some(vec!["x".to_owned()]));
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, param) in [
            ("{\"input\":\"x\"}", "model"),
            ("{\"model\":\"m\"}", "input"),
            ("{\"model\":\"m\",\"input\":[]}", "input"),
            ("{\"model\":\"m\",\"input\":[1.5]}", "input"),
            ("{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"hex\"}", "encoding_format"),
        ] {
            let error = IncomingEmbeddings::parse(Bytes::from_static(body.as_bytes())).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn base64_is_little_endian_floats() {
        let body: Value = serde_json::from_slice(&encode_response("m", &[vec![1.0, -2.0]], true, 3)).unwrap();
        assert_eq!(body["data"][0]["embedding"], "AACAPwAAAMA=");
    }
}
