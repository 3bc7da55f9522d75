//! `privet memory list`, `documents`, `show` and `delete`.

use clap::{ArgGroup, Args};
use privet_domain::id::{ConversationId, DocumentId, ProjectId};
use privet_domain::memory::{Memory, MemoryFilter, MemoryId, MemoryKind};
use privet_domain::time::{Clock as _, SystemClock, Timestamp, parse_duration};
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_store::{DocumentList, Forgotten, MemoryList, Store, StoreError};
use serde_json::{Value, json};

use super::line::{MemoryLine, rfc3339, whole};
use crate::cli::{Common, Exit, FAILURE, USAGE, load, open_known_store, print_json};

/// So much of a text stands in a list.
const SHOWN_CHARS: usize = 100;

#[derive(Args)]
pub(super) struct ListArgs {
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only of this user
    #[arg(long)]
    user: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// Which memories.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only of this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Only `message`, `document`, `note` or `fact`
    #[arg(long)]
    kind: Option<String>,
    /// Only those said at this instant (RFC 3339) or later, or so long ago (`2h`, `7d`)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Args)]
pub(super) struct DocumentsArgs {
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
    /// Only of this user
    #[arg(long)]
    user: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    id: String,
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
}

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "user", "conversation", "document"]))]
pub(super) struct DeleteArgs {
    /// The memory
    id: Option<String>,
    /// All of this user
    #[arg(long)]
    user: Option<String>,
    /// All of this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// All of this document
    #[arg(long, value_name = "ID")]
    document: Option<String>,
    #[arg(long, default_value = DEFAULT_PROJECT)]
    project: String,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Result<MemoryFilter, Exit> {
        let kind = self.kind.as_deref().map(str::parse::<MemoryKind>).transpose();
        let kind = kind.map_err(|error| Exit::new(USAGE, format!("--kind: {error}")))?;
        let conversation = self.conversation.as_deref().map(conversation_id).transpose()?;
        let since = self.since.as_deref().map(instant).transpose()?;
        Ok(MemoryFilter { kind, since, conversation, ..MemoryFilter::default() })
    }
}

fn instant(text: &str) -> Result<Timestamp, Exit> {
    let ago = parse_duration(text).map(|ago| SystemClock.now().before(ago));
    ago.or_else(|| Timestamp::parse(text)).ok_or_else(|| {
        let how = "write RFC 3339, such as `2026-11-25T00:00:00Z`, or a time ago, such as `2h`";
        Exit::new(USAGE, format!("--since `{text}`: {how}"))
    })
}

fn conversation_id(text: &str) -> Result<ConversationId, Exit> {
    text.parse().map_err(|_| Exit::new(USAGE, format!("`{text}` is not a conversation's id")))
}

fn document_id(text: &str) -> Result<DocumentId, Exit> {
    text.parse()
        .map_err(|_| Exit::new(USAGE, format!("`{text}` is not a document's id; `privet memory documents` shows them")))
}

fn memory_id(text: &str) -> Result<MemoryId, Exit> {
    text.parse()
        .map_err(|_| Exit::new(USAGE, format!("`{text}` is not a memory's id; `privet memory list` shows them")))
}

/// The store of the configuration and a project that it knows.
pub(super) async fn open(common: &Common, project: &str) -> Result<(Store, ProjectId), Exit> {
    let store = open_known_store(&load(common, None)?).await?;
    let project = find_project(&store, project).await?;
    Ok((store, project))
}

pub(super) async fn find_project(store: &Store, name: &str) -> Result<ProjectId, Exit> {
    let project = store.find_project(name).await?;
    Ok(project.ok_or_else(|| Exit::new(FAILURE, format!("there is no project `{name}`")))?.id)
}

pub(super) async fn list(common: &Common, args: ListArgs) -> Result<(), Exit> {
    let filter = args.filter.filter()?;
    let (store, project) = open(common, &args.project).await?;
    let list = MemoryList { user: args.user, filter, limit: args.limit.max(1), ..MemoryList::default() };
    let page = store.memories(project, &list).await?;
    if common.json {
        return print_json(&page.memories.into_iter().map(MemoryLine::from).collect::<Vec<_>>());
    }
    for memory in &page.memories {
        println!("{}", row(memory));
    }
    Ok(())
}

