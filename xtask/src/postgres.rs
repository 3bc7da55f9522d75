//! `cargo xtask postgres`: a PostgreSQL server for the tests alone, on a loopback port of its own.
//!
//! Its data is thrown away when it stops. Anyone on this machine may connect to it: nothing in it is worth keeping.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{install, process};

/// The account of Debian's package; PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";
const CONNECTIONS_MAX: u32 = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop the server and throw its data away
    #[arg(long)]
    stop: bool,
}

/// Starts or stops the server, and prints its URL.
pub(crate) fn postgres(workspace: &Workspace, args: &Args) -> Result<()> {
    let cluster = Cluster::of(workspace)?;
    if args.stop {
        return cluster.stop();
    }
    cluster.start()?;
    println!("{}", cluster.url()?);
    Ok(())
}

/// The server while the tests run: stopped afterwards if the tests started it, left alone if it ran before.
pub(crate) struct Running {
    /// Where tests reach it.
    pub(crate) url: String,
    started: Option<Cluster>,
}

impl Running {
    /// Starts the server unless it runs already.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        let cluster = Cluster::of(workspace)?;
        let started = cluster.start()?;
        Ok(Self { url: cluster.url()?, started: started.then_some(cluster) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(cluster) = &self.started
            && let Err(error) = cluster.stop()
        {
            eprintln!("warning: PostgreSQL did not stop: {error:#}; try cargo xtask postgres --stop");
        }
    }
}

/// The files of one workspace's server.
struct Cluster {
    binaries: PathBuf,
    /// Holds the data and the log, owned by the account that runs the server.
    folder: PathBuf,
    account: Option<Account>,
    url_file: PathBuf,
}

#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Finds the programs, installing them if they are missing, and names the folder after the workspace's path.
    fn of(workspace: &Workspace) -> Result<Self> {
        let binaries = match find_binaries() {
            Some(binaries) => binaries,
            None => {
                install::debian_package("postgresql", "PostgreSQL, which half of the store's tests need,")?;
                find_binaries().context("PostgreSQL was installed, yet /usr/lib/postgresql/*/bin has no initdb")?
            }
        };
        let mut hasher = DefaultHasher::new();
        workspace.root.hash(&mut hasher);
        Ok(Self {
            binaries,
            folder: std::env::temp_dir().join(format!("privet-test-postgres-{:016x}", hasher.finish())),
            account: install::is_root().then(|| account(ACCOUNT)).transpose()?,
            url_file: workspace.target.join("test-postgres").join("url"),
        })
    }

    /// Returns whether it had to be started.
    fn start(&self) -> Result<bool> {
        if self.is_running() {
            self.write_url()?;
            return Ok(false);
        }
        self.make_folder()?;
        if !self.data().join("PG_VERSION").is_file() {
            process::output(
                self.command("initdb")
                    .args(["--username", ACCOUNT, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"])
                    .args(["--no-sync", "--no-instructions", "--pgdata"])
                    .arg(self.data()),
            )?;
        }
        let port = free_port()?;
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c max_connections={CONNECTIONS_MAX} -c unix_socket_directories="
        );
        let log = self.folder.join("log");
        process::output(
            self.control("start")
                .args(["--wait", "--timeout", "60", "--options", &options, "--log"])
                .arg(&log)
                // The server outlives this tool and must not hold its output open.
                .stderr(Stdio::null()),
        )
        .with_context(|| format!("PostgreSQL did not start; its log is {}", log.display()))?;
        self.write_url()?;
        Ok(true)
    }

    fn stop(&self) -> Result<()> {
        if self.is_running() {
            process::output(self.control("stop").args(["--mode", "immediate", "--wait"]))?;
        }
        remove_if_present(fs::remove_file(&self.url_file))?;
        remove_if_present(fs::remove_dir_all(&self.folder))
            .with_context(|| format!("{} could not be removed", self.folder.display()))
    }

    fn is_running(&self) -> bool {
        self.control("status").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn url(&self) -> Result<String> {
        let pid_file = self.data().join("postmaster.pid");
        let text = fs::read_to_string(&pid_file).with_context(|| format!("{} cannot be read", pid_file.display()))?;
        let port = port_of(&text).with_context(|| format!("{} names no port", pid_file.display()))?;
        Ok(format!("postgres://{ACCOUNT}@127.0.0.1:{port}/postgres"))
    }

    fn write_url(&self) -> Result<()> {
        if let Some(folder) = self.url_file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.url_file, self.url()?).with_context(|| format!("{} cannot be written", self.url_file.display()))
    }

    /// A folder of this name that is not the account's own was put there by somebody else.
    fn make_folder(&self) -> Result<()> {
        let owner = self.account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Ok(()) => {
                if let Some(Account { uid, gid }) = self.account {
                    chown(&self.folder, Some(uid), Some(gid))?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let metadata = fs::symlink_metadata(&self.folder)?;
                if !metadata.is_dir() || metadata.uid() != owner {
                    bail!("{} belongs to somebody else; remove it", self.folder.display());
                }
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", self.folder.display())),
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn control(&self, action: &str) -> Command {
        let mut command = self.command("pg_ctl");
        command.arg(action).arg("--pgdata").arg(self.data());
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.stdin(Stdio::null()).current_dir("/");
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// The newest installed version's programs, or those in `PATH`.
fn find_binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok();
    let newest = versions
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .max();
    newest
        .map(|(_, folder)| folder)
        .or_else(|| process::find("initdb").and_then(|file| file.parent().map(Path::to_path_buf)))
}

fn account(name: &str) -> Result<Account> {
    let passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    account_in(&passwd, name).with_context(|| format!("/etc/passwd has no account `{name}` to run PostgreSQL as"))
}

fn account_in(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { uid, gid: fields.next()?.parse().ok()? })
    })
}

/// The fourth line of `postmaster.pid`.
fn port_of(pid_file: &str) -> Option<u16> {
    pid_file.lines().nth(3)?.trim().parse().ok()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?.local_addr()?.port())
}

fn remove_if_present(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_pid_file() {
        let file = "4242\n/tmp/x/data\n1700000000\n40123\n\n127.0.0.1\n  123 0\nready   \n";
        assert_eq!(port_of(file), Some(40123));
        assert_eq!(port_of("4242\n"), None);
    }

    #[test]
    fn the_account_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:107:115:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        let Account { uid, gid } = account_in(passwd, "postgres").unwrap();
        assert_eq!((uid, gid), (107, 115));
        assert!(account_in(passwd, "post").is_none());
    }
}
