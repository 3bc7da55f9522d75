//! Changing prompts: new versions, labels, deletions.

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::prompt::reference::{PromptReference, references};
use privet_domain::prompt::{
    COMMIT_MESSAGE_CHARS_MAX, Label, PromptBody, PromptName, Selector, TAG_CHARS_MAX, TAGS_MAX,
};
use privet_domain::scope::Scope;
use privet_domain::time::Timestamp;
use privet_domain::trace::PromptLink;
use privet_store::{NewPromptVersion, PromptCreation, PromptRemoval, StoreError};
use serde_json::{Map, Value};

use super::resolve::{Unresolved, put_together};
use super::{Form, Prompt, PromptError, Prompts};
use crate::keyring::Caller;

/// A version to make.
#[derive(Clone, Debug)]
pub struct NewPrompt {
    /// The prompt's name.
    pub name: String,
    /// What it says.
    pub body: PromptBody,
    /// What goes along with it; null is an empty object.
    pub config: Value,
    /// Labels that shall point to it.
    pub labels: Vec<String>,
    /// The tags of all versions; `None` leaves them.
    pub tags: Option<Vec<String>>,
    /// Why it is made.
    pub commit_message: Option<String>,
    /// The version that must be the highest still, 0 where there must be none.
    pub base: Option<u32>,
}

impl NewPrompt {
    /// A version without labels, tags or configuration.
    #[must_use]
    pub fn new(name: &str, body: PromptBody) -> Self {
        Self {
            name: name.to_owned(),
            body,
            config: Value::Null,
            labels: Vec::new(),
            tags: None,
            commit_message: None,
            base: None,
        }
    }
}

/// Who changes prompts.
#[derive(Clone, Debug)]
pub struct Editor {
    /// Of which project.
    pub project_id: ProjectId,
    /// What a new version says of who made it.
    pub author: String,
    /// Whether protected labels may be moved.
    pub is_admin: bool,
}

impl Editor {
    /// Whoever calls: the name of the key, and its user.
    #[must_use]
    pub fn calling(caller: &Caller) -> Self {
        Self {
            project_id: caller.project_id,
            author: format!("{} ({})", caller.key_name, caller.user_id),
            is_admin: caller.scopes.allow(Scope::Admin),
        }
    }
}

impl Prompts {
    /// Makes a version, and the prompt with the first. Its labels leave the versions that had them.
    ///
    /// # Errors
    /// When something of it is wrong, or a label is protected.
    pub async fn create(&self, editor: &Editor, new: NewPrompt, now: Timestamp) -> Result<Arc<Prompt>, PromptError> {
        let name: PromptName = new.name.parse()?;
        let labels = own_labels(&new.labels)?;
        let config = if new.config.is_null() { Value::Object(Map::new()) } else { new.config };
        let commit_message = check_message(new.commit_message.as_deref())?;
        let tags = new.tags.map(check_tags).transpose()?;
        new.body.check(&config)?;
        let parts: Vec<PromptReference> = new.body.texts().flat_map(references).collect();
        if !parts.is_empty() {
            self.check_parts(editor.project_id, &name, &new.body).await?;
        }
        self.permit(editor, labels.iter().map(String::as_str)).await?;
        let written = |value: serde_json::Result<String>| value.map_err(|error| PromptError::wrong("prompt", error));
        let row = NewPromptVersion {
            name: name.as_str(),
            kind: new.body.kind(),
            body: &written(serde_json::to_string(&new.body))?,
            config: &written(serde_json::to_string(&config))?,
            commit_message,
            author: &editor.author.replace('\0', " "),
            labels: &labels,
            tags: tags.as_deref(),
            references: &parts,
            base: new.base,
        };
        match self.store.create_prompt_version(editor.project_id, &row, now).await? {
            PromptCreation::OtherKind(is) => Err(PromptError::other_kind(name.as_str(), is)),
            PromptCreation::Moved(highest) => Err(PromptError::Moved { name: name.to_string(), highest }),
            PromptCreation::Created(version) => {
                self.forget();
                tracing::info!(prompt = %name, version, by = editor.author, "a version of a prompt was made");
                self.fetch_as(editor.project_id, name.as_str(), &Selector::Version(version), Form::Raw).await
            }
        }
    }

