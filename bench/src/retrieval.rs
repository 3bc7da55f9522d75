//! How well recall finds what was said, by several settings side by side: in long conversations that are made here, by the binary and its
//! own command line, with a small model on this machine as the embedder.

mod embedder;
mod kinds;
mod talk;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub(crate) use embedder::{dimensions, serve};

use crate::subject::{Programs, Running};

const SEED: u64 = 5;
/// As it is configured first, then one thing after another.
const LEGS: &str = "dense,sparse,text,configured,dense-window,sparse-window";
const INDEX_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What was found, and in what.
pub(crate) struct Retrieval {
    pub(crate) turns: usize,
    pub(crate) questions: usize,
    pub(crate) model: String,
    /// As `privet memory eval --json` says.
    pub(crate) evaluated: Value,
}

/// Makes the conversations, remembers them and asks.
pub(crate) fn measure(programs: &Programs<'_>, model: &Path) -> Result<Retrieval> {
    let folder = tempfile::tempdir_in(programs.scratch).context("no temporary folder")?;
    let made = talk::make(SEED);
    let (turns, questions) = (folder.path().join("turns.jsonl"), folder.path().join("questions.jsonl"));
    fs::write(&turns, lines(&made.turns)).context("the conversations cannot be written")?;
    fs::write(&questions, lines(&made.questions)).context("the questions cannot be written")?;
    let embedder = Running::embedder(programs, model)?;
    let server = Running::memory(programs, folder.path(), embedder.address, dimensions(model)?)?;
    println!("retrieval: embedding {} turns and their windows", made.turns.len());
    let turns_path = turns.display().to_string();
    memory(programs, folder.path(), embedder.address, &["import", &turns_path])?;
    until_indexed(programs, folder.path(), embedder.address)?;
    // Stopped, it leaves the folder to the command that evaluates.
    drop(server);
    println!("retrieval: asking {} questions", made.questions.len());
    let questions_path = questions.display().to_string();
    let evaluated =
        memory(programs, folder.path(), embedder.address, &["eval", &questions_path, "--legs", LEGS, "--json"])?;
    let name = model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Retrieval { turns: made.turns.len(), questions: made.questions.len(), model: name, evaluated })
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

fn until_indexed(programs: &Programs<'_>, folder: &Path, embedder: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    loop {
        // Until all have their vectors it says that some are missing, by its exit code too.
        let check = memory(programs, folder, embedder, &["check", "--json"]).unwrap_or_default();
        if check.get("outbox").and_then(Value::as_u64) == Some(0) {
            return Ok(());
        }
        ensure!(begun.elapsed() < INDEX_TIMEOUT, "the vectors were not made in {} s", INDEX_TIMEOUT.as_secs());
        thread::sleep(Duration::from_secs(2));
    }
}

/// `privet memory` on the folder, with the configuration of the server that was started on it.
fn memory(programs: &Programs<'_>, folder: &Path, embedder: SocketAddr, arguments: &[&str]) -> Result<Value> {
    let output = Command::new(programs.privet)
        .arg("memory")
        .args(arguments)
        .arg("--config")
        .arg(folder.join("privet.toml"))
        .arg("--data")
        .arg(folder.join("data"))
        .current_dir(folder)
        .env_clear()
        .env("OPENAI_API_KEY", "bench")
        .env("OPENAI_BASE_URL", format!("http://{embedder}/v1"))
        .output()
        .context("privet could not be started")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "privet memory {} failed: {error}", arguments.join(" "));
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}
