//! What a span says of its trace.

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{ObservationPatch, TraceId, TracePatch};
use serde_json::Value;

use super::attributes::{Attributes, decoded};
use super::observation::{Origin, named_metadata};
use crate::traced_text::{ENVIRONMENT_BYTES_MAX, LIST_MAX, NAME_BYTES_MAX, clipped, kept};

/// So much earlier, in nanoseconds (146 years), counts what is only supposed: whatever any span says outright is later.
const SUPPOSED_EARLIER: i64 = 1 << 62;

/// What a span says of its trace.
pub(super) struct OfTrace {
    /// Outright.
    pub(super) said: TracePatch,
    /// Where nobody says otherwise.
    pub(super) supposed: Option<TracePatch>,
}

/// Takes it from the attributes.
pub(super) fn read(
    attributes: &mut Attributes,
    id: TraceId,
    start: NanoTimestamp,
    origin: &Origin,
) -> Result<OfTrace, String> {
    let mut said = TracePatch::new(id, start);
    said.timestamp = Some(start);
    said.name = attributes.take_text(&["langfuse.trace.name"]).map(|name| clipped(name, NAME_BYTES_MAX));
    let user = attributes.take_text(&[
        "user.id",
        "langfuse.user.id",
        "langfuse.trace.metadata.langfuse_user_id",
        "langfuse.observation.metadata.langfuse_user_id",
        "ai.telemetry.metadata.userId",
        "traceloop.association.properties.user_id",
    ]);
    said.user_id = kept("user.id", user, NAME_BYTES_MAX)?;
    let session = attributes.take_text(&[
        "session.id",
        "langfuse.session.id",
        "langfuse.trace.metadata.langfuse_session_id",
        "langfuse.observation.metadata.langfuse_session_id",
        "ai.telemetry.metadata.sessionId",
        "traceloop.association.properties.session_id",
    ]);
    said.session_id = kept("session.id", session, NAME_BYTES_MAX)?;
    said.input = attributes.take_content(&["langfuse.trace.input"]);
    said.output = attributes.take_content(&["langfuse.trace.output"]);
    let public = attributes.take(&["langfuse.trace.public", "langfuse.public"]);
    said.public = public.map(|value| decoded(value) == Value::Bool(true));
    said.tags = tags(attributes)?;
    let environment = attributes.take_text(&["langfuse.environment"]).or_else(|| origin.environment.clone());
    said.environment = kept("langfuse.environment", environment, ENVIRONMENT_BYTES_MAX)?;
    let release = attributes.take_text(&["langfuse.release"]).or_else(|| origin.release.clone());
    said.release = kept("langfuse.release", release, NAME_BYTES_MAX)?;
    said.version = kept("langfuse.version", attributes.take_text(&["langfuse.version"]), NAME_BYTES_MAX)?;
    said.metadata = named_metadata(attributes, "langfuse.trace.metadata", origin);
    // A model's conversation is the session, unless the application has one of its own.
    let conversation = attributes.take_text(&["gen_ai.conversation.id"]);
    let conversation = kept("gen_ai.conversation.id", conversation, NAME_BYTES_MAX)?;
    let supposed = conversation.filter(|_| said.session_id.is_none());
    let supposed = supposed.map(|session| TracePatch { session_id: Some(session), ..weaker(&said) });
    Ok(OfTrace { said, supposed })
}

impl OfTrace {
    /// As a root, the span gives the trace what nobody says of it.
    pub(super) fn stand_for(&mut self, root: &ObservationPatch, is_first: bool) {
        let patch = match is_first {
            true => &mut self.said,
            false => self.supposed.get_or_insert_with(|| weaker(&self.said)),
        };
        let (name, input, output) = (root.name.clone(), root.input.clone(), root.output.clone());
        patch.name = patch.name.take().or(name);
        patch.input = patch.input.take().or(input);
        patch.output = patch.output.take().or(output);
    }

    /// The patches that say anything.
    pub(super) fn into_patches(self) -> Vec<TracePatch> {
        let said = Some(self.said).filter(says_something);
        said.into_iter().chain(self.supposed).collect()
    }
}

/// A patch of the same trace that gives way to any other.
fn weaker(said: &TracePatch) -> TracePatch {
    let at = NanoTimestamp::from_nanos(said.at.as_nanos().saturating_sub(SUPPOSED_EARLIER));
    TracePatch {
        timestamp: said.timestamp,
        environment: said.environment.clone(),
        release: said.release.clone(),
        ..TracePatch::new(said.id.clone(), at)
    }
}

/// A list, the JSON of one, or names with commas between them.
fn tags(attributes: &mut Attributes) -> Result<Vec<String>, String> {
    let tags = attributes.take(&[
        "langfuse.trace.tags",
        "langfuse.tags",
        "langfuse.trace.metadata.langfuse_tags",
        "langfuse.observation.metadata.langfuse_tags",
        "ai.telemetry.metadata.tags",
        "tag.tags",
    ]);
    let tags: Vec<String> = match tags.map(|tags| (decoded(tags.clone()), tags)) {
        Some((Value::Array(tags), _)) => tags.into_iter().map(super::attributes::text).collect(),
        Some((_, Value::String(names))) => names.split(',').map(|name| name.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    if tags.len() > LIST_MAX {
        return Err(format!("`langfuse.trace.tags` are {}; at most {LIST_MAX} are kept", tags.len()));
    }
    tags.into_iter().filter_map(|tag| kept("langfuse.trace.tags", Some(tag), NAME_BYTES_MAX).transpose()).collect()
}

/// Whether there is more in it than where the span belongs.
fn says_something(trace: &TracePatch) -> bool {
    trace.name.is_some()
        || trace.user_id.is_some()
        || trace.session_id.is_some()
        || trace.input.is_some()
        || trace.output.is_some()
        || trace.public.is_some()
        || trace.version.is_some()
        || !trace.tags.is_empty()
        || !trace.metadata.is_empty()
}
