//! The wire dialects of language-model APIs: OpenAI, Anthropic, Gemini, and the canonical form between them.
//!
//! Pure: bytes in, bytes out. No I/O, no clock, no randomness.

pub mod canonical;
