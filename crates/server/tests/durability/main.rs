//! What was acknowledged is there: after the server was killed again and again under load, and while another process writes.
//!
//! The offline provider answers, so that every message and every answer is known. Loss of power is not imitated: a killed
//! process leaves what it wrote in the system's cache.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may end in a panic, and reports")]

mod client;
mod command_line;
mod history;
mod kill;
mod memory;
mod memory_descriptions;
mod money;
mod purse;
mod responses;
mod traces;
