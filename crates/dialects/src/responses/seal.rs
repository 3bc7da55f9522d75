//! `encrypted_content`: what of a model's reasoning must go back to its provider unchanged, marked with whose it is.
//!
//! A reasoning item is all that this API has for it. Anthropic's signatures and redacted blocks, and the signature that Gemini puts on a
//! call (as an item before the call), go round in it; what OpenAI's own models encrypted comes without a mark.

use crate::anthropic::OF_OPENAI;
use crate::canonical::Part;

const SIGNED: &str = "anthropic:";
const REDACTED: &str = "anthropic-redacted:";
const OF_CALL: &str = "gemini:";

/// What a reasoning item means.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// A part of the thread.
    Part(Part),
    /// The signature of the call that comes next.
    OfNextCall(String),
    /// Nothing: it has neither words nor what must go back.
    Nothing,
}

/// What goes back of a part, sealed; `None` where nothing must.
pub(super) fn of_part(part: &Part) -> Option<String> {
    match part {
        Part::Thinking { signature: Some(signature), .. } => Some(of_signature(signature)),
        Part::RedactedThinking { data } => Some(format!("{REDACTED}{data}")),
        _ => None,
    }
}

/// The signature of a thought, sealed.
pub(super) fn of_signature(signature: &str) -> String {
    signature.strip_prefix(OF_OPENAI).map_or_else(|| format!("{SIGNED}{signature}"), str::to_owned)
}

/// What a model of OpenAI's encrypted, if the signature is that.
pub(super) fn of_openai(signature: &str) -> Option<&str> {
    signature.strip_prefix(OF_OPENAI)
}

/// What a model of OpenAI's encrypted, as the signature of its thought.
pub(super) fn marked(sealed: &str) -> String {
    format!("{OF_OPENAI}{sealed}")
}

/// A thought of OpenAI's as its own server tells it.
pub(super) fn of_provider(text: String, sealed: Option<&str>) -> Meaning {
    if text.is_empty() && sealed.is_none() {
        return Meaning::Nothing;
    }
    Meaning::Part(Part::Thinking { text, signature: sealed.map(marked) })
}

/// The signature of a call, sealed.
pub(super) fn of_call(signature: &str) -> String {
    format!("{OF_CALL}{signature}")
}

/// Whether what was sealed is another provider's than OpenAI's.
pub(super) fn is_foreign(sealed: &str) -> bool {
    [SIGNED, REDACTED, OF_CALL].iter().any(|mark| sealed.starts_with(mark))
}

/// Opens what was sealed.
pub(super) fn open(text: String, sealed: Option<&str>) -> Meaning {
    let sealed = sealed.filter(|sealed| !sealed.is_empty());
    if let Some(signature) = sealed.and_then(|sealed| sealed.strip_prefix(OF_CALL)) {
        return Meaning::OfNextCall(signature.to_owned());
    }
    if let Some(data) = sealed.and_then(|sealed| sealed.strip_prefix(REDACTED)) {
        return Meaning::Part(Part::RedactedThinking { data: data.to_owned() });
    }
    let signature = sealed.map(|sealed| match sealed.strip_prefix(SIGNED) {
        Some(signature) => signature.to_owned(),
        None => marked(sealed),
    });
    if text.is_empty() && signature.is_none() {
        return Meaning::Nothing;
    }
    Meaning::Part(Part::Thinking { text, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_as_it_was() {
        let thinking =
            |signature: Option<&str>| Part::Thinking { text: "hm".into(), signature: signature.map(Into::into) };
        for part in [thinking(None), thinking(Some("c2ln+/==")), thinking(Some("openai:gAAA=="))] {
            assert_eq!(open("hm".into(), of_part(&part).as_deref()), Meaning::Part(part));
        }
        let redacted = Part::RedactedThinking { data: "xx==".into() };
        assert_eq!(open(String::new(), of_part(&redacted).as_deref()), Meaning::Part(redacted));
        assert_eq!(open(String::new(), Some(&of_call("sig"))), Meaning::OfNextCall("sig".into()));
        assert_eq!(open(String::new(), Some("")), Meaning::Nothing);
        assert_eq!(of_signature("openai:gAAA=="), "gAAA==");
    }
}
