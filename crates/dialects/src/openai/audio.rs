//! Speech from text, and text from recordings, which pass as they are to providers of OpenAI's dialect
//! (<https://platform.openai.com/docs/api-reference/audio>).
//!
//! What is read of them is what money and limits must know. Only the model's name changes on the way. A form is read where it
//! comes in; here are its parts.

mod answer;
mod form;
mod sound;

use bytes::Bytes;
use serde_json::json;

pub use answer::{AnswerReader, Counted};
pub use form::{FormPart, WrittenForm};

use crate::BadRequest;
use crate::raw_object::{Edits, RawObject};
use crate::request_size::{RequestSize, TOKENS_PER_REQUEST};
use crate::unbounded_field::{Escape, Suspects, UnboundedField, is_one_of};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioEndpoint {
    /// A text, spoken.
    Speech,
    /// The words of a recording.
    Transcription,
    /// The words of a recording, in English.
    Translation,
}

impl AudioEndpoint {
    /// Its path under the provider's base URL.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Speech => "/audio/speech",
            Self::Transcription => "/audio/transcriptions",
            Self::Translation => "/audio/translations",
        }
    }

    /// What a provider lacks that has it not.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Speech => "speech",
            Self::Transcription => "transcriptions",
            Self::Translation => "translations of recordings",
        }
    }
}

/// By what the price of a model counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PricedBy {
    /// Tokens.
    Tokens,
    /// Characters of a text, or seconds of a recording.
    Units,
}

/// Tokens of sound for a character, at most: more than half a second of speech at the 20.8 tokens a second that follow from
/// OpenAI's prices of `gpt-4o-mini-tts` ($12.00 a million, $0.015 a minute). A text takes 1.3 a character, and a figure or a sign
/// that is read out as a word stays below this.
const SPEECH_TOKENS_PER_CHARACTER: u64 = 16;
/// On top, for silence.
const SPEECH_TOKENS_MORE: u64 = 1_000;
/// Tokens of sound in a second, at most (<https://ai.google.dev/gemini-api/docs/audio>; OpenAI counts 10).
const SOUND_TOKENS_PER_SECOND: u64 = 32;
/// Tokens of a transcript on top of one for each token of sound; people say three or four a second.
const TRANSCRIPT_TOKENS_MORE: u64 = 1_000;

/// Other models in place of the one that is named, by names that servers of this dialect document.
const MODELS: [&str; 5] = ["models", "route", "preset", "fallbacks", "extra_body"];
/// Recordings beside the one that is counted.
const SIZES: [&str; 2] = ["known_speaker_references", "known_speaker_references[]"];
const FEES: [&str; 0] = [];
const COUNTED: [&str; 4] = ["input", "instructions", "prompt", "file"];
const FREE: [&str; 3] = ["input", "instructions", "voice"];
const SUSPECTS: Suspects = Suspects { models: &MODELS, sizes: &SIZES, fees: &FEES, counted: &COUNTED, free: &FREE };

/// A request as it came.
#[derive(Clone, Debug)]
pub struct IncomingAudio {
    /// What is asked for.
    pub endpoint: AudioEndpoint,
    /// The model.
    pub model: String,
    asked: Asked,
}

#[derive(Clone, Debug)]
enum Asked {
    Speech { object: RawObject, characters: u64 },
    Recording { parts: Vec<FormPart>, seconds_max: u64 },
}

