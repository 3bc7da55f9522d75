//! The members of a JSON object of Gemini's by their names in camelCase, however they are written: Google's reading of JSON takes
//! `topP` and `top_p` (<https://protobuf.dev/programming-guides/json/>), and one value in place of a list of one.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::BadRequest;
use crate::raw_object::RawObject;

/// The members of an object, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) object: RawObject,
    path: String,
}

impl Fields {
    /// Reads an object.
    ///
    /// # Errors
    /// When it is none, or says a member twice.
    pub(super) fn read(json: Bytes, path: impl Into<String>) -> Result<Self, BadRequest> {
        let path = path.into();
        let object = RawObject::parse(json).map_err(|_| wrong(&path, "an object, with each member once"))?;
        Self::of(object, path)
    }

    /// Of an object that is read already.
    ///
    /// # Errors
    /// When it says a member twice, in two ways of writing.
    pub(super) fn of(object: RawObject, path: String) -> Result<Self, BadRequest> {
        let mut names: Vec<Cow<'_, str>> = object.keys().map(camel).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first());
        if let Some(name) = twice {
            let name = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            return Err(BadRequest::at(name.clone(), format!("`{name}` is given twice; leave one of them out.")));
        }
        Ok(Self { object, path })
    }

    /// Where a member stands.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The object, as it came.
    pub(super) const fn object(&self) -> &RawObject {
        &self.object
    }

    /// Where it stands itself.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// How a member is written, or would be.
    pub(super) fn key_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.object.keys().find(|key| camel(key) == name).unwrap_or(name)
    }

    /// The bytes of a member's value; `None` if it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.object.get(self.key_of(name)).filter(|json| *json != b"null")
    }

    /// The names of all members that say something.
    pub(super) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let says = |key: &&str| self.object.get(key).is_some_and(|json| json != b"null");
        self.object.keys().filter(says).map(camel)
    }

    /// A member's value, decoded; `None` if it is absent or null.
    ///
    /// # Errors
    /// When it is of another type.
    pub(super) fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, BadRequest> {
        let Some(json) = self.get(name) else { return Ok(None) };
        serde_json::from_slice(json).map(Some).map_err(|error| {
            // The place inside the value is of no use to a client that does not count from there.
            let (text, field) = (error.to_string(), self.at(name));
            let what = text.split(" at line ").next().unwrap_or(&text);
            BadRequest::at(field.clone(), format!("`{field}` is wrong: {what}."))
        })
    }

    /// A word of an enumeration, in capitals; the one that says nothing is as good as none.
    ///
    /// # Errors
    /// When it is no text.
    pub(super) fn word(&self, name: &str) -> Result<Option<String>, BadRequest> {
        let word = self.take::<String>(name)?.map(|word| word.to_ascii_uppercase());
        Ok(word.filter(|word| !word.is_empty() && !word.ends_with("UNSPECIFIED")))
    }

    /// A member that is an object.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn child(&self, name: &str) -> Result<Option<Self>, BadRequest> {
        let json = self.object.get_bytes(self.key_of(name)).filter(|json| &json[..] != b"null");
        json.map(|json| Self::read(json, self.at(name))).transpose()
    }

    /// A member that is a list of objects, or one object.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn children(&self, name: &str) -> Result<Vec<Self>, BadRequest> {
        let items = self.items(name)?;
        let read = |(index, json)| Self::read(json, format!("{}[{index}]", self.at(name)));
        items.into_iter().enumerate().map(read).collect()
    }

    /// The items of a list of objects, each as its bytes.
    ///
    /// # Errors
    /// When it is no list.
    pub(super) fn items(&self, name: &str) -> Result<Vec<Bytes>, BadRequest> {
        let Some(json) = self.object.get_bytes(self.key_of(name)).filter(|json| &json[..] != b"null") else {
            return Ok(Vec::new());
        };
        if json.starts_with(b"{") {
            return Ok(vec![json]);
        }
        let items: Vec<&RawValue> =
            serde_json::from_slice(&json).map_err(|_| wrong(&self.at(name), "an array of objects"))?;
        Ok(items.into_iter().map(|item| json.slice_ref(item.get().as_bytes())).collect())
    }

    /// The whole object.
    ///
    /// # Errors
    /// When it is no JSON after all.
    pub(super) fn whole(&self) -> Result<Value, BadRequest> {
        serde_json::from_slice(self.object.body()).map_err(|_| wrong(&self.path, "valid JSON"))
    }
}

/// A name in camelCase.
pub(super) fn camel(name: &str) -> Cow<'_, str> {
    if !name.get(1..).is_some_and(|rest| rest.contains('_')) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut is_new_word = false;
    for char in name.chars() {
        if char == '_' && !out.is_empty() {
            is_new_word = true;
        } else if std::mem::take(&mut is_new_word) {
            out.push(char.to_ascii_uppercase());
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

pub(super) fn wrong(path: &str, expected: &str) -> BadRequest {
    BadRequest::at(path, format!("`{path}` must be {expected}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Result<Fields, BadRequest> {
        Fields::read(Bytes::from(json.to_owned()), "generationConfig")
    }

    #[test]
    fn a_member_is_found_by_either_way_of_writing_and_refused_by_both() {
        let read = fields(r#"{"top_p":0.5,"topK":1.0,"stop_sequences":null}"#).unwrap();
        assert_eq!((read.take::<f64>("topP"), read.get("stopSequences")), (Ok(Some(0.5)), None));
        assert_eq!(read.names().collect::<Vec<_>>(), ["topP", "topK"]);
        assert_eq!(read.key_of("topP"), "top_p");
        let twice = fields(r#"{"top_p":0.5,"topP":1}"#).unwrap_err();
        assert_eq!(twice.param.as_deref(), Some("generationConfig.topP"));
    }

    #[test]
    fn one_object_stands_for_a_list_of_one() {
        let read = fields(r#"{"parts":{"text":"a"},"tools":[{"x":1},{}]}"#).unwrap();
        assert_eq!(read.children("parts").unwrap().len(), 1);
        let tools = read.children("tools").unwrap();
        assert_eq!((tools.len(), tools[0].at("x")), (2, "generationConfig.tools[0].x".to_owned()));
        assert_eq!(
            fields(r#"{"parts":5}"#).unwrap().children("parts").unwrap_err().param.unwrap(),
            "generationConfig.parts"
        );
    }

    #[test]
    fn names_are_camels() {
        for (name, expected) in
            [("a", "a"), ("top_p", "topP"), ("function_call_id", "functionCallId"), ("_x_y", "_xY"), ("", "")]
        {
            assert_eq!(camel(name), expected, "{name}");
        }
    }
}
