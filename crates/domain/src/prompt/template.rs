//! `{{variables}}`: found and replaced as Langfuse's Python SDK does it.
//!
//! A variable is whatever stands between `{{` and the next `}}`, without the blanks around it. What replaces it is not read again.

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A variable.
    Variable {
        /// Its name.
        name: &'a str,
        /// As it was written, braces included.
        written: &'a str,
    },
}

const OPENING: &str = "{{";
const CLOSING: &str = "}}";

/// The pieces of a template, in order.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    let mut variable = None;
    std::iter::from_fn(move || {
        if let Some(variable) = variable.take() {
            return Some(variable);
        }
        if rest.is_empty() {
            return None;
        }
        let Some((before, found, after)) = next_variable(rest) else {
            return Some(Piece::Text(std::mem::take(&mut rest)));
        };
        rest = after;
        if before.is_empty() {
            return Some(found);
        }
        variable = Some(found);
        Some(Piece::Text(before))
    })
}

/// What stands before the first variable, the variable, and what stands behind it.
fn next_variable(text: &str) -> Option<(&str, Piece<'_>, &str)> {
    let (before, from_opening) = text.split_at_checked(text.find(OPENING)?)?;
    // As the SDK searches: the closing braces may begin at the opening ones' place, but those are others.
    let length = from_opening.find(CLOSING)? + CLOSING.len();
    let (written, after) = from_opening.split_at_checked(length)?;
    let name = written.strip_prefix(OPENING)?.strip_suffix(CLOSING)?.trim();
    Some((before, Piece::Variable { name, written }, after))
}

/// The names of the variables, in order, as often as they stand there.
pub fn variables(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).filter_map(|piece| match piece {
        Piece::Variable { name, .. } => Some(name),
        Piece::Text(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_its_pieces() {
        let text = "a {{ x }}{{y}} {z} }} {{ not closed";
        let found: Vec<Piece<'_>> = pieces(text).collect();
        assert_eq!(
            found,
            [
                Piece::Text("a "),
                Piece::Variable { name: "x", written: "{{ x }}" },
                Piece::Variable { name: "y", written: "{{y}}" },
                Piece::Text(" {z} }} {{ not closed"),
            ]
        );
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn nested_braces_end_at_the_first_closing_ones() {
        let names: Vec<&str> = variables("{{{a}}} {{b {{c}} d}} {{}}").collect();
        assert_eq!(names, ["{a", "b {{c", ""]);
    }

    #[test]
    fn what_was_written_is_what_stood_there() {
        for text in ["{{a}}", "x{{ }}y", "}}{{", "{{{{a}}}}", "ż{{ć}}ł"] {
            let again: String = pieces(text)
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Variable { written, .. } => written,
                })
                .collect();
            assert_eq!(again, text);
        }
    }
}
