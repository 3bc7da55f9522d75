//! What the figures were measured on and with, without which they mean little.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The machine, the moment and the code.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) toolchain: String,
    pub(crate) commit: String,
    pub(crate) date: String,
}

/// What building gives and costs.
pub(crate) struct Build {
    pub(crate) binary_bytes: Option<u64>,
    pub(crate) cold: Option<Duration>,
}

impl Machine {
    /// What cannot be found out is called unknown: the figures stand without it.
    pub(crate) fn read() -> Self {
        Self {
            cpu: value_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: value_of("/proc/meminfo", "MemTotal")
                .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
                .map_or(0.0, |kibibytes| kibibytes / 1024.0 / 1024.0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().into()),
            toolchain: said("rustc", &["--version"]).unwrap_or_else(unknown),
            commit: commit().unwrap_or_else(unknown),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

/// The median time to append 4 KiB to a file and have the disk confirm it: what every durable commit waits for.
pub(crate) fn time_fsync(folder: &Path) -> Option<Duration> {
    let mut file = tempfile::tempfile_in(folder).ok()?;
    let mut times = Vec::new();
    for _ in 0..51 {
        let start = Instant::now();
        file.write_all(&[7; 4096]).ok()?;
        file.sync_data().ok()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Builds the server as released into an empty folder. Downloads are not counted: they are there already.
pub(crate) fn time_cold_build() -> Result<Duration> {
    println!("building from nothing, which takes minutes");
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let start = Instant::now();
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", "privet-server", "--quiet", "--target-dir"])
        .arg(folder.path())
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the cold build failed");
    Ok(start.elapsed())
}

fn commit() -> Option<String> {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/RESULTS.md"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit} with uncommitted changes") })
}

fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
