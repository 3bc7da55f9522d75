//! What is measured, and how each is started and stopped.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::memory::{MODEL, PROVIDER};
use crate::nginx;

/// The key that every request carries; Privet alone checks it.
pub(crate) const KEY: &str = "bench-key-0123456789";
const START_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const ANNOUNCEMENT: &str = "listening on http://";

/// One of the things that are measured in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The upstream without anything before it
    Direct,
    /// nginx as a plain proxy
    Nginx,
    /// Our proxy that only forwards
    BareProxy,
    /// Privet that keeps no history
    Privet,
    /// Privet that keeps no history, between a client of OpenAI's dialect and a provider of Anthropic's
    PrivetTranslated,
    /// Privet with history, durable against the machine's failure
    PrivetFull,
    /// Privet with history, durable against the machine's failure, that remembers nothing
    PrivetForgetful,
    /// Privet with history, durable against the process's failure
    PrivetProcess,
    /// Privet that keeps no history, with prices, limits and budgets: holds durable against the machine's failure
    PrivetLimited,
    /// Privet with history and with prices, limits and budgets, all durable against the machine's failure
    PrivetFullLimited,
    /// The same, and every request leaves a trace: as it is used
    PrivetTraced,
}

impl Subject {
    pub(crate) const ALL: [Self; 11] = [
        Self::Direct,
        Self::Nginx,
        Self::BareProxy,
        Self::Privet,
        Self::PrivetTranslated,
        Self::PrivetLimited,
        Self::PrivetForgetful,
        Self::PrivetFull,
        Self::PrivetFullLimited,
        Self::PrivetTraced,
        Self::PrivetProcess,
    ];

    /// Whether it keeps what it is told.
    pub(crate) const fn keeps_history(self) -> bool {
        matches!(
            self,
            Self::PrivetFull
                | Self::PrivetForgetful
                | Self::PrivetProcess
                | Self::PrivetFullLimited
                | Self::PrivetTraced
        )
    }

    /// Whether it is Privet in one of its forms.
    pub(crate) const fn is_privet(self) -> bool {
        matches!(self, Self::Privet | Self::PrivetTranslated | Self::PrivetLimited) || self.keeps_history()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "upstream, direct",
            Self::Nginx => "nginx",
            Self::BareProxy => "bare proxy",
            Self::Privet => "Privet, no history",
            Self::PrivetTranslated => "Privet, no history, translated",
            Self::PrivetFull => "Privet, history, `full`",
            Self::PrivetForgetful => "Privet, history, `full`, without memory",
            Self::PrivetProcess => "Privet, history, `process`",
            Self::PrivetLimited => "Privet, no history, limits and budgets",
            Self::PrivetFullLimited => "Privet, history, `full`, limits and budgets",
            Self::PrivetTraced => "Privet, history, `full`, limits, budgets and traces",
        })
    }
}

/// The programs that subjects are made of.
pub(crate) struct Programs<'a> {
    /// This program, which is also the bare proxy and the upstream.
    pub(crate) bench: &'a Path,
    pub(crate) privet: &'a Path,
    /// Where data is kept while measuring: on the disk that the build is on, not in memory.
    pub(crate) scratch: &'a Path,
}

/// A started program; dropping it stops it and removes its data.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    _folder: Option<TempDir>,
}

impl Running {
    /// Starts the upstream.
    pub(crate) fn upstream(programs: &Programs<'_>) -> Result<Self> {
        let (child, address) = start(Command::new(programs.bench).args(["upstream", "--listen", "127.0.0.1:0"]))?;
        Ok(Self { address, child: Some(child), _folder: None })
    }

    /// Starts an embedder over a model.
    pub(crate) fn embedder(programs: &Programs<'_>, model: &Path) -> Result<Self> {
        let mut command = Command::new(programs.bench);
        let (child, address) = start(command.args(["embedder", "--listen", "127.0.0.1:0", "--model"]).arg(model))?;
        Ok(Self { address, child: Some(child), _folder: None })
    }

