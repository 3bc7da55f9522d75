//! The bounds of a JSON body before anything parses it: valid UTF-8, depth, number of members. One pass, no recursion.
//!
//! It does not check syntax: that is the parser's.

use crate::BadRequest;

/// How deep and how full a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Objects and arrays inside one another. Below the parser's own limit, so that its stack is safe.
    pub depth_max: usize,
    /// Members of objects and arrays, all together.
    pub members_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth_max: 100, members_max: 200_000 }
    }
}

/// Checks the bounds.
///
/// # Errors
/// With a sentence that says which bound is passed.
pub fn check(body: &[u8], limits: &JsonLimits) -> Result<(), BadRequest> {
    if let Err(error) = std::str::from_utf8(body) {
        let at = error.valid_up_to();
        return Err(BadRequest::new(format!("The body is not valid UTF-8 at byte {at}; send JSON in UTF-8.")));
    }
    let mut depth = 0_usize;
    let mut members = 0_usize;
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',')) {
        let Some((&byte, after)) = rest.get(at..).and_then(<[u8]>::split_first) else { break };
        rest = after;
        match byte {
            b'"' => rest = after_string(rest),
            b'{' | b'[' => {
                depth += 1;
                members += 1;
                if depth > limits.depth_max {
                    let message =
                        format!("The body nests deeper than {} levels; send a flatter one.", limits.depth_max);
                    return Err(BadRequest::new(message));
                }
            }
            b',' => members += 1,
            _ => depth = depth.saturating_sub(1),
        }
        if members > limits.members_max {
            let message = format!("The body has more than {} members; send fewer.", limits.members_max);
            return Err(BadRequest::new(message));
        }
    }
    Ok(())
}

/// What follows the string that has just been opened; nothing if it never ends.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let is_end = rest.get(at) == Some(&b'"');
        rest = rest.get(at + if is_end { 1 } else { 2 }..).unwrap_or_default();
        if is_end {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_50_000_deep_is_refused_without_a_stack() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let body = open.repeat(50_000) + "1" + &close.repeat(50_000);
            assert!(check(body.as_bytes(), &JsonLimits::default()).unwrap_err().message.contains("100 levels"));
        }
    }

    #[test]
    fn brackets_and_commas_in_strings_do_not_count() {
        let body = format!("{{\"a\":\"{}\\\"{}\"}}", "[".repeat(1000), ",".repeat(300_000));
        assert_eq!(check(body.as_bytes(), &JsonLimits::default()), Ok(()));
    }

    #[test]
    fn a_million_members_are_refused() {
        let body = format!("[{}1]", "1,".repeat(1_000_000));
        assert!(check(body.as_bytes(), &JsonLimits::default()).is_err());
    }

    #[test]
    fn invalid_utf8_is_refused_with_its_place() {
        assert!(check(b"{\"a\":\"\xff\"}", &JsonLimits::default()).unwrap_err().message.contains("byte 6"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = check(&body, &JsonLimits::default());
        }

        #[test]
        fn valid_json_within_the_bounds_passes(texts in proptest::collection::vec(".*", 0..20)) {
            let body = serde_json::to_vec(&texts).unwrap();
            prop_assert!(check(&body, &JsonLimits::default()).is_ok());
        }
    }
}
