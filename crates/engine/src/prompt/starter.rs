//! The prompt that a project begins with.

use std::sync::PoisonError;

use privet_domain::id::ProjectId;
use privet_domain::prompt::{ChatEntry, ChatMessage, PRODUCTION, PromptBody};
use privet_domain::time::Timestamp;
use serde_json::Map;

use super::{Editor, NewPrompt, PromptError, Prompts};

/// The prompt that `/api/chat` puts in front of the thread.
pub const ANSWER: &str = "Answer";

const ANSWER_TEXT: &str = "As Alice, you're speaking to the person who writes to you. Answer truthfully and concisely, in the \
     language of the last message. When you don't know something, say so.";

impl Prompts {
    /// Sees to it that the project got its prompts to begin with. What was deleted or changed since stays so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_begun(&self, project: ProjectId, now: Timestamp) -> Result<(), PromptError> {
        if self.begun.lock().unwrap_or_else(PoisonError::into_inner).contains(&project) {
            return Ok(());
        }
        if !self.store.has_begun_prompts(project).await? {
            let editor = Editor { project_id: project, author: "Privet".to_owned(), is_admin: true };
            match self.create(&editor, answer(), now).await {
                // Somebody was faster, or has a prompt of that name.
                Ok(_) | Err(PromptError::Moved { .. } | PromptError::OtherKind { .. }) => {}
                Err(error) => return Err(error),
            }
            self.store.note_begun_prompts(project, now).await?;
        }
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(project);
        Ok(())
    }
}

fn answer() -> NewPrompt {
    let says = |role: &str, content: &str| {
        ChatEntry::Message(ChatMessage { role: role.to_owned(), content: content.to_owned(), more: Map::new() })
    };
    // What is recalled is data, and no instruction.
    let entries = vec![says("system", ANSWER_TEXT), says("user", "{{context}}")];
    NewPrompt {
        labels: vec![PRODUCTION.to_owned()],
        commit_message: Some("The prompt to begin with: /api/chat puts it in front of each thread.".to_owned()),
        base: Some(0),
        ..NewPrompt::new(ANSWER, PromptBody::Chat(entries))
    }
}