/// The documents that are remembered, the latest added first.
pub(super) async fn documents(common: &Common, args: DocumentsArgs) -> Result<(), Exit> {
    let (store, project) = open(common, &args.project).await?;
    let list = DocumentList { user: args.user, after: None, limit: args.limit.max(1) };
    let page = store.documents(project, &list).await?;
    if common.json {
        let shown: Vec<Value> = page
            .documents
            .into_iter()
            .map(|one| {
                json!({
                    "id": one.id, "user": one.user, "title": one.title, "source": one.source, "pieces": one.pieces,
                    "created_at": rfc3339(one.created_at), "expires_at": one.expires_at.map(rfc3339),
                })
            })
            .collect();
        return print_json(&shown);
    }
    for one in &page.documents {
        let name = one.title.as_deref().or(one.source.as_deref()).unwrap_or("(without a title)");
        println!("{}  {}  {} pieces  {}  {name}", one.id, one.created_at, one.pieces, one.user);
    }
    Ok(())
}

/// A memory in one line.
pub(super) fn row(memory: &Memory) -> String {
    let text: String = memory.line().split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{}  {}  {}  {}  {shown}{more}", memory.id, memory.created_at, memory.kind, memory.scope.user)
}

pub(super) async fn show(common: &Common, args: ShowArgs) -> Result<(), Exit> {
    let id = memory_id(&args.id)?;
    let (store, project) = open(common, &args.project).await?;
    let memory = store.memory(project, id).await.map_err(|error| missing(error, &args.id))?;
    let history = store.memory_history(project, id).await?;
    let (updated_at, version) = (memory.updated_at, memory.version);
    let expires = memory.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let head = format!("{}\n{}\n\nexpires {expires}\n", row(&memory), memory.text);
    let line = whole(&store, vec![memory]).await?.pop();
    if common.json {
        let mut shown = serde_json::to_value(line).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
        let former: Vec<Value> = history
            .iter()
            .map(|one| json!({"version": one.version, "text": one.text, "changed_at": rfc3339(one.changed_at)}))
            .collect();
        shown["version"] = json!(version);
        shown["updated_at"] = json!(rfc3339(updated_at));
        shown["history"] = json!(former);
        return print_json(&shown);
    }
    print!("{head}");
    for one in line.iter().flat_map(MemoryLine::representations) {
        println!("{}: {}", one.kind, one.text.replace('\n', "\n  "));
    }
    for former in history {
        println!("until {} (version {}): {}", former.changed_at, former.version, former.text);
    }
    Ok(())
}

pub(super) async fn delete(common: &Common, args: DeleteArgs) -> Result<(), Exit> {
    let now = SystemClock.now();
    let id = args.id.as_deref().map(memory_id).transpose()?;
    let conversation = args.conversation.as_deref().map(conversation_id).transpose()?;
    let document = args.document.as_deref().map(document_id).transpose()?;
    let (store, project) = open(common, &args.project).await?;
    let which = match (args.user, conversation, document) {
        (Some(user), _, _) => Some(Forgotten::User(user)),
        (None, Some(conversation), _) => Some(Forgotten::Conversation(conversation)),
        (None, None, document) => document.map(Forgotten::Document),
    };
    let deleted = match (id, which) {
        (Some(id), _) => {
            store.delete_memory(project, id, now).await.map_err(|error| missing(error, &id.to_string()))?;
            1
        }
        (None, Some(which)) => store.forget(project, &which, now).await?,
        (None, None) => return Err(Exit::new(USAGE, "say which: ID, --user, --conversation or --document")),
    };
    if common.json {
        return print_json(&json!({"deleted": deleted}));
    }
    println!("Deleted {deleted}.");
    Ok(())
}

fn missing(error: StoreError, id: &str) -> Exit {
    match error {
        StoreError::NotFound => Exit::new(FAILURE, format!("there is no memory `{id}` in this project")),
        error => error.into(),
    }
}
