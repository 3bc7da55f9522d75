//! The Qdrant server that memory's index is tested on: one that the environment names, or else a stand-in.
//!
//! The stand-in (`tests/qdrant/stand_in.py`) is Qdrant's storage engine in a process of Python, behind the gRPC that we use: what the
//! requests mean is tested with it, and neither the server's own checks nor replicas nor what it survives.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::sdk;
use crate::server::Server;
use crate::workspace::Workspace;

/// Names the server. The tests read it, too.
pub(super) const URL: &str = "PRIVET_TEST_QDRANT_URL";
/// What is printed before it is started.
pub(super) const STEP: &str = "a Qdrant server is named, or its stand-in is started";
/// What is printed at the end where none was named.
pub(super) const NOT_A_SERVER: &str = "memory's index on a Qdrant server: NOT RUN against a server, only against the stand-in \
     tests/qdrant/stand_in.py; name a server in PRIVET_TEST_QDRANT_URL to run it there";

/// What the tests speak to.
pub(super) enum Qdrant {
    /// A real one.
    Server(String),
    /// The stand-in; dropped, it stops.
    StandIn(Server),
}

/// The server that the environment names.
pub(super) fn named() -> Option<String> {
    std::env::var(URL).ok().filter(|url| !url.is_empty())
}

impl Qdrant {
    /// Starts the stand-in unless a server is named.
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        if let Some(url) = named() {
            return Ok(Self::Server(url));
        }
        let folder = workspace.root.join("tests/qdrant");
        let python = sdk::python_with(workspace, &folder, "qdrant-stand-in")?;
        let mut command = Command::new(python);
        command.arg(folder.join("stand_in.py")).args(["--listen", "127.0.0.1:0"]).env("PYTHONDONTWRITEBYTECODE", "1");
        let server = Server::start(&mut command, &workspace.target.join("qdrant-stand-in.log"))
            .context("the stand-in for a Qdrant server did not start")?;
        Ok(Self::StandIn(server))
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::Server(url) => url,
            Self::StandIn(server) => &server.url,
        }
    }

    /// What the tests ran against.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Server(url) => format!("memory's index ran against the Qdrant server {url}"),
            Self::StandIn(_) => NOT_A_SERVER.to_owned(),
        }
    }
}