    /// Starts a subject in front of the upstream.
    pub(crate) fn start(subject: Subject, programs: &Programs<'_>, upstream: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir_in(programs.scratch).context("no temporary folder")?;
        let (child, address) = match subject {
            Subject::Direct => return Ok(Self { address: upstream, child: None, _folder: None }),
            Subject::Nginx => start_nginx(folder.path(), upstream)?,
            Subject::BareProxy => start(
                Command::new(programs.bench)
                    .args(["bare-proxy", "--listen", "127.0.0.1:0", "--upstream"])
                    .arg(upstream.to_string()),
            )?,
            Subject::Privet => start_privet(programs, folder.path(), upstream, Settings::STATELESS)?,
            Subject::PrivetTranslated => {
                start_privet(programs, folder.path(), upstream, Settings::STATELESS.translated())?
            }
            Subject::PrivetFull => start_privet(programs, folder.path(), upstream, Settings::FULL)?,
            Subject::PrivetForgetful => start_privet(programs, folder.path(), upstream, Settings::FULL.forgetful())?,
            Subject::PrivetProcess => start_privet(programs, folder.path(), upstream, Settings::PROCESS)?,
            Subject::PrivetLimited => start_privet(programs, folder.path(), upstream, Settings::STATELESS.limited())?,
            Subject::PrivetFullLimited => start_privet(programs, folder.path(), upstream, Settings::FULL.limited())?,
            Subject::PrivetTraced => {
                start_privet(programs, folder.path(), upstream, Settings::FULL.limited().traced())?
            }
        };
        Ok(Self { address, child: Some(child), _folder: Some(folder) })
    }

    /// Starts Privet for traces in a folder that stays when it stops. Nothing else is kept, nothing is limited.
    pub(crate) fn traces(programs: &Programs<'_>, folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let (child, address) = start_privet(programs, folder, upstream, Settings::STATELESS.traced())?;
        Ok(Self { address, child: Some(child), _folder: None })
    }

    /// Starts Privet on a data folder with memories, whose vectors the upstream makes.
    pub(crate) fn memory(
        programs: &Programs<'_>,
        folder: &Path,
        upstream: SocketAddr,
        dimensions: usize,
    ) -> Result<Self> {
        let memory = Memory::Embedded(dimensions);
        let settings = Settings { memory, ..Settings::STATELESS };
        let (child, address) = start_privet(programs, folder, upstream, settings)?;
        Ok(Self { address, child: Some(child), _folder: None })
    }

    /// The process, where there is one of its own.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // A process that is gone already is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

struct Settings {
    durability: &'static str,
    record: &'static str,
    /// Whether calls have a price and are bounded by limits and budgets. Without, the model costs nothing.
    limited: bool,
    /// Whether requests leave traces.
    traced: bool,
    /// Whether the model is one of a provider of another dialect.
    translated: bool,
    memory: Memory,
}

/// What is remembered, and how it is found.
#[derive(Clone, Copy)]
enum Memory {
    Off,
    /// As it is without a word in the configuration: by words.
    Default,
    /// By words and by vectors of so many dimensions.
    Embedded(usize),
}

impl Memory {
    fn toml(self) -> String {
        match self {
            Self::Off => "[memory]\nenabled = \"false\"\n\n".to_owned(),
            Self::Default => String::new(),
            Self::Embedded(dimensions) => {
                format!("[memory]\nembedder = \"{PROVIDER}/{MODEL}\"\ndimensions = {dimensions}\n\n")
            }
        }
    }
}

impl Settings {
    const STATELESS: Self = Self {
        durability: "full",
        record: "none",
        limited: false,
        traced: false,
        translated: false,
        memory: Memory::Default,
    };
    const FULL: Self = Self {
        durability: "full",
        record: "all",
        limited: false,
        traced: false,
        translated: false,
        memory: Memory::Default,
    };
    const PROCESS: Self = Self {
        durability: "process",
        record: "all",
        limited: false,
        traced: false,
        translated: false,
        memory: Memory::Default,
    };

    const fn limited(self) -> Self {
        Self { limited: true, ..self }
    }

    const fn translated(self) -> Self {
        Self { translated: true, ..self }
    }

    const fn traced(self) -> Self {
        Self { traced: true, ..self }
    }

    const fn forgetful(self) -> Self {
        Self { memory: Memory::Off, ..self }
    }

