//! A JSON object as its members' own bytes: read a few, change a few, pass the rest on untouched.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::BadRequest;

/// The members of a JSON object, in order, as spans of the body.
#[derive(Clone, Debug)]
pub struct RawObject {
    body: Bytes,
    members: Vec<(String, Range<usize>)>,
}

/// Changes to the members of an object.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    changes: Vec<(String, Option<Vec<u8>>)>,
}

impl Edits {
    /// Sets a member to JSON bytes: in its place, or at the end if it is new.
    pub fn set(&mut self, key: impl Into<String>, json: Vec<u8>) {
        self.changes.push((key.into(), Some(json)));
    }

    /// Removes a member.
    pub fn remove(&mut self, key: impl Into<String>) {
        self.changes.push((key.into(), None));
    }

    fn change(&self, key: &str) -> Option<&Option<Vec<u8>>> {
        self.changes.iter().find(|(changed, _)| changed == key).map(|(_, json)| json)
    }
}

impl RawObject {
    /// Reads an object.
    ///
    /// # Errors
    /// When the body is no JSON object, or names a member twice.
    pub fn parse(body: Bytes) -> Result<Self, BadRequest> {
        let members = {
            let mut deserializer = serde_json::Deserializer::from_slice(&body);
            let members = deserializer.deserialize_map(Members { start: body.as_ptr() as usize });
            let members = members.and_then(|members| deserializer.end().map(|()| members));
            members.map_err(|error| BadRequest::new(format!("The body is not a valid JSON object: {error}.")))?
        };
        Ok(Self { body, members })
    }

    /// The whole body, as it came.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The bytes of a member's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let (_, span) = self.members.iter().find(|(name, _)| name == key)?;
        self.body.get(span.clone())
    }

    /// The same without borrowing the object.
    pub(crate) fn get_bytes(&self, key: &str) -> Option<Bytes> {
        let (_, span) = self.members.iter().find(|(name, _)| name == key)?;
        self.body.get(span.clone()).map(|bytes| self.body.slice_ref(bytes))
    }

    /// A member's value, decoded; `None` if it is absent or null.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn decode<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, BadRequest> {
        let Some(bytes) = self.get(key) else { return Ok(None) };
        serde_json::from_slice(bytes).map_err(|error| {
            // The place inside the value is of no use to a client that does not count from there.
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text);
            BadRequest::at(key, format!("`{key}` is wrong: {what}."))
        })
    }

    /// The members' names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// The object with changes. Without any, the very bytes that came.
    #[must_use]
    pub fn render(&self, edits: &Edits) -> Bytes {
        if edits.changes.is_empty() {
            return self.body.clone();
        }
        let added: usize =
            edits.changes.iter().map(|(key, json)| key.len() + json.as_ref().map_or(0, Vec::len) + 8).sum();
        let mut out = Vec::with_capacity(self.body.len() + added);
        out.push(b'{');
        for (key, span) in &self.members {
            match edits.change(key) {
                Some(Some(json)) => push_member(&mut out, key, json),
                Some(None) => {}
                None => push_member(&mut out, key, self.body.get(span.clone()).unwrap_or_default()),
            }
        }
        for (key, json) in &edits.changes {
            if let Some(json) = json
                && self.members.iter().all(|(name, _)| name != key)
            {
                push_member(&mut out, key, json);
            }
        }
        out.push(b'}');
        Bytes::from(out)
    }
}

fn push_member(out: &mut Vec<u8>, key: &str, json: &[u8]) {
    if out.len() > 1 {
        out.push(b',');
    }
    // A text always serialises.
    out.extend_from_slice(&serde_json::to_vec(key).unwrap_or_default());
    out.push(b':');
    out.extend_from_slice(json);
}

struct Members {
    start: usize,
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Range<usize>)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::with_capacity(16);
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            let begin = (value.get().as_ptr() as usize).saturating_sub(self.start);
            members.push((key, begin..begin + value.get().len()));
        }
        let mut names: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair.first() == pair.last()).find_map(<[&str]>::first);
        if let Some(name) = twice {
            return Err(serde::de::Error::custom(format!("the member `{name}` stands in it twice")));
        }
        Ok(members)
    }
}

/// Whether each object in it, however deep, names its members once: what reads the first and what reads the last see the same. Of what
/// is no JSON nothing can be said.
pub(crate) fn names_each_once(json: &[u8]) -> bool {
    serde_json::from_slice::<EachOnce>(json).is_ok()
}

/// Any JSON whose objects name their members once.
struct EachOnce;

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for EachOnce {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON whose objects name their members once")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, _)) = members.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(serde::de::Error::custom("a member stands in it twice"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "{ \"a\" : 1.0 ,\"b\":{\"x\":1e400}, \"c\" : null }";

    fn object() -> RawObject {
        RawObject::parse(Bytes::from_static(BODY.as_bytes())).unwrap()
    }

    #[test]
    fn without_edits_the_bytes_are_the_same() {
        assert_eq!(object().render(&Edits::default()), BODY);
    }

    #[test]
    fn an_edit_leaves_the_other_members_bytes() {
        let mut edits = Edits::default();
        edits.set("a", b"2".to_vec());
        edits.remove("c");
        edits.set("d", b"[]".to_vec());
        assert_eq!(object().render(&edits), "{\"a\":2,\"b\":{\"x\":1e400},\"d\":[]}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[1]", "{\"a\":1", "{\"a\":1}x", "{\"a\":1,\"a\":2}", "\"text\"", "{\"a\":\"\\ud800\"}x"] {
            assert!(RawObject::parse(Bytes::from_static(body.as_bytes())).is_err(), "{body}");
        }
    }

    #[test]
    fn what_is_named_twice_is_found_however_deep() {
        for (json, once) in [
            (r#"[1, -2, 1.5, "x", null, true, {"a": {"b": [{"a": 1}]}}]"#, true),
            (r#"[{"a": {"b": [{"c": 1, "c": 2}]}}]"#, false),
            (r#"{"a": 1, "\u0061": 2}"#, false),
        ] {
            assert_eq!(names_each_once(json.as_bytes()), once, "{json}");
        }
    }

    #[test]
    fn a_wrong_type_names_its_member() {
        let error = object().decode::<String>("a").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("a"));
        assert_eq!(object().decode::<String>("c"), Ok(None));
    }
}
