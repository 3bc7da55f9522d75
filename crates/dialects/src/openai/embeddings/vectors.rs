//! Embeddings that Privet itself asks for: the request of some texts, and the vectors of the answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::UpstreamFault;
use crate::openai::error::reported;

/// Writes a request in OpenAI's dialect. `dimensions` is sent only where the model is to give fewer than its own: servers whose
/// model cannot be shortened refuse it.
#[must_use]
pub fn write_request(model: &str, texts: &[&str], dimensions: Option<u32>) -> Bytes {
    #[derive(Serialize)]
    struct Wire<'a> {
        model: &'a str,
        input: &'a [&'a str],
        #[serde(skip_serializing_if = "Option::is_none")]
        dimensions: Option<u32>,
    }
    // Strings and numbers can always be written.
    serde_json::to_vec(&Wire { model, input: texts, dimensions }).map(Bytes::from).unwrap_or_default()
}

/// Reads the vectors of an answer in OpenAI's dialect, in the order of the texts.
///
/// # Errors
/// When the answer reports an error, or does not hold exactly one vector for each of the `count` texts.
pub fn read_vectors(body: &[u8], count: usize) -> Result<Vec<Vec<f32>>, UpstreamFault> {
    let wire: Wire = match serde_json::from_slice(body) {
        Ok(wire) => wire,
        Err(error) => return Err(fault_of(body, error.to_string())),
    };
    let Some(data) = wire.data.filter(|_| wire.error.is_none()) else {
        return Err(fault_of(body, "there is no `data`".to_owned()));
    };
    let found = data.len();
    let wrong = |reason: String| Err(UpstreamFault::Malformed(reason));
    if found != count {
        return wrong(format!("it holds {found} embeddings for {count} texts"));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    for (at, one) in data.into_iter().enumerate() {
        let index = one.index.unwrap_or(at);
        let Some(place) = vectors.get_mut(index).filter(|place| place.is_none()) else {
            return wrong(format!("its embedding {index} comes twice or belongs to no text"));
        };
        *place = Some(one.embedding.read()?);
    }
    Ok(vectors.into_iter().flatten().collect())
}

/// Some servers report an error with status 200.
fn fault_of(body: &[u8], reason: String) -> UpstreamFault {
    match serde_json::from_slice::<Value>(body).ok().as_ref().and_then(reported) {
        Some((status, error)) => {
            UpstreamFault::Reported { status, kind: error.kind.unwrap_or_default(), message: error.message }
        }
        None => UpstreamFault::Malformed(reason),
    }
}

#[derive(Deserialize)]
struct Wire {
    data: Option<Vec<One>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct One {
    index: Option<usize>,
    embedding: Numbers,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f32>),
    Base64(String),
}

impl Numbers {
    fn read(self) -> Result<Vec<f32>, UpstreamFault> {
        let text = match self {
            Self::Floats(floats) => return Ok(floats),
            Self::Base64(text) => text,
        };
        let bytes = BASE64_STANDARD.decode(text).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(UpstreamFault::Malformed("an embedding is no list of 32-bit floats".to_owned()));
        }
        Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::embeddings::{IncomingEmbeddings, encode_response};

    #[test]
    fn a_request_is_one_that_privet_reads() {
        let incoming = IncomingEmbeddings::parse(write_request("openai/m", &["a\"b", "ż"], Some(256))).unwrap();
        assert_eq!(incoming.texts, Some(vec!["a\"b".to_owned(), "ż".to_owned()]));
        assert_eq!((incoming.model.as_str(), incoming.dimensions), ("openai/m", Some(256)));
        assert_eq!(write_request("m", &["x"], None), "{\"model\":\"m\",\"input\":[\"x\"]}");
    }

    #[test]
    fn both_forms_of_vectors_are_read_as_they_were_written() {
        let vectors = vec![vec![0.1_f32, -2.5e-7], vec![f32::MIN_POSITIVE, 3.0]];
        for base64 in [false, true] {
            assert_eq!(read_vectors(&encode_response("m", &vectors, base64, 1), 2).unwrap(), vectors);
        }
    }

    #[test]
    fn vectors_are_put_in_the_order_of_the_texts() {
        let body = br#"{"data":[{"index":1,"embedding":[1]},{"index":0,"embedding":[2]}]}"#;
        assert_eq!(read_vectors(body, 2).unwrap(), [[2.0], [1.0]]);
    }

    #[test]
    fn an_answer_to_other_texts_is_refused() {
        for body in [
            r#"{"data":[{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":7,"embedding":[2]}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":"AAA="}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":"%"}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":[null]}]}"#,
            r#"{"object":"list"}"#,
            "<html>",
        ] {
            assert!(matches!(read_vectors(body.as_bytes(), 2), Err(UpstreamFault::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn an_error_inside_a_200_is_told() {
        let body = br#"{"error":{"message":"too long","code":413}}"#;
        let fault = read_vectors(body, 1).unwrap_err();
        assert!(matches!(fault, UpstreamFault::Reported { status: Some(413), message, .. } if message == "too long"));
    }
}
