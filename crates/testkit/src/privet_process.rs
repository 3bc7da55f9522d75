//! The server under test as a process: started on a free port with a clean environment, killed at the end.
//! It knows the binary by path alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The personal key that the server is started with unless told otherwise.
pub const TEST_KEY: &str = "test-personal-key-0123456789abcdef";

/// How long a start may take: a debug build with migrations on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// How long an ordered end may take: the server's own limit and some.
const END_MAX: Duration = Duration::from_secs(45);

/// How to start the server.
#[derive(Debug, Clone)]
pub struct PrivetBuilder {
    binary: PathBuf,
    data_dir: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    config_toml: Option<String>,
}

/// A running server. Dropping it kills the process and removes a data folder that it made itself.
pub struct PrivetProcess {
    builder: PrivetBuilder,
    data_dir: PathBuf,
    scratch: tempfile::TempDir,
    running: Running,
}

struct Running {
    child: Child,
    url: String,
    logs: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// Why the server did not start.
#[derive(Debug)]
pub struct StartError {
    /// What happened.
    pub reason: String,
    /// Its exit status, where it ended by itself.
    pub status: Option<ExitStatus>,
    /// What it printed.
    pub logs: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}; it printed:\n{}", self.reason, self.logs)
    }
}

impl std::error::Error for StartError {}

impl PrivetBuilder {
    /// Keeps the data in this folder. Default: a new one, removed at the end.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Sets an environment variable. Nothing is inherited but `PATH` and what coverage needs.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Starts without this variable, `PERSONAL_API_KEY` for instance.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Writes a configuration file and passes it with `--config`.
    pub fn config_toml(mut self, config: impl Into<String>) -> Self {
        self.config_toml = Some(config.into());
        self
    }

    /// Adds an argument after `serve`.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Keeps the data in this PostgreSQL database, by `DATABASE_URL`. Nothing is remembered unless [`Self::qdrant`] follows.
    pub fn database_url(self, url: impl Into<String>) -> Self {
        self.env("DATABASE_URL", url).env("PRIVET_MEMORY_ENABLED", "false")
    }

    /// Remembers, with the index in this collection of a Qdrant server.
    pub fn qdrant(self, url: impl Into<String>, collection: impl Into<String>) -> Self {
        self.env("PRIVET_MEMORY_ENABLED", "true")
            .env("PRIVET_MEMORY_QDRANT_URL", url)
            .env("PRIVET_MEMORY_QDRANT_COLLECTION", collection)
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Panics
    /// When it does not; what it printed is in the message.
    #[expect(clippy::panic, reason = "a test without its server has failed")]
    pub async fn start(self) -> PrivetProcess {
        match self.try_start().await {
            Ok(process) => process,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts the server and waits until it listens, or ends, or says nothing for too long.
    pub async fn try_start(self) -> Result<PrivetProcess, StartError> {
        let scratch = tempfile::tempdir().map_err(failed("no temporary folder"))?;
        let data_dir = self.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let running = self.launch(&data_dir, scratch.path()).await?;
        Ok(PrivetProcess { builder: self, data_dir, scratch, running })
    }

    async fn launch(&self, data_dir: &Path, scratch: &Path) -> Result<Running, StartError> {
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data_dir);
        if let Some(config) = &self.config_toml {
            let file = scratch.join("privet.toml");
            std::fs::write(&file, config).map_err(failed("the configuration cannot be written"))?;
            command.arg("--config").arg(file);
        }
        command.args(&self.arguments).env_clear().env("HOME", scratch);
        for inherited in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(inherited) {
                command.env(inherited, value);
            }
        }
        command.envs(&self.environment).current_dir(scratch).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed(&format!("{} does not start", self.binary.display())))?;

        let logs = Arc::new(Mutex::new(String::new()));
        let (found, mut url) = watch::channel(None);
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|out| tokio::spawn(read(out, Arc::clone(&logs), found.clone()))));
        readers.extend(child.stderr.take().map(|err| tokio::spawn(read(err, Arc::clone(&logs), found.clone()))));
        drop(found);

        let listening = tokio::time::timeout(START_MAX, url.wait_for(Option::is_some)).await;
        let reason = match listening {
            Ok(Ok(url)) => {
                let url = url.clone().unwrap_or_default();
                return Ok(Running { child, url, logs, readers });
            }
            Ok(Err(_both_outputs_closed)) => "the server ended before it listened",
            Err(_) => "the server did not listen in time",
        };
        let status = tokio::time::timeout(Duration::from_secs(1), child.wait()).await.ok().and_then(Result::ok);
        let logs = logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(StartError { reason: reason.to_owned(), status, logs })
    }
}

