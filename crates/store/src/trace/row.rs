//! Rows of traces and observations, and the records that they are.

use std::collections::BTreeMap;

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, Observation, Origins, PromptLink, Trace};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sqlx::types::Uuid;

use super::stored_id;
use crate::error::StoreError;

/// The content of a record that is being written: as it came, or as it is stored already.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    New(JsonText),
    Stored(Vec<u8>),
}

impl From<JsonText> for Content {
    fn from(json: JsonText) -> Self {
        Self::New(json)
    }
}

/// What a trace's observations add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceSums {
    /// The latest end, in nanoseconds.
    pub(crate) ended_at: Option<i64>,
    pub(crate) observations: i64,
    pub(crate) errors: i64,
    pub(crate) input_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) total_tokens: i64,
    pub(crate) cost_nanos: i64,
}

/// A trace as the database has it.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct TraceRow {
    pub(crate) project_id: Uuid,
    pub(crate) id: Vec<u8>,
    pub(crate) started_at: i64,
    pub(crate) name: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) environment: String,
    pub(crate) release: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) public: i64,
    pub(crate) tags: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) output: Option<Vec<u8>>,
    pub(crate) origins: String,
    pub(crate) ended_at: Option<i64>,
    pub(crate) observations: i64,
    pub(crate) errors: i64,
    pub(crate) input_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) total_tokens: i64,
    pub(crate) cost_nanos: i64,
}

impl TraceRow {
    pub(crate) fn project(&self) -> ProjectId {
        self.project_id.into()
    }

    pub(crate) const fn sums(&self) -> TraceSums {
        TraceSums {
            ended_at: self.ended_at,
            observations: self.observations,
            errors: self.errors,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            cost_nanos: self.cost_nanos,
        }
    }

    /// The record, its contents as they are stored.
    pub(crate) fn into_record(self) -> Result<Trace<Content>, StoreError> {
        Ok(Trace {
            id: stored_id::trace_id(&self.id)?,
            timestamp: NanoTimestamp::from_nanos(self.started_at),
            name: self.name,
            user_id: self.user_id,
            session_id: self.session_id,
            release: self.release,
            version: self.version,
            environment: self.environment,
            input: self.input.map(Content::Stored),
            output: self.output.map(Content::Stored),
            public: self.public != 0,
            tags: from_json(self.tags.as_deref())?,
            metadata: from_json(self.metadata.as_deref())?,
            origins: Origins::from_stored(&self.origins),
        })
    }
}

/// An observation as the database has it.
#[derive(sqlx::FromRow)]
pub(crate) struct ObservationRow {
    pub(crate) project_id: Uuid,
    pub(crate) id: Vec<u8>,
    pub(crate) trace_id: Vec<u8>,
    pub(crate) parent_id: Option<Vec<u8>>,
    #[sqlx(rename = "type")]
    pub(crate) observation_type: String,
    pub(crate) name: Option<String>,
    pub(crate) started_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) first_token_at: Option<i64>,
    pub(crate) folded_at: i64,
    pub(crate) level: String,
    pub(crate) status_message: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) environment: String,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) output: Option<Vec<u8>>,
    pub(crate) metadata: Option<String>,
    pub(crate) resource: Option<Vec<u8>>,
    pub(crate) model: Option<String>,
    pub(crate) model_parameters: Option<String>,
    pub(crate) usage: Option<String>,
    pub(crate) cost: Option<String>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) prompt_version: Option<i64>,
}

impl ObservationRow {
    pub(crate) fn project(&self) -> ProjectId {
        self.project_id.into()
    }

    /// The record, its contents as they are stored. What its process has in common with others is not in the metadata yet.
    pub(crate) fn into_record(self) -> Result<Observation<Content>, StoreError> {
        let nanos = NanoTimestamp::from_nanos;
        let unknown = |what: &str| StoreError::Damaged(format!("the {what} of an observation"));
        let version = self.prompt_version.and_then(|version| u32::try_from(version).ok());
        let prompt = self.prompt_name.zip(version).map(|(name, version)| PromptLink { name, version });
        Ok(Observation {
            id: stored_id::observation_id(&self.id)?,
            trace_id: stored_id::trace_id(&self.trace_id)?,
            folded_at: nanos(self.folded_at),
            parent_id: self.parent_id.as_deref().map(stored_id::observation_id).transpose()?,
            observation_type: self.observation_type.parse().map_err(|_| unknown("type"))?,
            name: self.name,
            start: nanos(self.started_at),
            end: self.ended_at.map(nanos),
            completion_start: self.first_token_at.map(nanos),
            level: self.level.parse().map_err(|_| unknown("level"))?,
            status_message: self.status_message,
            version: self.version,
            environment: self.environment,
            input: self.input.map(Content::Stored),
            output: self.output.map(Content::Stored),
            metadata: from_json(self.metadata.as_deref())?,
            model: self.model,
            model_parameters: from_json(self.model_parameters.as_deref())?,
            usage: from_json(self.usage.as_deref())?,
            cost: from_json::<BTreeMap<String, Nanos>>(self.cost.as_deref())?,
            prompt,
        })
    }
}

/// Reads a column of JSON; nothing is the empty value.
pub(crate) fn from_json<T: DeserializeOwned + Default>(json: Option<&str>) -> Result<T, StoreError> {
    let Some(json) = json else { return Ok(T::default()) };
    serde_json::from_str(json).map_err(|error| StoreError::Damaged(format!("a JSON column of a trace: {error}")))
}

/// A column of JSON; an empty value is nothing.
pub(crate) fn to_json<T: Serialize>(value: &T, is_empty: bool) -> Option<String> {
    // Maps with text keys, numbers and texts always serialise.
    (!is_empty).then(|| serde_json::to_string(value).ok()).flatten()
}

/// Members of an observation's metadata that all spans of its process share: they are stored once.
const RESOURCE_MEMBERS: [&str; 2] = ["resourceAttributes", "scope"];

/// Takes what a process's spans have in common out of the metadata.
pub(crate) fn split_resource(metadata: &mut Map<String, Value>) -> Option<JsonText> {
    let mut resource = Map::new();
    for member in RESOURCE_MEMBERS {
        resource.extend(metadata.shift_remove_entry(member));
    }
    (!resource.is_empty()).then(|| JsonText::of(&Value::Object(resource)))
}
