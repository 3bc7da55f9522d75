//! Feedback of end users: what they thought of an answer or a conversation, as a score.
//!
//! Whoever thinks again replaces what he thought: the score's id follows from what is judged, its name and the user.

use privet_domain::id::{ConversationId, ProjectId, RequestId};
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{
    DEFAULT_ENVIRONMENT, Score, ScoreId, ScoreSource, ScoreTarget, ScoreType, Trace, TraceBatch, TraceId,
};
use privet_store::{Condition, Page, StoreError, Test, TextTest, TraceColumn, TraceOrder, TraceQuery};
use serde_json::Map;

use super::call::{named_user, observation_id_of, trace_id_of};
use crate::Engine;
use crate::keyring::Caller;

const ID_CONTEXT: &str = "privet feedback v1";
/// An id in hexadecimal digits.
const ID_DIGITS: usize = 32;

/// What somebody thought.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// Of what.
    pub about: About,
    /// What is measured, such as `feedback`.
    pub name: String,
    /// The judgement.
    pub value: Judgement,
    /// In words.
    pub comment: Option<String>,
    /// Who thought it, where the application says so.
    pub user: Option<String>,
}

/// What feedback is of.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// A trace.
    Trace(TraceId),
    /// The trace of a request.
    Request(RequestId),
    /// A conversation, or another session.
    Conversation(String),
}

/// A judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// A number, such as of stars.
    Number(f64),
    /// Good or not.
    Good(bool),
    /// A word.
    Word(String),
}

/// Why feedback was not kept.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// There is no such trace in the project.
    #[error(
        "There is no trace `{0}` in this project. Send the id of the header `x-privet-trace-id` or `x-request-id` of an answer."
    )]
    UnknownTrace(String),
    /// There is no such conversation in the project.
    #[error(
        "There is no conversation `{0}` in this project. Send the id of the header `x-conversation-id` of an answer."
    )]
    UnknownConversation(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Keeps what somebody thought. What he thought of the same before is replaced.
    ///
    /// # Errors
    /// When the project has nothing of the kind, or the store fails.
    pub async fn give_feedback(&self, caller: &Caller, feedback: Feedback) -> Result<Score, FeedbackError> {
        let (target, environment) = self.judged(caller.project_id, &feedback.about).await?;
        let (user, _) = named_user(feedback.user, &caller.user_id);
        let (score_type, value, text) = match feedback.value {
            Judgement::Number(number) => (ScoreType::Numeric, number, None),
            Judgement::Good(true) => (ScoreType::Boolean, 1.0, Some("True".to_owned())),
            Judgement::Good(false) => (ScoreType::Boolean, 0.0, Some("False".to_owned())),
            Judgement::Word(word) => (ScoreType::Categorical, 0.0, Some(word)),
        };
        let score = Score {
            id: id_of(&target, &feedback.name, &user)?,
            target,
            name: feedback.name,
            score_type,
            value,
            text,
            comment: feedback.comment,
            source: ScoreSource::Api,
            author_user_id: Some(user),
            config_id: None,
            environment,
            metadata: Map::new(),
            timestamp: NanoTimestamp::from(self.clock.now()),
        };
        let batch = TraceBatch { scores: vec![score.clone()], ..TraceBatch::default() };
        self.traces.record(caller.project_id, batch).await?;
        Ok(score)
    }

    /// What is judged, once it is known that the project has it; and its environment.
    async fn judged(&self, project: ProjectId, about: &About) -> Result<(ScoreTarget, String), FeedbackError> {
        match about {
            About::Trace(id) => {
                let found = self.find_trace(project, TraceColumn::Id, id.as_str()).await?;
                found.map(of_trace).ok_or_else(|| FeedbackError::UnknownTrace(id.to_string()))
            }
            About::Request(id) => {
                let trace = match self.find_trace(project, TraceColumn::Id, trace_id_of(*id).as_str()).await? {
                    Some(trace) => Some(trace),
                    // It was a step of its client's trace.
                    None => match self.traces.store.observation(project, &observation_id_of(*id)).await {
                        Ok(step) => self.find_trace(project, TraceColumn::Id, step.trace_id.as_str()).await?,
                        Err(StoreError::NotFound) => None,
                        Err(error) => return Err(error.into()),
                    },
                };
                trace.map(of_trace).ok_or_else(|| FeedbackError::UnknownTrace(id.to_string()))
            }
            About::Conversation(id) => {
                let target = ScoreTarget::Session(id.clone());
                if let Some(trace) = self.find_trace(project, TraceColumn::Session, id).await? {
                    return Ok((target, trace.environment));
                }
                let unknown = || FeedbackError::UnknownConversation(id.clone());
                let conversation = id.parse::<ConversationId>().map_err(|_| unknown())?;
                match self.store.conversation(project, conversation).await {
                    Ok(_) => Ok((target, DEFAULT_ENVIRONMENT.to_owned())),
                    Err(StoreError::NotFound) => Err(unknown()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// A trace of the project by a column.
    async fn find_trace(
        &self,
        project: ProjectId,
        column: TraceColumn,
        value: &str,
    ) -> Result<Option<Trace>, FeedbackError> {
        let query = TraceQuery {
            conditions: vec![Condition { column, test: Test::Text(TextTest::Is, value.to_owned()) }],
            order: TraceOrder::Timestamp,
            is_descending: true,
            page: Page::After(None, 1),
            has_contents: false,
        };
        let found = self.traces.store.list_traces(project, &query).await?;
        Ok(found.traces.into_iter().next().map(|item| item.trace))
    }
}

fn of_trace(trace: Trace) -> (ScoreTarget, String) {
    (ScoreTarget::Trace(trace.id, None), trace.environment)
}

/// The same for the same user's feedback of the same name on the same target.
fn id_of(target: &ScoreTarget, name: &str, user: &str) -> Result<ScoreId, StoreError> {
    let (kind, judged) = match target {
        ScoreTarget::Trace(trace, _) => ("trace", trace.as_str()),
        ScoreTarget::Session(session) => ("session", session.as_str()),
        ScoreTarget::DatasetRun(run) => ("run", run.as_str()),
    };
    let mut hasher = blake3::Hasher::new_derive_key(ID_CONTEXT);
    for part in [kind, judged, name, user] {
        hasher.update(&part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digits: String = hasher.finalize().to_hex().chars().take(ID_DIGITS).collect();
    digits.parse().map_err(|error| StoreError::Unavailable(format!("an id of digits is none: {error}")))
}
