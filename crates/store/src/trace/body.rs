//! Inputs and outputs in their stored form.
//!
//! Short ones stand in the row, long ones in `bodies` under their hash. An array of messages, or an object with one, is a
//! *thread*: each message is a body whose hash covers its project and all messages before it, so that the turns of a
//! conversation share their prefix. An output that is a message is stored as what comes after its input's thread: the next turn,
//! which repeats it, finds it there.
//!
//! The first byte of the stored form says which it is; see [`Form`]. White space between messages is not kept.

use std::collections::HashMap;

use privet_domain::id::ProjectId;
use privet_domain::trace::JsonText;
use serde_json::value::RawValue;

use crate::error::StoreError;

/// Up to so many bytes a content stands in the row as it is.
const PLAIN_BYTES: usize = 200;
/// Up to so many bytes it stands in the row, compressed.
const INLINE_BYTES: usize = 1024;
/// A thread of more messages is stored as one content.
const THREAD_MESSAGES_MAX: usize = 4096;
/// No content is longer: what says otherwise is damaged.
const CONTENT_BYTES_MAX: usize = 256 << 20;
const COMPRESSION_LEVEL: i32 = 3;
const HASH_CONTEXT: &str = "privet trace body v1";
/// Members of an object that hold its thread.
const THREAD_MEMBERS: [&str; 3] = ["messages", "contents", "input"];

/// The hash of a body.
pub(crate) type Hash = [u8; 16];

/// What the first byte of a stored content says.
mod form {
    /// JSON follows.
    pub(super) const PLAIN: u8 = 0;
    /// JSON follows, compressed with Zstandard.
    pub(super) const COMPRESSED: u8 = 1;
    /// The hash of a body follows.
    pub(super) const BODY: u8 = 2;
    /// The hash of the last message of a thread follows.
    pub(super) const THREAD: u8 = 3;
    /// The place of the member's name in [`super::THREAD_MEMBERS`] follows, the hash of the last message, and the stored form
    /// of the object that the thread is a member of.
    pub(super) const THREAD_IN_OBJECT: u8 = 4;
}

/// A body to store.
#[derive(Clone, Debug)]
pub(crate) struct NewBody {
    pub(crate) hash: Hash,
    pub(crate) parent: Option<Hash>,
    /// JSON, plain or compressed.
    pub(crate) content: Vec<u8>,
    pub(crate) minute: i64,
}

/// Turns contents to their stored form. One for each writer: it remembers which bodies are stored.
pub(crate) struct BodyEncoder {
    compressor: zstd::bulk::Compressor<'static>,
    known: KnownBodies,
}

/// The bodies that the contents of one batch need, and that may not be stored yet.
#[derive(Default)]
pub(crate) struct BatchBodies {
    pub(crate) new: Vec<NewBody>,
    minutes: HashMap<Hash, i64>,
    /// Contents that share their text with others, by its place in memory: a trace's are often its only step's.
    shared: HashMap<(ProjectId, usize), (JsonText, Vec<u8>)>,
}

