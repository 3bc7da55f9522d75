//! The binary `privet`: your private LLM API.

mod allocator;
mod beside;
mod cli;
mod config;
mod first_run;
mod http;
mod key_view;
mod prompt_view;
mod serve;
mod telemetry;
mod trace_view;
mod usage_view;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