impl IncomingAudio {
    /// Reads a request for speech. Only what Privet acts on is checked; the rest is the provider's to judge.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn speech(body: Bytes) -> Result<Self, BadRequest> {
        let object = RawObject::parse(body)?;
        let Some(model) = object.decode::<String>("model")? else {
            return Err(BadRequest::at("model", "`model` is missing: name a model of speech as `provider/model`."));
        };
        let Some(input) = object.decode::<String>("input")? else {
            return Err(BadRequest::at("input", "`input` is missing: give the text that is to be spoken."));
        };
        let characters = input.chars().count() as u64;
        Ok(Self { endpoint: AudioEndpoint::Speech, model, asked: Asked::Speech { object, characters } })
    }

    /// Reads a request with a recording, from the parts of its form.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn recording(endpoint: AudioEndpoint, parts: Vec<FormPart>) -> Result<Self, BadRequest> {
        let only = |name: &str, missing: &str| {
            let mut named = parts.iter().filter(|part| part.name == name);
            match (named.next(), named.next()) {
                (Some(part), None) => Ok(part),
                (None, _) => Err(BadRequest::at(name, format!("`{name}` is missing: {missing}"))),
                (Some(_), Some(_)) => Err(BadRequest::at(name, format!("`{name}` stands twice; send it once."))),
            }
        };
        let model = only("model", "name a model of transcriptions as `provider/model`.")?;
        let model = std::str::from_utf8(&model.bytes).map(str::to_owned);
        let model = model.map_err(|_| BadRequest::at("model", "`model` is no text."))?;
        let file = only("file", "send the recording.")?;
        if file.bytes.is_empty() {
            return Err(BadRequest::at("file", "`file` is empty: send the recording."));
        }
        let seconds_max = sound::seconds_max(&file.bytes);
        Ok(Self { endpoint, model, asked: Asked::Recording { parts, seconds_max } })
    }

    /// Characters of the text that is spoken; `None` of a recording.
    #[must_use]
    pub const fn characters(&self) -> Option<u64> {
        match &self.asked {
            Asked::Speech { characters, .. } => Some(*characters),
            Asked::Recording { .. } => None,
        }
    }

    /// What is asked in words, as its JSON: the text, or the hints to a recording.
    #[must_use]
    pub fn input_json(&self) -> Option<String> {
        match &self.asked {
            Asked::Speech { object, .. } => {
                object.decode::<String>("input").ok()?.map(|input| json!(input).to_string())
            }
            Asked::Recording { parts, .. } => {
                let prompt = parts.iter().find(|part| part.name == "prompt")?;
                Some(json!(String::from_utf8_lossy(&prompt.bytes)).to_string())
            }
        }
    }

    /// The body for the provider, and its content type. `boundary` parts a form, and is one that nobody can have foreseen.
    #[must_use]
    pub fn forward(&self, model: &str, boundary: &str) -> WrittenForm {
        match &self.asked {
            Asked::Speech { object, .. } => {
                let mut edits = Edits::default();
                if self.model != model {
                    edits.set("model", json!(model).to_string().into_bytes());
                }
                WrittenForm { body: object.render(&edits), content_type: "application/json".to_owned() }
            }
            Asked::Recording { parts, .. } => form::write(parts, model, boundary),
        }
    }

    /// The most that the request can be counted as.
    #[must_use]
    pub fn size(&self, priced_by: PricedBy) -> RequestSize {
        let mut size = RequestSize::default();
        match (&self.asked, priced_by) {
            (Asked::Speech { characters, .. }, PricedBy::Units) => size.add(*characters),
            (Asked::Recording { seconds_max, .. }, PricedBy::Units) => size.audio_tokens = *seconds_max,
            (Asked::Speech { object, .. }, PricedBy::Tokens) => {
                size.add(TOKENS_PER_REQUEST);
                object.keys().filter(|key| *key != "model").for_each(|key| {
                    size.text(object.get(key).unwrap_or_default().len());
                });
                size.speaks = true;
            }
            (Asked::Recording { parts, seconds_max }, PricedBy::Tokens) => {
                size.add(TOKENS_PER_REQUEST);
                let texts = parts.iter().filter(|part| !["model", "file"].contains(&part.name.as_str()));
                texts.for_each(|part| size.text(part.bytes.len()));
                size.audio_tokens = seconds_max.saturating_mul(SOUND_TOKENS_PER_SECOND);
            }
        }
        size
    }

    /// The most output tokens that the answer can have, where it is priced by them.
    #[must_use]
    pub const fn output_tokens_max(&self) -> u64 {
        match &self.asked {
            Asked::Speech { characters, .. } => {
                characters.saturating_mul(SPEECH_TOKENS_PER_CHARACTER).saturating_add(SPEECH_TOKENS_MORE)
            }
            Asked::Recording { seconds_max, .. } => {
                seconds_max.saturating_mul(SOUND_TOKENS_PER_SECOND).saturating_add(TRANSCRIPT_TOKENS_MORE)
            }
        }
    }

    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        let parts = match &self.asked {
            Asked::Speech { object, .. } => return SUSPECTS.find(object),
            Asked::Recording { parts, .. } => parts,
        };
        parts.iter().map(|part| part.name.as_str()).find_map(|name| {
            let escapes = if is_one_of(&MODELS, name) || (name != "model" && name.eq_ignore_ascii_case("model")) {
                Escape::Model
            } else if is_one_of(&SIZES, name) || (!COUNTED.contains(&name) && is_one_of(&COUNTED, name)) {
                Escape::Size
            } else {
                return None;
            };
            Some(UnboundedField { name: name.to_owned(), escapes })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, bytes: &'static [u8]) -> FormPart {
        FormPart { name: name.to_owned(), file_name: None, headers: Vec::new(), bytes: bytes.into() }
    }

    fn recording(parts: Vec<FormPart>) -> Result<IncomingAudio, BadRequest> {
        IncomingAudio::recording(AudioEndpoint::Transcription, parts)
    }

    #[test]
    fn of_speech_only_the_model_changes_on_the_way() {
        let body = "{\"model\":\"openai/tts-1\", \"input\":\"h\\u00e9\", \"future\":1.50}";
        let request = IncomingAudio::speech(body.into()).unwrap();
        assert_eq!(request.forward("tts-1", "b").body, "{\"model\":\"tts-1\",\"input\":\"h\\u00e9\",\"future\":1.50}");
        assert_eq!((request.characters(), request.input_json().as_deref()), (Some(2), Some("\"hé\"")));
        assert_eq!(request.size(PricedBy::Units).text_tokens, 2);
        let by_tokens = request.size(PricedBy::Tokens);
        assert!(by_tokens.text_tokens >= 10 && by_tokens.speaks && request.output_tokens_max() == 1_032);
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, param) in [
            ("{\"input\":\"x\"}", "model"),
            ("{\"model\":\"m\"}", "input"),
            ("{\"model\":\"m\",\"input\":[\"x\"]}", "input"),
        ] {
            assert_eq!(IncomingAudio::speech(body.into()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        for (parts, param) in [
            (vec![part("file", b"x")], "model"),
            (vec![part("model", b"m")], "file"),
            (vec![part("model", b"m"), part("file", b"")], "file"),
            (vec![part("model", b"m"), part("file", b"x"), part("model", b"n")], "model"),
            (vec![part("model", b"m"), part("file", b"x"), part("file", b"y")], "file"),
            (vec![part("model", b"\xff"), part("file", b"x")], "model"),
        ] {
            assert_eq!(recording(parts).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn what_money_must_know_of_a_recording_is_read() {
        let request =
            recording(vec![part("model", b"a/b"), part("prompt", b"names"), part("file", &[0; 2_400])]).unwrap();
        assert_eq!((request.model.as_str(), request.size(PricedBy::Units).audio_tokens), ("a/b", 101));
        let by_tokens = request.size(PricedBy::Tokens);
        assert_eq!((by_tokens.audio_tokens, by_tokens.text_tokens), (3_232, TOKENS_PER_REQUEST + 5));
        assert_eq!(request.unbounded_field(), None);
        for name in ["Model", "models", "File", "known_speaker_references[]"] {
            let request = recording(vec![part("model", b"m"), part("file", b"x"), part(name, b"y")]).unwrap();
            assert!(request.unbounded_field().is_some(), "{name}");
        }
        let speech = IncomingAudio::speech("{\"model\":\"m\",\"input\":\"x\",\"models\":[\"y\"]}".into()).unwrap();
        assert!(speech.unbounded_field().is_some());
    }
}
