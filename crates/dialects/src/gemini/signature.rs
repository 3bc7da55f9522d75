//! The signatures of thoughts that Gemini's clients send back: in this dialect they are bytes in base64, which official clients read
//! and write anew, in another alphabet.
//!
//! What another provider signed or encrypted is text, which must come back unchanged to the byte: it is packed, with a mark, so that
//! it is known for what it is and no signature of Gemini's is taken for it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Begins what another provider signed.
const SIGNED: &str = "privet:signed:";
/// Begins what another provider encrypted.
const ENCRYPTED: &str = "privet:encrypted:";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whose a signature is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// Gemini's own.
    Geminis,
    /// Another provider's, of the thought that it stands with.
    Signed(String),
    /// Another provider's thought, encrypted.
    Encrypted(String),
}

impl Signature {
    /// Of the field `thoughtSignature`.
    pub(super) fn read(base64: &str) -> Self {
        let bytes = LENIENT.decode(standard(base64)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = bytes else { return Self::Geminis };
        let of = |mark: &str| text.strip_prefix(mark).map(str::to_owned);
        of(SIGNED).map(Self::Signed).or_else(|| of(ENCRYPTED).map(Self::Encrypted)).unwrap_or(Self::Geminis)
    }
}

/// The field for what another provider signed.
pub(super) fn signed(signature: &str) -> String {
    STANDARD.encode(format!("{SIGNED}{signature}"))
}

/// The field for what another provider encrypted.
pub(super) fn encrypted(data: &str) -> String {
    STANDARD.encode(format!("{ENCRYPTED}{data}"))
}

/// Base64 in the usual alphabet, with its padding: others do not read the one for URLs, which Google's client for Python writes.
pub(super) fn standard(base64: &str) -> String {
    let swap = |char| match char {
        '-' => '+',
        '_' => '/',
        char => char,
    };
    let mut out: String = base64.trim_end_matches('=').chars().map(swap).collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_21_what_another_provider_signed_comes_back_to_the_byte_in_either_alphabet() {
        for text in ["EqQB+/==", "", "ä\u{0}~~~???>>>"] {
            for (field, expected) in [
                (signed(text), Signature::Signed(text.to_owned())),
                (encrypted(text), Signature::Encrypted(text.to_owned())),
            ] {
                assert_eq!(Signature::read(&field), expected);
                let for_urls = field.replace('+', "-").replace('/', "_");
                assert_eq!(Signature::read(for_urls.trim_end_matches('=')), expected, "{for_urls}");
            }
        }
        for own in ["c2lnbmF0dXJl", "not base64 at all", "", "////"] {
            assert_eq!(Signature::read(own), Signature::Geminis, "{own}");
        }
    }

    #[test]
    fn data_is_written_in_the_usual_alphabet() {
        assert_eq!((standard("-_8").as_str(), standard("AAAA").as_str(), standard("").as_str()), ("+/8=", "AAAA", ""));
    }
}
