//! Where the workspace and its build output are, and which crates it holds, as `cargo metadata` tells it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

/// The workspace this tool was built from.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds, usually `target/`.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    /// The crates of the workspace, without those from elsewhere.
    pub(crate) packages: Vec<Package>,
}

/// One crate of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name, such as `privet-store`.
    pub(crate) name: String,
    /// What it depends on, crates from elsewhere among them.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependencies.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The name of the crate depended upon.
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Workspace {
    /// Asks cargo, which `cargo xtask` has told where the manifest is.
    pub(crate) fn find() -> Result<Self> {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let output = process::output(
            cargo()
                .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
                .arg(manifest),
        )?;
        serde_json::from_str(&output).context("cargo metadata printed what this tool cannot read")
    }

    /// A cargo command that runs at the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// The cargo that runs this tool, so that both build with one toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
