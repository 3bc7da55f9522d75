//! Requests that pass as they are to providers of OpenAI's dialect, and come back as they are: pictures and moderations
//! (<https://platform.openai.com/docs/api-reference/images>, <https://platform.openai.com/docs/api-reference/moderations>).
//!
//! What is read of them is what money and limits must know. Only the model's name changes on the way.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::error::reported;
use crate::canonical::Usage;
use crate::raw_object::{Edits, RawObject};
use crate::request_size::{RequestSize, TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST};
use crate::unbounded_field::{Suspects, UnboundedField};
use crate::{BadRequest, UpstreamFault};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Pictures from a text.
    Images,
    /// Whether a text or a picture is harmful.
    Moderations,
}

impl Endpoint {
    /// Its path under the provider's base URL.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Images => "/images/generations",
            Self::Moderations => "/moderations",
        }
    }

    /// What a provider lacks that has it not.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Images => "pictures",
            Self::Moderations => "moderations",
        }
    }

    /// The member that its answers have.
    const fn answer(self) -> &'static str {
        match self {
            Self::Images => "data",
            Self::Moderations => "results",
        }
    }
}

/// The model of a moderation that names none, as in OpenAI's API.
const MODERATION: &str = "openai/omni-moderation-latest";
/// More pictures than any provider makes at once.
const PICTURES_MAX: u32 = 128;

/// Other models in place of the one that is named, by names that servers of this dialect document.
const MODELS: [&str; 5] = ["models", "route", "preset", "fallbacks", "extra_body"];
const SIZES: [&str; 0] = [];
const FEES: [&str; 0] = [];
const COUNTED: [&str; 5] = ["n", "prompt", "input", "size", "quality"];
const FREE: [&str; 3] = ["prompt", "input", "user"];
const SUSPECTS: Suspects = Suspects { models: &MODELS, sizes: &SIZES, fees: &FEES, counted: &COUNTED, free: &FREE };

/// Members that no model sees, or that are counted in another way.
const NOT_TEXT: [&str; 3] = ["model", "user", "input"];

/// A request as it came.
#[derive(Clone, Debug)]
pub struct IncomingPassed {
    object: RawObject,
    /// What is asked for.
    pub endpoint: Endpoint,
    /// The model.
    pub model: String,
    /// How many pictures; 0 for a moderation.
    pub pictures: u32,
    /// Quality and size of the pictures, as `QUALITY/SIZE`, where both are named.
    pub grade: Option<String>,
}

