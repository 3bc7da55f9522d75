//! Import of a lesson's `database.db`.

use std::path::{Path, PathBuf};

use privet_domain::id::{ConversationId, MessageId};
use privet_domain::time::Timestamp;
use privet_store::{LessonImport, StoreError};
use sqlx::{Connection as _, SqliteConnection};

use crate::bed::{Bed, at, begun, contents, on_both_databases, project, texts};

on_both_databases!(
    a_lesson_is_imported_with_ids_times_and_names,
    importing_twice_adds_nothing,
    the_order_within_one_second_is_kept,
    messages_without_a_uuid_are_all_kept,
    ids_that_are_no_uuids_are_apart_in_each_project,
    an_import_leaves_a_foreign_project_untouched,
    a_wrong_file_is_refused_and_nothing_is_added,
);

const TABLE: &str = "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT, conversation_id TEXT, \
                     content TEXT, name TEXT NULL, role TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP, \
                     updated_at TEXT DEFAULT CURRENT_TIMESTAMP)";
const THREAD: &str = "0192f0aa-1111-7000-8000-000000000001";
const QUESTION: &str = "0192f0aa-2222-7000-8000-000000000002";

/// `(uuid, conversation_id, role, name, content, created_at)`.
type Row<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, &'a str, &'a str);

