//! What SDKs really send (recorded from Langfuse's and OpenTelemetry's, reduced), and what is understood of it; and what nobody
//! should send.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may end in a panic")]

mod hostile;
mod langfuse;
mod otlp;
mod told;
