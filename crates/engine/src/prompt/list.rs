//! Finding prompts: filters over their versions, and pages of what is left.

mod condition;

use std::collections::HashMap;

use privet_domain::id::ProjectId;
use privet_domain::prompt::PromptKind;
use privet_domain::time::Timestamp;
use privet_store::{PromptHead, StoreError};
use serde_json::Value;

use super::{PromptError, Prompts};

pub use condition::{Condition, WrongCondition};

/// Which prompts. Versions that do not fit are not counted: a prompt without any that fits is not listed.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// The whole name.
    pub name: Option<String>,
    /// A folder, without a slash at its end: what is in it, at any depth.
    pub folder: Option<String>,
    /// A label that points to the version.
    pub label: Option<String>,
    /// A tag.
    pub tag: Option<String>,
    /// Words that the name, a tag or the highest version's text holds, whatever the case of the letters.
    pub text: Option<String>,
    /// Changed at this instant or later.
    pub updated_from: Option<Timestamp>,
    /// Changed before this instant.
    pub updated_before: Option<Timestamp>,
    /// Further conditions, all of which must hold.
    pub conditions: Vec<Condition>,
}

/// A prompt in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSummary {
    /// Its name.
    pub name: String,
    /// Whether it is a text or a thread.
    pub kind: PromptKind,
    /// Its versions that fit, the lowest first.
    pub versions: Vec<u32>,
    /// The labels of those versions.
    pub labels: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// When one of those versions last changed.
    pub updated_at: Timestamp,
    /// The configuration of the highest of them.
    pub config: Value,
}

/// A page of prompts, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptPage {
    /// The prompts.
    pub prompts: Vec<PromptSummary>,
    /// How many there are on all pages.
    pub total: usize,
}

impl Prompts {
    /// Page `page` (from 1) of the prompts that fit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(
        &self,
        project: ProjectId,
        filter: &ListFilter,
        page: usize,
        limit: usize,
    ) -> Result<PromptPage, PromptError> {
        let heads = self.store.prompt_heads(project, filter.name.as_deref()).await?;
        let said = match &filter.text {
            Some(text) => self.store.prompts_saying(project, text).await?,
            None => Vec::new(),
        };
        let configs = if filter.conditions.iter().any(Condition::reads_config) {
            self.configs(project, heads.iter().map(|head| (head.name.as_str(), head.version)).collect()).await?
        } else {
            HashMap::new()
        };
        let none = Value::Null;
        let fits = |head: &&PromptHead| {
            let config = configs.get(&(head.name.clone(), head.version)).unwrap_or(&none);
            filter.fits(head, &said) && filter.conditions.iter().all(|condition| condition.holds(head, config))
        };
        let mut prompts: Vec<PromptSummary> = Vec::new();
        for head in heads.iter().filter(fits) {
            match prompts.last_mut().filter(|last| last.name == head.name) {
                Some(last) => add(last, head),
                None => prompts.push(summary(head)),
            }
        }
        let total = prompts.len();
        let skipped = page.saturating_sub(1).saturating_mul(limit);
        let mut prompts: Vec<PromptSummary> = prompts.into_iter().skip(skipped).take(limit).collect();
        let highest = |prompt: &PromptSummary| prompt.versions.last().copied().unwrap_or(0);
        let wanted = prompts.iter().map(|prompt| (prompt.name.as_str(), highest(prompt))).collect();
        let mut configs = self.configs(project, wanted).await?;
        for prompt in &mut prompts {
            prompt.config = configs.remove(&(prompt.name.clone(), highest(prompt))).unwrap_or_default();
        }
        Ok(PromptPage { prompts, total })
    }

    async fn configs(
        &self,
        project: ProjectId,
        versions: Vec<(&str, u32)>,
    ) -> Result<HashMap<(String, u32), Value>, PromptError> {
        let rows = self.store.prompt_configs(project, &versions).await?;
        let read = |(name, version, config): (String, u32, String)| match serde_json::from_str(&config) {
            Ok(config) => Ok(((name, version), config)),
            Err(error) => Err(StoreError::Damaged(format!("the configuration of the prompt {name}: {error}"))),
        };
        Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
    }
}

impl ListFilter {
    fn fits(&self, head: &PromptHead, said: &[String]) -> bool {
        let in_folder =
            |folder: &String| head.name.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let says = |text: &String| {
            let text = text.to_lowercase();
            head.name.to_lowercase().contains(&text)
                || head.tags.iter().any(|tag| tag.to_lowercase().contains(&text))
                || said.contains(&head.name)
        };
        self.folder.as_ref().is_none_or(in_folder)
            && self.label.as_ref().is_none_or(|label| head.labels.contains(label))
            && self.tag.as_ref().is_none_or(|tag| head.tags.contains(tag))
            && self.text.as_ref().is_none_or(says)
            && self.updated_from.is_none_or(|from| head.updated_at >= from)
            && self.updated_before.is_none_or(|before| head.updated_at < before)
    }
}

fn summary(head: &PromptHead) -> PromptSummary {
    PromptSummary {
        name: head.name.clone(),
        kind: head.kind,
        versions: vec![head.version],
        labels: head.labels.clone(),
        tags: head.tags.clone(),
        updated_at: head.updated_at,
        config: Value::Null,
    }
}

/// Adds a lower version.
fn add(summary: &mut PromptSummary, head: &PromptHead) {
    summary.versions.insert(0, head.version);
    summary.labels.extend(head.labels.iter().cloned());
    summary.updated_at = summary.updated_at.max(head.updated_at);
}
