//! `privet prompts`: prompts straight from the database, and to and from a folder of files.

mod file;
mod folder;
mod plan;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use privet_domain::id::ProjectId;
use privet_domain::prompt::{PRODUCTION, Selector, readable, unified_diff};
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_engine::prompt::{Editor, Form, ListFilter, Prompt, PromptError, Prompts};
use privet_store::{Starter, Store};
use serde_json::json;

use super::{Common, Exit, FAILURE, USAGE, load, open_store, print_json, until_servers_know};
use crate::prompt_view::PromptView;
use file::PromptFile;

#[derive(Subcommand)]
pub(super) enum PromptsCommand {
    /// List the prompts with their versions and labels
    List {
        #[command(flatten)]
        place: Place,
        /// Only what is in this folder, at any depth
        #[arg(long)]
        folder: Option<String>,
        /// Only versions with this label
        #[arg(long)]
        label: Option<String>,
        /// Only prompts with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Words that the name, a tag or the text holds
        #[arg(long)]
        search: Option<String>,
    },
    /// Show a version as the file that `pull` writes; the one in production unless said otherwise
    Get {
        name: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// Put the prompts that stand in it in
        #[arg(long)]
        resolve: bool,
    },
    /// Make versions of what changed in a folder of files; shows the plan first
    Push(folder::PushArgs),
    /// Write the highest version of each prompt into a folder of files
    Pull(folder::PullArgs),
    /// Show what changed between two versions
    Diff {
        name: String,
        /// The older: a version or a label; the one before the newer when absent
        #[arg(long, value_name = "VERSION")]
        from: Option<String>,
        /// The newer: a version or a label
        #[arg(long, value_name = "VERSION", default_value = "latest")]
        to: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let a label point to a version, or take it away
    Label {
        name: String,
        label: String,
        /// The version it shall point to
        #[arg(long, required_unless_present = "remove", conflicts_with = "remove")]
        version: Option<u32>,
        /// Take it away from whichever version has it
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Let a label point to the version before the one it points to
    Rollback {
        name: String,
        /// The label
        #[arg(long, default_value = PRODUCTION)]
        label: String,
        /// To this version instead
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
    /// Delete a version, the version of a label, or all versions
    Delete {
        name: String,
        #[command(flatten)]
        which: Which,
        /// All versions, and the prompt with them
        #[arg(long, required_unless_present_any = ["version", "label"], conflicts_with_all = ["version", "label"])]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose prompts.
#[derive(Args)]
pub(super) struct Place {
    /// The project
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROJECT)]
    project: String,
}

/// Which version.
#[derive(Args)]
pub(super) struct Which {
    /// This version
    #[arg(long, conflicts_with = "label")]
    version: Option<u32>,
    /// The version that this label points to
    #[arg(long)]
    label: Option<String>,
}

/// The prompts of a project, and who changes them here.
struct Desk {
    store: Arc<Store>,
    prompts: Prompts,
    project: ProjectId,
    editor: Editor,
}

impl Desk {
    async fn open(common: &Common, place: &Place) -> Result<Self, Exit> {
        let store = Arc::new(open_store(&load(common, None)?).await?);
        let now = SystemClock.now();
        let project = match store.find_project(&place.project).await? {
            Some(project) => project,
            None if place.project == DEFAULT_PROJECT => store.ensure_project(DEFAULT_PROJECT, now).await?,
            None => return Err(Exit::new(FAILURE, format!("there is no project `{}`", place.project))),
        };
        let prompts = Prompts::new(store.clone());
        prompts.ensure_begun(project.id, Starter::Chat, now).await?;
        let author = match std::env::var("USER") {
            Ok(user) if !user.is_empty() => format!("command line ({user})"),
            _ => "command line".to_owned(),
        };
        let editor = Editor { project_id: project.id, author, is_admin: true };
        Ok(Self { store, prompts, project: project.id, editor })
    }

    async fn fetch(&self, name: &str, selector: &Selector) -> Result<Arc<Prompt>, Exit> {
        Ok(self.prompts.fetch_as(self.project, name, selector, Form::Raw).await?)
    }

    /// Ends the work: running servers know of it then.
    async fn close(self, changed: bool) {
        if changed {
            until_servers_know().await;
        }
        self.store.close().await;
    }
}

impl From<PromptError> for Exit {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Store(error) => error.into(),
            PromptError::Wrong { .. } => Self::new(USAGE, error.to_string()),
            error => Self::new(FAILURE, error.to_string()),
        }
    }
}

pub(super) async fn run(common: &Common, command: PromptsCommand) -> Result<(), Exit> {
    match command {
        PromptsCommand::List { place, folder, label, tag, search } => {
            let folder = folder.map(|folder| folder.trim_matches('/').to_owned());
            let filter = ListFilter { folder, label, tag, text: search, ..ListFilter::default() };
            list(common, &place, &filter).await
        }
        PromptsCommand::Get { name, place, which, resolve } => {
            let form = if resolve { Form::Resolved } else { Form::Raw };
            get(common, &place, &name, &which.selector()?, form).await
        }
        PromptsCommand::Push(args) => folder::push(common, args).await,
        PromptsCommand::Pull(args) => folder::pull(common, args).await,
        PromptsCommand::Diff { name, from, to, place } => diff(common, &place, &name, from.as_deref(), &to).await,
        PromptsCommand::Label { name, label, version, place, .. } => {
            let desk = Desk::open(common, &place).await?;
            label_or_not(common, &desk, &name, &label, version).await?;
            desk.close(true).await;
            Ok(())
        }
        PromptsCommand::Rollback { name, label, to, place } => rollback(common, &place, &name, &label, to).await,
        PromptsCommand::Delete { name, which, place, .. } => {
            let desk = Desk::open(common, &place).await?;
            let which = which.is_named().then(|| which.selector()).transpose()?;
            let deleted = desk.prompts.delete(&desk.editor, &name, which.as_ref(), SystemClock.now()).await?;
            desk.close(true).await;
            if common.json {
                return print_json(&json!({"name": name, "deleted": deleted}));
            }
            println!("Deleted {deleted} versions of {name}.");
            Ok(())
        }
    }
}

impl Which {
    fn is_named(&self) -> bool {
        self.version.is_some() || self.label.is_some()
    }