impl BodyEncoder {
    pub(crate) fn new() -> Result<Self, StoreError> {
        let compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL)
            .map_err(|error| StoreError::Unavailable(format!("compression cannot begin: {error}")))?;
        Ok(Self { compressor, known: KnownBodies::default() })
    }

    /// The bodies of a batch are durable.
    pub(crate) fn stored(&mut self, bodies: BatchBodies) {
        for (hash, minute) in bodies.minutes {
            self.known.note(hash, minute);
        }
    }

    /// What was stored may be gone.
    pub(crate) fn forget(&mut self) {
        self.known = KnownBodies::default();
    }

    /// The stored form of a content; what it refers to is added to the batch.
    pub(crate) fn encode(
        &mut self,
        project: ProjectId,
        content: &JsonText,
        minute: i64,
        batch: &mut BatchBodies,
    ) -> Vec<u8> {
        if content.len() <= PLAIN_BYTES || !content.is_shared() {
            return self.encode_anew(project, content.as_str(), minute, batch);
        }
        let place = (project, content.as_str().as_ptr() as usize);
        if let Some((known, stored)) = batch.shared.get(&place)
            && known.shares_with(content)
        {
            return stored.clone();
        }
        let stored = self.encode_anew(project, content.as_str(), minute, batch);
        batch.shared.insert(place, (content.clone(), stored.clone()));
        stored
    }

    fn encode_anew(&mut self, project: ProjectId, json: &str, minute: i64, batch: &mut BatchBodies) -> Vec<u8> {
        match Thread::read(json) {
            Some(thread) => self.encode_thread(project, &thread, minute, batch),
            None => self.encode_plain(project, json, minute, batch),
        }
    }

    /// The stored form of the output of a step whose input is stored so: a message continues the input's thread.
    pub(crate) fn encode_output(
        &mut self,
        project: ProjectId,
        content: &JsonText,
        input: Option<&[u8]>,
        minute: i64,
        batch: &mut BatchBodies,
    ) -> Vec<u8> {
        let tail = input.and_then(tail_of);
        match tail.filter(|_| is_message(content.as_str())) {
            Some(tail) => {
                let hash = self.store(project, Some(tail), content.as_str(), minute, batch);
                [&[form::BODY], hash.as_slice()].concat()
            }
            None => self.encode(project, content, minute, batch),
        }
    }

    fn encode_thread(
        &mut self,
        project: ProjectId,
        thread: &Thread<'_>,
        minute: i64,
        batch: &mut BatchBodies,
    ) -> Vec<u8> {
        let mut tail = None;
        for message in &thread.messages {
            tail = Some(self.store(project, tail, message.get(), minute, batch));
        }
        let tail = tail.unwrap_or_default();
        match &thread.object {
            None => [&[form::THREAD], tail.as_slice()].concat(),
            Some((member, object)) => {
                let object = self.encode_plain(project, object, minute, batch);
                [&[form::THREAD_IN_OBJECT, *member], tail.as_slice(), &object].concat()
            }
        }
    }

    fn encode_plain(&mut self, project: ProjectId, json: &str, minute: i64, batch: &mut BatchBodies) -> Vec<u8> {
        if json.len() <= INLINE_BYTES {
            return self.pack(json);
        }
        let hash = self.store(project, None, json, minute, batch);
        [&[form::BODY], hash.as_slice()].concat()
    }

    fn store(
        &mut self,
        project: ProjectId,
        parent: Option<Hash>,
        json: &str,
        minute: i64,
        batch: &mut BatchBodies,
    ) -> Hash {
        let hash = hash(project, parent, json);
        if !self.known.is_fresh(&hash, minute) && batch.minutes.insert(hash, minute).is_none() {
            batch.new.push(NewBody { hash, parent, content: self.pack(json), minute });
        }
        hash
    }

    fn pack(&mut self, json: &str) -> Vec<u8> {
        if json.len() > PLAIN_BYTES
            && let Ok(compressed) = self.compressor.compress(json.as_bytes())
            && compressed.len() < json.len()
        {
            return [&[form::COMPRESSED], compressed.as_slice()].concat();
        }
        [&[form::PLAIN], json.as_bytes()].concat()
    }
}

fn hash(project: ProjectId, parent: Option<Hash>, json: &str) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    hasher.update(project.as_uuid().as_bytes());
    hasher.update(parent.as_ref().map_or(&[], Hash::as_slice));
    hasher.update(json.as_bytes());
    let mut hash = Hash::default();
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// The last message of the thread that a stored content is.
fn tail_of(stored: &[u8]) -> Option<Hash> {
    match stored {
        [form::THREAD, rest @ ..] | [form::THREAD_IN_OBJECT, _, rest @ ..] => rest.first_chunk().copied(),
        _ => None,
    }
}

fn is_message(json: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        role: Option<&'a RawValue>,
    }
    json.starts_with('{') && serde_json::from_str::<Message<'_>>(json).is_ok_and(|message| message.role.is_some())
}

/// A thread, and the object that it is a member of.
struct Thread<'a> {
    messages: Vec<&'a RawValue>,
    /// The place of the member's name in [`THREAD_MEMBERS`], and the object with an empty array in the thread's place.
    object: Option<(u8, String)>,
}

