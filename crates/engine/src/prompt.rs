//! Prompts: fetched from memory, with everything that stands in them; made, labelled and deleted.
//!
//! What is fetched is kept until any prompt changes. A change made in this process holds at once; one made by another is seen
//! within [`POLL_INTERVAL`].

mod cache;
mod change;
mod fault;
mod list;
mod resolve;
mod starter;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use privet_domain::id::ProjectId;
use privet_domain::prompt::{Compiled, PromptBody, Selector, Unfilled, Values, compile};
use privet_domain::trace::PromptLink;
use privet_store::{PromptHead, PromptUse, Store, StoreError, StoredPrompt};
use serde_json::Value;

use crate::keyring::{POLL_INTERVAL, tell_once};
use cache::{Cache, Key};

pub use change::{Editor, NewPrompt};
pub use fault::{PromptError, ReferenceFault};
pub use list::{Condition, ListFilter, PromptPage, PromptSummary, WrongCondition};
pub use starter::ANSWER;

/// A version of a prompt.
#[derive(Debug)]
pub struct Prompt {
    /// Its name, number, labels and whatever else is known of it.
    pub head: PromptHead,
    /// What it says: with the prompts that stand in it, unless it was fetched raw.
    pub body: PromptBody,
    /// What goes along with it.
    pub config: Value,
    /// Which prompts stand in it, directly or inside others, as pairs of parent and child. Empty if it was fetched raw.
    pub parts: Vec<(PromptLink, PromptLink)>,
}

impl Prompt {
    /// Which version of which prompt it is.
    #[must_use]
    pub fn link(&self) -> PromptLink {
        PromptLink { name: self.head.name.clone(), version: self.head.version }
    }

    /// Fills its holes.
    ///
    /// # Errors
    /// When there is nothing for a hole and that is not allowed, or it becomes too large.
    pub fn compile(&self, values: Values<'_>, unfilled: Unfilled) -> Result<Compiled, PromptError> {
        compile(&self.body, values, unfilled)
            .map_err(|error| PromptError::Compile { prompt: self.link(), source: error.into() })
    }
}

/// Whether the prompts that stand in a prompt are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// They are.
    #[default]
    Resolved,
    /// The references stay as they are written.
    Raw,
}

/// The prompts of all projects.
pub struct Prompts {
    store: Arc<Store>,
    cache: Mutex<Cache>,
    revision: AtomicI64,
    /// The projects that got their prompts to begin with.
    begun: Mutex<HashSet<ProjectId>>,
}

impl Prompts {
    /// With nothing in memory yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, cache: Mutex::default(), revision: AtomicI64::new(-1), begun: Mutex::default() }
    }

    /// A version of a prompt, with everything that stands in it.
    ///
    /// # Errors
    /// [`PromptError::NotFound`] when there is no such prompt, version or label; when something that stands in it is missing.
    pub async fn fetch(
        &self,
        project: ProjectId,
        name: &str,
        selector: &Selector,
    ) -> Result<Arc<Prompt>, PromptError> {
        self.fetch_as(project, name, selector, Form::Resolved).await
    }

    /// The same, in either form.
    ///
    /// # Errors
    /// As [`Prompts::fetch`].
    pub async fn fetch_as(
        &self,
        project: ProjectId,
        name: &str,
        selector: &Selector,
        form: Form,
    ) -> Result<Arc<Prompt>, PromptError> {
        let found = self.find(project, name, selector, form).await?;
        found.ok_or_else(|| PromptError::NotFound { name: name.to_owned(), selector: selector.clone() })
    }

    /// The same; `None` if there is no such prompt, version or label.
    ///
    /// # Errors
    /// When something that stands in it is missing, or the database fails.
    pub async fn find(
        &self,
        project: ProjectId,
        name: &str,
        selector: &Selector,
        form: Form,
    ) -> Result<Option<Arc<Prompt>>, PromptError> {
        let key = Key { project, name: name.to_owned(), selector: selector.clone(), form };
        let generation = match cache::locked(&self.cache).get(&key) {
            Ok(found) => return Ok(found),
            Err(generation) => generation,
        };
        let found = match self.store.prompt_version(project, name, selector).await? {
            None => None,
            Some(stored) => {
                let prompt = read(stored)?;
                let prompt = match form {
                    Form::Raw => prompt,
                    Form::Resolved => resolve::resolved(&self.store, project, prompt).await?,
                };
                Some(Arc::new(prompt))
            }
        };
        cache::locked(&self.cache).put(key, found.clone(), generation);
        Ok(found)
    }

    /// All versions of a prompt, the highest first, without their texts.
    ///
    /// # Errors
    /// [`PromptError::NoPrompt`] when there is none.
    pub async fn versions(&self, project: ProjectId, name: &str) -> Result<Vec<PromptHead>, PromptError> {
        let heads = self.store.prompt_heads(project, Some(name)).await?;
        if heads.is_empty() { Err(PromptError::NoPrompt(name.to_owned())) } else { Ok(heads) }
    }

    /// The versions of other prompts in which a prompt stands.
    ///
    /// # Errors
    /// [`PromptError::NoPrompt`] when there is none.
    pub async fn uses(&self, project: ProjectId, name: &str) -> Result<Vec<PromptUse>, PromptError> {
        self.versions(project, name).await?;
        Ok(self.store.prompt_uses(project, name).await?)
    }

    /// Forgets what is in memory if a prompt changed since, in any process.
    ///
    /// # Errors
    /// When the database fails; what is in memory stays.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let revision = self.store.prompts_revision().await?;
        if self.revision.swap(revision, Ordering::SeqCst) != revision {
            self.forget();
        }
        Ok(())
    }

    /// Follows changes by other processes, for ever.
    pub async fn follow(&self) {
        let mut fails = false;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let read = self.reload().await;
            tell_once(&mut fails, read, "the prompts are not followed; those in memory stay");
        }
    }

    fn forget(&self) {
        cache::locked(&self.cache).clear();
    }
}

/// A version as it is kept.
fn read(StoredPrompt { head, body, config }: StoredPrompt) -> Result<Prompt, StoreError> {
    let damaged = |what: &str, error: serde_json::Error| {
        StoreError::Damaged(format!("the {what} of the prompt {} version {}: {error}", head.name, head.version))
    };
    let body = serde_json::from_str(&body).map_err(|error| damaged("text", error))?;
    let config = serde_json::from_str(&config).map_err(|error| damaged("configuration", error))?;
    Ok(Prompt { head, body, config, parts: Vec::new() })
}
