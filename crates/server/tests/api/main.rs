//! The whole product over HTTP and by its command line: the real binary, with a scripted provider behind it.
//!
//! One test binary, so that it links once. Durability under `kill -9` is tested elsewhere.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, one that did not run says so"
)]

mod alerts;
mod anthropic;
mod anthropic_stream;
mod audio;
mod bad_input;
mod cache;
mod command_line;
mod documents;
mod gemini;
mod gemini_stream;
mod idempotency;
mod images;
mod ingestion;
mod keys;
mod langfuse;
mod lesson;
mod lesson_traces;
mod limits_address;
mod memory;
mod memory_at_scale;
mod memory_command;
mod memory_descriptions;
mod memory_repair;
mod money;
mod openai;
mod openai_stream;
mod operations;
mod passed;
mod prompts;
mod provider_faults;
mod reading;
mod replicas;
mod responses;
mod responses_provider;
mod routing;
mod routing_health;
mod routing_money;
mod selftest;
mod shutdown;
mod stand;
mod structured_output;
mod tenants;
mod together;
mod trace_export;
mod trace_privacy;
mod traces;
