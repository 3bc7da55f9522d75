//! Images and documents that a request names by URL, for a provider that does not fetch them: fetched by this server, within its
//! guard, and put in their place in what is sent. What is fetched is kept for one request's calls and no longer; the history and
//! the traces keep the URL.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use privet_dialects::linked_media::{Follow, Link, Media, inline, links};
use privet_dialects::{Dialect, Inbound};
use privet_providers::{AddressRefused, MediaError, Provider};

use crate::Engine;
use crate::router::Target;

/// So many of a request are fetched at once.
const AT_ONCE: usize = 4;
/// Of an address an error repeats so much.
const CHARS_SHOWN: usize = 100;

/// Why a request cannot be sent to a provider that takes no URLs.
#[derive(Debug, thiserror::Error)]
pub enum LinkedMediaError {
    /// One could not be fetched.
    #[error(
        "The image or document {} of {of} by URL (`{}`) was not fetched for the provider `{provider}`, which does not fetch it itself: \
         {error}. {}", .index + 1, shown(.url), remedy(.error)
    )]
    Failed {
        /// For whom.
        provider: String,
        /// Which of them, from 0.
        index: usize,
        /// How many there are.
        of: usize,
        /// Where it should be.
        url: String,
        /// Why.
        error: MediaError,
    },
    /// There are more than are fetched.
    #[error(
        "The request names {count} images and documents by URL, and for the provider `{provider}`, which does not fetch them itself, at \
         most {most} are fetched. Send fewer, or the others as `data:` URLs; the operator sets `images.count_max`."
    )]
    TooMany {
        /// For whom.
        provider: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Together they are too large.
    #[error(
        "The images and documents that the request names by URL have more than {most} bytes together, which is more than are fetched \
         for the provider `{provider}`. Send fewer or smaller ones; the operator sets `images.bytes_max`."
    )]
    TooLarge {
        /// For whom.
        provider: String,
        /// How many bytes there may be.
        most: usize,
    },
    /// A call beside another one does not wait for them.
    #[error("the images that the request names by URL are not fetched yet")]
    NotYet,
}

/// Without the query, which may hold a signature, and without a password.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let plain = format!("{scheme}://{host}{path}");
    match plain.char_indices().nth(CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", plain.get(..end).unwrap_or_default()),
        None => plain.to_owned(),
    }
}

fn remedy(error: &MediaError) -> &'static str {
    match error {
        MediaError::Address(AddressRefused::UserInfo) => "Or send its bytes as a `data:` URL.",
        MediaError::Address(_) | MediaError::Redirect(_) => {
            "Send its bytes as a `data:` URL; the operator allows other addresses with `images.allow`."
        }
        MediaError::TooLarge(_) => "Send a smaller one; the operator sets `images.bytes_max`.",
        MediaError::Redirects
        | MediaError::Unreachable(_)
        | MediaError::Timeout(_)
        | MediaError::Status(_)
        | MediaError::OtherKind(_) => "Give the address of the file itself, or send its bytes as a `data:` URL.",
    }
}

/// What was fetched for a request.
#[derive(Default)]
pub(crate) struct FetchedMedia(HashMap<(String, privet_dialects::linked_media::MediaKind), Media>);

impl FetchedMedia {
    fn get(&self, link: &Link) -> Option<&Media> {
        self.0.get(&(link.url.clone(), link.kind))
    }

    fn bytes(&self) -> usize {
        self.0.values().map(Media::bytes).sum()
    }
}

/// The links of a body that its provider does not follow.
pub(crate) struct OpenLinks {
    provider: String,
    outbound: Dialect,
    follow: Follow,
    links: Vec<Link>,
}

impl OpenLinks {
    /// Of a body written for a target; `None` where there are none.
    pub(crate) fn of(target: &Target, inbound: Inbound, body: &Bytes) -> Option<Self> {
        let Provider::Http(http) = &*target.provider else { return None };
        let follow = http.settings().follow(&target.model, inbound.dialect())?;
        let outbound = target.provider.dialect();
        let links = links(outbound, body, follow);
        let provider = target.provider.name().to_owned();
        (!links.is_empty()).then_some(Self { provider, outbound, follow, links })
    }

    /// Whether all of them were fetched before.
    pub(crate) fn are_in(&self, fetched: &FetchedMedia) -> bool {
        self.links.iter().all(|link| fetched.get(link).is_some())
    }

    /// The body with what was fetched in place of the links.
    pub(crate) fn close(&self, body: &Bytes, fetched: &FetchedMedia) -> Bytes {
        inline(self.outbound, body, self.follow, |link| fetched.get(link))
    }
}

impl Engine {
    /// Fetches what stands at the ends of links and is not there yet.
    ///
    /// # Errors
    /// With the first that does not come, or when they are too many or too large.
    pub(crate) async fn fetch_links(
        &self,
        open: &OpenLinks,
        fetched: &mut FetchedMedia,
        patience: Duration,
    ) -> Result<(), LinkedMediaError> {
        let settings = self.images.settings();
        let (provider, of) = (&open.provider, open.links.len());
        if of > settings.count_max {
            return Err(LinkedMediaError::TooMany { provider: provider.clone(), count: of, most: settings.count_max });
        }
        let failed = |index: usize, link: &Link, error: MediaError| LinkedMediaError::Failed {
            provider: provider.clone(),
            index,
            of,
            url: link.url.clone(),
            error,
        };
        let missing: Vec<(usize, Link)> =
            open.links.iter().cloned().enumerate().filter(|(_, link)| fetched.get(link).is_none()).collect();
        let first = missing.first().cloned();
        let limit = settings.timeout.min(patience);
        let all = async {
            let fetches = missing.into_iter().map(|(index, link)| async move {
                let got = self.images.fetch(&link).await;
                (index, link, got)
            });
            let mut coming = stream::iter(fetches).buffered(AT_ONCE);
            while let Some((index, link, got)) = coming.next().await {
                let media = got.map_err(|error| failed(index, &link, error))?;
                fetched.0.insert((link.url, link.kind), media);
                if fetched.bytes() > settings.request_bytes_max {
                    let most = settings.request_bytes_max;
                    return Err(LinkedMediaError::TooLarge { provider: provider.clone(), most });
                }
            }
            Ok(())
        };
        match (tokio::time::timeout(limit, all).await, first) {
            (Ok(done), _) => done,
            (Err(_), Some((index, link))) => Err(failed(index, &link, MediaError::Timeout(limit))),
            (Err(_), None) => Ok(()),
        }
    }
}
