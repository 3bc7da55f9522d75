//! PostgreSQL for tests: the server that `cargo xtask` started, and a database of one's own on it.
//! It starts no server, and it speaks to it through `psql`, so that it shares no code with the product.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::workspace;

const MISSING: &str = "no PostgreSQL for the tests: run `cargo xtask test` or `cargo xtask postgres`";

/// URL of the server for tests: `PRIVET_TEST_POSTGRES_URL`, or what `target/test-postgres/url` holds.
///
/// # Panics
/// When there is neither.
#[expect(clippy::panic, reason = "a database test without its server has failed, and says how to get one")]
pub fn postgres_url() -> String {
    let set = std::env::var("PRIVET_TEST_POSTGRES_URL").ok();
    let written = || std::fs::read_to_string(workspace::root().join("target/test-postgres/url")).ok();
    match set.or_else(written).map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()) {
        Some(url) => url,
        None => panic!("{MISSING}"),
    }
}

/// A database of one's own; dropped with this value, whoever may still be connected.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its URL.
    pub url: String,
    name: String,
    server_url: String,
}

/// Creates an empty database on the server for tests.
///
/// # Panics
/// When there is no server or it refuses.
#[expect(clippy::panic, reason = "a database test without its database has failed")]
pub async fn fresh_database() -> TestDatabase {
    let server_url = postgres_url();
    let name = unique_name();
    let created = tokio::task::spawn_blocking({
        let (server_url, name) = (server_url.clone(), name.clone());
        // A copy of template0 differs from one of template1 in one thing: nobody can be connected to it.
        move || psql(&server_url, &format!("CREATE DATABASE {name} TEMPLATE template0"))
    });
    match created.await {
        Ok(Ok(())) => TestDatabase { url: with_database(&server_url, &name), name, server_url },
        Ok(Err(problem)) => panic!("no database for the test: {problem}"),
        Err(error) => panic!("no database for the test: {error}"),
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // What is left behind by a failure here goes with the server's folder.
        let _best_effort = psql(&self.server_url, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn psql(url: &str, statement: &str) -> Result<(), String> {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1", "--command", statement, url])
        .output()
        .map_err(|error| format!("`psql` does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{statement}`: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Process, time and a counter: tests run in several processes at once against one server.
fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("privet_test_{}_{}_{serial}", std::process::id(), now.as_nanos())
}

/// The same URL with another database; the query, which may name the socket's folder, is kept.
fn with_database(url: &str, name: &str) -> String {
    let (front, query) = match url.split_once('?') {
        Some((front, query)) => (front, format!("?{query}")),
        None => (url, String::new()),
    };
    let authority = front.find("://").map_or(0, |scheme| scheme + 3);
    let server_end = front.get(authority..).and_then(|rest| rest.find('/')).map_or(front.len(), |at| authority + at);
    format!("{}/{name}{query}", front.get(..server_end).unwrap_or(front))
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn database_of_a_url_is_replaced_whatever_stands_around_it() {
        let cases = [
            ("postgres://u:p@127.0.0.1:5/postgres", "postgres://u:p@127.0.0.1:5/x"),
            ("postgres://u@127.0.0.1:5", "postgres://u@127.0.0.1:5/x"),
            ("postgres:///postgres?host=/tmp/a/b", "postgres:///x?host=/tmp/a/b"),
        ];
        for (url, expected) in cases {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
