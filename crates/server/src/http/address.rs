//! The client's address: who connects, or who a trusted proxy says stands behind it.
//!
//! A header is believed only as far as somebody trusted wrote it. Whatever cannot be read falls back to the last address that
//! was believed, so that garbage leads to a stricter limit and never around one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::config::{TrustedProxies, TrustedRanges};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");

/// The other end of the connection, which the accept loop puts into each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address of the client. An IPv4 address that came in the clothes of IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Finds it in a request.
    pub(crate) fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        // A request without a peer shares one address with all others of its kind.
        let peer = extensions.get::<Peer>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0.to_canonical());
        Self::from(match trusted {
            TrustedProxies::Nobody => peer,
            TrustedProxies::Hops(hops) => behind(peer, forwarded_for(headers).take(hops.get()), hops.get()),
            TrustedProxies::Ranges(ranges) => behind_ranges(peer, headers, ranges),
        })
    }

    /// What the limiter counts: an IPv4 address whole, of an IPv6 address the network, because a client has all of it.
    pub(crate) fn counted(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

/// The address so many proxies away. Too few of them told: the peer.
fn behind(peer: IpAddr, entries: impl Iterator<Item = Option<IpAddr>>, hops: usize) -> IpAddr {
    let mut address = peer;
    let mut passed = 0;
    for entry in entries {
        let Some(entry) = entry else { return address };
        address = entry;
        passed += 1;
    }
    if passed == hops { address } else { peer }
}

fn behind_ranges(peer: IpAddr, headers: &HeaderMap, ranges: &TrustedRanges) -> IpAddr {
    if !ranges.contains(peer) {
        return peer;
    }
    if ranges.is_cloudflare(peer)
        && let Some(address) = only(headers, &CF_CONNECTING_IP)
    {
        return address;
    }
    if headers.contains_key(&X_FORWARDED_FOR) {
        return first_untrusted(peer, forwarded_for(headers), ranges);
    }
    first_untrusted(peer, forwarded(headers), ranges)
}

/// Walks from the server towards the client for as long as whoever speaks is trusted.
fn first_untrusted(peer: IpAddr, entries: impl Iterator<Item = Option<IpAddr>>, ranges: &TrustedRanges) -> IpAddr {
    let mut address = peer;
    for entry in entries {
        let Some(entry) = entry.filter(|_| ranges.contains(address)) else { return address };
        address = entry;
    }
    address
}

/// The address in a header that stands there once.
fn only(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    address(value.as_bytes())
}

/// The entries of `X-Forwarded-For` from the last one on, those that are no addresses as `None`.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    last_to_first(headers, &X_FORWARDED_FOR).map(address)
}

/// The same of `Forwarded` (RFC 7239).
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    last_to_first(headers, &FORWARDED).map(forwarded_element)
}

/// The elements of a list header, all lines joined. In bytes: what one sender garbles must not hide what another added.
fn last_to_first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    let elements = lines.into_iter().rev().flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The `for` of one element. Elements are split without regard to quotes, so one with half a quoted string is part of
/// something longer (a `host` with a comma, say) and no word of the proxy about the client.
fn forwarded_element(element: &[u8]) -> Option<IpAddr> {
    let element = std::str::from_utf8(element).ok()?;
    if element.contains('\\') || element.bytes().filter(|&byte| byte == b'"').count() % 2 == 1 {
        return None;
    }
    let mut named = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let value = named.next().filter(|_| named.next().is_none())?;
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    address(unquoted.unwrap_or(value).as_bytes())
}

/// An address, perhaps with a port, which some proxies add.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    address.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
#[path = "address/tests.rs"]
mod tests;