impl IncomingPassed {
    /// Reads a request. Only what Privet acts on is checked; the rest is the provider's to judge.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn parse(body: Bytes, endpoint: Endpoint) -> Result<Self, BadRequest> {
        let object = RawObject::parse(body)?;
        let model = object.decode::<String>("model")?;
        if endpoint == Endpoint::Moderations {
            if object.get("input").is_none_or(|input| input == b"null") {
                return Err(BadRequest::at("input", "`input` is missing: give a text, or texts and pictures."));
            }
            let model = model.unwrap_or_else(|| MODERATION.to_owned());
            return Ok(Self { object, endpoint, model, pictures: 0, grade: None });
        }
        let Some(model) = model else {
            return Err(BadRequest::at("model", "`model` is missing: name a model of pictures as `provider/model`."));
        };
        if object.decode::<String>("prompt")?.is_none() {
            return Err(BadRequest::at("prompt", "`prompt` is missing: describe the picture."));
        }
        if object.decode::<bool>("stream")?.unwrap_or(false) {
            return Err(BadRequest::at("stream", "Pictures are not streamed here; leave `stream` out."));
        }
        let pictures = object.decode::<u32>("n")?.unwrap_or(1);
        if !(1..=PICTURES_MAX).contains(&pictures) {
            return Err(BadRequest::at("n", format!("`n` must be 1 to {PICTURES_MAX}.")));
        }
        let word = |name: &str| Ok::<_, BadRequest>(object.decode::<String>(name)?.filter(|word| word != "auto"));
        let grade = word("quality")?.zip(word("size")?).map(|(quality, size)| format!("{quality}/{size}"));
        Ok(Self { endpoint, model, pictures, grade, object })
    }

    /// What is asked, as its JSON, without the bytes of pictures.
    #[must_use]
    pub fn input_json(&self) -> Option<&str> {
        let json = std::str::from_utf8(self.object.get("prompt").or_else(|| self.object.get("input"))?).ok()?;
        // A list may hold pictures.
        json.starts_with('"').then_some(json)
    }

    /// The end user, as the application names them.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.object.decode("user").ok().flatten()
    }

    /// The body for the provider: its own bytes, but for the model.
    #[must_use]
    pub fn forward(&self, model: &str) -> Bytes {
        let mut edits = Edits::default();
        let named: Option<String> = self.object.decode("model").ok().flatten();
        if named.is_some_and(|named| named != model) {
            edits.set("model", json!(model).to_string().into_bytes());
        }
        self.object.render(&edits)
    }

    /// The most that the request can be counted as.
    #[must_use]
    pub fn size(&self) -> RequestSize {
        let draws = self.endpoint == Endpoint::Images;
        let mut size = RequestSize { text_tokens: TOKENS_PER_REQUEST, draws, ..RequestSize::default() };
        for key in self.object.keys().filter(|key| !NOT_TEXT.contains(key)) {
            let json = self.object.get(key).unwrap_or_default();
            if matches!(json.first(), Some(b'"' | b'[' | b'{')) {
                size.text(json.len());
            }
        }
        if let Ok(Some(input)) = self.object.decode::<Value>("input") {
            count(&input, &mut size);
        }
        size
    }

    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        SUSPECTS.find(&self.object)
    }

    /// Checks that an answer is one, and none of the errors that some servers put in a 200; gives the tokens that it says.
    ///
    /// # Errors
    /// When it is none.
    pub fn check(&self, body: &[u8]) -> Result<Option<Usage>, UpstreamFault> {
        let malformed = |reason: String| UpstreamFault::Malformed(reason);
        let text = std::str::from_utf8(body).map_err(|error| malformed(error.to_string()))?;
        let Head { data, results, error, usage } =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let answer = match self.endpoint {
            Endpoint::Images => data,
            Endpoint::Moderations => results,
        };
        if answer.is_some() && error.is_none() {
            return Ok(usage.and_then(WireUsage::count));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        match reported(&value) {
            Some((status, error)) => {
                Err(UpstreamFault::Reported { status, kind: error.kind.unwrap_or_default(), message: error.message })
            }
            None => Err(malformed(format!("there is no `{}`", self.endpoint.answer()))),
        }
    }
}

/// What is moderated: a text, texts, or parts of texts and pictures.
fn count(input: &Value, size: &mut RequestSize) {
    match input {
        Value::String(text) => {
            size.add(TOKENS_PER_MESSAGE);
            size.text(text.len());
        }
        Value::Array(items) => items.iter().for_each(|item| count(item, size)),
        Value::Object(part) if part.contains_key("image_url") => size.images += 1,
        Value::Object(part) => size.text(part.iter().map(|(key, value)| key.len() + value.to_string().len()).sum()),
        _ => size.unknown_parts += 1,
    }
}

/// The head of an answer; pictures stay unread.
#[derive(Deserialize)]
struct Head {
    data: Option<Vec<IgnoredAny>>,
    results: Option<Vec<IgnoredAny>>,
    error: Option<IgnoredAny>,
    usage: Option<WireUsage>,
}

/// The tokens of pictures, by names of their own.
#[derive(Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    image_tokens: Option<u64>,
    text_tokens: Option<u64>,
}

