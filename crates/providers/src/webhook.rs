//! Messages to a webhook of the operator's, signed as the Standard Webhooks specification says
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! One attempt at a time; when to try again is decided in `privet_engine`.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderValue, Method, header};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;

use crate::address_guard::AddressPolicy;
use crate::error::innermost;
use crate::http_provider::HttpProvider;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An attempt is over after this time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const SECRET_PREFIX: &str = "whsec_";
/// The specification's bounds.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret that sender and receiver share: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone, Debug)]
pub struct WebhookSecret(SecretSlice<u8>);

impl WebhookSecret {
    /// Reads it; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
        SECRET_BYTES.contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// The signature of a message.
    fn sign(&self, message: &WebhookMessage) -> Option<String> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        hmac.update(format!("{}.{}.", message.id, message.timestamp).as_bytes());
        hmac.update(&message.body);
        Some(format!("v1,{}", BASE64_STANDARD.encode(hmac.finalize().into_bytes())))
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct WebhookMessage {
    /// The same in all attempts, so that the receiver knows a message again.
    pub id: String,
    /// Of the attempt, in seconds since 1970.
    pub timestamp: i64,
    /// JSON.
    pub body: Bytes,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No answer in time.
    #[error("the webhook did not answer within {} s", ATTEMPT_TIMEOUT.as_secs())]
    Timeout,
    /// No connection, or it broke.
    #[error("the webhook cannot be reached: {0}")]
    Unreachable(String),
    /// Another status than 2xx.
    #[error("the webhook answered {0}")]
    Status(u16),
    /// It cannot be signed or written.
    #[error("the message cannot be sent: {0}")]
    Message(String),
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Url,
    secret: WebhookSecret,
    client: reqwest::Client,
}

impl Webhook {
    /// At this address. It follows no redirect, and connects to whatever the operator names but where clouds keep keys.
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn new(url: Url, secret: WebhookSecret) -> Result<Self, reqwest::Error> {
        let client = HttpProvider::client_builder(CONNECT_TIMEOUT);
        let client = client.dns_resolver(AddressPolicy::operator().resolver()).build()?;
        Ok(Self { url, secret, client })
    }

    /// Sends a message once.
    ///
    /// # Errors
    /// When the webhook does not answer 2xx in time.
    pub async fn send(&self, message: &WebhookMessage) -> Result<(), WebhookError> {
        AddressPolicy::operator().check(&self.url).map_err(|error| WebhookError::Unreachable(error.to_string()))?;
        let request = self.request(message)?;
        let sent = tokio::time::timeout(ATTEMPT_TIMEOUT, self.client.execute(request)).await;
        let response =
            sent.map_err(|_| WebhookError::Timeout)?.map_err(|error| WebhookError::Unreachable(innermost(&error)))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(WebhookError::Status(status.as_u16())) }
    }

    fn request(&self, message: &WebhookMessage) -> Result<reqwest::Request, WebhookError> {
        let wrong = |what: &str| WebhookError::Message(what.to_owned());
        let signature = self.secret.sign(message).ok_or_else(|| wrong("the secret makes no key"))?;
        let value = |text: String| HeaderValue::try_from(text).map_err(|_| wrong("a header takes only visible text"));
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-id", value(message.id.clone())?);
        headers.insert("webhook-timestamp", HeaderValue::from(message.timestamp));
        headers.insert("webhook-signature", value(signature)?);
        *request.body_mut() = Some(message.body.clone().into());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's own libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let message = WebhookMessage {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            timestamp: 1_614_265_330,
            body: Bytes::from_static(b"{\"test\": 2432232314}"),
        };
        assert_eq!(secret.sign(&message).unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_read_strictly_and_never_shown() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert!(!format!("{secret:?}").contains("MfKQ"));
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all, no"]
        {
            assert!(WebhookSecret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn fault_25_nothing_is_sent_to_the_keys_of_clouds_or_along_a_redirect() {
        use privet_testkit::file_server::FileServer;
        let inside = FileServer::with_file([127, 0, 0, 1], b"").await;
        let redirect = FileServer::leading_to([127, 0, 0, 1], &inside.url("a")).await;
        let send = async |url: &str| {
            let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
            let message = WebhookMessage { id: "m".to_owned(), timestamp: 1, body: Bytes::from_static(b"{}") };
            Webhook::new(url.parse().unwrap(), secret).unwrap().send(&message).await.unwrap_err()
        };
        for url in
            ["http://169.254.169.254/", "http://2852039166/", "http://[::ffff:a9fe:a9fe]/", "http://u:p@127.0.0.1/"]
        {
            let error = send(url).await;
            assert!(matches!(error, WebhookError::Unreachable(_)), "{url}: {error}");
        }
        assert!(matches!(send(&redirect.url("a")).await, WebhookError::Status(302)));
        assert_eq!((redirect.connections(), inside.connections()), (1, 0));
    }
}
