//! A server started for the tests: waits until it says where it listens, keeps its log, and stops it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const ANNOUNCEMENT: &str = "listening on http://";

/// A running server; dropping it stops it.
pub(crate) struct Server {
    /// Such as `http://127.0.0.1:40123`.
    pub(crate) url: String,
    child: Child,
}

impl Server {
    /// Starts the command and returns when it has printed where it listens. All it prints goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let (sender, addresses) = channel();
        for stream in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            follow(stream, file.try_clone()?, sender.clone());
        }
        drop(sender);
        let mut server = Self { url: String::new(), child };
        server.url = await_address(&addresses, &name, log)?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A server that is gone already is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        eprintln!("warning: {} did not stop within {} s of SIGTERM, killed", self.url, STOP_TIMEOUT.as_secs());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn boxed(stream: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(stream)
}

/// Copies a stream to the log until it ends, and reports the first address it names.
fn follow(stream: Box<dyn Read + Send>, mut log: File, addresses: Sender<String>) {
    thread::spawn(move || {
        let mut addresses = Some(addresses);
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line);
            // The log is a help for whoever looks into a failure; a full disk must not stop the tests.
            let _ = writeln!(log, "{text}");
            if let Some(url) = announced_url(&text)
                && let Some(sender) = addresses.take()
            {
                let _ = sender.send(url);
            }
        }
    });
}

fn await_address(addresses: &Receiver<String>, name: &str, log: &Path) -> Result<String> {
    let log: PathBuf = log.to_path_buf();
    let fate = match addresses.recv_timeout(START_TIMEOUT) {
        Ok(url) => return Ok(url),
        Err(RecvTimeoutError::Timeout) => format!("did not listen within {} s", START_TIMEOUT.as_secs()),
        Err(RecvTimeoutError::Disconnected) => "ended before it listened".to_owned(),
    };
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    bail!("{name} {fate}; it said:\n{said}");
}

fn announced_url(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(ANNOUNCEMENT)?;
    let address: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']' | '-')).collect();
    Some(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_plain_and_in_a_coloured_line() {
        assert_eq!(announced_url("listening on http://127.0.0.1:4000").unwrap(), "http://127.0.0.1:4000");
        let coloured = "\u{1b}[32m INFO\u{1b}[0m privet: listening on http://[::1]:4000\u{1b}[0m data=/tmp";
        assert_eq!(announced_url(coloured).unwrap(), "http://[::1]:4000");
        assert_eq!(announced_url("starting"), None);
    }

    #[test]
    fn a_server_that_ends_early_is_reported_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the port is taken >&2"]);
        let error = Server::start(&mut command, &folder.path().join("log")).err().unwrap().to_string();
        assert!(error.contains("ended before it listened"), "{error}");
        assert!(error.contains("the port is taken"), "{error}");
    }

    #[test]
    fn a_dropped_server_is_asked_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let stopped = folder.path().join("stopped");
        let script =
            "trap 'touch \"$0\"; exit 0' TERM; echo listening on http://127.0.0.1:1; while :; do sleep 0.05; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&stopped);
        drop(Server::start(&mut command, &folder.path().join("log")).unwrap());
        assert!(stopped.is_file());
    }
}
