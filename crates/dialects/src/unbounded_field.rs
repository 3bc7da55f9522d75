//! Members of a request by which it may use another model, more tokens or a paid service than the rest of it says. Which members
//! those are stands beside the reader of each dialect.

use serde_json::Value;

use crate::raw_object::RawObject;

/// A member that nobody can bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnboundedField {
    /// Where it stands, as the request names it.
    pub name: String,
    /// What it escapes.
    pub escapes: Escape,
}

/// What a member of a request escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// The model that the request names: another may answer.
    Model,
    /// The size that the request has: more may be read or written.
    Size,
    /// The price of tokens: a service is paid for besides them.
    Fee,
}

/// The members of a dialect's requests that must be looked at.
pub(crate) struct Suspects {
    /// Other models in place of, or besides, the one that is named.
    pub(crate) models: &'static [&'static str],
    /// More than is counted.
    pub(crate) sizes: &'static [&'static str],
    /// Services that are paid by the use.
    pub(crate) fees: &'static [&'static str],
    /// The members that are counted, or checked; in another case a server that does not mind it would heed one that was not.
    pub(crate) counted: &'static [&'static str],
    /// Members whose JSON the client defines: what it says in them is no setting.
    pub(crate) free: &'static [&'static str],
}

/// What Google has cached, wherever it is named.
const CACHED: [&str; 2] = ["cached_content", "cachedcontent"];

impl Suspects {
    /// The first member of a request that nobody can bound, if there is one.
    pub(crate) fn find(&self, object: &RawObject) -> Option<UnboundedField> {
        object.keys().find_map(|name| {
            let is_set = object.get(name).is_some_and(|json| json != b"null" && json != b"false");
            let is_odd = || !self.counted.contains(&name) && is_one_of(self.counted, name);
            let names_cache = || !self.free.contains(&name) && object.get(name).is_some_and(names_what_is_cached);
            let escapes = if is_one_of(self.models, name) || (name != "model" && name.eq_ignore_ascii_case("model")) {
                Escape::Model
            } else if is_one_of(self.sizes, name) || is_odd() || names_cache() {
                Escape::Size
            } else if is_one_of(self.fees, name) {
                Escape::Fee
            } else {
                return None;
            };
            is_set.then(|| UnboundedField { name: name.to_owned(), escapes })
        })
    }
}

/// Whether a member of an object in it, however deep, is the name of something cached.
fn names_what_is_cached(json: &[u8]) -> bool {
    fn is_in(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, value)| is_one_of(&CACHED, name) || is_in(value)),
            Value::Array(items) => items.iter().any(is_in),
            _ => false,
        }
    }
    (json.starts_with(b"{") || json.starts_with(b"[")) && serde_json::from_slice(json).is_ok_and(|value| is_in(&value))
}

pub(crate) fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}
