//! What is read of an answer with sound, or of one to it: what the provider counted, and the words of a transcript. The answer itself passes
//! as it is.

use serde::Deserialize;
use serde_json::{Number, Value};

use crate::UpstreamFault;
use crate::canonical::Usage;
use crate::openai::error::reported;
use crate::sse::SseDecoder;

use super::AudioEndpoint;

/// What the provider counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Tokens.
    Tokens(Usage),
    /// Seconds of the recording, begun ones whole.
    Seconds(u64),
}

/// Reads an answer while it passes.
#[derive(Debug)]
pub struct AnswerReader {
    endpoint: AudioEndpoint,
    events: Option<SseDecoder>,
    counted: Option<Counted>,
    text: String,
    is_done: bool,
}

/// So much of a transcript is kept for its trace.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The last events of a stream
/// (<https://platform.openai.com/docs/api-reference/audio/speech-audio-done-event>).
const DONE: [&str; 2] = ["speech.audio.done", "transcript.text.done"];

impl AnswerReader {
    /// Of an answer that comes as server-sent events, or as anything else.
    #[must_use]
    pub fn new(endpoint: AudioEndpoint, content_type: &str) -> Self {
        let events = is_event_stream(content_type).then(SseDecoder::default);
        Self { endpoint, events, counted: None, text: String::new(), is_done: false }
    }

    /// Takes in a piece of a stream. Sound is not looked at.
    pub fn push(&mut self, piece: &[u8]) {
        if let Some(events) = &mut self.events {
            events.push(piece);
            self.read_events();
        }
    }

    /// The stream is at its end. Says whether it was its proper end.
    pub fn finish(&mut self) -> bool {
        if let Some(events) = &mut self.events {
            events.finish();
            self.read_events();
            return self.is_done;
        }
        true
    }

    /// Reads a whole answer to a recording: JSON, or a transcript as text.
    ///
    /// # Errors
    /// When it is none, or one of the errors that some servers put in a 200.
    pub fn whole(&mut self, body: &[u8], is_json: bool) -> Result<(), UpstreamFault> {
        let text = std::str::from_utf8(body).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
        if !is_json {
            text.clone_into(&mut self.text);
            return Ok(());
        }
        let value: Value = serde_json::from_str(text).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
        if let Some((status, error)) = reported(&value) {
            let kind = error.kind.unwrap_or_default();
            return Err(UpstreamFault::Reported { status, kind, message: error.message });
        }
        let head = Head::deserialize(&value).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
        self.text = head.text.ok_or_else(|| UpstreamFault::Malformed("there is no `text`".to_owned()))?;
        self.counted = head.usage.and_then(|usage| usage.count(self.endpoint));
        Ok(())
    }

    /// What the provider counted.
    #[must_use]
    pub const fn counted(&self) -> Option<Counted> {
        self.counted
    }

    /// The words of a transcript, as far as they came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn read_events(&mut self) {
        while let Some(event) = self.events.as_mut().and_then(SseDecoder::next_event) {
            // What is no event any more is the client's to see; nothing is counted of it.
            let Ok(event) = event else { return };
            let Ok(Head { kind, text, delta, usage }) = serde_json::from_slice(&event.data) else { continue };
            if let Some(delta) = delta.filter(|delta| self.text.len() + delta.len() <= TEXT_BYTES_MAX) {
                self.text.push_str(&delta);
            }
            if kind.is_some_and(|kind| DONE.contains(&kind.as_str())) {
                self.is_done = true;
                self.counted = usage.and_then(|usage| usage.count(self.endpoint)).or(self.counted);
                if let Some(text) = text {
                    self.text = text;
                }
            }
        }
    }
}

/// Whether a content type is that of server-sent events.
fn is_event_stream(content_type: &str) -> bool {
    content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

/// What is read of an answer or an event.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    delta: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireUsage {
    seconds: Option<Number>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    input_token_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    audio_tokens: Option<u64>,
}

