//! The server under attack: this same binary as a child process, on data and a configuration of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A start with migrations on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(10);
/// How much of what it said last is told when it does not start.
const LINES_MAX: usize = 20;

/// Where the server lives: its folder, and its configuration in it.
pub(super) struct Site {
    binary: PathBuf,
    folder: PathBuf,
}

/// A key that was made.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: SecretString,
}

/// What `privet keys create --json` prints.
#[derive(Deserialize)]
struct CreatedKey {
    id: String,
    key: String,
}

/// The running server. Dropping it kills it.
pub(super) struct ServerProcess {
    child: Child,
    found: watch::Receiver<Option<SocketAddr>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    _reader: JoinSet<()>,
}

impl Site {
    /// Writes the configuration: the mock is the provider, and everybody on this machine may name another address.
    pub(super) fn prepare(folder: &Path, upstream: &str, default_model: &str) -> Result<Self> {
        let binary = std::env::current_exe().context("this program's own file cannot be found")?;
        let site = Self { binary, folder: folder.to_owned() };
        let config = format!(
            "default_model = \"{default_model}\"\n\n\
             [server]\ntrusted_proxies = \"127.0.0.0/8\"\n\n\
             [limits]\naddress = {{ chat = \"1/10s\" }}\n\n\
             [log]\nfilter = \"warn\"\n\n\
             [providers.openai]\nbase_url = \"{upstream}/v1\"\napi_key = \"drill\"\n"
        );
        let file = site.config();
        std::fs::write(&file, config).with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(site)
    }

    /// Makes a key with the command line, as an administrator would.
    pub(super) async fn make_key(&self, name: &str, flags: &[&str]) -> Result<Key> {
        let mut command = self.command(&["keys", "create", "--json", "--name", name]);
        let output = command.args(flags).output().await.context("`privet keys create` does not start")?;
        ensure!(
            output.status.success(),
            "the key `{name}` cannot be made: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        // The parser's error could quote what it read, and that is a key.
        let created: CreatedKey = serde_json::from_slice(&output.stdout)
            .map_err(|_| anyhow!("`privet keys create --json` printed something else than a key"))?;
        Ok(Key { id: created.id, secret: created.key.into() })
    }

    /// Starts the server and does not wait for it.
    pub(super) fn serve(&self) -> Result<ServerProcess> {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} does not start", self.binary.display()))?;
        let (sender, found) = watch::channel(None);
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let mut reader = JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            reader.spawn(read(stderr, last_lines.clone(), sender));
        }
        Ok(ServerProcess { child, found, last_lines, _reader: reader })
    }

    /// Neither a `.env` of the working folder nor anybody's environment may change what is drilled.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data").arg(self.folder.join("data")).arg("--config").arg(self.config());
        command.env_clear().current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
    }

    fn config(&self) -> PathBuf {
        self.folder.join("privet.toml")
    }
}

impl ServerProcess {
    /// Waits until it listens, and answers where.
    pub(super) async fn listening(&mut self) -> Result<SocketAddr> {
        let problem = match tokio::time::timeout(START_MAX, self.found.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => return found.context("the server listens nowhere"),
            Ok(Err(_closed)) => "ended before it listened",
            Err(_late) => "did not listen in time",
        };
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        bail!("the server under attack {problem}; it said:\n{}", lines.iter().cloned().collect::<Vec<_>>().join("\n"));
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end, and sees to it that it does.
    pub(super) async fn stop(mut self) {
        let raw = self.id().and_then(|id| i32::try_from(id).ok());
        if let Some(process) = raw.and_then(rustix::process::Pid::from_raw) {
            // An error means that it has ended already.
            let _gone = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_MAX, self.child.wait()).await.is_err() {
            let _gone = self.child.kill().await;
        }
    }
}

/// Reads to the end, so that the server never waits for its reader.
async fn read(stderr: ChildStderr, last: Arc<Mutex<VecDeque<String>>>, found: watch::Sender<Option<SocketAddr>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if found.borrow().is_none()
            && let Some(address) = listening_address(&line)
        {
            // Nobody may wait any more.
            let _unheard = found.send(Some(address));
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LINES_MAX {
            last.pop_front();
        }
        last.push_back(line);
    }
}

/// The address in the server's greeting.
fn listening_address(line: &str) -> Option<SocketAddr> {
    line.split_once("listening on http://")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_greeting() {
        let found = listening_address("privet 0.1.0 listening on http://127.0.0.1:4321");
        assert_eq!(found, Some(SocketAddr::from(([127, 0, 0, 1], 4321))));
        assert_eq!(listening_address("  reference http://127.0.0.1:4321/docs/"), None);
    }
}