impl<'a> Thread<'a> {
    fn read(json: &'a str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'[' => Some(Self { messages: messages(json)?, object: None }),
            b'{' => Self::in_object(json),
            _ => None,
        }
    }

    fn in_object(json: &'a str) -> Option<Self> {
        if !THREAD_MEMBERS.iter().any(|member| json.contains(member)) {
            return None;
        }
        let members: Members<'a> = serde_json::from_str(json).ok()?;
        let (place, member, thread) = (0_u8..).zip(THREAD_MEMBERS).find_map(|(place, member)| {
            let mut named = members.0.iter().filter(|(name, _)| name == member);
            let (_, value) = named.next()?;
            // What is named twice means one thing to one reader and another to the next: it stays as it is.
            named.next().is_none().then_some(())?;
            Some((place, member, messages(value.get())?))
        })?;
        let rest = members.0.iter().map(|(name, value)| {
            let value = if name == member { "[]" } else { value.get() };
            format!("{}:{value}", serde_json::Value::from(name.as_str()))
        });
        let object = format!("{{{}}}", rest.collect::<Vec<_>>().join(","));
        Some(Self { messages: thread, object: Some((place, object)) })
    }
}

/// The elements of an array, if all are objects.
fn messages(json: &str) -> Option<Vec<&RawValue>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let are_messages = !elements.is_empty()
        && elements.len() <= THREAD_MESSAGES_MAX
        && elements.iter().all(|element| element.get().starts_with('{'));
    are_messages.then_some(elements)
}

/// The members of an object in their order, each as its text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> serde::de::Visitor<'de> for Visitor<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// When bodies were last seen to be stored. Of two halves the older is dropped when the newer is full.
#[derive(Default)]
struct KnownBodies {
    newer: HashMap<Hash, i64>,
    older: HashMap<Hash, i64>,
}

/// So many bodies are remembered in each half: 2 MiB in all.
const KNOWN_BODIES: usize = 16_384;
/// A body that was touched longer ago is touched again, so that it does not expire before what refers to it. Expiry leaves
/// twice as much.
pub(crate) const TOUCH_AFTER_MINUTES: i64 = 10;

impl KnownBodies {
    fn is_fresh(&self, hash: &Hash, minute: i64) -> bool {
        let touched = self.newer.get(hash).or_else(|| self.older.get(hash));
        touched.is_some_and(|touched| minute - touched < TOUCH_AFTER_MINUTES)
    }

    fn note(&mut self, hash: Hash, minute: i64) {
        if self.newer.len() >= KNOWN_BODIES {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, minute);
    }
}

/// A stored content, read as far as it stands in the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All of it.
    Json(String),
    /// A body.
    Body(Hash),
    /// A thread by its last message, and the member's name in the object that it is part of.
    Thread(Hash, Option<(&'static str, Box<Form>)>),
}

/// Tells the bodies that a stored content refers to by itself. Its first [`REFERENCE_BYTES`] are enough.
pub(crate) fn references(stored: &[u8], tell: &mut impl FnMut(Hash)) {
    match stored {
        [form::BODY | form::THREAD, rest @ ..] => rest.first_chunk().copied().into_iter().for_each(tell),
        [form::THREAD_IN_OBJECT, _, rest @ ..] => {
            if let Some((tail, object)) = rest.split_first_chunk() {
                tell(*tail);
                if let [form::BODY, rest @ ..] = object {
                    rest.first_chunk().copied().into_iter().for_each(tell);
                }
            }
        }
        _ => {}
    }
}

/// So much of a stored content names all bodies that it refers to.
pub(crate) const REFERENCE_BYTES: i64 = 40;

/// Reads a stored content.
pub(crate) fn read(stored: &[u8]) -> Result<Form, StoreError> {
    let damaged = || StoreError::Damaged("a content of a trace".to_owned());
    let (form, rest) = stored.split_first().ok_or_else(damaged)?;
    let hash = || rest.first_chunk().copied().ok_or_else(damaged);
    match *form {
        form::PLAIN | form::COMPRESSED => unpack(stored).map(Form::Json),
        form::BODY => hash().map(Form::Body),
        form::THREAD => Ok(Form::Thread(hash()?, None)),
        form::THREAD_IN_OBJECT => {
            let (place, rest) = rest.split_first().ok_or_else(damaged)?;
            let (tail, object) = rest.split_first_chunk().ok_or_else(damaged)?;
            let member = THREAD_MEMBERS.get(usize::from(*place)).ok_or_else(damaged)?;
            Ok(Form::Thread(*tail, Some((member, Box::new(read(object)?)))))
        }
        _ => Err(damaged()),
    }
}

/// The JSON of a body, or of a content that stands in its row.
pub(crate) fn unpack(packed: &[u8]) -> Result<String, StoreError> {
    let damaged = || StoreError::Damaged("a content of a trace".to_owned());
    let bytes = match packed.split_first().ok_or_else(damaged)? {
        (&form::PLAIN, json) => json.to_vec(),
        (&form::COMPRESSED, compressed) => {
            let size = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten();
            let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= CONTENT_BYTES_MAX);
            zstd::bulk::decompress(compressed, size.ok_or_else(damaged)?).map_err(|_| damaged())?
        }
        _ => return Err(damaged()),
    };
    String::from_utf8(bytes).map_err(|_| damaged())
}

