//! Where the server under attack lives: data and a configuration of its own, in a folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow, ensure};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::process::Command;

use crate::cli::server_process::ServerProcess;

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
        ServerProcess::start(self.command(&["serve", "--listen", "127.0.0.1:0"]))
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