/// A file as the lesson's application leaves it.
async fn lesson(bed: &Bed, rows: &[Row<'_>]) -> PathBuf {
    let file = bed.folder.path().join("database.db");
    let mut connection = create(&file).await;
    sqlx::query(TABLE).execute(&mut connection).await.unwrap();
    for (uuid, conversation, role, name, content, created_at) in rows {
        sqlx::query(
            "INSERT INTO messages (uuid, conversation_id, role, name, content, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
        )
        .bind(uuid)
        .bind(conversation)
        .bind(role)
        .bind(name)
        .bind(content)
        .bind(created_at)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    connection.close().await.unwrap();
    file
}

async fn create(file: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn a_lesson_is_imported_with_ids_times_and_names(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let file = lesson(
        bed,
        &[
            (QUESTION, THREAD, "user", Some("Adam"), "hey 👋", "2024-11-05 10:20:30"),
            ("answer", THREAD, "assistant", None, "hello", "2024-11-05 10:20:32"),
            ("other", "other thread", "user", None, "apart", "2024-11-06 00:00:00"),
        ],
    )
    .await;
    let report = store.import_lesson(home, "adam", &file, at(0)).await.unwrap();
    assert_eq!(report, LessonImport { conversations: 2, messages: 3, present: 0 });

    let thread: ConversationId = THREAD.parse().unwrap();
    let conversation = store.conversation(home, thread).await.unwrap();
    let time = |text| Timestamp::parse(text).unwrap();
    assert_eq!(conversation.user_id, "adam");
    assert_eq!(conversation.created_at, time("2024-11-05T10:20:30Z"));
    assert_eq!(conversation.updated_at, time("2024-11-05T10:20:32Z"));
    let question = store.message(home, QUESTION.parse::<MessageId>().unwrap()).await.unwrap();
    assert_eq!((question.role.as_str(), question.name.as_deref()), ("user", Some("Adam")));
    assert_eq!((question.content.as_str(), question.created_at), ("hey 👋", time("2024-11-05T10:20:30Z")));
    assert_eq!(texts(&store, home, thread).await, ["hey 👋", "hello"]);
}

async fn importing_twice_adds_nothing(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let row = |uuid, content| (uuid, "thread", "user", None, content, "2024-11-05 10:20:30");
    let file = lesson(bed, &[row("a", "1"), row(QUESTION, "2")]).await;
    store.import_lesson(home, "adam", &file, at(0)).await.unwrap();
    let edited = QUESTION.parse::<MessageId>().unwrap();
    store.edit_message(home, edited, "edited since", None, at(9)).await.unwrap();
    let again = store.import_lesson(home, "adam", &file, at(10)).await.unwrap();
    assert_eq!(again, LessonImport { conversations: 0, messages: 0, present: 2 });
    let [conversation] = store.conversations(home, None, 9).await.unwrap().conversations.try_into().unwrap();
    assert_eq!(texts(&store, home, conversation.id).await, ["1", "edited since"]);
}

async fn the_order_within_one_second_is_kept(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let said: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    let rows: Vec<_> =
        said.iter().map(|text| (text.as_str(), THREAD, "user", None, text.as_str(), "2023-11-05 10:20:30")).collect();
    let file = lesson(bed, &rows).await;
    store.import_lesson(home, "adam", &file, at(0)).await.unwrap();
    let thread = THREAD.parse().unwrap();
    store.start_turn(crate::bed::go_on(&store, home, thread, &["goes on"])).await.unwrap();
    let kept = texts(&store, home, thread).await;
    assert_eq!((&kept[..50], kept[50].as_str()), (said.as_slice(), "goes on"));
}

async fn messages_without_a_uuid_are_all_kept(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let row = |content| ("forgotten", THREAD, "user", None, content, "2024-11-05 10:20:30");
    let file = lesson(bed, &[row("1"), row("2")]).await;
    let mut connection = create(&file).await;
    sqlx::query("UPDATE messages SET uuid = NULL, created_at = NULL").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for (messages, present) in [(2, 0), (0, 2)] {
        let report = store.import_lesson(home, "adam", &file, at(0)).await.unwrap();
        assert_eq!((report.messages, report.present), (messages, present));
    }
    assert_eq!(texts(&store, home, THREAD.parse().unwrap()).await, ["1", "2"]);
}

async fn ids_that_are_no_uuids_are_apart_in_each_project(bed: &Bed) {
    let store = bed.open().await;
    let file = lesson(bed, &[("1", "thread", "user", None, "hey", "2024-11-05 10:20:30")]).await;
    for name in ["home", "foreign"] {
        let id = project(&store, name).await;
        let report = store.import_lesson(id, "adam", &file, at(0)).await.unwrap();
        assert_eq!(report, LessonImport { conversations: 1, messages: 1, present: 0 });
    }
}

async fn an_import_leaves_a_foreign_project_untouched(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    let id = begun(&store, home, &["private"]).await;
    let before = store.conversation(home, id).await.unwrap();
    let text = id.to_string();
    let file = lesson(bed, &[(QUESTION, &text, "user", None, "forged", "2099-01-01 00:00:00")]).await;
    let refused = store.import_lesson(foreign, "eve", &file, at(0)).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "it says so instead of claiming a success: {refused:?}");
    assert_eq!(store.conversation(home, id).await.unwrap(), before);
    assert_eq!(texts(&store, home, id).await, ["private"]);
    assert_eq!(contents(store.messages(foreign, id).await.unwrap()), [""; 0]);
}

async fn a_wrong_file_is_refused_and_nothing_is_added(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let folder = bed.folder.path();
    let (missing, text, empty) = (folder.join("missing.db"), folder.join("notes.txt"), folder.join("empty.db"));
    std::fs::write(&text, "not a database, but longer than the header of one is: ".repeat(9)).unwrap();
    create(&empty).await.close().await.unwrap();
    let damaged = lesson(
        bed,
        &[
            ("1", "thread", "user", None, "sound", "2024-11-05 10:20:30"),
            ("2", "thread", "user", None, "damaged", "2024-11-05 10:20:30"),
        ],
    )
    .await;
    let mut connection = create(&damaged).await;
    sqlx::query("UPDATE messages SET content = NULL WHERE uuid = '2'").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for file in [&missing, &text, &empty, &damaged] {
        let outcome = store.import_lesson(home, "adam", file, at(0)).await;
        let Err(error @ StoreError::Open { .. }) = outcome else { panic!("{}: {outcome:?}", file.display()) };
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
    assert!(!missing.exists());
    assert_eq!(store.conversations(home, None, 9).await.unwrap().conversations, []);
}
