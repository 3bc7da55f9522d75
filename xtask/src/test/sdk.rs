//! The official clients, unchanged, against a running Privet whose provider is the mock.
//!
//! Installs them where nothing else is touched: Python's in `target/`, Node's beside their tests, where node looks for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process;
use crate::server::Server;
use crate::test::junit::{self, Count};
use crate::workspace::Workspace;

/// The key that the tests' clients send.
const KEY: &str = "sdk-tests-key";
/// The pair that Langfuse's SDKs send.
const PUBLIC_KEY: &str = "pk-lf-sdk-tests";
const SECRET_KEY: &str = "sk-lf-sdk-tests-secret";

/// The tests of Python clients that can be installed together: a folder of `tests/sdk`.
#[derive(Clone, Copy)]
pub(super) struct PythonTests {
    folder: &'static str,
}

/// The last version 2 of Langfuse's SDK cannot be installed beside 5.
pub(super) const PYTHON_TESTS: [PythonTests; 2] =
    [PythonTests { folder: "python" }, PythonTests { folder: "python-langfuse2" }];

impl PythonTests {
    /// Where they are, from the root of the workspace.
    pub(super) fn path(self) -> String {
        format!("tests/sdk/{}", self.folder)
    }
}

/// Privet and its provider, in the order in which they are to be stopped.
pub(super) struct Servers {
    privet: Server,
    mock: Server,
    _data: TempDir,
}

/// Makes the virtual environment anew when the requirements have changed; returns its Python.
pub(super) fn install_python(workspace: &Workspace, tests: PythonTests) -> Result<PathBuf> {
    python_with(workspace, &workspace.root.join(tests.path()), &format!("sdk-{}", tests.folder))
}

/// A Python with what the folder's `requirements.txt` asks for, in a folder of this name in `target/`.
pub(crate) fn python_with(workspace: &Workspace, folder: &Path, name: &str) -> Result<PathBuf> {
    process::require(&[("python3", "sudo apt-get install python3 python3-venv")])?;
    let requirements = folder.join("requirements.txt");
    let folder = workspace.target.join(name);
    let python = folder.join("bin").join("python");
    let installed = Installed { wanted: requirements, done: folder.join("requirements.installed.txt") };
    if installed.is_current()? {
        return Ok(python);
    }
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context("no virtual environment could be made; on Debian it needs: sudo apt-get install python3-venv")?;
    process::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&installed.wanted),
    )?;
    installed.remember()?;
    Ok(python)
}

/// Runs `npm ci` when the lock file has changed.
pub(super) fn install_node(workspace: &Workspace) -> Result<()> {
    process::require(&[("node", "install Node.js 20 or newer"), ("npm", "it comes with Node.js")])?;
    let folder = workspace.root.join("tests/sdk/node");
    let installed =
        Installed { wanted: folder.join("package-lock.json"), done: folder.join("node_modules/.lock.installed.json") };
    if installed.is_current()? {
        return Ok(());
    }
    process::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder))?;
    installed.remember()
}

/// Starts the mock, then a Privet with empty data whose every provider is the mock.
pub(super) fn start(workspace: &Workspace) -> Result<Servers> {
    let binaries = workspace.target.join("debug");
    let data = tempfile::tempdir().context("no temporary folder for Privet's data")?;
    let mock = Server::start(
        Command::new(binaries.join("privet-mock")).args(["--listen", "127.0.0.1:0"]),
        &workspace.target.join("sdk-mock.log"),
    )?;
    let privet = Server::start(
        Command::new(binaries.join("privet"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            // Neither a `.env` nor the environment of whoever runs this may change what is tested.
            .current_dir(data.path())
            .env_clear()
            .env("PERSONAL_API_KEY", KEY)
            .env("LANGFUSE_INIT_PROJECT_ID", "sdk-tests")
            .env("LANGFUSE_INIT_PROJECT_NAME", "SDK tests")
            .env("LANGFUSE_INIT_PROJECT_PUBLIC_KEY", PUBLIC_KEY)
            .env("LANGFUSE_INIT_PROJECT_SECRET_KEY", SECRET_KEY)
            // The SDKs try wrong keys on purpose.
            .env("PRIVET_LIMITS_ADDRESS_REFUSED", "off")
            .env("OPENAI_API_KEY", "mock")
            .env("OPENAI_BASE_URL", format!("{}/v1", mock.url))
            .env("ANTHROPIC_API_KEY", "mock")
            .env("ANTHROPIC_BASE_URL", &mock.url)
            .env("GEMINI_API_KEY", "mock")
            .env("GEMINI_BASE_URL", &mock.url),
        &workspace.target.join("sdk-privet.log"),
    )?;
    Ok(Servers { privet, mock, _data: data })
}

/// Runs tests of Python clients.
pub(super) fn test_python(
    workspace: &Workspace,
    tests: PythonTests,
    python: &Path,
    servers: &Servers,
) -> Result<Count> {
    let report = workspace.target.join(format!("sdk-{}.xml", tests.folder));
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--quiet", &tests.path()])
        .arg(format!("--junitxml={}", report.display()))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run_clients(workspace, &mut command, &workspace.root, servers)?;
    junit::read(&report)
}

/// Runs the tests of the Node clients.
pub(super) fn test_node(workspace: &Workspace, servers: &Servers) -> Result<Count> {
    let report = workspace.target.join("sdk-node.xml");
    let mut command = Command::new("node");
    command
        .args([
            "--test",
            "--test-timeout=120000",
            "--test-reporter=spec",
            "--test-reporter-destination=stdout",
            "--test-reporter=junit",
        ])
        .arg(format!("--test-reporter-destination={}", report.display()));
    run_clients(workspace, &mut command, &workspace.root.join("tests/sdk/node"), servers)?;
    junit::read(&report)
}

fn run_clients(workspace: &Workspace, command: &mut Command, folder: &Path, servers: &Servers) -> Result<()> {
    command
        .current_dir(folder)
        .env("PRIVET_URL", &servers.privet.url)
        .env("PRIVET_KEY", KEY)
        .env("PRIVET_PUBLIC_KEY", PUBLIC_KEY)
        .env("PRIVET_SECRET_KEY", SECRET_KEY)
        .env("MOCK_URL", &servers.mock.url)
        // A proxy of the developer's must not stand between the client and 127.0.0.1.
        .env("NO_PROXY", "127.0.0.1");
    process::run(command).with_context(|| {
        format!("the servers' logs are {}/sdk-privet.log and sdk-mock.log", workspace.target.display())
    })
}

/// What was asked to be installed, and a copy of it from the last time that it was.
struct Installed {
    wanted: PathBuf,
    done: PathBuf,
}

impl Installed {
    fn is_current(&self) -> Result<bool> {
        let wanted = fs::read(&self.wanted).with_context(|| format!("{} cannot be read", self.wanted.display()))?;
        Ok(fs::read(&self.done).is_ok_and(|done| done == wanted))
    }

    fn remember(&self) -> Result<()> {
        fs::copy(&self.wanted, &self.done)
            .with_context(|| format!("{} cannot be written", self.done.display()))
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_current_until_what_is_wanted_changes() {
        let folder = tempfile::tempdir().unwrap();
        let installed = Installed { wanted: folder.path().join("wanted"), done: folder.path().join("done") };
        assert!(installed.is_current().is_err());
        fs::write(&installed.wanted, "openai==2.0").unwrap();
        assert!(!installed.is_current().unwrap());
        installed.remember().unwrap();
        assert!(installed.is_current().unwrap());
        fs::write(&installed.wanted, "openai==2.1").unwrap();
        assert!(!installed.is_current().unwrap());
    }
}
