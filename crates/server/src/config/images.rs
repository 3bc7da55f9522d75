//! How images and documents that a request names by URL are fetched: `[images]`.

use privet_providers::{AddressPolicy, AllowedAddress, MediaSettings, PlainHttp};

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::{self, Shown};

/// All of a request together may have so many times the bytes of one.
const SHARE: usize = 3;

pub(super) fn images(layers: &Layers, shown: &mut Vec<Shown>) -> Result<MediaSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let allowed = value("images.allow").parse(allowed)?;
    let plain_http = match value("images.plain_http").parse(setting::truth)? {
        true => PlainHttp::Allowed,
        false => PlainHttp::Refused,
    };
    let bytes_max = value("images.bytes_max").parse(setting::count)?;
    Ok(MediaSettings {
        policy: AddressPolicy::public(allowed, plain_http),
        bytes_max,
        request_bytes_max: bytes_max.saturating_mul(SHARE),
        count_max: value("images.count_max").parse(setting::count)?,
        timeout: value("images.timeout").parse(setting::duration)?,
    })
}

fn allowed(text: &str) -> Result<Vec<AllowedAddress>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read = |entry: &str| {
        AllowedAddress::parse(entry).ok_or_else(|| {
            format!(
                "`{entry}` is neither a host nor a network; write for example [\"minio.internal\", \"10.1.0.0/16\"]"
            )
        })
    };
    entries.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use reqwest::Url;

    #[test]
    fn only_public_addresses_are_asked_unless_others_are_allowed() {
        let url = |text: &str| Url::parse(text).unwrap();
        let policy = load("", &[]).unwrap().images.policy;
        assert!(policy.check(&url("https://example.org/a.png")).is_ok());
        assert!(policy.check(&url("http://example.org/a.png")).is_err());
        assert!(policy.check(&url("https://10.1.2.3/a.png")).is_err());
        let toml = "[images]\nallow = [\"minio.internal\", \"10.1.0.0/16\"]\nplain_http = true\nbytes_max = 5\n";
        let images = load(toml, &[]).unwrap().images;
        assert!(images.policy.check(&url("http://minio.internal:9000/a.png")).is_ok());
        assert!(images.policy.check(&url("http://10.1.2.3/a.png")).is_ok());
        assert!(images.policy.check(&url("http://example.org/a.png")).is_ok());
        assert_eq!((images.bytes_max, images.request_bytes_max), (5, 15));
        assert_eq!(load("", &[("PRIVET_IMAGES_COUNT_MAX", "3")]).unwrap().images.count_max, 3);
    }

    #[test]
    fn wrong_settings_are_refused_with_what_is_right() {
        for (toml, hints) in [
            ("[images]\nallow = [\"*.internal\"]\n", ["privet.toml:2", "`*.internal`", "10.1.0.0/16"]),
            ("[images]\nalow = []\n", ["privet.toml:2", "`images.alow`", "`images.allow`"]),
            ("[providers.openai]\nimages_by_url = \"no\"\n", ["privet.toml:2", "images_by_url", "\"fetch\""]),
        ] {
            let error = load(toml, &[]).unwrap_err();
            assert!(hints.iter().all(|hint| error.contains(hint)), "{error}");
        }
    }
}
