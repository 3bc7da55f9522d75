//! The shapes of speech and recordings. What passes through is the provider's; here is what clients may count on.

use utoipa::ToSchema;

/// A text to speak. Fields that are not listed pass through.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct SpeechRequest {
    /// `provider/model` or an alias.
    model: String,
    /// What is to be spoken; with OpenAI at most 4,096 characters.
    input: String,
    /// Whose voice.
    voice: Option<String>,
    /// Such as `mp3`.
    response_format: Option<String>,
    /// `audio`, or `sse` for events, the last of which tells what was used.
    stream_format: Option<String>,
}

/// A recording to write down. Fields that are not listed pass through.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the dialect reads")]
pub(crate) struct RecordingRequest {
    /// `provider/model` or an alias.
    model: String,
    /// The recording.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Words that are likely to be said.
    prompt: Option<String>,
    /// Such as `json`, which tells what was used, or `srt`.
    response_format: Option<String>,
    /// Whether the words come as events.
    stream: Option<bool>,
}

/// A transcript, as the provider wrote it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what passes through")]
pub(crate) struct Transcript {
    text: String,
    #[schema(value_type = Option<Object>)]
    usage: Option<serde_json::Value>,
}
