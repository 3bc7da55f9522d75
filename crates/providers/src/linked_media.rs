//! Images and documents that a request names by URL, for a provider that does not fetch them itself.
//!
//! What is fetched is bounded in bytes and time, and is what it should be by its own first bytes, whatever its server calls it. Where
//! connections may go to is [`AddressPolicy`]'s. When to fetch is decided in `privet_engine`; nothing is kept here.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header;
use privet_dialects::linked_media::{Link, Media, MediaKind};
use reqwest::Url;
use tokio::sync::Semaphore;

use crate::address_guard::{AddressPolicy, AddressRefused};
use crate::error::innermost;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So many redirects are followed.
const REDIRECTS_MAX: u32 = 3;
/// So many are fetched at once, whoever asks for them: each may fill memory with its bytes.
const AT_ONCE: usize = 16;

/// The bounds of what is fetched.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// Where connections may go to.
    pub policy: AddressPolicy,
    /// The most bytes of one.
    pub bytes_max: usize,
    /// The most bytes of all of a request.
    pub request_bytes_max: usize,
    /// The most of them in a request.
    pub count_max: usize,
    /// How long all of a request may take.
    pub timeout: Duration,
}

impl Default for MediaSettings {
    /// Public addresses by HTTPS; 10 MB each, 32 MB and 20 pieces a request, 15 seconds.
    fn default() -> Self {
        Self {
            policy: AddressPolicy::public(Vec::new(), crate::PlainHttp::Refused),
            bytes_max: 10_000_000,
            request_bytes_max: 32_000_000,
            count_max: 20,
            timeout: Duration::from_secs(15),
        }
    }
}

/// Why something could not be fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MediaError {
    /// Nothing is asked there.
    #[error(transparent)]
    Address(#[from] AddressRefused),
    /// It leads on to where nothing is asked.
    #[error("it leads on to another address, and {0}")]
    Redirect(AddressRefused),
    /// It leads on and on.
    #[error("it leads on to another address more than {REDIRECTS_MAX} times")]
    Redirects,
    /// No connection, or it broke.
    #[error("its server cannot be reached: {0}")]
    Unreachable(String),
    /// Not in time.
    #[error("it did not come within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// Another status than 200.
    #[error("its server answered {0}")]
    Status(u16),
    /// Too many bytes.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// Something else than it should be.
    #[error("what came is no {0}")]
    OtherKind(&'static str),
}

/// Fetches what requests name by URL.
#[derive(Clone, Debug)]
pub struct MediaFetcher {
    settings: MediaSettings,
    client: reqwest::Client,
    places: Arc<Semaphore>,
}

impl MediaFetcher {
    /// Within these bounds. It uses no proxy: a proxy would look names up itself, unchecked.
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn new(settings: MediaSettings) -> Result<Self, reqwest::Error> {
        let resolver = settings.policy.resolver();
        Self::with_resolver(settings, resolver)
    }

    fn with_resolver(
        settings: MediaSettings,
        resolver: Arc<dyn reqwest::dns::Resolve>,
    ) -> Result<Self, reqwest::Error> {
        // Only the first call sets the process's provider; a later one finds it set, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .no_gzip()
            .dns_resolver(resolver)
            // A connection that stands was checked by the rules of its time.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("privet/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { settings, client, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// The bounds.
    #[must_use]
    pub const fn settings(&self) -> &MediaSettings {
        &self.settings
    }

    /// Fetches one.
    ///
    /// # Errors
    /// When it does not come, or is not what it should be.
    pub async fn fetch(&self, link: &Link) -> Result<Media, MediaError> {
        let timeout = self.settings.timeout;
        let fetching = async {
            let _place = self.places.acquire().await;
            self.follow(link).await
        };
        tokio::time::timeout(timeout, fetching).await.map_err(|_| MediaError::Timeout(timeout))?
    }

    async fn follow(&self, link: &Link) -> Result<Media, MediaError> {
        let mut url = Url::parse(&link.url).map_err(|_| AddressRefused::NoUrl)?;
        self.settings.policy.check(&url)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.client.get(url.clone()).send().await.map_err(|error| failure(&error))?;
            let status = response.status();
            if status.is_redirection() {
                url = self.next(&url, &response)?;
                continue;
            }
            if status != http::StatusCode::OK {
                return Err(MediaError::Status(status.as_u16()));
            }
            return self.read(response, link.kind).await;
        }
        Err(MediaError::Redirects)
    }

    /// Where a redirect leads, if it may.
    fn next(&self, from: &Url, response: &reqwest::Response) -> Result<Url, MediaError> {
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let to = location.and_then(|location| from.join(location).ok());
        let to = to.ok_or(MediaError::Status(response.status().as_u16()))?;
        if from.scheme() == "https" && to.scheme() != "https" {
            return Err(MediaError::Redirect(AddressRefused::Scheme));
        }
        self.settings.policy.check(&to).map_err(MediaError::Redirect)?;
        Ok(to)
    }

    async fn read(&self, response: reqwest::Response, kind: MediaKind) -> Result<Media, MediaError> {
        let most = self.settings.bytes_max;
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(MediaError::TooLarge(most));
        }
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| failure(&error))?;
            if bytes.len() + chunk.len() > most {
                return Err(MediaError::TooLarge(most));
            }
            bytes.extend_from_slice(&chunk);
        }
        Media::read(bytes, kind).ok_or(MediaError::OtherKind(kind.wanted()))
    }
}

/// The guard's refusal, where it is one.
fn failure(error: &reqwest::Error) -> MediaError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<AddressRefused>() {
            return MediaError::Address(refused.clone());
        }
        cause = error.source();
    }
    MediaError::Unreachable(innermost(error))
}

#[cfg(test)]
mod tests;