    /// Every gate is on, and none ever closes.
    const LIMITS: &str = "[limits]\naddress = { chat = \"100000000/1m\", api = \"100000000/1m\", refused = \"5/1m\" }\n\
        key = { requests = \"100000000/1m\", tokens = \"4000000000/1m\", concurrency = 4096 }\nconcurrency = 4096\n\n\
        [[budgets]]\nlimit = \"1000000/month\"\n\n[[budgets]]\nlimit = \"1000000/day Europe/Warsaw\"\nuser = \"owner\"\n\n\
        [[budgets]]\nlimit = \"1000000/total\"\nproject = \"default\"\n";
    const NO_LIMITS: &str =
        "[limits]\naddress = { chat = \"off\", api = \"off\", refused = \"off\" }\nconcurrency = 4096\n";
    /// The model that every request asks for stands for one of Anthropic's.
    const TRANSLATION: &str = "[models]\n\"openai/gpt-4o-mini\" = \"anthropic/claude-haiku-4-5\"\n\n";
    const NO_PRICE: &str = "[[price]]\nmodel = \"anthropic/claude-haiku-4-5\"\nfrom = 2020-01-01\nchecked = 2026-11-25\nsource = \"the benchmark\"\ninput = 0\noutput = 0\n\
        [[price]]\nmodel = \"openai/*\"\nfrom = 2020-01-01\nchecked = 2026-11-25\nsource = \"the benchmark\"\ninput = 0\noutput = 0\n\
        [[price]]\nmodel = \"openai/gpt-4o-mini\"\nfrom = 2020-01-01\nchecked = 2026-11-25\nsource = \"the benchmark\"\ninput = 0\noutput = 0\n";
}

fn start_privet(
    programs: &Programs<'_>,
    folder: &Path,
    upstream: SocketAddr,
    Settings { durability, record, limited, traced, translated, memory }: Settings,
) -> Result<(Child, SocketAddr)> {
    let file = folder.join("privet.toml");
    let (prices, limits) =
        if limited { ("", Settings::LIMITS) } else { ("prices = \"prices.toml\"\n", Settings::NO_LIMITS) };
    let text = format!(
        "durability = \"{durability}\"\n{prices}\n[server]\nlisten = \"127.0.0.1:0\"\n\n[history]\nrecord = \"{record}\"\n\n\
         [traces]\nrequests = {traced}\nkeep = \"forever\"\n\n{translation}{memory}{limits}",
        translation = if translated { Settings::TRANSLATION } else { "" },
        memory = memory.toml(),
    );
    fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    fs::write(folder.join("prices.toml"), Settings::NO_PRICE).context("the prices cannot be written")?;
    let mut command = Command::new(programs.privet);
    command
        .args(["serve", "--config"])
        .arg(&file)
        .arg("--data")
        .arg(folder.join("data"))
        // Neither a `.env` nor the environment of whoever runs this may change what is measured.
        .current_dir(folder)
        .env_clear()
        .env("PERSONAL_API_KEY", KEY)
        .env("OPENAI_API_KEY", "bench")
        .env("OPENAI_BASE_URL", format!("http://{upstream}/v1"));
    if translated {
        command.env("ANTHROPIC_API_KEY", "bench").env("ANTHROPIC_BASE_URL", format!("http://{upstream}"));
    }
    start(&mut command)
}

fn start_nginx(folder: &Path, upstream: SocketAddr) -> Result<(Child, SocketAddr)> {
    let (mut command, address) = nginx::command(folder, upstream)?;
    let mut child = command.stdin(Stdio::null()).spawn().context("nginx could not be started")?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("nginx ended before it listened ({status})");
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("nginx did not listen within {} s", START_TIMEOUT.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok((child, address))
}

/// Starts a program that says where it listens.
fn start(command: &mut Command) -> Result<(Child, SocketAddr)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} could not be started"))?;
    let (sender, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        follow(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        follow(stderr, sender);
    }
    let deadline = Instant::now() + START_TIMEOUT;
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if let Some(address) = announced(&line) {
            return Ok((child, address));
        }
        said.push_str(&line);
        said.push('\n');
    }
    // It may have ended by itself, which is what the message then shows.
    let _ = child.kill();
    let _ = child.wait();
    bail!("{name} did not say where it listens; it said:\n{said}")
}

/// Reads to the end, so that the program never waits for a full pipe.
fn follow(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Nobody listens any more once the address is known.
            let _ = lines.send(line);
        }
    });
}

fn announced(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(ANNOUNCEMENT)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':')).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_line_of_any_form() {
        let expected: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(announced("listening on http://127.0.0.1:4000"), Some(expected));
        assert_eq!(announced("INFO \u{1b}[1mlistening on http://127.0.0.1:4000\u{1b}[0m data=x"), Some(expected));
        assert_eq!(announced("starting"), None);
    }

    #[test]
    fn a_program_that_ends_is_reported_with_its_words() {
        let error = start(Command::new("sh").args(["-c", "echo no such setting >&2"])).unwrap_err();
        assert!(error.to_string().contains("no such setting"), "{error}");
    }
}
