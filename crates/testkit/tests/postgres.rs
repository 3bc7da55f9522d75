//! A database of one's own: there while it is held, gone afterwards.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use privet_testkit::postgres::{fresh_database, postgres_url};

fn psql(url: &str, statement: &str) -> String {
    let output =
        std::process::Command::new("psql").args(["--no-psqlrc", "-At", "-c", statement, url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn fresh_databases_are_empty_apart_and_dropped_at_the_end() {
    let (one, two) = (fresh_database().await, fresh_database().await);
    psql(&one.url, "CREATE TABLE t (id int)");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!((psql(&one.url, tables), psql(&two.url, tables)), ("1".to_owned(), "0".to_owned()));
    let name = psql(&one.url, "SELECT current_database()");
    drop(one);
    let left = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(psql(&postgres_url(), &left), "0");
}
