//! Migrations: planned, run, refused, and failed without harm.

use privet_store::{Durability, Store, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use crate::bed::{Bed, begun, on_both_databases, project, texts};

on_both_databases!(
    a_fresh_database_is_planned_and_migrated_once,
    a_database_of_a_newer_version_is_refused_and_left_alone,
    a_migration_that_fails_at_any_statement_leaves_nothing_of_itself,
    a_repeated_migration_that_fails_leaves_the_data_and_a_backup,
);

async fn newest(bed: &Bed) -> i64 {
    Store::plan_migration(&bed.location).await.unwrap().pending.iter().map(|pending| pending.version).max().unwrap()
}

async fn a_fresh_database_is_planned_and_migrated_once(bed: &Bed) {
    let plan = Store::plan_migration(&bed.location).await.unwrap();
    assert_eq!(plan.current, 0);
    let versions: Vec<i64> = plan.pending.iter().map(|pending| pending.version).collect();
    assert_eq!(versions, (1..=versions.len() as i64).collect::<Vec<_>>());
    assert!(!versions.is_empty() && plan.pending.iter().all(|pending| !pending.description.is_empty()));
    if bed.is_sqlite() {
        assert_eq!(std::fs::read_dir(bed.folder.path()).unwrap().count(), 0, "a plan makes no file");
    }
    assert_eq!(Store::plan_migration(&bed.location).await.unwrap(), plan, "a plan changes nothing");

    for _ in 0..2 {
        bed.open().await.close().await;
        let plan = Store::plan_migration(&bed.location).await.unwrap();
        assert_eq!((plan.current, plan.pending), (versions.len() as i64, vec![]));
    }
}

async fn a_database_of_a_newer_version_is_refused_and_left_alone(bed: &Bed) {
    let known = newest(bed).await;
    let store = bed.open().await;
    let home = project(&store, "home").await;
    begun(&store, home, &["kept"]).await;
    store.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'of the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    bed.execute(newer).await;
    let refused = [
        Store::open(&bed.location, Durability::Full).await.map(drop),
        Store::plan_migration(&bed.location).await.map(drop),
    ];
    for outcome in refused {
        let Err(StoreError::Newer { found, known: told }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((found, told), (9999, known));
    }
    bed.execute("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    assert_eq!(bed.open().await.conversations(home, None, 9).await.unwrap().conversations.len(), 1);
}

/// Each object of the first schema in turn is in the way of its statement.
async fn a_migration_that_fails_at_any_statement_leaves_nothing_of_itself(bed: &Bed) {
    let obstacles = [
        ("CREATE TABLE projects (mine INTEGER)", "DROP TABLE projects"),
        ("CREATE TABLE api_keys (mine INTEGER)", "DROP TABLE api_keys"),
        ("CREATE TABLE revisions (mine INTEGER)", "DROP TABLE revisions"),
        ("CREATE TABLE conversations (mine INTEGER)", "DROP TABLE conversations"),
        ("CREATE TABLE conversations_by_project (mine INTEGER)", "DROP TABLE conversations_by_project"),
        ("CREATE TABLE messages (mine INTEGER)", "DROP TABLE messages"),
        ("CREATE TABLE messages_by_conversation (mine INTEGER)", "DROP TABLE messages_by_conversation"),
    ];
    let tables = if bed.is_sqlite() {
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('_sqlx_migrations')"
    } else {
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'"
    };
    for (obstacle, removal) in obstacles {
        bed.execute(obstacle).await;
        let outcome = Store::open(&bed.location, Durability::Full).await.map(drop);
        assert!(matches!(outcome, Err(StoreError::Migration(_))), "{obstacle}: {outcome:?}");
        assert_eq!(bed.number(tables).await, 1, "{obstacle}: only the obstacle is there");
        assert_eq!(Store::plan_migration(&bed.location).await.unwrap().current, 0, "{obstacle}");
        bed.execute(removal).await;
    }
    bed.open().await.ping().await.unwrap();
}

/// The newest migration is forgotten while its tables are there, so that running it again fails.
async fn a_repeated_migration_that_fails_leaves_the_data_and_a_backup(bed: &Bed) {
    let known = newest(bed).await;
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = begun(&store, home, &["kept"]).await;
    store.close().await;
    bed.execute(
        "CREATE TABLE forgotten AS SELECT * FROM _sqlx_migrations \
         WHERE version = (SELECT max(version) FROM _sqlx_migrations); \
         DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    )
    .await;
    // Twice: the backup of the first attempt is not in the way of the second.
    for _ in 0..2 {
        let outcome = Store::open(&bed.location, Durability::Full).await.map(drop);
        assert!(matches!(outcome, Err(StoreError::Migration(_))), "{outcome:?}");
        assert_eq!(Store::plan_migration(&bed.location).await.unwrap().current, known - 1);
    }
    if bed.is_sqlite() {
        let backup = bed.sqlite_file().with_file_name(format!("privet.db.before-migration-from-{}", known - 1));
        assert_eq!(backup.exists(), known > 1, "a fresh database has nothing to back up");
        if backup.exists() {
            let options = SqliteConnectOptions::new().filename(&backup).read_only(true);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let kept: String =
                sqlx::query_scalar("SELECT content FROM messages").fetch_one(&mut connection).await.unwrap();
            assert_eq!(kept, "kept");
        }
    }
    bed.execute("INSERT INTO _sqlx_migrations SELECT * FROM forgotten; DROP TABLE forgotten").await;
    assert_eq!(texts(&bed.open().await, home, id).await, ["kept"]);
}
