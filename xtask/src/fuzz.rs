//! `cargo xtask fuzz`: looks for inputs for which something does not hold (`fuzz/`), guided by coverage.
//!
//! libFuzzer does the looking. It needs no nightly toolchain, since nothing here is checked by a sanitizer: the code has no `unsafe`.
//! What is found stays in `fuzz/corpus/`, where the ordinary tests try it from then on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Without another target, the flags would hold for build scripts too, which do not link with them.
const TRIPLE_OF_RUSTC: &str = "host: ";
/// As cargo-fuzz has them, without a sanitizer
/// (<https://github.com/rust-fuzz/cargo-fuzz/blob/main/src/project.rs>).
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];
/// Longer inputs find nothing that shorter ones do not, slower.
const LENGTH_MAX: u32 = 4096;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which targets; all whose names hold this text, or all
    target: Option<String>,
    /// How long each of them is explored
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only list the targets
    #[arg(long)]
    list: bool,
    /// Keep what reaches new code in `fuzz/corpus/`, as few inputs as do
    #[arg(long)]
    keep: bool,
}

/// Explores the targets one after the other. The first input for which something does not hold ends it.
pub(crate) fn fuzz(workspace: &Workspace, args: &Args) -> Result<()> {
    process::require(&[("c++", "apt-get install g++; libFuzzer is written in C++")])?;
    let names = names(workspace)?;
    let wanted = |name: &&(String, String)| args.target.as_ref().is_none_or(|text| name.0.contains(text));
    let chosen: Vec<&(String, String)> = names.iter().filter(wanted).collect();
    if chosen.is_empty() {
        bail!("no target has `{}` in its name; run: cargo xtask fuzz --list", args.target.as_deref().unwrap_or(""));
    }
    if args.list {
        for (name, corpus) in chosen {
            println!("{name:40} fuzz/corpus/{corpus}");
        }
        return Ok(());
    }
    let explorer = build(workspace)?;
    for (name, corpus) in &chosen {
        println!("\n==> {name}");
        explore(workspace, &explorer, (name, corpus), args.seconds)?;
    }
    if args.keep {
        for (name, corpus) in &chosen {
            keep(workspace, &explorer, (name, corpus))?;
        }
    }
    Ok(())
}

/// The targets and their corpora, as the library lists them.
fn names(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let listed = process::output(workspace.cargo().args(["run", "--quiet", "-p", "privet-fuzz", "--example", "list"]))?;
    let pair = |line: &str| line.split_once(' ').map(|(name, corpus)| (name.to_owned(), corpus.to_owned()));
    Ok(listed.lines().filter_map(pair).collect())
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let about = process::output(std::process::Command::new("rustc").arg("-vV"))?;
    let triple = about.lines().find_map(|line| line.strip_prefix(TRIPLE_OF_RUSTC));
    let triple = triple.context("`rustc -vV` names no host")?;
    let folder = workspace.root.join("target/fuzz");
    let arguments = ["build", "--release", "-p", "privet-fuzz", "--features", "libfuzzer", "--target", triple];
    process::run(
        workspace
            .cargo()
            .args(arguments)
            .arg("--target-dir")
            .arg(&folder)
            .env("RUSTFLAGS", FLAGS.join(" "))
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_STRIP", "none")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only"),
    )?;
    Ok(folder.join(triple).join("release/privet-fuzz"))
}

fn explore(workspace: &Workspace, explorer: &Path, (name, corpus): (&str, &str), seconds: u32) -> Result<()> {
    let (working, kept) = folders(workspace, corpus)?;
    let found = kept.join("found-");
    let explored = process::run(
        std::process::Command::new(explorer)
            .env("PRIVET_FUZZ_TARGET", name)
            .arg(&working)
            .arg(&kept)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={LENGTH_MAX}"))
            .arg(format!("-artifact_prefix={}", found.display()))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"]),
    );
    explored.with_context(|| {
        format!(
            "something does not hold for `{name}`: the input is the newest `found-…` in {}; give it a name that says \
             what it shows and mend the code",
            kept.display()
        )
    })
}

/// Copies the few inputs that reach what the kept ones do not.
fn keep(workspace: &Workspace, explorer: &Path, (name, corpus): (&str, &str)) -> Result<()> {
    let (working, kept) = folders(workspace, corpus)?;
    process::run(
        std::process::Command::new(explorer)
            .env("PRIVET_FUZZ_TARGET", name)
            // Where code is reached counts, not how often: the few inputs of a greedy cover.
            .args(["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0", "-verbosity=0", "-timeout=10"])
            .arg(format!("-max_len={LENGTH_MAX}"))
            .arg(&kept)
            .arg(&working),
    )
}

/// Where inputs are while they are looked for, and where they stay.
fn folders(workspace: &Workspace, corpus: &str) -> Result<(PathBuf, PathBuf)> {
    let working = workspace.root.join("target/fuzz/corpus").join(corpus);
    let kept = workspace.root.join("fuzz/corpus").join(corpus);
    for folder in [&working, &kept] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok((working, kept))
}
