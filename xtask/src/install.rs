//! Installing what the tests need: Debian's packages as root, and cargo's own tools. Never anything without saying so.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs a Debian package as root; otherwise fails, saying what is missing and which command brings it.
pub(crate) fn debian_package(package: &str, purpose: &str) -> Result<()> {
    if !is_root() || process::find("apt-get").is_none() {
        bail!("{purpose} is missing; install it with: sudo apt-get install {package}");
    }
    println!("{purpose} is missing: installing the Debian package {package}");
    process::run(&mut apt_get(&["update", "--quiet"]))?;
    process::run(&mut apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", package]))
}

/// Installs a cargo subcommand from crates.io unless it is there.
pub(crate) fn cargo_tool(workspace: &Workspace, tool: &str) -> Result<()> {
    if process::find(tool).is_some() {
        return Ok(());
    }
    println!("{tool} is missing: installing it from crates.io");
    process::run(workspace.cargo().args(["install", "--locked", tool]))
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
    command
}
