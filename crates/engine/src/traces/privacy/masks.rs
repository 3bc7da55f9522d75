//! The patterns of private things, and what stands in their place.
//!
//! All patterns together are looked for first, in one pass; only where one is found each is replaced. Matching takes time that
//! grows with the text and not with its content. What looks like a card's number or an IBAN is one only if its checksum is right.

use privet_domain::trace::{JsonText, TraceBatch};
use regex::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::json;

/// A pattern of one's own is no longer than this, in bytes.
const PATTERN_BYTES_MAX: usize = 1_000;
/// There are no more patterns of one's own than this for a project.
const PATTERNS_MAX: usize = 64;
/// So large a compiled pattern may be, in bytes.
const COMPILED_BYTES_MAX: usize = 2 << 20;
/// A card's number has so many digits.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// A telephone number has so many digits, with its country.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Private things that are known without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaskKind {
    /// Keys and tokens of APIs.
    Key,
    /// Addresses of e-mail.
    Email,
    /// Numbers of bank accounts.
    Iban,
    /// Numbers of payment cards.
    Card,
    /// Telephone numbers.
    Phone,
}

impl MaskKind {
    /// All of them, in the order in which they are replaced.
    pub const ALL: [Self; 5] = [Self::Key, Self::Email, Self::Iban, Self::Card, Self::Phone];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Phone => "phone",
        }
    }

    const fn placeholder(self) -> &'static str {
        match self {
            Self::Key => "[key]",
            Self::Email => "[email]",
            Self::Iban => "[iban]",
            Self::Card => "[card]",
            Self::Phone => "[phone]",
        }
    }

    /// Word boundaries are those of ASCII: those of Unicode would make it slow on other texts.
    const fn pattern(self) -> &'static str {
        match self {
            Self::Key => {
                r"(?x)
                (?-u:\b)(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{8,}
                | (?-u:\b)(?:gsk_|hf_|npm_|xai-|whsec_|dop_v1_|pplx-|lsv2_)[A-Za-z0-9_\-]{16,}
                | (?-u:\b)SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}
                | (?i-u:aws_?secret_?access_?key[\x22'\x20:=]{1,6}[A-Za-z0-9/+]{40})
                | (?-u:\b)privet_[A-Za-z0-9_]{8,}
                | (?-u:\b)(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_\-]{16,}
                | (?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}
                | (?-u:\b)xox[abeprs]-[A-Za-z0-9\-]{10,}
                | (?-u:\b)AIza[0-9A-Za-z_\-]{30,}
                | (?-u:\b)(?:[Bb]earer|BEARER)\x20+[A-Za-z0-9._~+/\-]{8,}=*
                | (?-u:\b)eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}\.[A-Za-z0-9_\-]*
                | -----BEGIN\x20[A-Z\x20]*PRIVATE\x20KEY-----(?s:.*?)(?:-----END\x20[A-Z\x20]*PRIVATE\x20KEY-----|\z)"
            }
            Self::Email => r"[\p{L}\p{N}_.%+'\-]+(?:@|%40)(?:[\p{L}\p{N}\-]+\.)+[\p{L}]{2,24}",
            // Its beginning: how long it is its country says.
            Self::Iban => r"(?-u:\b)[A-Za-z]{2}[0-9]{2}[ \u{a0}\-]?[A-Za-z0-9]",
            Self::Card => r"[0-9](?:[ .\u{a0}\-]?[0-9]){12,}",
            Self::Phone => {
                r"(?x)
                (?:\+|(?-u:\b)00)[0-9]{1,3}(?:[\x20.\-/\u{a0}]?\(?[0-9]{1,4}\)?){2,6}
                | \([0-9]{2,4}\)[\x20.\-]?[0-9]{2,4}(?:[\x20.\-]?[0-9]{2,4}){1,3}
                | (?-u:\b)[0-9]{3}(?:[\x20\-][0-9]{3}){1,}[\x20\-][0-9]{3,4}(?-u:\b)"
            }
        }
    }
}

/// A pattern of one's own cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPattern(String);

/// What is looked for, compiled.
#[derive(Debug)]
pub struct Masks {
    any: RegexSet,
    each: Vec<(Regex, Found)>,
}

