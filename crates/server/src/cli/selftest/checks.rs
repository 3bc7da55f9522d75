//! The list of checks: their names, what the model must be able to do for them, and what they may cost.

use std::future::Future;
use std::pin::Pin;

use privet_domain::ability::Ability;

use super::gateway::{Finding, Gateway, Subject};
use super::{edges, shapes, stream, talk, tools};

type Checking<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

/// A check.
pub(super) struct Check {
    pub(super) name: &'static str,
    needs: Needs,
    /// How many calls of the model it makes, and how large each is.
    pub(super) calls: u32,
    pub(super) size: Size,
    pub(super) run: for<'a> fn(&'a Gateway) -> Checking<'a>,
}

/// What must be there for a check.
enum Needs {
    Nothing,
    Ability(Ability),
    EmbeddingModel,
    ImageUrl,
}

/// How large a call of a check is at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// It asks for no answer.
    Free,
    /// A few sentences.
    Small,
    /// The same with declarations of tools or a schema.
    Tools,
    /// The same with a picture.
    Picture,
}

/// Its ending is told by the ledger.
pub(super) const CLIENT_LEAVES: &str = "client leaves";

macro_rules! check {
    ($name:expr, $needs:expr, $calls:literal $size:ident, $run:path) => {
        Check { name: $name, needs: $needs, calls: $calls, size: Size::$size, run: |gateway| Box::pin($run(gateway)) }
    };
}

/// All of them, in the order in which they are run.
pub(super) const CHECKS: &[Check] = &[
    check!("chat", Needs::Nothing, 1 Small, talk::chat),
    check!("usage", Needs::Nothing, 1 Small, talk::usage),
    check!("models", Needs::Nothing, 0 Free, edges::models),
    check!("system prompt", Needs::Nothing, 1 Small, talk::system_prompt),
    check!("turns", Needs::Nothing, 1 Small, talk::turns),
    check!("unicode", Needs::Nothing, 1 Small, talk::unicode),
    check!("stop sequence", Needs::Nothing, 1 Small, talk::stop_sequence),
    check!("output limit", Needs::Nothing, 1 Small, talk::output_limit),
    check!("stream", Needs::Nothing, 1 Small, stream::chunks),
    check!("stream usage", Needs::Nothing, 1 Small, stream::usage),
    check!("messages", Needs::Nothing, 1 Small, talk::messages),
    check!("messages stream", Needs::Nothing, 1 Small, stream::messages),
    check!("tool call", Needs::Ability(Ability::Tools), 1 Tools, tools::one),
    check!("tool result", Needs::Ability(Ability::Tools), 2 Tools, tools::result),
    check!("parallel tools", Needs::Ability(Ability::Tools), 1 Tools, tools::parallel),
    check!("tool stream", Needs::Ability(Ability::Tools), 1 Tools, tools::streamed),
    check!("tool without arguments", Needs::Ability(Ability::Tools), 1 Tools, tools::without_arguments),
    check!("tool choice", Needs::Ability(Ability::Tools), 1 Tools, tools::choice),
    check!("JSON schema", Needs::Ability(Ability::StructuredOutput), 1 Tools, shapes::schema),
    check!("image", Needs::Ability(Ability::Images), 1 Picture, shapes::image),
    check!("image by URL", Needs::ImageUrl, 1 Picture, shapes::image_by_url),
    check!("thinking", Needs::Ability(Ability::Thinking), 1 Small, shapes::thinking),
    check!("count of tokens", Needs::Nothing, 0 Free, edges::count),
    check!("embeddings", Needs::EmbeddingModel, 0 Free, edges::embeddings),
    check!("unknown model", Needs::Nothing, 0 Free, edges::unknown_model),
    check!("wrong parameter", Needs::Nothing, 1 Small, edges::wrong_parameter),
    check!(CLIENT_LEAVES, Needs::Nothing, 1 Small, edges::left_alone),
];

impl Check {
    /// Why it is not run, if it is not.
    pub(super) fn why_not(&self, subject: &Subject) -> Option<Finding> {
        match &self.needs {
            Needs::Nothing => None,
            // Of a model of which nothing is said everything is tried, but for thinking, which is asked for by a parameter.
            Needs::Ability(Ability::Thinking) => (!subject.thinks).then(|| Finding::skipped("no model that thinks")),
            Needs::Ability(ability) => {
                let known = subject.abilities.as_ref().is_some_and(|known| !known.contains(ability));
                known.then(|| Finding::skipped(format!("the price book: it does not {}", ability.deed())))
            }
            Needs::EmbeddingModel => {
                subject.embedding_model.is_none().then(|| Finding::skipped("name one with --embedding-model"))
            }
            Needs::ImageUrl => subject.image_url.is_none().then(|| Finding::skipped("name one with --image-url")),
        }
    }
}
