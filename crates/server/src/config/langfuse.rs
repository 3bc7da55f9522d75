//! What those who ran Langfuse themselves have in their environment: `[langfuse]`.

use secrecy::SecretString;

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::{self, Shown};

const CHARS_MAX: usize = 200;

/// A pair of keys to take over, and what the project was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct LangfuseSettings {
    pub(crate) public_key: Option<String>,
    pub(crate) secret_key: Option<SecretString>,
    pub(crate) project_id: Option<String>,
    pub(crate) project_name: Option<String>,
}

pub(super) fn langfuse(layers: &Layers, shown: &mut Vec<Shown>) -> Result<LangfuseSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let secret_key = value("langfuse.secret_key").parse(setting::api_key)?;
    Ok(LangfuseSettings {
        public_key: value("langfuse.public_key").parse(public_key)?,
        secret_key: (!secret_key.is_empty()).then(|| SecretString::from(secret_key)),
        project_id: value("langfuse.project_id").parse(identifier)?,
        project_name: value("langfuse.project_name").parse(name)?,
    })
}

/// It stands before the colon of `PUBLIC:SECRET`.
fn public_key(text: &str) -> Result<Option<String>, String> {
    if text.contains(':') {
        return Err("a public key has no colon; copy it again".to_owned());
    }
    identifier(text)
}

fn identifier(text: &str) -> Result<Option<String>, String> {
    let fits = text.len() <= CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let given = || (!text.is_empty()).then(|| text.to_owned());
    fits.then(given).ok_or_else(|| format!("write up to {CHARS_MAX} characters of ASCII without spaces"))
}

fn name(text: &str) -> Result<Option<String>, String> {
    let fits = text.chars().count() <= CHARS_MAX && !text.chars().any(char::is_control);
    let given = || (!text.trim().is_empty()).then(|| text.trim().to_owned());
    fits.then(given).ok_or_else(|| format!("write up to {CHARS_MAX} characters without line breaks"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use secrecy::ExposeSecret as _;

    #[test]
    fn the_names_of_a_self_hosted_installation_win_over_those_of_an_sdk() {
        let environment = [
            ("LANGFUSE_PUBLIC_KEY", "pk-sdk"),
            ("LANGFUSE_SECRET_KEY", "sk-sdk"),
            ("LANGFUSE_INIT_PROJECT_PUBLIC_KEY", "pk-lf-init"),
            ("LANGFUSE_INIT_PROJECT_SECRET_KEY", "canary"),
            ("LANGFUSE_INIT_PROJECT_ID", "my-project"),
            ("LANGFUSE_INIT_PROJECT_NAME", "My Project"),
        ];
        let config = load("", &environment).unwrap();
        assert_eq!(config.langfuse.public_key.as_deref(), Some("pk-lf-init"));
        assert_eq!(config.langfuse.secret_key.as_ref().unwrap().expose_secret(), "canary");
        assert_eq!(config.langfuse.project_id.as_deref(), Some("my-project"));
        assert_eq!(config.langfuse.project_name.as_deref(), Some("My Project"));
        let shown = format!("{:?} {config:?}", config.shown);
        assert!(!shown.contains("canary") && shown.contains("pk-lf-init"), "{shown}");
        let config = load("", &environment[..2]).unwrap();
        assert_eq!(config.langfuse.public_key.as_deref(), Some("pk-sdk"));
    }

    #[test]
    fn what_cannot_be_a_pair_is_refused_and_its_secret_not_repeated() {
        for (variable, text, remedy) in [
            ("LANGFUSE_PUBLIC_KEY", "pk:lf", "no colon"),
            ("LANGFUSE_SECRET_KEY", "privet_canary", "checksum"),
            ("LANGFUSE_SECRET_KEY", "canary\u{e9}", "no header takes"),
            ("LANGFUSE_INIT_PROJECT_ID", "two words", "without spaces"),
        ] {
            let error = load("", &[(variable, text)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(remedy) && !error.contains("canary"), "{error}");
        }
    }
}