/// What a pattern finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Kind(MaskKind),
    Own,
}

impl Masks {
    /// Of these kinds, and of patterns of one's own in the syntax of <https://docs.rs/regex>.
    ///
    /// # Errors
    /// When one of them is no pattern, matches everything or is too large.
    pub fn new(kinds: &[MaskKind], own: &[String]) -> Result<Self, BadPattern> {
        if own.len() > PATTERNS_MAX {
            return Err(BadPattern(format!("there are {} patterns; write at most {PATTERNS_MAX}", own.len())));
        }
        let kinds = MaskKind::ALL.into_iter().filter(|kind| kinds.contains(kind));
        let mut patterns: Vec<(&str, Found)> = kinds.map(|kind| (kind.pattern(), Found::Kind(kind))).collect();
        for pattern in own {
            check(pattern)?;
            patterns.push((pattern, Found::Own));
        }
        let set = RegexSetBuilder::new(patterns.iter().map(|(pattern, _)| pattern))
            .size_limit(COMPILED_BYTES_MAX * (patterns.len().max(1)))
            .dfa_size_limit(COMPILED_BYTES_MAX * 2)
            .build();
        let any = set.map_err(|error| BadPattern(format!("the patterns together are too large: {error}")))?;
        let each = patterns.into_iter().map(|(pattern, found)| Ok((compile(pattern)?, found)));
        Ok(Self { any, each: each.collect::<Result<_, BadPattern>>()? })
    }

    /// A text with what was found replaced; `None` if nothing was.
    #[must_use]
    pub fn text(&self, text: &str) -> Option<String> {
        if !self.any.is_match(text) {
            return None;
        }
        let mut masked: Option<String> = None;
        for (regex, found) in &self.each {
            let now = masked.as_deref().unwrap_or(text);
            let replaced = match found {
                Found::Own => regex.replace_all(now, "[masked]"),
                Found::Kind(MaskKind::Iban) => std::borrow::Cow::Owned(without_ibans(regex, now)),
                Found::Kind(kind) => {
                    regex.replace_all(now, |captures: &Captures<'_>| replacement(*kind, now, captures))
                }
            };
            if let std::borrow::Cow::Owned(replaced) = replaced
                && replaced != now
            {
                masked = Some(replaced);
            }
        }
        masked
    }

    /// A batch with what was found in it replaced.
    pub(super) fn batch(&self, mut batch: TraceBatch) -> TraceBatch {
        let mask = |text: &str| self.text(text);
        let text = |text: &mut String| {
            if let Some(masked) = self.text(text) {
                *text = masked;
            }
        };
        let optional = |value: &mut Option<String>| value.as_mut().map_or((), text);
        let content = |value: &mut Option<JsonText>| {
            if let Some(masked) = value.as_ref().and_then(|json| json::mask_text(json.as_str(), &mask)) {
                *value = Some(JsonText::from_stored(masked));
            }
        };
        for patch in &mut batch.traces {
            optional(&mut patch.name);
            content(&mut patch.input);
            content(&mut patch.output);
            patch.tags.iter_mut().for_each(text);
            json::mask_object(&mut patch.metadata, &mask);
        }
        for patch in &mut batch.observations {
            optional(&mut patch.name);
            optional(&mut patch.status_message);
            content(&mut patch.input);
            content(&mut patch.output);
            json::mask_object(&mut patch.metadata, &mask);
            if let Some(parameters) = &mut patch.model_parameters {
                json::mask_object(parameters, &mask);
            }
        }
        for score in &mut batch.scores {
            text(&mut score.name);
            optional(&mut score.text);
            optional(&mut score.comment);
            json::mask_object(&mut score.metadata, &mask);
        }
        batch
    }
}

fn check(pattern: &str) -> Result<(), BadPattern> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let told: String = pattern.chars().take(40).collect();
        return Err(BadPattern(format!(
            "the pattern `{told}…` has {} bytes; write at most {PATTERN_BYTES_MAX}",
            pattern.len()
        )));
    }
    if compile(pattern)?.is_match("") {
        return Err(BadPattern(format!("the pattern `{pattern}` matches the empty text; let it name what it finds")));
    }
    Ok(())
}

fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(_) => "it is too large; bound its repetitions more tightly".to_owned(),
            error => error.to_string().lines().last().unwrap_or_default().to_owned(),
        };
        BadPattern(format!("the pattern `{pattern}` is none: {reason}"))
    })
}

/// What stands in the place of a match.
fn replacement(kind: MaskKind, text: &str, captures: &Captures<'_>) -> String {
    let Some(found) = captures.get(0) else { return String::new() };
    let (as_it_is, placeholder) = (found.as_str(), kind.placeholder());
    let outside = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_digit);
    match kind {
        MaskKind::Email => placeholder.to_owned(),
        MaskKind::Key if is_key(as_it_is) => placeholder.to_owned(),
        MaskKind::Key => as_it_is.to_owned(),
        // Found by `without_ibans`.
        MaskKind::Iban => as_it_is.to_owned(),
        // A decimal, or a row of numbers with points between them, pays nothing.
        MaskKind::Card if is_decimal(text, found.start(), found.end()) => as_it_is.to_owned(),
        MaskKind::Card => replace_window(as_it_is, placeholder),
        MaskKind::Phone if is_row(as_it_is) => phones_of_row(as_it_is, placeholder),
        MaskKind::Phone => {
            let digits = as_it_is.bytes().filter(u8::is_ascii_digit).count();
            let ends = outside(text.as_bytes().get(found.end()));
            if PHONE_DIGITS.contains(&digits) && ends { placeholder.to_owned() } else { as_it_is.to_owned() }
        }
    }
}

/// `sk-learn` and its like are no keys: a key has a digit, is long, or says that it is live.
fn is_key(text: &str) -> bool {
    const LIVE: [&str; 2] = ["_live_", "_test_"];
    !matches!(text.get(..3), Some("sk-" | "pk-" | "rk-" | "sk_" | "pk_" | "rk_"))
        || text.len() >= 32
        || LIVE.iter().any(|live| text.get(2..).is_some_and(|rest| rest.starts_with(live)))
        || text.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_decimal(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let digit = |place: Option<usize>| place.and_then(|place| bytes.get(place)).is_some_and(u8::is_ascii_digit);
    let point = |place: Option<usize>| place.and_then(|place| bytes.get(place)) == Some(&b'.');
    (point(start.checked_sub(1)) && digit(start.checked_sub(2))) || (point(Some(end)) && digit(Some(end + 1)))
}

/// Whether a match is nothing but groups of three digits (the last may have four) with spaces or dashes between them.
fn is_row(text: &str) -> bool {
    let groups: Vec<&str> = text.split([' ', '-']).collect();
    let Some((last, others)) = groups.split_last() else { return false };
    let digits = |group: &&str, lengths: &[usize]| {
        lengths.contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_digit())
    };
    others.len() >= 2 && others.iter().all(|group| digits(group, &[3])) && digits(last, &[3, 4])
}

