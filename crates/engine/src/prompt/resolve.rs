//! Putting prompts into prompts.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::prompt::reference::{DEPTH_MAX, Piece, PromptReference, pieces};
use privet_domain::prompt::{ChatEntry, PROMPT_BYTES_MAX, PromptBody, PromptKind};
use privet_domain::trace::PromptLink;
use privet_store::{Store, StoreError};

use super::{Prompt, PromptError, ReferenceFault};

/// So many different prompts may stand in one.
const PARTS_MAX: usize = 100;

/// Why a prompt could not be put together.
pub(super) enum Unresolved {
    Fault(ReferenceFault),
    Store(StoreError),
}

impl From<ReferenceFault> for Unresolved {
    fn from(fault: ReferenceFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Unresolved {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The prompt with the texts of all others that stand in it.
pub(super) async fn resolved(store: &Store, project: ProjectId, mut prompt: Prompt) -> Result<Prompt, PromptError> {
    let link = prompt.link();
    match put_together(store, project, &link, &mut prompt.body).await {
        Ok(parts) => Ok(Prompt { parts, ..prompt }),
        Err(Unresolved::Fault(fault)) => Err(PromptError::Broken { prompt: link, fault }),
        Err(Unresolved::Store(error)) => Err(error.into()),
    }
}

/// Replaces the references of a body by the texts of the prompts; which stand in which.
pub(super) async fn put_together(
    store: &Store,
    project: ProjectId,
    root: &PromptLink,
    body: &mut PromptBody,
) -> Result<Vec<(PromptLink, PromptLink)>, Unresolved> {
    let mut resolver =
        Resolver { store, project, known: HashMap::new(), path: vec![root.name.clone()], parts: Vec::new() };
    let mut room = PROMPT_BYTES_MAX;
    match body {
        PromptBody::Text(text) => *text = resolver.fill(root, text, &mut room).await?.0,
        PromptBody::Chat(entries) => {
            for entry in entries {
                if let ChatEntry::Message(message) = entry {
                    message.content = resolver.fill(root, &message.content, &mut room).await?.0;
                }
            }
        }
    }
    Ok(resolver.parts)
}

/// A prompt that stands in another, put together.
struct Part {
    link: PromptLink,
    text: String,
    /// How many prompts stand inside one another in it, itself counted.
    height: usize,
}

struct Resolver<'a> {
    store: &'a Store,
    project: ProjectId,
    known: HashMap<PromptReference, Arc<Part>>,
    /// The names on the way to where we are.
    path: Vec<String>,
    parts: Vec<(PromptLink, PromptLink)>,
}

type Filled = Result<(String, usize), Unresolved>;

impl Resolver<'_> {
    /// A text with its references replaced, and the height of what stands in it.
    fn fill<'s>(
        &'s mut self,
        parent: &'s PromptLink,
        text: &'s str,
        room: &'s mut usize,
    ) -> Pin<Box<dyn Future<Output = Filled> + Send + 's>> {
        Box::pin(async move {
            let (mut filled, mut height) = (String::with_capacity(text.len()), 0);
            for piece in pieces(text) {
                match piece {
                    // What cannot be read was text before references were checked.
                    Err(_) => {}
                    Ok(Piece::Text(text)) => push(&mut filled, text, room)?,
                    Ok(Piece::Reference(reference)) => {
                        let part = self.part(&reference).await?;
                        push(&mut filled, &part.text, room)?;
                        height = height.max(part.height);
                        let pair = (parent.clone(), part.link.clone());
                        if !self.parts.contains(&pair) {
                            self.parts.push(pair);
                        }
                    }
                }
            }
            Ok((filled, height))
        })
    }

    async fn part(&mut self, reference: &PromptReference) -> Result<Arc<Part>, Unresolved> {
        let name = reference.name.as_str();
        let way = |path: &[String]| path.iter().cloned().chain([name.to_owned()]).collect();
        if self.path.iter().any(|above| above == name) {
            return Err(ReferenceFault::Cycle(way(&self.path)).into());
        }
        let part = match self.known.get(reference) {
            Some(part) => part.clone(),
            None if self.known.len() >= PARTS_MAX => return Err(ReferenceFault::TooMany(PARTS_MAX).into()),
            None if self.path.len() > DEPTH_MAX => return Err(ReferenceFault::TooDeep(way(&self.path)).into()),
            None => {
                let stored = self.store.prompt_version(self.project, name, &reference.selector).await?;
                let stored = stored.ok_or_else(|| ReferenceFault::Missing(reference.clone()))?;
                if stored.head.kind != PromptKind::Text {
                    return Err(ReferenceFault::NotText(name.to_owned()).into());
                }
                let child = super::read(stored)?;
                let link = child.link();
                let text = child.body.texts().next().unwrap_or_default();
                self.path.push(name.to_owned());
                let (text, height) = self.fill(&link, text, &mut { PROMPT_BYTES_MAX }).await?;
                self.path.pop();
                let part = Arc::new(Part { link, text, height: height + 1 });
                self.known.insert(reference.clone(), part.clone());
                part
            }
        };
        if self.path.len() - 1 + part.height > DEPTH_MAX {
            return Err(ReferenceFault::TooDeep(way(&self.path)).into());
        }
        Ok(part)
    }
}

fn push(filled: &mut String, text: &str, room: &mut usize) -> Result<(), ReferenceFault> {
    *room = room.checked_sub(text.len()).ok_or(ReferenceFault::TooLarge)?;
    filled.push_str(text);
    Ok(())
}