    fn selector(&self) -> Result<Selector, Exit> {
        Ok(Selector::read(self.version, self.label.as_deref()).map_err(PromptError::from)?)
    }
}

async fn list(common: &Common, place: &Place, filter: &ListFilter) -> Result<(), Exit> {
    let desk = Desk::open(common, place).await?;
    let found = desk.prompts.list(desk.project, filter, 1, usize::MAX).await?;
    desk.close(false).await;
    if common.json {
        let rows: Vec<_> = found
            .prompts
            .iter()
            .map(|prompt| {
                json!({"name": prompt.name, "type": prompt.kind, "versions": prompt.versions, "labels": prompt.labels,
                       "tags": prompt.tags, "updated_at": prompt.updated_at})
            })
            .collect();
        return print_json(&rows);
    }
    for prompt in &found.prompts {
        let highest = prompt.versions.last().copied().unwrap_or(0);
        let tags = if prompt.tags.is_empty() { String::new() } else { format!("  tags {}", prompt.tags.join(", ")) };
        let (name, kind, labels) = (&prompt.name, prompt.kind.as_str(), prompt.labels.join(", "));
        println!("{name}  {kind}  version {highest}  {labels}{tags}");
    }
    Ok(())
}

async fn get(common: &Common, place: &Place, name: &str, selector: &Selector, form: Form) -> Result<(), Exit> {
    let desk = Desk::open(common, place).await?;
    let prompt = desk.prompts.fetch_as(desk.project, name, selector, form).await?;
    desk.close(false).await;
    if common.json {
        return print_json(&PromptView::of(&prompt));
    }
    print!("{}", PromptFile::of(&prompt).render());
    Ok(())
}

async fn diff(common: &Common, place: &Place, name: &str, from: Option<&str>, to: &str) -> Result<(), Exit> {
    let desk = Desk::open(common, place).await?;
    let to = desk.fetch(name, &version_or_label(to)?).await?;
    let from = match from {
        Some(from) => desk.fetch(name, &version_or_label(from)?).await?,
        None => {
            let before = before(&desk, name, to.head.version).await?;
            desk.fetch(name, &Selector::Version(before)).await?
        }
    };
    desk.close(false).await;
    let text = |prompt: &Prompt| readable(&prompt.body, &prompt.config);
    let title = |prompt: &Prompt| format!("{} version {}", prompt.head.name, prompt.head.version);
    let diff = unified_diff((&title(&from), &text(&from)), (&title(&to), &text(&to)));
    if common.json {
        return print_json(&json!({"from": from.head.version, "to": to.head.version, "diff": diff}));
    }
    print!("{diff}");
    Ok(())
}

fn version_or_label(text: &str) -> Result<Selector, Exit> {
    match text.parse() {
        Ok(version) => Ok(Selector::Version(version)),
        Err(_) => Ok(Selector::read(None, Some(text)).map_err(PromptError::from)?),
    }
}

async fn label_or_not(common: &Common, desk: &Desk, name: &str, label: &str, version: Option<u32>) -> Result<(), Exit> {
    let now = SystemClock.now();
    match version {
        Some(version) => {
            desk.prompts.label(&desk.editor, name, version, &[label.to_owned()], now).await?;
        }
        None => desk.prompts.unlabel(&desk.editor, name, label, now).await?,
    }
    if common.json {
        return print_json(&json!({"name": name, "label": label, "version": version}));
    }
    match version {
        Some(version) => println!("{label} of {name} is version {version} now."),
        None => println!("No version of {name} has the label {label} now."),
    }
    Ok(())
}

async fn rollback(common: &Common, place: &Place, name: &str, label: &str, to: Option<u32>) -> Result<(), Exit> {
    let desk = Desk::open(common, place).await?;
    let to = match to {
        Some(version) => version,
        None => {
            let now = desk.fetch(name, &version_or_label(label)?).await?.head.version;
            before(&desk, name, now).await?
        }
    };
    label_or_not(common, &desk, name, label, Some(to)).await?;
    desk.close(true).await;
    Ok(())
}

/// The version that stands before this one.
async fn before(desk: &Desk, name: &str, version: u32) -> Result<u32, Exit> {
    let heads = desk.prompts.versions(desk.project, name).await?;
    let before = heads.iter().map(|head| head.version).find(|older| *older < version);
    before.ok_or_else(|| Exit::new(FAILURE, format!("there is no version of `{name}` before version {version}")))
}

/// A folder of files.
#[derive(Args)]
pub(super) struct Folder {
    /// The folder of the files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}
