//! Where the server is, and how it is spoken to.

use std::time::Duration;

use qdrant_client::Qdrant;
use qdrant_client::config::QdrantConfig;
use secrecy::{ExposeSecret as _, SecretString};

/// A connection is given up after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that any call takes; each has its own timeout below this.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Qdrant's own limit.
const NAME_BYTES_MAX: usize = 255;

/// Where the server is.
#[derive(Clone, Debug)]
pub struct QdrantSettings {
    /// Its gRPC address, such as `http://127.0.0.1:6334`.
    pub url: String,
    /// Its API key, if it wants one.
    pub api_key: Option<SecretString>,
    /// The collection, which belongs to Privet alone.
    pub collection: String,
}

/// What cannot be used of the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The address is none.
    #[error("`{0}` is no address of a Qdrant server; write one such as http://127.0.0.1:6334, with its gRPC port")]
    Url(String),
    /// The collection cannot have this name.
    #[error("`{0}` is no name of a collection: write letters, digits, `-` and `_`")]
    Collection(String),
    /// The key cannot be sent.
    #[error("Qdrant's API key holds characters that no header takes")]
    Key,
}

impl QdrantSettings {
    /// Whether all of it can be used, without connecting.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_http = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"));
        if is_http.is_none_or(|rest| rest.is_empty() || rest.contains('@') || rest.contains(char::is_whitespace)) {
            return Err(SettingsError::Url(without_userinfo(&self.url)));
        }
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if self.collection.is_empty()
            || self.collection.len() > NAME_BYTES_MAX
            || !self.collection.chars().all(is_plain)
        {
            return Err(SettingsError::Collection(self.collection.clone()));
        }
        let is_sent = |key: &SecretString| key.expose_secret().bytes().all(|byte| (0x21..0x7f).contains(&byte));
        if self.api_key.as_ref().is_some_and(|key| !is_sent(key)) {
            return Err(SettingsError::Key);
        }
        Ok(())
    }

    pub(crate) fn client(&self) -> Result<Qdrant, SettingsError> {
        self.check()?;
        let mut config = QdrantConfig::from_url(&self.url)
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // It would print to the standard output.
            .skip_compatibility_check()
            .keep_alive_while_idle();
        if let Some(key) = &self.api_key {
            config.set_api_key(key.expose_secret());
        }
        Qdrant::new(config).map_err(|_| SettingsError::Url(self.url.clone()))
    }
}

/// A password that was written into the address by mistake is not told.
fn without_userinfo(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, collection: &str, key: &str) -> QdrantSettings {
        let api_key = (!key.is_empty()).then(|| SecretString::from(key.to_owned()));
        QdrantSettings { url: url.to_owned(), api_key, collection: collection.to_owned() }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_secrets() {
        assert_eq!(settings("http://127.0.0.1:6334", "privet", "k").check(), Ok(()));
        assert_eq!(settings("https://qdrant.example", "a-b_1", "").check(), Ok(()));
        for url in ["", "127.0.0.1:6334", "ftp://x", "http://", "http://a b"] {
            assert_eq!(settings(url, "privet", "").check(), Err(SettingsError::Url(url.to_owned())));
        }
        let told = settings("http://user:secret@host", "privet", "").check().unwrap_err().to_string();
        assert!(!told.contains("secret"), "{told}");
        for name in ["", "a/b", "a b", "ą"] {
            assert_eq!(settings("http://x", name, "").check(), Err(SettingsError::Collection(name.to_owned())));
        }
        assert_eq!(settings("http://x", "privet", "a\nb").check(), Err(SettingsError::Key));
    }

    #[test]
    fn the_key_is_in_no_debug_output() {
        let settings = settings("http://x:1", "privet", "very-secret");
        let index = crate::QdrantIndex::new(&settings).unwrap();
        assert!(!format!("{settings:?} {index:?}").contains("very-secret"));
    }
}