    /// Lets labels point to a version, and no longer to others.
    ///
    /// # Errors
    /// When there is no such version, or a label is protected.
    pub async fn label(
        &self,
        editor: &Editor,
        name: &str,
        version: u32,
        labels: &[String],
        now: Timestamp,
    ) -> Result<Arc<Prompt>, PromptError> {
        let selector = Selector::Version(version);
        let parsed = labels.iter().map(|label| label.parse::<Label>()).collect::<Result<Vec<_>, _>>()?;
        if parsed.iter().any(Label::is_latest) {
            return Err(PromptError::latest());
        }
        let had = self.fetch_as(editor.project_id, name, &selector, Form::Raw).await?;
        let coming = labels.iter().filter(|label| !had.head.labels.contains(label));
        self.permit(editor, coming.map(String::as_str)).await?;
        if !had.body.texts().flat_map(references).collect::<Vec<PromptReference>>().is_empty() {
            // Whoever finds this version by the label from now on must find it whole: it may lead back to itself by now.
            self.check_parts(editor.project_id, &name.parse()?, &had.body).await?;
        }
        match self.store.label_prompt(editor.project_id, name, version, labels, now).await {
            Err(StoreError::NotFound) => return Err(PromptError::NotFound { name: name.to_owned(), selector }),
            labelled => labelled?,
        }
        self.forget();
        tracing::info!(prompt = name, version, by = editor.author, "labels of a prompt were moved");
        self.fetch_as(editor.project_id, name, &selector, Form::Raw).await
    }

    /// Takes a label away from whichever version has it.
    ///
    /// # Errors
    /// When no version has it, another prompt needs it, or it is protected.
    pub async fn unlabel(&self, editor: &Editor, name: &str, label: &str, now: Timestamp) -> Result<(), PromptError> {
        if label.parse::<Label>()?.is_latest() {
            return Err(PromptError::latest());
        }
        self.permit(editor, [label].into_iter()).await?;
        match self.store.unlabel_prompt(editor.project_id, name, label, now).await {
            Err(StoreError::NotFound) => {
                Err(PromptError::NotLabelled { name: name.to_owned(), label: label.to_owned() })
            }
            removal => self.removed(removal?).map(drop),
        }
    }

    /// Deletes a version, the version of a label, or all versions; how many.
    ///
    /// # Errors
    /// When there is none, another prompt needs it, or it has a protected label.
    pub async fn delete(
        &self,
        editor: &Editor,
        name: &str,
        which: Option<&Selector>,
        now: Timestamp,
    ) -> Result<u64, PromptError> {
        let heads = self.store.prompt_heads(editor.project_id, Some(name)).await?;
        let going = heads.iter().filter(|head| match which {
            None => true,
            Some(Selector::Version(version)) => head.version == *version,
            Some(Selector::Label(label)) => head.labels.iter().any(|had| had == label.as_str()),
        });
        self.permit(editor, going.flat_map(|head| head.labels.iter().map(String::as_str))).await?;
        match self.store.delete_prompt_versions(editor.project_id, name, which, now).await {
            Err(StoreError::NotFound) => Err(match which {
                None => PromptError::NoPrompt(name.to_owned()),
                Some(selector) => PromptError::NotFound { name: name.to_owned(), selector: selector.clone() },
            }),
            removal => {
                let count = self.removed(removal?)?;
                tracing::info!(prompt = name, count, by = editor.author, "versions of a prompt were deleted");
                Ok(count)
            }
        }
    }

