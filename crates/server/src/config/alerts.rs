//! Budget alerts: `[alerts]`.

use privet_providers::{AddressPolicy, WebhookSecret};
use reqwest::Url;

use super::error::ConfigError;
use super::layers::Layers;
use super::setting::Shown;

/// Who is told that so much of a budget is spent, and when.
#[derive(Clone, Debug)]
pub(crate) struct AlertSettings {
    pub(crate) webhook: Url,
    pub(crate) secret: WebhookSecret,
    /// Percentages, growing.
    pub(crate) percents: Vec<u8>,
}

/// `None` without a webhook; the other values are checked all the same.
pub(super) fn alerts(layers: &Layers, shown: &mut Vec<Shown>) -> Result<Option<AlertSettings>, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let webhook = value("alerts.webhook").parse(url)?;
    let secret_value = value("alerts.secret");
    let secret = secret_value.parse(secret)?;
    let percents = value("alerts.at").parse(percents)?;
    match (webhook, secret) {
        (None, _) => Ok(None),
        (Some(webhook), Some(secret)) => Ok(Some(AlertSettings { webhook, secret, percents })),
        (Some(_), None) => Err(ConfigError::value(
            &secret_value.origin,
            &secret_value.key,
            "",
            "`alerts.webhook` needs a secret, by which the receiver knows that it is you; make one with \
             `echo whsec_$(openssl rand -base64 32)` and give it to both",
        )),
    }
}

fn url(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| "write an address such as \"https://example.org/alerts\"".to_owned())?;
    AddressPolicy::operator().check(&url).map_err(|refused| refused.to_string())?;
    Ok(Some(url))
}

fn secret(text: &str) -> Result<Option<WebhookSecret>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    WebhookSecret::parse(text).map(Some).ok_or_else(|| {
        "write \"whsec_\" and 24 to 64 bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one".to_owned()
    })
}

fn percents(text: &str) -> Result<Vec<u8>, String> {
    let percents =
        text.split(',').map(|percent| percent.trim().parse().ok().filter(|percent| (1..=100).contains(percent)));
    let percents: Option<Vec<u8>> = percents.collect();
    let mut percents =
        percents.ok_or_else(|| "write whole percentages from 1 to 100, for example [50, 80, 100]".to_owned())?;
    percents.sort_unstable();
    percents.dedup();
    Ok(percents)
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn refusal(toml: &str) -> String {
        load(toml, &[]).unwrap_err()
    }

    #[test]
    fn alerts_are_off_without_a_webhook_and_sorted_with_one() {
        assert!(load("", &[]).unwrap().alerts.is_none());
        let toml =
            format!("[alerts]\nwebhook = \"https://example.org/a\"\nsecret = \"{SECRET}\"\nat = [100, 50, 50]\n");
        let config = load(&toml, &[]).unwrap();
        assert_eq!(config.alerts.as_ref().unwrap().percents, [50, 100]);
        assert!(!format!("{config:?}").contains("MfKQ"), "the secret is shown");
        let environment = [
            ("PRIVET_ALERTS_WEBHOOK", "http://127.0.0.1:1/"),
            ("PRIVET_ALERTS_SECRET", SECRET),
            ("PRIVET_ALERTS_AT", "7"),
        ];
        assert_eq!(load("", &environment).unwrap().alerts.unwrap().percents, [7]);
    }

    #[test]
    fn wrong_alerts_are_refused_with_their_line_and_what_is_right() {
        for (toml, hints) in [
            ("[alerts]\nat = [50, 101]\n", ["privet.toml:2", "`alerts.at` = `50, 101`", "from 1 to 100"]),
            ("[alerts]\nat = [0]\n", ["privet.toml:2", "`alerts.at`", "[50, 80, 100]"]),
            ("[alerts]\nat = [12.5]\n", ["privet.toml:2", "`12.5`", "whole percentages"]),
            ("[alerts]\nwebhook = \"ftp://x/\"\n", ["privet.toml:2", "`alerts.webhook`", "https://example.org/alerts"]),
            ("[alerts]\nwebhook = \"https://x/\"\n", ["alerts.secret", "needs a secret", "openssl rand"]),
            (
                "[alerts]\nwebhook = \"http://2852039166/\"\n",
                ["privet.toml:2", "`alerts.webhook`", "clouds keep the keys"],
            ),
            ("[alerts]\nwebhook = \"https://u@x/\"\n", ["privet.toml:2", "`alerts.webhook`", "a user name"]),
            ("[alerts]\nsecret = \"canary\"\n", ["privet.toml:2", "`(secret)`", "whsec_"]),
            ("[alerts]\nwebhok = \"https://x/\"\n", ["privet.toml:2", "`alerts.webhok`", "`alerts.webhook`"]),
        ] {
            let error = refusal(toml);
            assert!(hints.iter().all(|hint| error.contains(hint)) && !error.contains("canary"), "{error}");
        }
    }
}
