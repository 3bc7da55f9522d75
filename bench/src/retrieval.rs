//! How well recall finds what was said, by several settings side by side: in long conversations that are made here, by the binary and its
//! own command line, with a small model on this machine as the embedder.

mod embedder;
mod kinds;
mod talk;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use embedder::{dimensions, serve};

use crate::subject::{Programs, Running};

const SEED: u64 = 5;
/// The first is what the others are compared with.
const LEGS: &str = "dense,sparse,text,configured,dense-window,sparse-window";
const INDEX_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The project in which the same turns stand as the lesson embeds them: bare, without who speaks.
const BARE: &str = "bare";
/// That of the turns as they are.
const TURNS: &str = "default";
/// The files of a set.
const TURNS_FILE: &str = "conversations.jsonl";
const QUESTIONS_FILE: &str = "questions.jsonl";
/// The set that guards the search by words, seen from the repository's root.
const SMALL_SET: &str = "crates/server/tests/fixtures/memory";

/// What was found, and in what.
pub(crate) struct Retrieval {
    /// The set: the folder that it comes from; none for the made conversations.
    pub(crate) folder: Option<String>,
    pub(crate) turns: usize,
    pub(crate) questions: usize,
    pub(crate) model: String,
    /// As `privet memory eval --json` says.
    pub(crate) evaluated: Value,
    /// The same of the lesson's method: vectors of bare texts alone.
    pub(crate) lesson: Value,
}

/// Turns and questions, as `privet memory import` and `eval` read them.
struct Set {
    folder: Option<String>,
    turns: Vec<Value>,
    questions: Vec<Value>,
}

/// Measures the made conversations, the small set of the tests, and the sets in further folders.
pub(crate) fn measure(programs: &Programs<'_>, model: &Path, folders: &[PathBuf]) -> Result<Vec<Retrieval>> {
    let made = talk::make(SEED);
    let mut sets = vec![Set { folder: None, turns: made.turns, questions: made.questions }];
    let small = PathBuf::from(SMALL_SET);
    for folder in small.is_dir().then_some(&small).into_iter().chain(folders) {
        let (turns, questions) = (read(&folder.join(TURNS_FILE))?, read(&folder.join(QUESTIONS_FILE))?);
        sets.push(Set { folder: Some(folder.display().to_string()), turns, questions });
    }
    let embedder = Running::embedder(programs, model)?;
    sets.into_iter().map(|set| measure_set(programs, model, embedder.address, set)).collect()
}

fn measure_set(programs: &Programs<'_>, model: &Path, embedder: SocketAddr, set: Set) -> Result<Retrieval> {
    let folder = tempfile::tempdir_in(programs.scratch).context("no temporary folder")?;
    let file = |name: &str, values: &[Value]| {
        let path = folder.path().join(name);
        let text: String = values.iter().map(|value| format!("{value}\n")).collect();
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        anyhow::Ok(path.display().to_string())
    };
    let (turns, questions) = (file("turns", &set.turns)?, file("questions", &set.questions)?);
    let bare_turns: Vec<Value> = set.turns.iter().map(bare_turn).collect();
    let bare_questions: Vec<Value> = set.questions.iter().map(bare_question).collect();
    let (bare_turns, bare_questions) = (file("bare-turns", &bare_turns)?, file("bare-questions", &bare_questions)?);
    println!(
        "retrieval: embedding {} turns and their windows, asking {} questions",
        set.turns.len(),
        set.questions.len()
    );
    let asked = |turns: &str, project: &str, questions: &str, legs: &str| {
        let server = Running::memory(programs, folder.path(), embedder, dimensions(model)?)?;
        memory(programs, folder.path(), embedder, &["import", turns, "--project", project])?;
        until_indexed(programs, folder.path(), embedder)?;
        // Stopped, it leaves the folder to the command that evaluates.
        drop(server);
        let eval = ["eval", questions, "--project", project, "--legs", legs, "--json"];
        memory(programs, folder.path(), embedder, &eval)
    };
    // The bare turns come after that: how rare a word is, is counted over all that is in the database.
    let evaluated = asked(&turns, TURNS, &questions, LEGS)?;
    let lesson = asked(&bare_turns, BARE, &bare_questions, "dense")?;
    let name = model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Retrieval {
        folder: set.folder,
        turns: set.turns.len(),
        questions: set.questions.len(),
        model: name,
        evaluated,
        lesson,
    })
}

fn read(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).with_context(|| format!("{} is not JSON", path.display()))).collect()
}

/// The turn's text alone, under an id of its own.
fn bare_turn(turn: &Value) -> Value {
    let of = |field: &str| turn.get(field).cloned().unwrap_or_default();
    json!({"id": bare_id(&of("id")), "text": of("text"), "kind": "note", "user": of("user"), "created_at": of("created_at")})
}

fn bare_question(question: &Value) -> Value {
    let mut bare = question.clone();
    if let Some(expected) = bare.get_mut("expected").and_then(Value::as_array_mut) {
        expected.iter_mut().for_each(|id| *id = bare_id(id));
    }
    bare
}

fn bare_id(id: &Value) -> Value {
    json!(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("bare {id}").as_bytes()))
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