/// Puts a thread together: alone, or as a member of its object.
pub(crate) fn join(messages: &[String], object: Option<(&str, &str)>) -> JsonText {
    let thread = format!("[{}]", messages.join(","));
    let Some((member, object)) = object else { return JsonText::from_stored(thread) };
    let members: Members<'_> = serde_json::from_str(object).unwrap_or(Members(Vec::new()));
    let whole = members.0.iter().map(|(name, value)| {
        let value = if name == member { thread.as_str() } else { value.get() };
        format!("{}:{value}", serde_json::Value::from(name.as_str()))
    });
    JsonText::from_stored(format!("{{{}}}", whole.collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> ProjectId {
        "019aa2c0-0000-7000-8000-000000000001".parse().unwrap()
    }

    /// What the bodies of a batch hold, followed by hand.
    fn decode(stored: &[u8], bodies: &[NewBody]) -> String {
        let find = |hash: &Hash| bodies.iter().find(|body| body.hash == *hash).unwrap();
        match read(stored).unwrap() {
            Form::Json(json) => json,
            Form::Body(hash) => unpack(&find(&hash).content).unwrap(),
            Form::Thread(tail, object) => {
                let mut messages = Vec::new();
                let mut at = Some(tail);
                while let Some(hash) = at {
                    messages.push(unpack(&find(&hash).content).unwrap());
                    at = find(&hash).parent;
                }
                messages.reverse();
                let object = object.map(|(member, form)| match *form {
                    Form::Json(json) => (member, json),
                    Form::Body(hash) => (member, unpack(&find(&hash).content).unwrap()),
                    Form::Thread(..) => panic!("an object is not a thread"),
                });
                let object = object.as_ref().map(|(member, json)| (*member, json.as_str()));
                join(&messages, object).as_str().to_owned()
            }
        }
    }

    #[test]
    fn every_content_reads_back() {
        let long = format!("\"{}\"", "long ".repeat(1_000));
        let contents = [
            "null",
            "\"text\"",
            "[1,2,3]",
            "[]",
            r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"a":1}]}"#,
            r#"{"input":[],"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"messages":[],"input":[{"role":"user","content":"hi"}],"n":1}"#,
            r#"{"messages":"none","x":1.50}"#,
            r#"{"messages":[{"a":1}],"messages":[{"b":2}]}"#,
            &long,
        ];
        let mut encoder = BodyEncoder::new().unwrap();
        for content in contents {
            let mut batch = BatchBodies::default();
            let stored = encoder.encode(project(), &JsonText::from_json_or_text(content), 1, &mut batch);
            assert_eq!(decode(&stored, &batch.new), content);
        }
    }

    #[test]
    fn a_text_that_is_shared_is_encoded_once_for_each_project() {
        let mut encoder = BodyEncoder::new().unwrap();
        let text = JsonText::string(&"long ".repeat(1_000));
        let same = text.clone();
        let mut batch = BatchBodies::default();
        let stored = encoder.encode(project(), &text, 1, &mut batch);
        assert_eq!(encoder.encode(project(), &same, 1, &mut batch), stored);
        assert_eq!((batch.new.len(), batch.shared.len()), (1, 1));
        let other = "019aa2c0-0000-7000-8000-000000000002".parse().unwrap();
        assert_ne!(encoder.encode(other, &same, 1, &mut batch), stored, "nothing is shared between projects");
        assert_eq!(batch.new.len(), 2);
    }

    #[test]
    fn a_further_turn_stores_only_what_is_new() {
        let mut encoder = BodyEncoder::new().unwrap();
        let mut messages: Vec<String> = Vec::new();
        for turn in 0..50 {
            messages.push(format!(r#"{{"role":"user","content":"question {turn}"}}"#));
            let input = JsonText::from_json_or_text(&format!("[{}]", messages.join(",")));
            let answer = format!(r#"{{"role":"assistant","content":"answer {turn}"}}"#);
            let mut batch = BatchBodies::default();
            let stored = encoder.encode(project(), &input, 1, &mut batch);
            encoder.encode_output(project(), &JsonText::from_json_or_text(&answer), Some(&stored), 1, &mut batch);
            assert_eq!(batch.new.len(), 2, "the question and the answer of turn {turn}");
            encoder.stored(batch);
            messages.push(answer);
        }
    }

    #[test]
    fn what_was_stored_long_ago_is_touched_and_what_failed_is_stored_again() {
        let mut encoder = BodyEncoder::new().unwrap();
        let content = JsonText::from_json_or_text(r#"[{"role":"user","content":"hi"}]"#);
        let new_at = |encoder: &mut BodyEncoder, minute| {
            let mut batch = BatchBodies::default();
            encoder.encode(project(), &content, minute, &mut batch);
            batch
        };
        assert_eq!(new_at(&mut encoder, 1).new.len(), 1, "its transaction failed");
        let stored = new_at(&mut encoder, 1);
        encoder.stored(stored);
        assert_eq!(new_at(&mut encoder, 2).new.len(), 0);
        assert_eq!(new_at(&mut encoder, 1 + TOUCH_AFTER_MINUTES).new.len(), 1);
        encoder.forget();
        assert_eq!(new_at(&mut encoder, 2).new.len(), 1);
    }

    #[test]
    fn what_a_content_refers_to_stands_at_its_beginning() {
        let mut encoder = BodyEncoder::new().unwrap();
        let long = "tool ".repeat(2_000);
        let input = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"tools":"{}"}}"#, noise(&long));
        for content in [input.as_str(), r#"[{"a":1}]"#, "\"short\"", &format!("\"{}\"", noise(&long))] {
            let mut batch = BatchBodies::default();
            let stored = encoder.encode(project(), &JsonText::from_json_or_text(content), 1, &mut batch);
            let mut told = Vec::new();
            let beginning = stored.iter().copied().take(REFERENCE_BYTES as usize).collect::<Vec<u8>>();
            references(&beginning, &mut |hash| told.push(hash));
            told.sort_unstable();
            let mut expected: Vec<Hash> = batch.new.iter().map(|body| body.hash).collect();
            expected.sort_unstable();
            assert_eq!(told, expected);
        }
    }

    /// Something that does not compress to nothing.
    fn noise(text: &str) -> String {
        blake3::hash(text.as_bytes()).to_hex().chars().cycle().zip(text.chars()).map(|(a, _)| a).collect()
    }

    #[test]
    fn projects_share_no_bodies() {
        assert_ne!(hash(project(), None, "1"), hash(ProjectId::new(), None, "1"));
    }

    #[test]
    fn damaged_contents_are_errors() {
        for damaged in [&[][..], &[9], &[form::BODY, 1], &[form::COMPRESSED, 1, 2, 3], &[form::THREAD_IN_OBJECT]] {
            assert!(matches!(read(damaged), Err(StoreError::Damaged(_))), "{damaged:?}");
        }
    }
}
