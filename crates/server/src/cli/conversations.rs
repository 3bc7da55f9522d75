//! `privet conversations`: the same data as the API, straight from the database.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Subcommand;
use privet_domain::id::ConversationId;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::{DEFAULT_PROJECT, DEFAULT_USER};
use privet_store::{Conversation, MessageStatus, Project, Store, StoreError, StoredMessage};
use serde_json::{Value, json};

use super::{Common, Exit, FAILURE, USAGE, load, open_known_store, open_store, print_json};

const PAGE: u32 = 200;

#[derive(Subcommand)]
pub(super) enum ConversationsCommand {
    /// List conversations, newest first
    List {
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a conversation
    Show {
        id: String,
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
    /// Delete a conversation with its messages
    Delete {
        id: String,
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
    /// Write all conversations as JSON lines to stdout
    Export {
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
    /// Add the messages of a lesson's `database.db`
    Import {
        file: PathBuf,
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
}

pub(super) async fn run(common: &Common, command: ConversationsCommand) -> Result<(), Exit> {
    let config = load(common, None)?;
    // What is imported may be the first.
    let store = match &command {
        ConversationsCommand::Import { .. } => open_store(&config).await?,
        _ => open_known_store(&config).await?,
    };
    match command {
        ConversationsCommand::List { project, limit } => {
            let project = find_project(&store, &project).await?;
            let page = store.conversations(project.id, None, limit.max(1)).await?;
            if common.json {
                return print_json(&page.conversations);
            }
            for conversation in page.conversations {
                println!("{}  {}  {}", conversation.id, conversation.updated_at, conversation.user_id);
            }
            Ok(())
        }
        ConversationsCommand::Show { id, project } => {
            let parsed = parse(&id)?;
            let project = find_project(&store, &project).await?;
            let conversation = store.conversation(project.id, parsed).await.map_err(|error| missing(error, &id))?;
            let messages = store.messages(project.id, conversation.id).await?;
            if common.json {
                return print_json(&transcript(&conversation, &messages));
            }
            for message in messages {
                println!("[{}] {}: {}", message.created_at, message.role, message.content);
            }
            Ok(())
        }
        ConversationsCommand::Delete { id, project } => {
            let parsed = parse(&id)?;
            let project = find_project(&store, &project).await?;
            store
                .delete_conversation(project.id, parsed, SystemClock.now())
                .await
                .map_err(|error| missing(error, &id))?;
            if common.json {
                return print_json(&json!({"id": id, "deleted": true}));
            }
            println!("Deleted {id}.");
            Ok(())
        }
        ConversationsCommand::Export { project } => {
            let project = find_project(&store, &project).await?;
            export(&store, &project).await
        }
        ConversationsCommand::Import { file, project } => {
            let project = store.ensure_project(&project, SystemClock.now()).await?;
            let report = store.import_lesson(project.id, DEFAULT_USER, &file, SystemClock.now()).await;
            let report = report.map_err(|error| match error {
                // It is the file that cannot be opened, not our database.
                StoreError::Open { .. } => Exit::new(FAILURE, error.to_string()),
                error => error.into(),
            })?;
            if common.json {
                return print_json(&report);
            }
            println!(
                "{} messages added in {} new conversations; {} were there already.",
                report.messages, report.conversations, report.present
            );
            Ok(())
        }
    }
}

async fn export(store: &Store, project: &Project) -> Result<(), Exit> {
    let mut before = None;
    loop {
        let page = store.conversations(project.id, before, PAGE).await?;
        for conversation in &page.conversations {
            let messages = store.messages(project.id, conversation.id).await?;
            let line = transcript(conversation, &messages);
            let written = writeln!(std::io::stdout().lock(), "{line}");
            written.map_err(|error| Exit::new(FAILURE, format!("the export broke off: {error}")))?;
        }
        before = page.next;
        if before.is_none() {
            return Ok(());
        }
    }
}

/// The same shape as `GET /api/conversations/{id}`.
fn transcript(conversation: &Conversation, messages: &[StoredMessage]) -> Value {
    let messages: Vec<Value> = messages.iter().map(message).collect();
    json!({"id": conversation.id, "created_at": conversation.created_at, "updated_at": conversation.updated_at,
           "messages": messages})
}

fn message(message: &StoredMessage) -> Value {
    let mut view = json!({"uuid": message.id, "role": message.role, "name": message.name, "content": message.content,
                          "created_at": message.created_at, "updated_at": message.updated_at});
    if message.status == MessageStatus::Incomplete {
        view["status"] = json!("incomplete");
    }
    let payload = message.payload.as_deref().and_then(|payload| serde_json::from_str::<Value>(payload).ok());
    if let Some(parts) = payload.as_ref().and_then(|payload| payload.get("parts")) {
        view["parts"] = parts.clone();
    }
    view
}

async fn find_project(store: &Store, name: &str) -> Result<Project, Exit> {
    let project = store.find_project(name).await?;
    project
        .ok_or_else(|| Exit::new(FAILURE, format!("there is no project `{name}`; a key made with --project makes one")))
}

fn parse(id: &str) -> Result<ConversationId, Exit> {
    id.parse().map_err(|_| {
        Exit::new(USAGE, format!("`{id}` is not a conversation's id; `privet conversations list` shows them"))
    })
}

fn missing(error: StoreError, id: &str) -> Exit {
    match error {
        StoreError::NotFound => Exit::new(FAILURE, format!("there is no conversation `{id}` in this project")),
        error => error.into(),
    }
}
