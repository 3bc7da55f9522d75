//! Usage: the tokens of one call.

use serde::{Deserialize, Serialize};

/// Tokens of one call. `input` includes cached and cache-written tokens, `output` includes reasoning (as OpenAI counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens.
    pub input: u64,
    /// Of them, read from the provider's cache.
    pub cached_input: u64,
    /// Of them, written to the provider's cache for 5 minutes.
    pub cache_write_5m: u64,
    /// Of them, written to the provider's cache for 1 hour.
    pub cache_write_1h: u64,
    /// Of them, sound.
    pub audio_input: u64,
    /// Of them, pictures, where the provider counts them apart.
    pub image_input: u64,
    /// All output tokens.
    pub output: u64,
    /// Of them, reasoning.
    pub reasoning: u64,
    /// Of them, sound.
    pub audio_output: u64,
    /// Of them, pictures, where the provider counts them apart.
    pub image_output: u64,
}
