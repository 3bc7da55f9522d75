//! `cargo xtask test`: everything a change must pass, in the order that finds faults soonest.
//!
//! The build machine runs the same command. The first failure ends it.

mod junit;
mod qdrant;
mod sdk;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::postgres::Running;
use crate::test::junit::Count;
use crate::test::qdrant::Qdrant;
use crate::workspace::Workspace;
use crate::{deny, install, process, tidy};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting
    Fmt,
    /// The rules of the house, and licences where cargo-deny is installed
    Tidy,
    /// Lints
    Clippy,
    /// Tests of all crates, with PostgreSQL, and of the documentation's examples
    Rust,
    /// The official clients of OpenAI, Anthropic and others against a running Privet
    Sdk,
    /// The model that embeds in the process, behind its feature; only when asked for, since it takes minutes to build
    Local,
}

impl Part {
    fn is_wanted(self, args: &Args) -> bool {
        if args.only.is_empty() { self != Self::Local } else { args.only.contains(&self) }
    }
}

/// Runs the parts asked for, or all but the slow one.
pub(crate) fn test(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut total = Count::default();
    for part in Part::value_variants().iter().filter(|part| part.is_wanted(args)) {
        total += match part {
            Part::Fmt => format(workspace)?,
            Part::Tidy => keep_tidy(workspace)?,
            Part::Clippy => lint(workspace)?,
            Part::Rust => test_rust(workspace)?,
            Part::Sdk => test_sdk(workspace)?,
            Part::Local => test_local(workspace)?,
        };
    }
    if total != Count::default() {
        println!("\n{total}");
    }
    if Part::Rust.is_wanted(args) && qdrant::named().is_none() {
        println!("{}", qdrant::NOT_A_SERVER);
    }
    Ok(())
}

fn format(workspace: &Workspace) -> Result<Count> {
    step("cargo fmt --all --check", || {
        process::run(workspace.cargo().args(["fmt", "--all", "--check"]))
            .context("the code is not formatted; run: cargo fmt --all")
    })?;
    Ok(Count::default())
}

fn keep_tidy(workspace: &Workspace) -> Result<Count> {
    step("cargo xtask tidy", || tidy::tidy(workspace))?;
    if process::find("cargo-deny").is_some() {
        step("cargo deny check", || deny::check(workspace))?;
    }
    Ok(Count::default())
}

fn lint(workspace: &Workspace) -> Result<Count> {
    let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("cargo clippy --workspace --all-targets", || process::run(workspace.cargo().args(args)))?;
    Ok(Count::default())
}

fn test_rust(workspace: &Workspace) -> Result<Count> {
    step("cargo nextest is installed", || install::cargo_tool(workspace, "cargo-nextest"))?;
    let postgres = step("PostgreSQL is started", || Running::start(workspace))?;
    let qdrant = step(qdrant::STEP, || Qdrant::start(workspace))?;
    // Wherever cargo builds, nextest keeps its reports here. One of another run must not be counted.
    let report = workspace.root.join("target/nextest/ci/junit.xml");
    let _absent = std::fs::remove_file(&report);
    let tests = step("cargo nextest run --workspace", || {
        process::run(
            workspace
                .cargo()
                .args(["nextest", "run", "--workspace", "--profile", "ci"])
                .env("PRIVET_TEST_POSTGRES_URL", &postgres.url)
                .env(qdrant::URL, qdrant.url()),
        )?;
        junit::read(&report)
    })?;
    println!("    {}", qdrant.told());
    let examples = step("cargo test --doc --workspace", || test_examples(workspace))?;
    Ok(tests + examples)
}

/// Runs the documentation's examples and counts them from what each crate's run prints.
fn test_examples(workspace: &Workspace) -> Result<Count> {
    let mut child = workspace
        .cargo()
        .args(["test", "--doc", "--workspace", "--quiet"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test could not be started")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            count += junit::libtest_count(&line).unwrap_or_default();
            // A crate without examples is no news.
            if !line.trim().is_empty() && line != "running 0 tests" && !line.contains("ok. 0 passed; 0 failed") {
                println!("{line}");
            }
        }
    }
    if !child.wait()?.success() {
        bail!("an example in the documentation fails; see above");
    }
    Ok(count)
}

fn test_sdk(workspace: &Workspace) -> Result<Count> {
    let mut pythons = Vec::new();
    for tests in sdk::PYTHON_TESTS {
        let name = format!("the Python clients of {} are installed", tests.path());
        pythons.push((tests, step(&name, || sdk::install_python(workspace, tests))?));
    }
    step("the Node clients are installed", || sdk::install_node(workspace))?;
    step("privet and the mock provider are built", || {
        process::run(workspace.cargo().args(["build", "--workspace", "--bins", "--quiet"]))
    })?;
    let servers = step("privet and the mock provider are started", || sdk::start(workspace))?;
    let mut total = Count::default();
    for (tests, python) in &pythons {
        let name = format!("pytest {}", tests.path());
        total += step(&name, || sdk::test_python(workspace, *tests, python, &servers))?;
    }
    total += step("node --test tests/sdk/node", || sdk::test_node(workspace, &servers))?;
    Ok(total)
}

fn test_local(workspace: &Workspace) -> Result<Count> {
    let feature = ["--package", "privet-providers", "--features", "local-embedder"];
    step("cargo clippy of the local embedder", || {
        process::run(workspace.cargo().arg("clippy").args(feature).args(["--all-targets", "--", "-D", "warnings"]))
    })?;
    // Wherever cargo builds, nextest keeps its reports here. One of another run must not be counted.
    let report = workspace.root.join("target/nextest/ci/junit.xml");
    let _absent = std::fs::remove_file(&report);
    step("cargo nextest run of the local embedder", || {
        let filter = ["--profile", "ci", "local_embedder"];
        process::run(workspace.cargo().args(["nextest", "run"]).args(feature).args(filter))?;
        junit::read(&report)
    })
}

/// Prints a step's name, then how long it took.
fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n==> {name}");
    let start = Instant::now();
    let result = work().with_context(|| format!("step `{name}` failed"))?;
    println!("    {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}
