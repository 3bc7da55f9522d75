//! What a test of the store stands on: a fresh database of either kind, and short ways to say things into it.

use std::path::PathBuf;

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::time::Timestamp;
use privet_store::{
    Durability, Location, MessageStatus, NewMessage, Store, StoredMessage, TurnFinish, TurnStart, TurnWithdrawal,
};
use privet_testkit::postgres::{TestDatabase, fresh_database};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

/// Makes two tests of each body: one on SQLite, one on PostgreSQL.
macro_rules! on_both_databases {
    ($($body:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $body() {
                super::$body(&$crate::bed::Bed::sqlite()).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $body() {
                super::$body(&$crate::bed::Bed::postgres().await).await;
            })+
        }
    };
}

pub(crate) use on_both_databases;

/// A database that no other test sees; removed with this value.
pub(crate) struct Bed {
    /// Where it is.
    pub(crate) location: Location,
    /// Beside SQLite's files, for other files of a test.
    pub(crate) folder: tempfile::TempDir,
    database: Option<TestDatabase>,
}

impl Bed {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { location: Location::Folder(folder.path().to_owned()), folder, database: None }
    }

    pub(crate) async fn postgres() -> Self {
        let database = fresh_database().await;
        let folder = tempfile::tempdir().unwrap();
        Self { location: Location::postgres(database.url.clone()), folder, database: Some(database) }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.database.is_none()
    }

    /// Opens the store. What is written survives the process, which is all that these tests end.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.location, Durability::Process).await.unwrap()
    }

    pub(crate) fn sqlite_file(&self) -> PathBuf {
        self.location.sqlite_file().unwrap()
    }

    /// Runs statements past the store.
    pub(crate) async fn execute(&self, sql: &'static str) {
        match &self.database {
            Some(database) => {
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            None => {
                let mut connection = self.sqlite_connection().await;
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// One number, read past the store.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        match &self.database {
            Some(database) => {
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            None => sqlx::query_scalar(sql).fetch_one(&mut self.sqlite_connection().await).await.unwrap(),
        }
    }

    /// The same of the database of traces.
    pub(crate) async fn trace_number(&self, sql: &'static str) -> i64 {
        if !self.is_sqlite() {
            return self.number(sql).await;
        }
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("traces.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }

    async fn sqlite_connection(&self) -> SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.sqlite_file()).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

/// An instant so many seconds after a fixed one.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

pub(crate) async fn project(store: &Store, name: &str) -> ProjectId {
    store.ensure_project(name, at(0)).await.unwrap().id
}

pub(crate) fn message(store: &Store, role: &'static str, content: &str) -> NewMessage {
    NewMessage {
        id: MessageId::new(),
        seq: store.next_seq(at(0)),
        role,
        name: None,
        content: content.to_owned(),
        payload: None,
        status: MessageStatus::Complete,
    }
}

/// A turn that begins a conversation.
pub(crate) fn begin(store: &Store, project_id: ProjectId, texts: &[&str]) -> TurnStart {
    TurnStart {
        project_id,
        conversation_id: ConversationId::new(),
        new_for_user: Some("owner".to_owned()),
        messages: texts.iter().map(|text| message(store, "user", text)).collect(),
        memories: Vec::new(),
        at: at(1),
    }
}

/// A turn that goes on with a conversation.
pub(crate) fn go_on(
    store: &Store,
    project_id: ProjectId,
    conversation_id: ConversationId,
    texts: &[&str],
) -> TurnStart {
    TurnStart { conversation_id, new_for_user: None, ..begin(store, project_id, texts) }
}

pub(crate) fn finish(
    store: &Store,
    project_id: ProjectId,
    conversation_id: ConversationId,
    text: &str,
    second: i64,
) -> TurnFinish {
    let messages = vec![message(store, "assistant", text)];
    TurnFinish { project_id, conversation_id, messages, memories: Vec::new(), response: None, at: at(second) }
}

pub(crate) fn withdrawal(turn: &TurnStart) -> TurnWithdrawal {
    TurnWithdrawal {
        conversation_id: turn.conversation_id,
        conversation_is_new: turn.new_for_user.is_some(),
        messages: turn.messages.iter().map(|message| message.id).collect(),
        last_seq: turn.messages.iter().map(|message| message.seq).max().unwrap(),
    }
}

/// Begins a conversation with these texts of the user, at second 1.
pub(crate) async fn begun(store: &Store, project_id: ProjectId, texts: &[&str]) -> ConversationId {
    let turn = begin(store, project_id, texts);
    let id = turn.conversation_id;
    store.start_turn(turn).await.unwrap();
    id
}

/// The texts of a conversation, in order.
pub(crate) async fn texts(store: &Store, project_id: ProjectId, conversation_id: ConversationId) -> Vec<String> {
    contents(store.messages(project_id, conversation_id).await.unwrap())
}

pub(crate) fn contents(messages: Vec<StoredMessage>) -> Vec<String> {
    messages.into_iter().map(|message| message.content).collect()
}
