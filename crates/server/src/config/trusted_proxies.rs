//! Which proxies in front of the server may say who the client is.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use ipnet::IpNet;

/// More proxies than anybody has in a row.
const HOPS_MAX: usize = 16;

/// Cloudflare's addresses, from <https://www.cloudflare.com/ips-v4> and
/// <https://www.cloudflare.com/ips-v6>; written down in 2026-11.
const CLOUDFLARE: [&str; 22] = [
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

/// The proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TrustedProxies {
    /// None: the client is whoever connects.
    #[default]
    Nobody,
    /// So many stand between client and server, whatever their addresses.
    Hops(NonZeroUsize),
    /// Those at these addresses.
    Ranges(TrustedRanges),
}

/// Addresses of proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustedRanges {
    named: Vec<IpNet>,
    cloudflare: Vec<IpNet>,
}

impl TrustedProxies {
    /// Reads nothing, a number of hops, or ranges and names separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Nobody);
        }
        if let Ok(hops) = text.parse::<usize>() {
            let remedy = || format!("write a number of proxies between 1 and {HOPS_MAX}, or leave it out for none");
            return NonZeroUsize::new(hops).filter(|hops| hops.get() <= HOPS_MAX).map(Self::Hops).ok_or_else(remedy);
        }
        let mut ranges = TrustedRanges::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "cloudflare" => ranges.cloudflare = CLOUDFLARE.iter().filter_map(|net| net.parse().ok()).collect(),
                _ => ranges.named.push(range(name)?),
            }
        }
        Ok(Self::Ranges(ranges))
    }
}

impl TrustedRanges {
    /// Whether a proxy at this address is believed.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.named.iter().any(|net| net.contains(&address)) || self.is_cloudflare(address)
    }

    /// Whether it is Cloudflare's, and Cloudflare is believed.
    pub(crate) fn is_cloudflare(&self, address: IpAddr) -> bool {
        self.cloudflare.iter().any(|net| net.contains(&address))
    }
}

/// A range, or one address.
fn range(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let net = net.ok_or_else(|| {
        format!("`{text}` is no range of addresses; write ranges such as \"10.0.0.0/8\", \"cloudflare\", or a number of proxies")
    })?;
    if net.prefix_len() == 0 {
        return Err(format!(
            "`{text}` holds every address, so every client could say that it is another; name the proxies"
        ));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hops_ranges_and_names_are_read() {
        assert_eq!(TrustedProxies::parse(""), Ok(TrustedProxies::Nobody));
        assert!(matches!(TrustedProxies::parse("2"), Ok(TrustedProxies::Hops(hops)) if hops.get() == 2));
        let Ok(TrustedProxies::Ranges(ranges)) = TrustedProxies::parse("10.0.0.0/8, ::1,cloudflare") else { panic!() };
        for (address, trusted, cloudflare) in [
            ("10.255.0.1", true, false),
            ("11.0.0.1", false, false),
            ("::1", true, false),
            ("::2", false, false),
            ("104.16.1.1", true, true),
            ("2606:4700::1", true, true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!((ranges.contains(address), ranges.is_cloudflare(address)), (trusted, cloudflare), "{address}");
        }
    }

    #[test]
    fn every_range_of_cloudflare_is_one() {
        assert!(CLOUDFLARE.iter().all(|net| net.parse::<IpNet>().is_ok_and(|net| net.trunc() == net)));
    }

    #[test]
    fn a_wrong_range_says_what_is_right() {
        for (text, hint) in [
            ("0", "between 1 and 16"),
            ("17", "between 1 and 16"),
            ("-1", "`-1` is no range"),
            ("10.0.0.0/33", "`10.0.0.0/33` is no range"),
            ("10.0.0.1, clodflare", "`clodflare` is no range"),
            ("0.0.0.0/0", "holds every address"),
            ("::/0", "holds every address"),
        ] {
            let error = TrustedProxies::parse(text).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
