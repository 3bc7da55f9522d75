//! The ids that clients see: of a response `resp_` and its UUID in 32 digits, of an item the response's and its place in it. So every
//! item of a response that is kept can be found by its id alone. What its provider calls an item of this dialect stands behind that: the
//! provider gets its own id again, which what it encrypted is bound to.

use std::str::FromStr;

use privet_domain::id::{ConversationId, ResponseId};

const RESPONSE: &str = "resp_";
const DIGITS: usize = 32;

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemPlace {
    /// The response.
    pub response: ResponseId,
    /// On which side of it.
    pub side: Side,
    /// Its place there, from 0.
    pub index: usize,
}

/// A side of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What it was asked.
    Input,
    /// What it answered.
    Output,
}

/// A response's id as clients see it.
#[must_use]
pub fn encode(id: ResponseId) -> String {
    format!("{RESPONSE}{}", id.as_uuid().simple())
}

/// Reads a response's id; `None` if it is none of ours.
#[must_use]
pub fn decode(text: &str) -> Option<ResponseId> {
    text.strip_prefix(RESPONSE).and_then(read)
}

/// A conversation's id, as OpenAI writes them (`conv_…`) or as a UUID, in the form that the rest of the API has.
#[must_use]
pub fn conversation(text: &str) -> String {
    let id: Option<ConversationId> = text.strip_prefix("conv_").and_then(read);
    id.map_or_else(|| text.to_owned(), |id| id.to_string())
}

fn read<T: FromStr>(digits: &str) -> Option<T> {
    let is_plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

impl ItemPlace {
    /// The id of an item of this kind there: `msg_…`, `fc_…`, `rs_…`.
    #[must_use]
    pub fn id(self, prefix: &str) -> String {
        let side = match self.side {
            Side::Input => "i",
            Side::Output => "",
        };
        format!("{prefix}_{}_{side}{}", self.response.as_uuid().simple(), self.index)
    }

    /// The id of the item there that its provider calls by its own: `msg_68af…` is `msg_…_0_68af…`. One that is of no such form stays, and
    /// the item cannot be referred to; so does one that is of this response already.
    #[must_use]
    pub fn mark(self, own: &str) -> String {
        if Self::decode(own).is_some_and(|place| place.response == self.response) {
            return own.to_owned();
        }
        match own.split_once('_') {
            Some((prefix, rest)) if !prefix.is_empty() => format!("{}_{rest}", self.id(prefix)),
            _ => own.to_owned(),
        }
    }

    /// Reads an item's id; `None` if it is none of ours.
    #[must_use]
    pub fn decode(id: &str) -> Option<Self> {
        let mut words = id.split('_').skip(1);
        let (response, place) = (read(words.next()?)?, words.next()?);
        let (side, index) = match place.strip_prefix('i') {
            Some(index) => (Side::Input, index),
            None => (Side::Output, place),
        };
        Some(Self { response, side, index: index.parse().ok()? })
    }
}

/// What the provider calls an item, by the id that its client has: `None` if that is none of ours, nothing within if the provider has none.
pub(super) fn unmark(id: &str) -> Option<Option<String>> {
    ItemPlace::decode(id)?;
    let mut words = id.splitn(4, '_');
    let (prefix, rest) = (words.next()?, words.nth(2));
    Some(rest.map(|rest| format!("{prefix}_{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_what_it_is_of() {
        let id = ResponseId::new();
        assert_eq!(decode(&encode(id)), Some(id));
        for side in [Side::Input, Side::Output] {
            let place = ItemPlace { response: id, side, index: 12 };
            assert_eq!(ItemPlace::decode(&place.id("msg")), Some(place));
        }
        for foreign in ["resp_1", "resp_", "", "resp_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78", &id.to_string()]
        {
            assert_eq!(decode(foreign), None, "{foreign}");
            assert_eq!(ItemPlace::decode(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_providers_id_is_found_again() {
        let place = ItemPlace { response: ResponseId::new(), side: Side::Output, index: 3 };
        for own in ["msg_68af40", "ws_a_b__c", "x_"] {
            let id = place.mark(own);
            assert_eq!((ItemPlace::decode(&id), unmark(&id)), (Some(place), Some(Some(own.to_owned()))), "{id}");
        }
        assert_eq!((place.mark("plain"), unmark("plain"), unmark("rs_68af")), ("plain".to_owned(), None, None));
        assert_eq!(unmark(&place.id("msg")), Some(None));
        assert_eq!(place.mark(&place.mark("msg_1")), place.mark("msg_1"));
    }

    #[test]
    fn a_conversation_is_named_in_either_form() {
        let id = ConversationId::new();
        assert_eq!(conversation(&format!("conv_{}", id.as_uuid().simple())), id.to_string());
        assert_eq!(conversation(&id.to_string()), id.to_string());
        assert_eq!(conversation("conv_x"), "conv_x");
    }
}
