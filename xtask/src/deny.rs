//! `cargo xtask deny`: licences, sources and banned crates, as `deny.toml` has them.
//!
//! Advisories are left out: they need a database from the network, and would make yesterday's green build red today.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{install, process};

/// Installs cargo-deny if it is missing, then checks.
pub(crate) fn deny(workspace: &Workspace) -> Result<()> {
    install::cargo_tool(workspace, "cargo-deny")?;
    check(workspace)
}

/// Checks with the cargo-deny in `PATH`.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    // cargo-deny reads the manifests of every platform's crates, more than a build fetches.
    process::run(workspace.cargo().args(["fetch", "--locked", "--quiet"]))?;
    process::run(workspace.cargo().args([
        "deny",
        "--offline",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}
