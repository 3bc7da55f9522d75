//! Embeddings: `batchEmbedContents`, asked and answered in OpenAI's shape.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bare_name, wire};
use crate::openai::embeddings::{IncomingEmbeddings, encode_response};
use crate::{Unsupported, UpstreamFault};

/// How many bytes of text a token has about, where Gemini does not say how many tokens it read.
const TOKEN_BYTES: usize = 4;

/// Writes a request for `model`, the provider's own name.
///
/// # Errors
/// When the input is tokens: they are OpenAI's, and mean nothing to Gemini.
pub fn encode(incoming: &IncomingEmbeddings, model: &str) -> Result<Bytes, Unsupported> {
    let Some(texts) = &incoming.texts else {
        return Err(Unsupported::new("input", "Gemini embeds texts, not tokens; send `input` as text."));
    };
    let name = format!("models/{}", bare_name(model));
    let requests = texts.iter().map(|text| {
        let mut request = json!({"model": name, "content": {"parts": [{"text": text}]}});
        if let (Some(dimensions), Some(fields)) = (incoming.dimensions, request.as_object_mut()) {
            fields.insert("outputDimensionality".to_owned(), json!(dimensions));
        }
        request
    });
    let requests: Vec<Value> = requests.collect();
    Ok(Bytes::from(json!({"requests": requests}).to_string()))
}

/// Reads an answer and writes it in OpenAI's shape.
///
/// Tokens that Gemini does not count are estimated: OpenAI's shape demands a number, and 0 would be wrong for sure.
///
/// # Errors
/// When the body is no answer to these texts, or reports an error.
pub fn decode(body: &[u8], incoming: &IncomingEmbeddings, model: &str) -> Result<Bytes, UpstreamFault> {
    wire::parse(body)?;
    let wire: Wire = serde_json::from_slice(body).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
    let texts = incoming.texts.as_deref().unwrap_or_default();
    let vectors: Vec<Vec<f32>> = wire.embeddings.into_iter().map(|embedding| embedding.values).collect();
    if vectors.len() != texts.len() {
        let message = format!("it holds {} embeddings for {} texts", vectors.len(), texts.len());
        return Err(UpstreamFault::Malformed(message));
    }
    let counted = wire.usage_metadata.and_then(|usage| usage.prompt_token_count);
    let estimated = || texts.iter().map(|text| text.len().div_ceil(TOKEN_BYTES) as u64).sum();
    Ok(encode_response(model, &vectors, incoming.base64, counted.unwrap_or_else(estimated)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    embeddings: Vec<Embedding>,
    usage_metadata: Option<Usage>,
}

#[derive(Deserialize)]
struct Embedding {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: Option<u64>,
}
