//! What a model cannot do, as the price book says, is refused before anything is held or sent.
//!
//! A schema that the model does not keep to by itself is no reason: it is kept to for it ([`super::shaped`]).

use privet_dialects::canonical::Message;
use privet_domain::ability::Ability;
use privet_domain::pricing::Price;

use super::{ChatCommand, CompletionError};
use crate::Engine;
use crate::router::Target;

/// Why a request is beyond a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeyondTheModel {
    /// It needs what the model cannot do.
    #[error(
        "The model `{model}` cannot {}, which this request needs. `privet models` lists what each can do; if the price book is wrong, write the model's `abilities` into the file of the setting `prices`.",
        ability.deed()
    )]
    Lacks {
        /// The model, as `provider/model`.
        model: String,
        /// What it cannot do.
        ability: Ability,
    },
    /// It wants more output than the model can write.
    #[error(
        "The model `{model}` writes at most {most} tokens, this request asks for up to {asked}. Lower the limit; if the price book is wrong, write the model's `output_tokens_max` into the file of the setting `prices`."
    )]
    Output {
        /// The model, as `provider/model`.
        model: String,
        /// The output limit of the request (tokens).
        asked: u64,
        /// The most that the model writes (tokens).
        most: u64,
    },
}

/// Whether the model can do what the request needs, as far as the price book tells.
pub(super) fn check(
    engine: &Engine,
    command: &ChatCommand,
    target: &Target,
    history: &[Message],
) -> Result<(), CompletionError> {
    let Some(price) = price_of(engine, target) else { return Ok(()) };
    let incoming = &command.incoming;
    if let (Some(asked), Some(most)) = (incoming.output_limit()?, price.output_tokens_max.or(price.context_tokens))
        && asked > most
    {
        return Err(BeyondTheModel::Output { model: target.name(), asked, most }.into());
    }
    // What is needed is looked for only where something may be lacking.
    if price.profile.can_all() {
        return Ok(());
    }
    let mut needs = incoming.needs(history);
    needs.remove(&Ability::StructuredOutput);
    match price.profile.lacks(&needs) {
        Some(ability) => Err(BeyondTheModel::Lacks { model: target.name(), ability }.into()),
        None => Ok(()),
    }
}

/// What the price book says of a target today.
pub(super) fn price_of<'a>(engine: &'a Engine, target: &Target) -> Option<&'a Price> {
    engine.prices.find(target.provider.name(), &target.model, engine.clock.now()).map(AsRef::as_ref)
}
