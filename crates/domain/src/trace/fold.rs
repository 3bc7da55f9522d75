//! How patches become records.
//!
//! Of a trace each field is set by the latest patch that names it, whichever arrives first; its beginning is the earliest that
//! was named; tags are joined; metadata is joined key by key. Of an observation a later patch changes what it names, and an
//! earlier one fills what is empty.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    DEFAULT_ENVIRONMENT, JsonText, Level, Observation, ObservationPatch, ObservationType, Origins, PatchKind, Trace,
    TracePatch,
};
use crate::time::NanoTimestamp;

impl<C: From<JsonText>> Trace<C> {
    /// A trace of which only one patch is known.
    #[must_use]
    pub fn begin(patch: TracePatch) -> Self {
        let mut trace = Self {
            id: patch.id.clone(),
            timestamp: patch.timestamp.unwrap_or(patch.at),
            name: None,
            user_id: None,
            session_id: None,
            release: None,
            version: None,
            environment: DEFAULT_ENVIRONMENT.to_owned(),
            input: None,
            output: None,
            public: false,
            tags: Vec::new(),
            metadata: Map::new(),
            origins: Origins::default(),
        };
        trace.fold(patch);
        trace
    }

    /// Joins a patch.
    pub fn fold(&mut self, patch: TracePatch) {
        let at = patch.at.as_nanos();
        let origins = &mut self.origins;
        let mut wins = |field: char| {
            let origin = origins.0.entry(field).or_insert(at);
            let wins = at >= *origin;
            *origin = at.max(*origin);
            wins
        };
        self.timestamp = self.timestamp.min(patch.timestamp.unwrap_or(self.timestamp));
        set(&mut self.name, patch.name, || wins('n'));
        set(&mut self.user_id, patch.user_id, || wins('u'));
        set(&mut self.session_id, patch.session_id, || wins('s'));
        set(&mut self.release, patch.release, || wins('r'));
        set(&mut self.version, patch.version, || wins('v'));
        set(&mut self.input, patch.input.map(C::from), || wins('i'));
        set(&mut self.output, patch.output.map(C::from), || wins('o'));
        if let Some(environment) = patch.environment.filter(|_| wins('e')) {
            self.environment = environment;
        }
        if let Some(public) = patch.public.filter(|_| wins('p')) {
            self.public = public;
        }
        if !patch.tags.is_empty() {
            let tags: BTreeSet<String> = self.tags.drain(..).chain(patch.tags).collect();
            self.tags = tags.into_iter().collect();
        }
        if !patch.metadata.is_empty() {
            let is_later = wins('m');
            merge(&mut self.metadata, patch.metadata, is_later);
        }
    }
}

fn set<T>(field: &mut Option<T>, said: Option<T>, wins: impl FnOnce() -> bool) {
    if said.is_some() && wins() {
        *field = said;
    }
}

impl<C: From<JsonText>> Observation<C> {
    /// An observation of which only one patch is known.
    #[must_use]
    pub fn begin(patch: ObservationPatch) -> Self {
        let mut observation = Self {
            id: patch.id.clone(),
            trace_id: patch.trace_id.clone(),
            folded_at: NanoTimestamp::MIN,
            parent_id: None,
            observation_type: patch.observation_type.unwrap_or(ObservationType::Span),
            name: None,
            start: patch.start.unwrap_or(patch.at),
            end: None,
            completion_start: None,
            level: Level::Default,
            status_message: None,
            version: None,
            environment: DEFAULT_ENVIRONMENT.to_owned(),
            input: None,
            output: None,
            metadata: Map::new(),
            model: None,
            model_parameters: Map::new(),
            usage: std::collections::BTreeMap::new(),
            cost: std::collections::BTreeMap::new(),
            prompt: None,
        };
        observation.fold(patch);
        observation
    }

    /// Joins a patch.
    pub fn fold(&mut self, patch: ObservationPatch) {
        let is_later = match patch.kind {
            // Some clients send the change before the beginning, at the same instant.
            PatchKind::Create => patch.at > self.folded_at,
            PatchKind::Update => patch.at >= self.folded_at,
        };
        self.folded_at = self.folded_at.max(patch.at);
        let (no_level, no_environment) = (self.level == Level::Default, self.environment == DEFAULT_ENVIRONMENT);
        replace(&mut self.start, patch.start, is_later || patch.kind == PatchKind::Create);
        replace(&mut self.level, patch.level, is_later || no_level);
        replace(&mut self.environment, patch.environment, is_later || no_environment);
        let is_unnamed_type = self.observation_type == ObservationType::Span;
        replace(&mut self.observation_type, patch.observation_type, is_later || is_unnamed_type);
        replace_or_fill(&mut self.parent_id, patch.parent_id, is_later);
        replace_or_fill(&mut self.name, patch.name, is_later);
        replace_or_fill(&mut self.end, patch.end, is_later);
        replace_or_fill(&mut self.completion_start, patch.completion_start, is_later);
        replace_or_fill(&mut self.status_message, patch.status_message, is_later);
        replace_or_fill(&mut self.version, patch.version, is_later);
        replace_or_fill(&mut self.input, patch.input.map(C::from), is_later);
        replace_or_fill(&mut self.output, patch.output.map(C::from), is_later);
        replace_or_fill(&mut self.model, patch.model, is_later);
        replace_or_fill(&mut self.prompt, patch.prompt, is_later);
        let (no_parameters, no_usage, no_cost) =
            (self.model_parameters.is_empty(), self.usage.is_empty(), self.cost.is_empty());
        replace(&mut self.model_parameters, patch.model_parameters, is_later || no_parameters);
        replace(&mut self.usage, patch.usage, is_later || no_usage);
        replace(&mut self.cost, patch.cost, is_later || no_cost);
        merge(&mut self.metadata, patch.metadata, is_later);
    }
}