/// A number has three groups. A row that is not made of whole ones is a table, and a round one an amount.
fn phones_of_row(text: &str, placeholder: &str) -> String {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for (place, _) in text.match_indices([' ', '-']) {
        groups.push((start, place));
        start = place + 1;
    }
    groups.push((start, text.len()));
    if !groups.len().is_multiple_of(3) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for number in groups.chunks(3) {
        let (Some((first, _)), Some((last, end))) = (number.first(), number.last()) else { continue };
        if text.get(*last..*end).is_some_and(|group| group == "000") {
            continue;
        }
        out.push_str(text.get(copied..*first).unwrap_or_default());
        out.push_str(placeholder);
        copied = *end;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

/// A text with its IBANs replaced. Each begins with its country, which says how long it is.
fn without_ibans(beginning: &Regex, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = beginning.find_at(text, from) {
        from = found.start() + 1;
        let Some(end) = iban_end(text, found.start()) else { continue };
        out.push_str(text.get(copied..found.start()).unwrap_or_default());
        out.push_str(MaskKind::Iban.placeholder());
        (copied, from) = (end, end);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

/// Where the IBAN that begins here ends, if it is one: of its country's length, with single spaces or dashes in it, and followed by
/// no further letter or digit.
fn iban_end(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let country = rest.get(..2)?.to_ascii_uppercase();
    let (_, length) = IBAN_LENGTHS.iter().find(|(code, _)| *code == country)?;
    let (mut counted, mut end, mut apart) = (String::with_capacity(*length), 0, 0);
    for (place, char) in rest.char_indices() {
        if char.is_ascii_alphanumeric() {
            if counted.len() == *length {
                return (apart > 0 && is_iban(&counted)).then_some(start + end);
            }
            counted.push(char);
            (end, apart) = (place + 1, 0);
        } else if matches!(char, ' ' | '-' | '\u{a0}') && apart == 0 {
            apart = 1;
        } else {
            break;
        }
    }
    (counted.len() == *length && is_iban(&counted)).then_some(start + end)
}

/// How long an IBAN is, by its country (the registry of ISO 13616, release 99).
const IBAN_LENGTHS: [(&str, usize); 78] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("XK", 20),
];

/// Replaces every longest part of a match that begins and ends as a number does and is a card's.
fn replace_window(text: &str, placeholder: &str) -> String {
    let bytes = text.as_bytes();
    let digits: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(index, _)| index).collect();
    let begins = |place: usize| {
        let index = digits.get(place).copied().unwrap_or_default();
        index == 0 || !bytes.get(index - 1).is_some_and(u8::is_ascii_digit)
    };
    let ends = |index: usize| !bytes.get(index + 1).is_some_and(u8::is_ascii_digit);
    let mut out = String::with_capacity(text.len());
    let (mut place, mut copied) = (0, 0);
    while place < digits.len() {
        let found = if begins(place) {
            CARD_DIGITS.rev().find_map(|length| {
                let (first, last) = (*digits.get(place)?, *digits.get(place + length - 1)?);
                let part = text.get(first..=last)?;
                (ends(last) && is_card(part)).then_some((first, last, length))
            })
        } else {
            None
        };
        match found {
            Some((first, last, length)) => {
                out.push_str(text.get(copied..first).unwrap_or_default());
                out.push_str(placeholder);
                copied = last + 1;
                place += length;
            }
            None => place += 1,
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

/// Whether a number is written as a card's is, begins as one of an issuer does (ISO/IEC 7812, the ranges in use) and has its
/// checksum.
fn is_card(text: &str) -> bool {
    let groups: Vec<usize> = text.split([' ', '-', '\u{a0}']).map(str::len).collect();
    let is_written =
        matches!(groups.as_slice(), [_] | [4, 4, 4, 4] | [4, 4, 4, 4, 3] | [4, 4, 4, 1] | [4, 6, 5] | [4, 6, 4]);
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let begins = |from: u32, to: u32, length: usize| {
        digits.get(..length).and_then(|head| head.parse::<u32>().ok()).is_some_and(|head| (from..=to).contains(&head))
    };
    let is_issued = match digits.len() {
        13 => begins(4, 4, 1),
        14 => begins(300, 305, 3) || begins(36, 36, 2) || begins(38, 39, 2),
        15 => begins(34, 34, 2) || begins(37, 37, 2),
        16 => {
            begins(4, 6, 1)
                || begins(2_200, 2_204, 4)
                || begins(2_221, 2_720, 4)
                || begins(3_528, 3_589, 4)
                || begins(81, 81, 2)
        }
        18 | 19 => begins(4, 4, 1) || begins(50, 50, 2) || begins(56, 58, 2) || begins(60, 69, 2),
        _ => false,
    };
    is_written && is_issued && !text.contains('.') && is_luhn(text)
}

/// The checksum of card numbers (ISO/IEC 7812-1).
fn is_luhn(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(10)).collect();
    // A row of the same digit passes, and nobody pays with it.
    let differ = digits.first().is_some_and(|first| digits.iter().any(|digit| digit != first));
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    differ && sum.is_multiple_of(10)
}

/// The checksum of IBANs (ISO 13616): with the first four characters at the end, letters as two digits, 1 is left of 97.
fn is_iban(text: &str) -> bool {
    let chars: Vec<u32> = text.chars().filter_map(|char| char.to_digit(36)).collect();
    let Some((head, rest)) = chars.split_at_checked(4) else { return false };
    let left = rest
        .iter()
        .chain(head)
        .fold(0, |left, value| if *value > 9 { (left * 100 + value) % 97 } else { (left * 10 + value) % 97 });
    left == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Masks {
        Masks::new(&MaskKind::ALL, &[]).unwrap()
    }

    fn masked(text: &str) -> String {
        all().text(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn private_things_are_replaced_by_what_they_are() {
        for (text, expected) in [
            ("write to ola.nowak+shop@example.co.uk, now", "write to [email], now"),
            ("żółw@przykład.pl", "[email]"),
            ("<ola@example.com>", "<[email]>"),
            ("call +48 600 700 800.", "call [phone]."),
            ("call +48600700800", "call [phone]"),
            ("(22) 123-45-67 or 600 700 800", "[phone] or [phone]"),
            ("+1 (415) 555-0100", "[phone]"),
            ("card 4111 1111 1111 1111 12/27", "card [card] 12/27"),
            ("4111111111111111,5500005555555559", "[card],[card]"),
            ("378282246310005", "[card]"),
            ("PL61 1090 1014 0000 0712 1981 2874 please", "[iban] please"),
            ("to GB82WEST12345698765432", "to [iban]"),
            ("sk-proj-abc123def456 and pk-lf-1234567890", "[key] and [key]"),
            ("privet_abcdefghij_klmn", "[key]"),
            ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key]"),
            ("AKIAIOSFODNN7EXAMPLE", "[key]"),
            ("Authorization: Bearer abc.def-ghi==", "Authorization: [key]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP", "[key]"),
            ("DE89370400440532013000 and GB29NWBK60161331926819", "[iban] and [iban]"),
            ("faktura FV24 konto PL61109010140000071219812874", "faktura FV24 konto [iban]"),
            ("item id99 DE89370400440532013000", "item id99 [iban]"),
            ("600-700-800 600 700 801 now", "[phone] [phone] now"),
            ("sk_live_abcdefghijkl", "[key]"),
            ("gsk_abcdefghijklmnopqrst and hf_abcdefghijklmnopqrst", "[key] and [key]"),
            ("to=user%40example.com", "to=[email]"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----.", "[key]."),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_private_stays() {
        for text in [
            "4111 1111 1111 1112",
            "0000000000000000",
            "1764064537123 1764064537131 1764064537149",
            "1764064537123456789",
            "3.1415926535897932384",
            "2024-01-01 2024-01-02 2024-01-03",
            "192.168.100.200",
            "300 000 000 m/s",
            "120 340 560 780",
            "GB82 WEST 1234 5698 7654 33",
            "2026-11-25 09:25:37",
            "version 1.2.3-4, 12 345 678 tokens",
            "task-forgiving sk-learn-pipeline",
            "a @ b",
            "v1@latest",
            "019aa2c0-0000-7000-8000-000000000001",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn only_the_kinds_that_are_wanted_are_looked_for() {
        let masks = Masks::new(&[MaskKind::Email], &["(?i)project \\w+".to_owned()]).unwrap();
        assert_eq!(masks.text("Project X of a@b.pl, +48 600 700 800").unwrap(), "[masked] of [email], +48 600 700 800");
        assert_eq!(Masks::new(&[], &[]).unwrap().text("a@b.pl"), None);
    }

    #[test]
    fn a_bad_pattern_says_what_is_wrong() {
        let refused = |pattern: &str| Masks::new(&[], &[pattern.to_owned()]).unwrap_err().to_string();
        assert!(refused("(").contains("`(` is none"), "{}", refused("("));
        assert!(refused("x*").contains("empty text"));
        assert!(refused("(\\w{1000}){1000}").contains("too large"), "{}", refused("(\\w{1000}){1000}"));
        assert!(refused(&"x".repeat(1_001)).contains("at most 1000"));
        assert!(Masks::new(&[], &vec!["x".to_owned(); 65]).is_err());
    }

    /// A text that some engines take for ever is over at once.
    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        let masks = Masks::new(&MaskKind::ALL, &["(a+)+$b".to_owned()]).unwrap();
        for text in ["a".repeat(200_000), "1 ".repeat(100_000), "a.".repeat(100_000), "sk-".repeat(60_000)] {
            assert!(masks.text(&text).is_none_or(|masked| masked.len() <= text.len()));
        }
    }
}