impl PrivetProcess {
    /// How to start the server; `binary` is `env!("CARGO_BIN_EXE_privet")` in the server's tests.
    pub fn builder(binary: impl Into<PathBuf>) -> PrivetBuilder {
        PrivetBuilder {
            binary: binary.into(),
            data_dir: None,
            environment: BTreeMap::from([("PERSONAL_API_KEY".to_owned(), TEST_KEY.to_owned())]),
            arguments: Vec::new(),
            config_toml: None,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.running.url
    }

    /// The personal key it was started with; empty without one.
    pub fn key(&self) -> &str {
        self.builder.environment.get("PERSONAL_API_KEY").map_or("", String::as_str)
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.child.id()
    }

    /// What it has printed since its last start, both outputs in order of arrival.
    pub fn logs(&self) -> String {
        self.running.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it without warning and waits until it is gone.
    pub async fn kill_dash_9(&mut self) -> io::Result<ExitStatus> {
        // An error means that it is gone already.
        let _gone = self.running.child.start_kill();
        self.end().await
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        self.end().await
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hang_up(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::HUP)
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.end().await
    }

    /// Writes another configuration file for the next [`Self::restart`] or [`Self::hang_up`].
    pub fn set_config_toml(&mut self, config: impl Into<String>) -> io::Result<()> {
        let config = config.into();
        std::fs::write(self.scratch.path().join("privet.toml"), &config)?;
        self.builder.config_toml = Some(config);
        Ok(())
    }

    /// Kills it if it still runs, and starts it again on the same data and a new port.
    ///
    /// # Panics
    /// When it does not start; what it printed is in the message.
    #[expect(clippy::panic, reason = "a test without its server has failed")]
    pub async fn restart(&mut self) {
        let _gone = self.kill_dash_9().await;
        match self.builder.launch(&self.data_dir, self.scratch.path()).await {
            Ok(running) => self.running = running,
            Err(error) => panic!("{error}"),
        }
    }

    fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        let raw = self.id().and_then(|id| i32::try_from(id).ok());
        let process = raw.and_then(rustix::process::Pid::from_raw);
        let process = process.ok_or_else(|| io::Error::other("the server has ended already"))?;
        Ok(rustix::process::kill_process(process, signal)?)
    }

    /// Waits for the process, then for the last lines it printed.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        let status = tokio::time::timeout(END_MAX, self.running.child.wait())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the server did not end in time"))??;
        for reader in self.running.readers.drain(..) {
            // A grandchild may hold the pipe open; its output is not waited for.
            let _read = tokio::time::timeout(Duration::from_secs(1), reader).await;
        }
        Ok(status)
    }
}

/// Copies lines to the log, and the address out of the line that names it.
async fn read(output: impl AsyncRead + Unpin, logs: Arc<Mutex<String>>, found: watch::Sender<Option<String>>) {
    let mut lines = BufReader::new(output).lines();
    let mut found = Some(found);
    while let Ok(Some(line)) = lines.next_line().await {
        {
            let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
            logs.push_str(&line);
            logs.push('\n');
        }
        if let Some(url) = listening_url(&line) {
            // Nobody may wait any more.
            if let Some(found) = found.take() {
                let _unheard = found.send(Some(url));
            }
        }
    }
}

/// The URL after `listening on`, whatever is printed around it, colours and JSON included.
fn listening_url(line: &str) -> Option<String> {
    let after = line.split_once("listening on ")?.1;
    let url = after.get(after.find("http://")?..)?;
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || ":/.-[]".contains(c))).unwrap_or(url.len());
    url.get(..end).map(|url| url.trim_end_matches(['/', '.']).to_owned())
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> StartError {
    let what = what.to_owned();
    move |error| StartError { reason: format!("{what}: {error}"), status: None, logs: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A script in place of the server: what it does is what this file relies on.
    fn script(folder: &Path, body: &str) -> PathBuf {
        let file = folder.join("privet");
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    #[test]
    fn address_is_found_in_plain_and_json_logs() {
        for line in [
            "2026-01-01 INFO privet: listening on http://127.0.0.1:4321",
            r#"{"message":"listening on http://127.0.0.1:4321","level":"INFO"}"#,
            "listening on http://127.0.0.1:4321/ (press Ctrl-C to stop)",
            "\u{1b}[1mlistening on http://127.0.0.1:4321\u{1b}[0m",
        ] {
            assert_eq!(listening_url(line).as_deref(), Some("http://127.0.0.1:4321"), "{line}");
        }
        assert_eq!(listening_url("connecting to http://127.0.0.1:1"), None);
    }

    #[tokio::test]
    async fn process_starts_clean_ends_on_sigterm_and_starts_again() {
        let folder = tempfile::tempdir().unwrap();
        let binary = script(
            folder.path(),
            "trap 'echo bye; exit 7' TERM\necho \"key=$PERSONAL_API_KEY home=$CARGO_HOME args=$*\"\n\
             echo 'listening on http://127.0.0.1:9' >&2\nwhile :; do sleep 0.05; done",
        );
        let mut process = PrivetProcess::builder(binary).arg("--flag").config_toml("a = 1").start().await;
        assert_eq!(process.url(), "http://127.0.0.1:9");
        assert_eq!(process.key(), TEST_KEY);
        assert_eq!(process.terminate().await.unwrap().code(), Some(7));
        let logs = process.logs();
        assert!(logs.contains(&format!("key={TEST_KEY} home= args=serve --listen 127.0.0.1:0 --data")), "{logs}");
        assert!(logs.contains("privet.toml --flag") && logs.ends_with("bye\n"), "{logs}");
        process.restart().await;
        assert_eq!(process.kill_dash_9().await.unwrap().code(), None);
    }

    #[tokio::test]
    async fn failed_start_tells_status_and_output() {
        let folder = tempfile::tempdir().unwrap();
        let binary = script(folder.path(), "echo 'no such provider' >&2\nexit 78");
        let error = PrivetProcess::builder(binary).try_start().await.err().unwrap();
        assert_eq!(error.status.and_then(|status| status.code()), Some(78));
        assert!(error.to_string().contains("no such provider"));
    }
}