impl WireUsage {
    fn count(&self, endpoint: AudioEndpoint) -> Option<Counted> {
        if let Some(seconds) = &self.seconds {
            return whole_seconds(seconds).map(Counted::Seconds);
        }
        let (input, output) = (self.input_tokens?, self.output_tokens?);
        Some(Counted::Tokens(match endpoint {
            AudioEndpoint::Speech => Usage { input, output, audio_output: output, ..Usage::default() },
            AudioEndpoint::Transcription | AudioEndpoint::Translation => {
                let audio = self.input_token_details.as_ref().and_then(|details| details.audio_tokens);
                Usage { input, audio_input: audio.unwrap_or(input), output, ..Usage::default() }
            }
        }))
    }
}

/// A begun second is a whole one.
fn whole_seconds(seconds: &Number) -> Option<u64> {
    let text = seconds.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let begun = fraction.bytes().any(|digit| digit != b'0');
    let is_plain = fraction.bytes().all(|digit| digit.is_ascii_digit());
    whole.parse::<u64>().ok().filter(|_| is_plain)?.checked_add(u64::from(begun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_tokens_of_a_transcript_are_read() {
        let read = |body: &str| {
            let mut reader = AnswerReader::new(AudioEndpoint::Transcription, "application/json");
            reader.whole(body.as_bytes(), true).map(|()| (reader.counted(), reader.text().to_owned()))
        };
        for (seconds, whole) in [("9", Some(9)), ("8.0", Some(8)), ("8.01", Some(9)), ("-1", None), ("1e30", None)] {
            let body = format!("{{\"text\":\"hey\",\"usage\":{{\"type\":\"duration\",\"seconds\":{seconds}}}}}");
            assert_eq!(read(&body).unwrap(), (whole.map(Counted::Seconds), "hey".to_owned()), "{seconds}");
        }
        let (counted, _) = read(
            r#"{"text":"","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":5,"total_tokens":19}}"#,
        )
        .unwrap();
        let usage = Usage { input: 14, audio_input: 10, output: 5, ..Usage::default() };
        assert_eq!(counted, Some(Counted::Tokens(usage)));
        assert_eq!(read(r#"{"text":"hey"}"#).unwrap().0, None);
        for body in ["", "<html>", "{}", "[]"] {
            assert!(matches!(read(body), Err(UpstreamFault::Malformed(_))), "{body}");
        }
        assert!(matches!(read(r#"{"error":{"message":"no"}}"#), Err(UpstreamFault::Reported { .. })));
        let mut plain = AnswerReader::new(AudioEndpoint::Transcription, "text/plain");
        plain.whole(b"1\n00:00", false).unwrap();
        assert_eq!((plain.text(), plain.counted()), ("1\n00:00", None));
    }

    #[test]
    fn events_are_read_wherever_they_are_split() {
        let stream = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"He\"}\n\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"y\"}\n\n\
                      data: {\"type\":\"transcript.text.done\",\"text\":\"Hey.\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":3,\"output_tokens\":2}}\n\n";
        for at in 0..stream.len() {
            let mut reader = AnswerReader::new(AudioEndpoint::Transcription, "text/event-stream; charset=utf-8");
            reader.push(&stream.as_bytes()[..at]);
            assert!(at == 0 || !reader.is_done);
            reader.push(&stream.as_bytes()[at..]);
            assert!(reader.finish());
            let usage = Usage { input: 3, audio_input: 3, output: 2, ..Usage::default() };
            assert_eq!((reader.text(), reader.counted()), ("Hey.", Some(Counted::Tokens(usage))));
        }
        let mut cut = AnswerReader::new(AudioEndpoint::Transcription, "text/event-stream");
        cut.push(&stream.as_bytes()[..60]);
        assert!(!cut.finish() && cut.counted().is_none());
        assert_eq!(cut.text(), "He");
        let mut spoken = AnswerReader::new(AudioEndpoint::Speech, "text/event-stream");
        spoken.push(b"data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":9}}\n\n");
        assert!(spoken.finish());
        let usage = Usage { input: 3, output: 9, audio_output: 9, ..Usage::default() };
        assert_eq!(spoken.counted(), Some(Counted::Tokens(usage)));
        assert!(AnswerReader::new(AudioEndpoint::Speech, "audio/mpeg").finish());
    }
}
