//! References to other prompts: `@@@langfusePrompt:name=X|version=N@@@` or `…|label=L@@@`.

use std::fmt;

use super::{Label, PromptName, Selector};

/// So many prompts may stand inside one another, the first one not counted.
pub const DEPTH_MAX: usize = 5;

const OPENING: &str = "@@@langfusePrompt:";
const CLOSING: &str = "@@@";

/// A reference to a version of another prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PromptReference {
    /// The other prompt.
    pub name: PromptName,
    /// Which version of it.
    pub selector: Selector,
}

impl fmt::Display for PromptReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Version(version) => write!(f, "{OPENING}name={}|version={version}{CLOSING}", self.name),
            Selector::Label(label) => write!(f, "{OPENING}name={}|label={label}{CLOSING}", self.name),
        }
    }
}

/// A reference that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the reference `{0}` cannot be read; write `@@@langfusePrompt:name=NAME|version=N@@@` or `@@@langfusePrompt:name=NAME|label=LABEL@@@`"
)]
pub struct ReferenceError(pub String);

/// A piece of a text with references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// Another prompt.
    Reference(PromptReference),
}

/// The pieces of a text, in order. An opening without its closing is text.
pub fn pieces(text: &str) -> impl Iterator<Item = Result<Piece<'_>, ReferenceError>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let whole = std::mem::take(&mut rest);
        let Some(begin) = whole.find(OPENING) else { return Some(Ok(Piece::Text(whole))) };
        if begin > 0 {
            let (before, from) = whole.split_at_checked(begin)?;
            rest = from;
            return Some(Ok(Piece::Text(before)));
        }
        match whole.strip_prefix(OPENING).and_then(|inner| inner.split_once(CLOSING)) {
            Some((inner, after)) => {
                rest = after;
                Some(read(inner).map(Piece::Reference))
            }
            None => Some(Ok(Piece::Text(whole))),
        }
    })
}

/// The references of a text, in order. Those that cannot be read are left out.
pub fn references(text: &str) -> impl Iterator<Item = PromptReference> {
    pieces(text).filter_map(|piece| match piece {
        Ok(Piece::Reference(reference)) => Some(reference),
        _ => None,
    })
}

fn read(inner: &str) -> Result<PromptReference, ReferenceError> {
    let parts = || {
        let (name, selector) = inner.strip_prefix("name=")?.split_once('|')?;
        let selector = match selector.split_once('=')? {
            ("version", number) => Selector::Version(number.parse().ok()?),
            ("label", label) => Selector::Label(label.parse::<Label>().ok()?),
            _ => return None,
        };
        Some(PromptReference { name: name.parse().ok()?, selector })
    };
    parts().ok_or_else(|| ReferenceError(inner.chars().take(100).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_the_same() {
        let text = "a @@@langfusePrompt:name=x/y|version=3@@@@@@langfusePrompt:name=z z|label=production@@@ b@@@";
        let found: Vec<Piece<'_>> = pieces(text).map(Result::unwrap).collect();
        assert_eq!(found.len(), 4);
        let again: String = found
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (*text).to_owned(),
                Piece::Reference(reference) => reference.to_string(),
            })
            .collect();
        assert_eq!(again, text);
        assert_eq!(references(text).map(|found| found.name.to_string()).collect::<Vec<_>>(), ["x/y", "z z"]);
    }

    #[test]
    fn what_looks_like_a_reference_and_is_none_is_refused() {
        for inner in
            ["name=x", "name=x|version=one", "name=|label=a", "version=1|name=x", "name=x|label=A", "name=x|tag=y", ""]
        {
            let text = format!("{OPENING}{inner}{CLOSING}");
            assert!(pieces(&text).any(|piece| piece.is_err()), "{inner}");
        }
        let open = "@@@langfusePrompt:name=x|version=1";
        assert_eq!(pieces(open).collect::<Vec<_>>(), [Ok(Piece::Text(open))]);
    }
}
