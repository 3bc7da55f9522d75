//! API keys: their form, their check and their hash.
//!
//! A key that Privet makes reads `privet_<id>_<secret>_<checksum>`: a public id of 80 random bits, a secret of 256, and 30 bits
//! of BLAKE3 over what stands before, all in lower-case base 32. The checksum refuses a mistyped or invented key without a
//! look-up. A key that was imported (`PERSONAL_API_KEY`) is any text; its public id is a fingerprint of it.
//! Only a hash of the whole key is ever stored.
//!
//! Clients of the Langfuse surface present a key as a pair: its public key, which may be known, and the whole key as its secret.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::BASE32_NOPAD_NOCASE;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

const PREFIX: &str = "privet_";
/// What Langfuse's SDKs expect at the head of a public key.
const PUBLIC_KEY_PREFIX: &str = "pk-lf-";
const CHECKSUM_CHARS: usize = 6;
const HASH_CONTEXT: &str = "privet api key hash v1";
const FINGERPRINT_CONTEXT: &str = "privet api key fingerprint v1";

/// The public part of a key: it may be shown and logged, and finds the key in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicId(String);

impl PublicId {
    /// The id as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public key of the pair that a key is, unless somebody chose another.
    #[must_use]
    pub fn public_key(&self) -> String {
        format!("{PUBLIC_KEY_PREFIX}{}", self.0)
    }
}

impl From<String> for PublicId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The stored form of a key: BLAKE3 of the whole text, compared in constant time.
#[derive(Clone)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// From the database; `None` unless it has 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For the database.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// Whether a presented public key is this one, in a time that does not depend on where they differ.
#[must_use]
pub fn is_public_key(known: &str, presented: &str) -> bool {
    known.as_bytes().ct_eq(presented.as_bytes()).into()
}

/// What a client presented: where to look, and what to compare.
#[derive(Clone, Debug)]
pub struct PresentedKey {
    /// Where to look.
    pub public_id: PublicId,
    /// What to compare.
    pub hash: KeyHash,
}

impl PresentedKey {
    /// Reads a presented token. `None` if it claims to be one of Privet's own keys and its checksum says otherwise.
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let public_id = match token.strip_prefix(PREFIX) {
            Some(rest) => read_own(rest, token)?,
            None => fingerprint(token),
        };
        Some(Self { public_id, hash: hash(token) })
    }
}

/// A key that was just made. Its text is shown once and then forgotten.
pub struct NewApiKey {
    /// The whole key.
    pub token: SecretString,
    /// Its public id.
    pub public_id: PublicId,
    /// What is stored.
    pub hash: KeyHash,
}

impl NewApiKey {
    /// Makes a key from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0_u8; 42];
        getrandom::fill(&mut random)?;
        let (id, secret) = random.split_at(10);
        let public_id = encode(id);
        let body = format!("{PREFIX}{public_id}_{}", encode(secret));
        let token = format!("{body}_{}", checksum(&body));
        Ok(Self { public_id: PublicId(public_id), hash: hash(&token), token: SecretString::from(token) })
    }

    /// Takes over a key that somebody chose, such as `PERSONAL_API_KEY`.
    #[must_use]
    pub fn import(token: &SecretString) -> Option<Self> {
        let text = token.expose_secret();
        let presented = PresentedKey::read(text)?;
        Some(Self { token: token.clone(), public_id: presented.public_id, hash: presented.hash })
    }
}

fn read_own(rest: &str, token: &str) -> Option<PublicId> {
    let (body, sum) = token.rsplit_once('_')?;
    let (public_id, _) = rest.split_once('_')?;
    let sound: bool = checksum(body).as_bytes().ct_eq(sum.as_bytes()).into();
    (sound && !public_id.is_empty()).then(|| PublicId(public_id.to_owned()))
}

/// The hashers with their contexts taken in: the context is the same for every key.
static HASHER: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key(HASH_CONTEXT));
static FINGERPRINT: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key(FINGERPRINT_CONTEXT));

fn hash(token: &str) -> KeyHash {
    KeyHash(HASHER.clone().update(token.as_bytes()).finalize().into())
}

fn fingerprint(token: &str) -> PublicId {
    let key = FINGERPRINT.clone().update(token.as_bytes()).finalize();
    PublicId(encode(key.as_bytes().first_chunk::<10>().map_or(&[], |chunk| chunk.as_slice())))
}

fn checksum(body: &str) -> String {
    let mut sum = encode(blake3::hash(body.as_bytes()).as_bytes());
    sum.truncate(CHECKSUM_CHARS);
    sum
}

fn encode(bytes: &[u8]) -> String {
    let mut text = BASE32_NOPAD_NOCASE.encode(bytes);
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_and_matches_only_itself() {
        let (one, other) = (NewApiKey::generate().unwrap(), NewApiKey::generate().unwrap());
        let presented = PresentedKey::read(one.token.expose_secret()).unwrap();
        assert_eq!(presented.public_id, one.public_id);
        assert!(presented.hash.matches(&one.hash));
        assert!(!presented.hash.matches(&other.hash));
    }

    #[test]
    fn a_key_with_a_mistyped_character_is_refused_without_a_look_up() {
        let key = NewApiKey::generate().unwrap();
        let text = key.token.expose_secret();
        for at in PREFIX.len()..text.len() {
            let mut typo: Vec<u8> = text.bytes().collect();
            typo[at] = if typo[at] == b'a' { b'b' } else { b'a' };
            let typo = String::from_utf8(typo).unwrap();
            assert!(PresentedKey::read(&typo).is_none(), "{typo}");
        }
    }

    #[test]
    fn an_imported_key_is_found_by_its_fingerprint() {
        let token = SecretString::from("a key of the lesson");
        let imported = NewApiKey::import(&token).unwrap();
        let presented = PresentedKey::read("a key of the lesson").unwrap();
        assert_eq!(presented.public_id, imported.public_id);
        assert!(presented.hash.matches(&imported.hash));
        assert_ne!(PresentedKey::read("another").unwrap().public_id, imported.public_id);
    }

    #[test]
    fn the_hash_is_never_printed() {
        let key = NewApiKey::generate().unwrap();
        assert_eq!(format!("{:?}", key.hash), "KeyHash(..)");
    }
}
