//! Opening a database, and what an error of it may tell.

use futures_util::future::join_all;
use privet_store::{Durability, Location, Store, StoreError};

use crate::bed::{Bed, begun, on_both_databases, project, texts};

on_both_databases!(
    several_may_open_a_fresh_database_at_once,
    two_stores_write_to_one_database,
    what_is_acknowledged_is_there_in_either_durability,
);

async fn several_may_open_a_fresh_database_at_once(bed: &Bed) {
    let stores = join_all((0..4).map(|_| bed.open())).await;
    for store in &stores {
        store.ping().await.unwrap();
    }
    assert_eq!(Store::plan_migration(&bed.location).await.unwrap().pending, []);
}

async fn two_stores_write_to_one_database(bed: &Bed) {
    let (one, other) = (bed.open().await, bed.open().await);
    let home = project(&one, "home").await;
    assert_eq!(project(&other, "home").await, home);
    let written = join_all((0..100).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other };
        async move { begun(store, home, &[&number.to_string()]).await }
    }))
    .await;
    for (number, id) in written.into_iter().enumerate() {
        assert_eq!(texts(&one, home, id).await, [number.to_string()]);
    }
}

async fn what_is_acknowledged_is_there_in_either_durability(bed: &Bed) {
    for durability in [Durability::Full, Durability::Process] {
        let store = Store::open(&bed.location, durability).await.unwrap();
        let home = project(&store, "home").await;
        let id = begun(&store, home, &["kept"]).await;
        // Another process sees it while this one has not closed.
        let observer = bed.open().await;
        assert_eq!(texts(&observer, home, id).await, ["kept"], "{durability:?}");
    }
}

#[tokio::test]
async fn an_error_of_opening_never_tells_a_password() {
    // It hangs up on everybody, so that each attempt fails at once.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hanging_up = tokio::spawn(async move { while let Ok(_hung_up) = listener.accept().await {} });
    let urls = [
        "postgres://me:canary@127.0.0.1:PORT/privet",
        "postgres://127.0.0.1:PORT/privet?user=me&password=canary",
        "postgres://127.0.0.1:PORT/privet?user=me&password=half@canary",
        "postgres://me:can@ary-canary@127.0.0.1:PORT/privet",
        // Not escaped, so that they are not read as they were meant.
        "postgres://me:slash/canary@127.0.0.1:PORT/privet",
        "postgres://me:question?canary@127.0.0.1:PORT/privet",
        "postgres://me:hash#canary@127.0.0.1:PORT/privet",
        "postgres://me:canary@127.0.0.1:port/privet",
    ];
    for url in urls {
        let location = Location::postgres(url.replace("PORT", &port.to_string()));
        let opened = Store::open(&location, Durability::Full).await.map(drop);
        let Err(error @ StoreError::Open { .. }) = opened else { panic!("{url}: {opened:?}") };
        let planned = Store::plan_migration(&location).await.unwrap_err();
        let told = format!("{error} {error:?} {planned} {planned:?} {location:?}");
        assert!(!told.contains("canary"), "{url}: {told}");
    }
    hanging_up.abort();
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let opened = Store::open(&Location::Folder(missing.clone()), Durability::Full).await.map(drop);
    let error = opened.unwrap_err().to_string();
    assert!(error.contains(&missing.display().to_string()), "{error}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let bed = Bed::sqlite();
    let text = "this is a diary, not a database; ".repeat(40);
    std::fs::write(bed.sqlite_file(), &text).unwrap();
    let opened = Store::open(&bed.location, Durability::Full).await.map(drop);
    assert!(opened.is_err());
    assert_eq!(std::fs::read_to_string(bed.sqlite_file()).unwrap(), text);
}
