//! Prompts as the API and the command line show them.

use privet_engine::prompt::Prompt;
use privet_store::{PromptHead, PromptUse};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A version without its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeadView {
    /// The prompt's name.
    pub(crate) name: String,
    /// Its number, from 1.
    pub(crate) version: u32,
    /// `text` or `chat`.
    pub(crate) r#type: &'static str,
    /// The labels that point to it, `latest` last.
    pub(crate) labels: Vec<String>,
    /// The tags that all versions share.
    pub(crate) tags: Vec<String>,
    /// Why it was made.
    pub(crate) commit_message: Option<String>,
    /// Who made it: the name of the key, and its user.
    pub(crate) author: String,
    /// When it was made, RFC 3339.
    pub(crate) created_at: String,
    /// When it was made, or a label last came or went, RFC 3339.
    pub(crate) updated_at: String,
}

/// A version.
#[derive(Serialize, ToSchema)]
pub(crate) struct PromptView {
    #[serde(flatten)]
    head: HeadView,
    /// A text, or an array of messages and placeholders.
    #[schema(value_type = Value)]
    prompt: Value,
    /// Whatever goes along with it.
    #[schema(value_type = Object)]
    config: Value,
    /// The names of its variables.
    variables: Vec<String>,
    /// The names of its placeholders.
    placeholders: Vec<String>,
    /// Which prompts stand in it, directly or inside others.
    parts: Vec<PartView>,
}

/// A prompt that stands in another.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartView {
    /// Its name.
    name: String,
    /// Its version.
    version: u32,
    /// The name of the prompt in which it stands.
    within: String,
}

/// A version in which a prompt stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct UseView {
    /// The prompt's name.
    name: String,
    /// Its version.
    version: u32,
    /// The version that it refers to, if it names one.
    refers_to_version: Option<u32>,
    /// The label that it refers to, if it names one.
    refers_to_label: Option<String>,
}

impl HeadView {
    pub(crate) fn of(head: &PromptHead) -> Self {
        Self {
            name: head.name.clone(),
            version: head.version,
            r#type: head.kind.as_str(),
            labels: head.labels.clone(),
            tags: head.tags.clone(),
            commit_message: head.commit_message.clone(),
            author: head.author.clone(),
            created_at: head.created_at.to_string(),
            updated_at: head.updated_at.to_string(),
        }
    }
}

impl PromptView {
    pub(crate) fn of(prompt: &Prompt) -> Self {
        let part = |(parent, part): &(privet_domain::trace::PromptLink, privet_domain::trace::PromptLink)| PartView {
            name: part.name.clone(),
            version: part.version,
            within: parent.name.clone(),
        };
        Self {
            head: HeadView::of(&prompt.head),
            // A body holds texts and JSON alone, which always serialise.
            prompt: serde_json::to_value(&prompt.body).unwrap_or_default(),
            config: prompt.config.clone(),
            variables: prompt.body.variables().into_iter().map(str::to_owned).collect(),
            placeholders: prompt.body.placeholders().map(str::to_owned).collect(),
            parts: prompt.parts.iter().map(part).collect(),
        }
    }
}

impl From<PromptUse> for UseView {
    fn from(user: PromptUse) -> Self {
        Self {
            name: user.name,
            version: user.version,
            refers_to_version: user.child_version,
            refers_to_label: user.child_label,
        }
    }
}