    /// Labels of the project that only administrators move.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn protected(&self, project: ProjectId) -> Result<Vec<String>, PromptError> {
        Ok(self.store.protected_labels(project).await?)
    }

    /// Lets only administrators move a label.
    ///
    /// # Errors
    /// When it is none, or moves by itself.
    pub async fn protect(&self, project: ProjectId, label: &str) -> Result<(), PromptError> {
        if label.parse::<Label>()?.is_latest() {
            return Err(PromptError::latest());
        }
        Ok(self.store.protect_label(project, label).await?)
    }

    /// Lets everybody who may change prompts move a label again. Twice is the same as once.
    ///
    /// # Errors
    /// When it is none.
    pub async fn unprotect(&self, project: ProjectId, label: &str) -> Result<(), PromptError> {
        label.parse::<Label>()?;
        match self.store.unprotect_label(project, label).await {
            Err(StoreError::NotFound) => Ok(()),
            unprotected => Ok(unprotected?),
        }
    }

    fn removed(&self, removal: PromptRemoval) -> Result<u64, PromptError> {
        match removal {
            PromptRemoval::Needed(uses) => Err(PromptError::Needed(uses)),
            PromptRemoval::Removed(count) => {
                self.forget();
                Ok(count)
            }
        }
    }

    /// Whether all that a new version refers to can stand in it.
    async fn check_parts(&self, project: ProjectId, name: &PromptName, body: &PromptBody) -> Result<(), PromptError> {
        let root = PromptLink { name: name.to_string(), version: 0 };
        match put_together(&self.store, project, &root, &mut body.clone()).await {
            Ok(_) => Ok(()),
            Err(Unresolved::Fault(fault)) => Err(PromptError::BadReference(fault)),
            Err(Unresolved::Store(error)) => Err(error.into()),
        }
    }

    /// Whether the editor may move these labels.
    async fn permit(&self, editor: &Editor, mut labels: impl Iterator<Item = &str>) -> Result<(), PromptError> {
        if editor.is_admin {
            return Ok(());
        }
        let protected = self.store.protected_labels(editor.project_id).await?;
        match labels.find(|label| protected.iter().any(|one| one == label)) {
            Some(label) => Err(PromptError::Protected(label.to_owned())),
            None => Ok(()),
        }
    }
}

/// The labels that are kept: each once, without the one that moves by itself.
impl NewPrompt {
    /// What can be said of it without asking the server.
    ///
    /// # Errors
    /// When something of it is wrong.
    pub fn check(&self) -> Result<(), PromptError> {
        let _: PromptName = self.name.parse()?;
        own_labels(&self.labels)?;
        check_message(self.commit_message.as_deref())?;
        self.tags.clone().map(check_tags).transpose()?;
        let none = Value::Object(Map::new());
        self.body.check(if self.config.is_null() { &none } else { &self.config })?;
        Ok(())
    }
}

fn own_labels(labels: &[String]) -> Result<Vec<String>, PromptError> {
    let mut own: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        let label: Label = label.parse()?;
        if !label.is_latest() && !own.iter().any(|had| had == label.as_str()) {
            own.push(label.to_string());
        }
    }
    Ok(own)
}

fn check_message(message: Option<&str>) -> Result<Option<&str>, PromptError> {
    let Some(message) = message.filter(|message| !message.is_empty()) else { return Ok(None) };
    if message.chars().count() > COMMIT_MESSAGE_CHARS_MAX || message.contains('\0') {
        let reason = format!("a commit message has at most {COMMIT_MESSAGE_CHARS_MAX} characters, and no NUL");
        return Err(PromptError::wrong("commit_message", reason));
    }
    Ok(Some(message))
}

fn check_tags(mut tags: Vec<String>) -> Result<Vec<String>, PromptError> {
    tags.sort_unstable();
    tags.dedup();
    let fits = |tag: &String| (1..=TAG_CHARS_MAX).contains(&tag.chars().count()) && !tag.contains('\0');
    if tags.len() > TAGS_MAX || !tags.iter().all(fits) {
        let reason = format!("a prompt has at most {TAGS_MAX} tags of 1 to {TAG_CHARS_MAX} characters");
        return Err(PromptError::wrong("tags", reason));
    }
    Ok(tags)
}
