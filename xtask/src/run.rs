//! `cargo xtask run`: from a fresh machine to a served Privet, in one command.

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `privet serve`
    #[arg(last = true)]
    serve: Vec<String>,
}

/// Builds the release and becomes it, so that Ctrl-C and the exit code are the server's own.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    process::require(&[(
        "cc",
        "a C compiler builds SQLite and the TLS primitives; sudo apt-get install build-essential",
    )])?;
    process::run(workspace.cargo().args(["build", "--release", "--package", "privet-server", "--bin", "privet"]))?;
    let privet = workspace.target.join("release").join("privet");
    become_program(std::process::Command::new(&privet).arg("serve").args(&args.serve))
        .with_context(|| format!("{} could not be started", privet.display()))
}

#[cfg(unix)]
fn become_program(command: &mut std::process::Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec().into())
}

#[cfg(not(unix))]
fn become_program(command: &mut std::process::Command) -> Result<()> {
    std::process::exit(command.status()?.code().unwrap_or(1))
}