fn replace<T>(field: &mut T, said: Option<T>, wins: bool) {
    if let Some(said) = said.filter(|_| wins) {
        *field = said;
    }
}

fn replace_or_fill<T>(field: &mut Option<T>, said: Option<T>, is_later: bool) {
    if said.is_some() && (is_later || field.is_none()) {
        *field = said;
    }
}

/// Joins objects key by key, deep; where both name a key, the later patch's value stays.
fn merge(into: &mut Map<String, Value>, said: Map<String, Value>, is_later: bool) {
    for (key, value) in said {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new, is_later),
            (Some(old), value) if is_later => *old = value,
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> NanoTimestamp {
        NanoTimestamp::from_nanos(nanos)
    }

    fn trace(nanos: i64, name: Option<&str>, user: Option<&str>) -> TracePatch {
        TracePatch {
            name: name.map(str::to_owned),
            user_id: user.map(str::to_owned),
            timestamp: Some(at(nanos)),
            ..TracePatch::new("t".parse().unwrap(), at(nanos))
        }
    }

    fn folded(patches: impl IntoIterator<Item = TracePatch>) -> Trace {
        let mut patches = patches.into_iter();
        let mut trace: Trace = Trace::begin(patches.next().unwrap());
        for patch in patches {
            trace = Trace { origins: Origins::from_stored(&trace.origins.to_stored()), ..trace };
            trace.fold(patch);
        }
        trace
    }

    #[test]
    fn a_childs_name_of_the_trace_beats_the_roots_in_every_order_of_arrival() {
        let patches = [trace(0, Some("root"), None), trace(2, Some("child"), None), trace(3, None, Some("ada"))];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let joined = folded(order.map(|index| patches[index].clone()));
            assert_eq!((joined.name.as_deref(), joined.user_id.as_deref()), (Some("child"), Some("ada")), "{order:?}");
            assert_eq!(joined.timestamp, at(0));
        }
    }

    #[test]
    fn tags_are_joined_and_metadata_merged_key_by_key() {
        let with = |nanos, tag: &str, metadata: Value| {
            let Value::Object(metadata) = metadata else { panic!("an object") };
            TracePatch { tags: vec![tag.to_owned()], metadata, ..trace(nanos, None, None) }
        };
        let later = with(2, "b", serde_json::json!({"a": {"x": 2}, "c": 3}));
        let earlier = with(1, "a", serde_json::json!({"a": {"x": 1, "y": 1}, "d": 4}));
        let joined = folded([later, earlier]);
        assert_eq!(joined.tags, ["a", "b"]);
        assert_eq!(Value::from(joined.metadata), serde_json::json!({"a": {"x": 2, "y": 1}, "c": 3, "d": 4}));
    }

    fn observation(kind: PatchKind, nanos: i64, input: Option<&str>, end: Option<i64>) -> ObservationPatch {
        let mut patch = ObservationPatch::new("t".parse().unwrap(), "o".parse().unwrap(), kind, at(nanos));
        patch.input = input.map(JsonText::string);
        patch.end = end.map(at);
        patch
    }

    #[test]
    fn an_update_that_arrives_before_its_beginning_stays() {
        let begin = observation(PatchKind::Create, 5, Some("first"), None);
        let change = observation(PatchKind::Update, 5, Some("second"), Some(9));
        for order in [[&begin, &change], [&change, &begin]] {
            let mut joined: Observation = Observation::begin(order[0].clone());
            joined.fold(order[1].clone());
            assert_eq!((joined.input, joined.end), (Some(JsonText::string("second")), Some(at(9))));
        }
    }

    #[test]
    fn joining_the_same_patch_again_changes_nothing() {
        let begin = observation(PatchKind::Create, 5, Some("first"), Some(7));
        let mut joined: Observation = Observation::begin(begin.clone());
        let before = joined.clone();
        joined.fold(begin);
        assert_eq!(joined, before);
    }
}
