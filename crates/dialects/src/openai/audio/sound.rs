//! How long a recording can be at most, told from its bytes. What it is called is not asked: a decoder looks at the bytes as well.

/// Bytes in a second of MP3, at least: the thinnest has 8 kbit/s, which is twice this.
const MP3_BYTES_PER_SECOND: u64 = 512;
/// Of formats that shrink silence to nearly nothing: half a second in twelve bytes of FLAC.
const BYTES_PER_SECOND: u64 = 24;

/// Linear samples, as whole numbers and as floating-point numbers.
const PCM_TAGS: [u16; 2] = [1, 3];

/// The most seconds that so many bytes can be.
pub(super) fn seconds_max(bytes: &[u8]) -> u64 {
    let per_second = wav(bytes).or_else(|| is_mp3(bytes).then_some(MP3_BYTES_PER_SECOND)).unwrap_or(BYTES_PER_SECOND);
    (bytes.len() as u64).div_ceil(per_second).saturating_add(1)
}

/// Bytes in a second of a WAV file of linear samples, which its only `fmt ` says.
fn wav(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return None;
    }
    let mut formats = memchr::memmem::find_iter(bytes, b"fmt ");
    let (Some(at), None) = (formats.next(), formats.next()) else { return None };
    let number = |offset: usize| {
        let two = bytes.get(at + offset..at + offset + 2)?;
        two.try_into().ok().map(u16::from_le_bytes)
    };
    let (tag, channels, bits) = (number(8)?, number(10)?, number(22)?);
    let rate = u64::from(number(12)?) | u64::from(number(14)?) << 16;
    let per_second = rate.checked_mul(u64::from(channels))?.checked_mul(u64::from(bits / 8))?;
    (PCM_TAGS.contains(&tag) && per_second > 0).then_some(per_second)
}

/// Whether MP3 begins, behind a tag that may stand before it.
fn is_mp3(bytes: &[u8]) -> bool {
    let tag = match (bytes.starts_with(b"ID3"), bytes.get(6..10)) {
        (true, Some(size)) => size.iter().fold(0_usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f)) + 10,
        _ => 0,
    };
    // Eleven bits are set where a frame begins; then come two of the version, and `01`: layer III.
    matches!(bytes.get(tag..tag.saturating_add(2)), Some([0xff, second]) if second & 0xe6 == 0xe2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav_of(tag: u16, rate: u32, bits: u16) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&rate.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.resize(32_000, 0);
        bytes
    }

    #[test]
    fn a_recording_is_never_longer_than_its_bytes_allow() {
        assert_eq!(seconds_max(&wav_of(1, 16_000, 16)), 2);
        assert_eq!(seconds_max(&wav_of(1, 100, 16)), 161);
        assert_eq!(seconds_max(&wav_of(3, 8_000, 32)), 2);
        let generic = 32_000_u64.div_ceil(24) + 1;
        let mut twice = wav_of(1, 16_000, 16);
        twice[100..104].copy_from_slice(b"fmt ");
        for bytes in [wav_of(0x31, 16_000, 16), wav_of(1, 0, 16), wav_of(1, 16_000, 4), twice, vec![0; 32_000]] {
            assert_eq!(seconds_max(&bytes), generic);
        }
        let mut mp3 = b"\xff\xfb\x90\x00".to_vec();
        mp3.resize(32_000, 0);
        assert_eq!(seconds_max(&mp3), 64);
        let tagged = [&b"ID3\x04\0\0\0\0\0\x02xx"[..], &mp3].concat();
        assert_eq!(seconds_max(&tagged), 64);
        let disguised = [&b"ID3\x04\0\0\0\0\0\x02xxfLaC"[..], &[0; 2_384]].concat();
        assert_eq!(seconds_max(&disguised), 101);
        assert_eq!(seconds_max(b""), 1);
        assert_eq!(seconds_max(b"ID3"), 2);
    }
}
