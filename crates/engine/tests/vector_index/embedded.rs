//! The index inside SQLite.

use privet_store::{Durability, EmbeddedIndex, EmbedderState, Location, Store};
use tempfile::TempDir;

use crate::suite::{self, DIMENSIONS, Subject, new_embedder};

async fn subject() -> (Subject<EmbeddedIndex>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Location::Folder(folder.path().to_owned()), Durability::Process).await.unwrap();
    let index = store.embedded_index().unwrap();
    let embedder = new_embedder(&store, "first", DIMENSIONS, EmbedderState::Active).await;
    (Subject { store, index, embedder }, folder)
}

macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (subject, _folder) = subject().await;
            suite::$case(&subject).await;
        })+
    };
}

suite::for_every_case!(cases);

#[tokio::test]
async fn ten_thousand_operations_of_two_tenants_find_no_foreign_id() {
    let (subject, _folder) = subject().await;
    suite::no_operation_lets_anybody_find_what_is_not_its_own(&subject, 10_000).await;
}
