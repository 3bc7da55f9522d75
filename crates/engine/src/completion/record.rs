//! How a turn ends in the store: with its answer, or as if it had never been.

use privet_dialects::translate::Answer;
use privet_store::{MessageStatus, StoreError, TurnFinish, TurnWithdrawal};

use super::compose::Turn;
use crate::{Engine, message};

/// Stores the answer. When this returns, the client may be told of it.
///
/// Of several answers (`n`) the first goes on in the conversation. A conversation that was deleted meanwhile stays deleted.
pub(super) async fn finish(
    engine: &Engine,
    turn: Option<Turn>,
    answer: &Answer,
    status: MessageStatus,
) -> Result<(), StoreError> {
    let Some(turn) = turn else { return Ok(()) };
    let at = engine.clock.now();
    let first = answer.messages.first().filter(|message| !message.parts.is_empty());
    let messages =
        first.map(|message| message::to_row(message, engine.store.next_seq(at), status)).into_iter().collect();
    let finish = TurnFinish { project_id: turn.project_id, conversation_id: turn.conversation_id, messages, at };
    match engine.store.finish_turn(finish).await {
        Err(StoreError::NotFound) => {
            tracing::info!(conversation = %turn.conversation_id, "the conversation was deleted before its answer came");
            Ok(())
        }
        Err(error) => {
            // The client is told that it failed: then nothing of it should stand.
            withdraw(engine, Some(turn)).await;
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Takes back a turn that got no answer.
pub(super) async fn withdraw(engine: &Engine, turn: Option<Turn>) {
    let Some(turn) = turn else { return };
    let withdrawal = TurnWithdrawal {
        conversation_id: turn.conversation_id,
        conversation_is_new: turn.is_new,
        messages: turn.stored,
        last_seq: turn.last_seq,
    };
    if let Err(error) = engine.store.withdraw_turn(withdrawal).await {
        tracing::error!(%error, conversation = %turn.conversation_id, "a failed turn could not be taken back: its question stays");
    }
}
