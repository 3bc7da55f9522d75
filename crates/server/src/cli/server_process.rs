//! A server of a command's own: this same binary as a child process.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A start with migrations on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(10);
/// How much of what it said last is told when it does not start.
const LINES_MAX: usize = 20;

/// The running server. Dropping it kills it.
pub(super) struct ServerProcess {
    child: Child,
    found: watch::Receiver<Option<SocketAddr>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    _reader: JoinSet<()>,
}

impl ServerProcess {
    /// Starts `privet serve`, as the command says, and does not wait for it.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("`privet serve` does not start")?;
        let (sender, found) = watch::channel(None);
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let mut reader = JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            reader.spawn(read(stderr, last_lines.clone(), sender));
        }
        Ok(Self { child, found, last_lines, _reader: reader })
    }

    /// Waits until it listens, and answers where.
    pub(super) async fn listening(&mut self) -> Result<SocketAddr> {
        let problem = match tokio::time::timeout(START_MAX, self.found.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => return found.context("the server listens nowhere"),
            Ok(Err(_closed)) => "ended before it listened",
            Err(_late) => "did not listen in time",
        };
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        bail!("the server {problem}; it said:\n{}", lines.iter().cloned().collect::<Vec<_>>().join("\n"));
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
