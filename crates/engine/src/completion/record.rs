//! How a call ends in the store: its turn with the answer, or as if it had never been; and what it cost, in the same
//! transaction.

use privet_dialects::translate::Answer;
use privet_store::{MessageStatus, StoreError, TurnEnd, TurnFinish, TurnWithdrawal};

use super::compose::Turn;
use super::{CompletionError, Ending, cache};
use crate::memory::of_messages;
use crate::settlement::{OpenCall, Used};
use crate::traces::{CallTrace, Ended};
use crate::{Engine, message};

/// Stores the answer and what it cost. When this returns, the client may be told of it.
///
/// Of several answers (`n`) the first goes on in the conversation. A conversation that was deleted meanwhile stays deleted.
pub(super) async fn finish(
    engine: &Engine,
    Ending { turn, call, trace, keep }: Ending,
    used: Used,
    answer: &Answer,
    ended: Ended<'_>,
) -> Result<(), StoreError> {
    let keep = keep.filter(|_| matches!(ended, Ended::Whole(_)));
    let (hold, conversation_id) = (call.hold.clone(), turn.as_ref().map(|turn| turn.conversation_id));
    finish_turn(engine, (turn, call, trace), used, answer, ended).await?;
    if let Some(keep) = keep {
        cache::keep(engine, keep, &hold, conversation_id, answer).await;
    }
    Ok(())
}

async fn finish_turn(
    engine: &Engine,
    (turn, call, trace): (Option<Turn>, OpenCall, Option<CallTrace>),
    used: Used,
    answer: &Answer,
    ended: Ended<'_>,
) -> Result<(), StoreError> {
    let status = match &ended {
        Ended::Whole(_) | Ended::Unseen => MessageStatus::Complete,
        Ended::Cut(..) | Ended::Failed(_) | Ended::Stopped(_) => MessageStatus::Incomplete,
    };
    let failure = match &ended {
        Ended::Whole(_) | Ended::Unseen => None,
        Ended::Cut(_, failure) | Ended::Failed(failure) | Ended::Stopped(failure) => Some(failure.clone()),
    };
    let trace = trace.map(|trace| (trace, ended));
    let Some(turn) = turn else { return engine.settle(call, used, None, trace).await };
    let at = engine.clock.now();
    let first = answer.messages.first().filter(|message| !message.parts.is_empty());
    let messages: Vec<_> =
        first.map(|message| message::to_row(message, engine.store.next_seq(at), status)).into_iter().collect();
    let said: Vec<_> = first.into_iter().collect();
    let remember = |scope| of_messages(scope, turn.conversation_id, &said, &messages, at);
    let memories = turn.remembers.as_ref().map(remember).unwrap_or_default();
    let response = turn.response.as_ref().map(|response| response.to_row(answer, failure.as_deref()));
    let (project_id, conversation_id) = (turn.project_id, turn.conversation_id);
    let finish = TurnFinish { project_id, conversation_id, messages, memories, response, at };
    match engine.settle(call, used, Some(TurnEnd::Finish(finish)), trace).await {
        Err(StoreError::NotFound) => {
            tracing::info!(conversation = %turn.conversation_id, "the conversation was deleted before its answer came");
            Ok(())
        }
        Err(error) => {
            // The client is told that it failed: then nothing of it should stand. What it cost is settled already, or later.
            let conversation = turn.conversation_id;
            report(engine.store.withdraw_turn(withdrawal(turn)).await, conversation);
            Err(error)
        }
        Ok(()) => {
            if let Some(memory) = &engine.memory {
                memory.written.notify_one();
            }
            Ok(())
        }
    }
}

/// Takes back a turn that got no answer, and writes what it cost all the same.
pub(super) async fn withdraw(
    engine: &Engine,
    Ending { turn, call, trace, .. }: Ending,
    used: Used,
    error: &CompletionError,
) {
    let conversation = turn.as_ref().map(|turn| turn.conversation_id);
    let end = turn.map(|turn| TurnEnd::Withdraw(withdrawal(turn)));
    let trace = trace.map(|trace| (trace, Ended::without_answer(error)));
    let withdrawn = engine.settle(call, used, end, trace).await;
    if let Some(conversation) = conversation {
        report(withdrawn, conversation);
    }
}

/// Takes back a turn whose calls are all settled, and that gets no answer.
pub(super) async fn withdraw_turn(engine: &Engine, turn: Option<Turn>, trace: Option<(CallTrace, Ended<'_>)>) {
    let traced = trace.map(|(trace, ended)| trace.end_unsettled(&ended, engine.clock.now()));
    engine.traces.record_call(traced).await;
    if let Some(turn) = turn {
        let conversation = turn.conversation_id;
        report(engine.store.withdraw_turn(withdrawal(turn)).await, conversation);
    }
}

fn withdrawal(turn: Turn) -> TurnWithdrawal {
    TurnWithdrawal {
        conversation_id: turn.conversation_id,
        conversation_is_new: turn.is_new,
        messages: turn.stored,
        last_seq: turn.last_seq,
    }
}

fn report(withdrawn: Result<(), StoreError>, conversation: privet_domain::id::ConversationId) {
    if let Err(error) = withdrawn {
        tracing::error!(%error, %conversation, "a failed turn could not be taken back: its question stays");
    }
}