impl WireUsage {
    /// The count; `None` where it counts no output.
    fn count(self) -> Option<Usage> {
        let output = self.output_tokens?;
        let of_text = self.output_tokens_details.and_then(|details| details.text_tokens).unwrap_or(0);
        Some(Usage {
            input: self.input_tokens?,
            image_input: self.input_tokens_details.and_then(|details| details.image_tokens).unwrap_or(0),
            output,
            image_output: output.saturating_sub(of_text),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(more: &str) -> Result<IncomingPassed, BadRequest> {
        let body = format!("{{\"model\":\"a/b\", \"prompt\":\"a cat\"{more}}}");
        IncomingPassed::parse(body.into(), Endpoint::Images)
    }

    fn moderation(body: &str) -> Result<IncomingPassed, BadRequest> {
        IncomingPassed::parse(body.to_owned().into(), Endpoint::Moderations)
    }

    #[test]
    fn only_the_model_changes_on_the_way() {
        let request = images(",\"future\":1.50").unwrap();
        assert_eq!(request.forward("b"), "{\"model\":\"b\",\"prompt\":\"a cat\",\"future\":1.50}");
        let unnamed = moderation("{ \"input\":\"x\"}").unwrap();
        assert_eq!((unnamed.model.as_str(), unnamed.forward("omni")), (MODERATION, Bytes::from("{ \"input\":\"x\"}")));
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (more, param) in [
            (",\"n\":0", "n"),
            (",\"n\":129", "n"),
            (",\"n\":\"2\"", "n"),
            (",\"stream\":true", "stream"),
            (",\"size\":5", "size"),
        ] {
            assert_eq!(images(more).unwrap_err().param.as_deref(), Some(param), "{more}");
        }
        for (body, endpoint, param) in [
            ("{\"prompt\":\"x\"}", Endpoint::Images, "model"),
            ("{\"model\":\"m\"}", Endpoint::Images, "prompt"),
            ("{\"model\":\"m\",\"prompt\":7}", Endpoint::Images, "prompt"),
            ("{\"model\":\"m\"}", Endpoint::Moderations, "input"),
        ] {
            let error = IncomingPassed::parse(body.into(), endpoint).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn what_money_must_know_is_read() {
        let request = images(",\"n\":3,\"quality\":\"high\",\"size\":\"1024x1024\"").unwrap();
        assert_eq!((request.pictures, request.grade.as_deref()), (3, Some("high/1024x1024")));
        assert!(request.size().draws && request.size().text_tokens >= 7);
        assert_eq!(images(",\"quality\":\"auto\",\"size\":\"1024x1024\"").unwrap().grade, None);
        for more in [",\"models\":[\"x\"]", ",\"N\":9", ",\"extra_body\":{}"] {
            assert!(images(more).unwrap().unbounded_field().is_some(), "{more}");
        }
        assert_eq!(images(",\"n\":2,\"background\":\"auto\"").unwrap().unbounded_field(), None);
        let data = "A".repeat(9_000);
        let picture = format!("{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"data:image/png;base64,{data}\"}}}}");
        let size =
            moderation(&format!("{{\"input\":[{{\"type\":\"text\",\"text\":\"x\"}},{picture}]}}")).unwrap().size();
        assert!(size.images == 1 && size.unknown_parts == 0 && size.text_tokens < 100, "{size:?}");
        let size = moderation("{\"input\":[\"one\",\"two\"]}").unwrap().size();
        assert!(size.text_tokens >= 6 && size.images == 0, "{size:?}");
    }

    #[test]
    fn an_answer_is_checked_and_its_tokens_are_read() {
        let request = images("").unwrap();
        let counted = r#"{"data":[{"b64_json":"AA"}],"usage":{"input_tokens":10,"output_tokens":50,"total_tokens":60,"input_tokens_details":{"text_tokens":8,"image_tokens":2}}}"#;
        let usage = request.check(counted.as_bytes()).unwrap().unwrap();
        assert_eq!((usage.input, usage.image_input, usage.output, usage.image_output), (10, 2, 50, 50));
        assert_eq!(request.check(br#"{"created":1,"data":[]}"#), Ok(None));
        for body in ["", "<html>", "{}", r#"{"results":[]}"#] {
            assert!(matches!(request.check(body.as_bytes()), Err(UpstreamFault::Malformed(_))), "{body}");
        }
        let error = request.check(br#"{"error":{"message":"no","type":"t"}}"#).unwrap_err();
        assert!(matches!(error, UpstreamFault::Reported { .. }), "{error:?}");
        assert_eq!(moderation("{\"input\":\"x\"}").unwrap().check(br#"{"id":"m","results":[{}]}"#), Ok(None));
    }
}
