//! Reading a document in a process of its own: this program, started again with [`COMMAND`].
//!
//! The process has bounded memory and time, writes no file, knows no secret, and may die of what it reads. Nothing but the document
//! comes back. How many run at once is the caller's to bound.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Document, DocumentError, DocumentKind, DocumentLimits, read};

/// The subcommand that calls [`run`]. It is for this program alone.
pub const COMMAND: &str = "read-document";
/// A document as JSON has at most so many bytes for each of its text, and [`ANSWER_BYTES`] more.
const ANSWER_BYTES_PER_TEXT_BYTE: usize = 6;
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The allocator takes addresses in pieces of so many KiB. By itself it takes 1 GiB at once, before the limit is set; what it wants
/// after that is refused, and small documents fail now and then.
const ARENA: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32768");
/// So much the process yields to others.
const NICE: i32 = 10;

/// Reads documents in processes of their own.
#[derive(Clone, Debug)]
pub struct Reader {
    /// This program.
    pub program: PathBuf,
    /// What a document may be.
    pub limits: DocumentLimits,
    /// How long reading may take.
    pub time_max: Duration,
    /// Memory that the process may have, in bytes.
    pub memory_bytes_max: u64,
}

impl Reader {
    /// With this program and the usual limits.
    ///
    /// # Errors
    /// When the system does not say where this program is.
    pub fn new() -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let limits = DocumentLimits::default();
        Ok(Self { program, limits, time_max: Duration::from_secs(30), memory_bytes_max: 768 * 1024 * 1024 })
    }
}

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Because of the document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Because of this machine.
    #[error("cannot start a process to read the document: {0}")]
    Process(#[from] std::io::Error),
}

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    kind: DocumentKind,
    limits: DocumentLimits,
    seconds_max: u64,
    memory_bytes_max: u64,
}

impl Reader {
    /// Reads a document. Dropping the future kills the process.
    ///
    /// # Errors
    /// When the document is too large, damaged, empty or too costly, or no process can be started.
    pub async fn read(&self, kind: DocumentKind, file: &[u8]) -> Result<Document, ReadError> {
        if file.len() > self.limits.file_bytes_max {
            let bytes_max = self.limits.file_bytes_max;
            return Err(DocumentError::FileTooLarge { bytes: file.len(), bytes_max }.into());
        }
        let job = Job {
            kind,
            limits: self.limits,
            seconds_max: self.time_max.as_secs().max(1),
            memory_bytes_max: self.memory_bytes_max,
        };
        let job = serde_json::to_string(&job).map_err(std::io::Error::other)?;
        let mut child = Command::new(&self.program)
            .arg(COMMAND)
            .arg(job)
            .env_clear()
            .env(ARENA.0, ARENA.1)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let bytes_max =
            ANSWER_BYTES.saturating_add(ANSWER_BYTES_PER_TEXT_BYTE.saturating_mul(self.limits.text_bytes_max));
        match timeout(self.time_max, converse(&mut child, file, bytes_max)).await {
            Ok(answer) => {
                let (answer, status) = answer?;
                Ok(judge(kind, &answer, status, self)?)
            }
            Err(_) => {
                child.kill().await?;
                Err(self.too_long().into())
            }
        }
    }

    fn too_long(&self) -> DocumentError {
        DocumentError::TooCostly(format!("{} s", self.time_max.as_secs()))
    }
}

/// Gives the file, takes the answer, and waits for the end.
async fn converse(child: &mut Child, file: &[u8], bytes_max: usize) -> std::io::Result<(Vec<u8>, ExitStatus)> {
    if let Some(mut stdin) = child.stdin.take() {
        // A process that is dead already says why by its status.
        let _ = stdin.write_all(file).await;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(bytes_max as u64).read_to_end(&mut answer).await?;
    }
    Ok((answer, child.wait().await?))
}

fn judge(kind: DocumentKind, answer: &[u8], status: ExitStatus, reader: &Reader) -> Result<Document, DocumentError> {
    if status.success()
        && let Ok(read) = serde_json::from_slice::<Result<Document, DocumentError>>(answer)
    {
        return read;
    }
    let signal = status.signal();
    let is = |one: rustix::process::Signal| signal == Some(one.as_raw());
    if is(rustix::process::Signal::XCPU) || is(rustix::process::Signal::KILL) {
        return Err(reader.too_long());
    }
    if signal.is_some() {
        let megabytes = reader.memory_bytes_max / (1024 * 1024);
        return Err(DocumentError::TooCostly(format!("{megabytes} MB of memory")));
    }
    Err(DocumentError::Malformed { kind, reason: "the library that reads it gave up".to_owned() })
}

/// The process's whole life: takes its limits, reads the file from `input`, and writes the document to `output`.
///
/// # Errors
/// When the job is none, or the pipes break.
pub fn run(job: &str, input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    let job: Job = serde_json::from_str(job).map_err(std::io::Error::other)?;
    let limit = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    // macOS counts what is shared by all processes, and refuses.
    if cfg!(target_os = "linux") {
        limit(Resource::As, job.memory_bytes_max)?;
    }
    // A document can wait, a chat cannot. Without it it is read all the same.
    let _ = rustix::process::nice(NICE);
    limit(Resource::Cpu, job.seconds_max)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    let mut file = Vec::new();
    input.take((job.limits.file_bytes_max as u64).saturating_add(1)).read_to_end(&mut file)?;
    let read = read(job.kind, &file, &job.limits);
    output.write_all(&serde_json::to_vec(&read).map_err(std::io::Error::other)?)?;
    output.flush()
}
