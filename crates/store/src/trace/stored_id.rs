//! Ids of traces, observations and scores in their packed form: an id of OpenTelemetry's takes half the bytes of its text.
//!
//! 32 hexadecimal digits are 16 bytes, 16 digits are 8; a UUID is a 1 and its 16 bytes; any other text is a 0 and its bytes, and
//! a byte that no text has where the length would be 8 or 16.

use privet_domain::trace::{ObservationId, TraceId};
use uuid::Uuid;

use crate::error::StoreError;

const TEXT: u8 = 0;
const UUID: u8 = 1;
const FILLER: u8 = 0xff;

/// An id as the database has it.
pub(crate) type StoredId = Vec<u8>;

/// Packs an id.
pub(crate) fn pack(id: &str) -> StoredId {
    if let (16 | 32, Some(bytes)) = (id.len(), lower_hex(id)) {
        return bytes;
    }
    if let (36, Ok(uuid)) = (id.len(), Uuid::parse_str(id))
        && uuid.as_hyphenated().to_string() == id
    {
        return [&[UUID], uuid.as_bytes().as_slice()].concat();
    }
    let mut packed = [&[TEXT], id.as_bytes()].concat();
    if matches!(packed.len(), 8 | 16) {
        packed.push(FILLER);
    }
    packed
}

/// The text of a packed id; `None` if it is none.
pub(crate) fn unpack(packed: &[u8]) -> Option<String> {
    match (packed.len(), packed) {
        (8 | 16, _) => Some(packed.iter().map(|byte| format!("{byte:02x}")).collect()),
        (17, [UUID, bytes @ ..]) => Some(Uuid::from_slice(bytes).ok()?.as_hyphenated().to_string()),
        (_, [TEXT, text @ .., FILLER] | [TEXT, text @ ..]) => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    }
}

fn lower_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// A trace's id from the database.
pub(crate) fn trace_id(packed: &[u8]) -> Result<TraceId, StoreError> {
    read(packed, "trace")
}

/// An observation's id from the database.
pub(crate) fn observation_id(packed: &[u8]) -> Result<ObservationId, StoreError> {
    read(packed, "observation")
}

fn read<T: std::str::FromStr>(packed: &[u8], what: &str) -> Result<T, StoreError> {
    let id = unpack(packed).and_then(|text| text.parse().ok());
    id.ok_or_else(|| StoreError::Damaged(format!("the id of a {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back_and_no_two_are_packed_alike() {
        let ids = [
            "0123456789abcdef",
            "0123456789abcdef0123456789abcdef",
            "0123456789ABCDEF",
            "019aa2c0-0000-7000-8000-000000000001",
            "019AA2C0-0000-7000-8000-000000000001",
            "seven_7",
            "fifteen_chars_1",
            "ż",
            "a",
        ];
        let mut packed: Vec<StoredId> = ids.iter().map(|id| pack(id)).collect();
        for (id, bytes) in ids.iter().zip(&packed) {
            assert_eq!(unpack(bytes).as_deref(), Some(*id));
        }
        assert_eq!(packed[1].len(), 16);
        packed.sort();
        packed.dedup();
        assert_eq!(packed.len(), ids.len());
        assert_eq!(unpack(&[9, 9]), None);
    }
}
