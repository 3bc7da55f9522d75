//! `cargo xtask bench`: builds what is measured as it is released, then runs `privet-bench`.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{install, process};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `privet-bench`
    #[arg(last = true)]
    bench: Vec<String>,
}

/// The server is built alone: built together with the rest, cargo would give it features it does not ship with.
pub(crate) fn bench(workspace: &Workspace, args: &Args) -> Result<()> {
    if process::find("nginx").is_none() && !std::path::Path::new("/usr/sbin/nginx").is_file() {
        install::debian_package("nginx-light", "nginx, a proxy to compare with,")?;
    }
    process::run(workspace.cargo().args(["build", "--release", "--package", "privet-server", "--bin", "privet"]))?;
    // A model is wanted by those alone who name one: it would double the time of the build.
    let is_model_named = args.bench.iter().any(|argument| argument.starts_with("--model"));
    let features: &[&str] = if is_model_named { &["--features", "local-embedder"] } else { &[] };
    process::run(workspace.cargo().args(["build", "--release", "--package", "privet-bench"]).args(features))?;
    process::run(
        Command::new(workspace.target.join("release").join("privet-bench"))
            .current_dir(&workspace.root)
            .arg("--privet")
            .arg(workspace.target.join("release").join("privet"))
            .args(&args.bench),
    )
}
