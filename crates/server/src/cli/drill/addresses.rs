//! The addresses that a drill plays, named to the server by `X-Forwarded-For`. No packet carries them.
//!
//! Each party has a range of its own, so that no attacker uses up the limit of a legitimate user.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A private range: thieves by IPv4.
const THIEVES_V4: u32 = u32::from_be_bytes([10, 0, 0, 0]);
const THIEVES_V4_MASK: u32 = 0x00ff_ffff;
/// The documentation range 2001:db8::/32 holds 2^32 networks of /64: thieves by IPv6.
const THIEVES_V6: u128 = 0x2001_0db8 << 96;
/// The range for measurements, 198.18.0.0/15: who comes without a key.
const STRANGERS: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const STRANGERS_MASK: u32 = 0x0001_ffff;
/// A documentation range, 203.0.113.0/24.
const LEGITIMATE: u32 = u32::from_be_bytes([203, 0, 113, 0]);

/// As many addresses as [`thief`] has.
pub(super) const THIEVES: u64 = 2 * (THIEVES_V4_MASK as u64 + 1);

/// The address of the thief with this number: in turn one of IPv4, and one in an IPv6 /64 that nobody else uses.
pub(super) fn thief(number: u64) -> IpAddr {
    let half = number / 2;
    if number.is_multiple_of(2) {
        let host = u32::try_from(half & u64::from(THIEVES_V4_MASK)).unwrap_or_default();
        return Ipv4Addr::from_bits(THIEVES_V4 | host).into();
    }
    let network = u128::from(half & u64::from(u32::MAX)) << 64;
    // The lower half differs too: a limiter that looked at single addresses would not be told from a right one otherwise.
    Ipv6Addr::from_bits(THIEVES_V6 | network | u128::from(number)).into()
}

/// The address of the stranger with this number.
pub(super) fn stranger(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(STRANGERS | (number & STRANGERS_MASK)).into()
}

/// One of the addresses from which the legitimate user calls.
pub(super) fn legitimate(number: u8) -> IpAddr {
    Ipv4Addr::from_bits(LEGITIMATE | u32::from(number)).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// What the address limiter tells apart: an IPv4 address, or an IPv6 /64.
    fn network(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        }
    }

    #[test]
    fn no_two_thieves_share_an_address_or_a_network_and_half_are_ipv6() {
        let thieves: Vec<IpAddr> = (0..200_000).map(thief).chain((THIEVES - 1_000..THIEVES).map(thief)).collect();
        let networks: HashSet<u128> = thieves.iter().map(|address| network(*address)).collect();
        assert_eq!(networks.len(), thieves.len());
        assert_eq!(thieves.iter().filter(|address| address.is_ipv6()).count() * 2, thieves.len());
    }

    #[test]
    fn every_party_keeps_to_its_range() {
        assert_eq!(thief(0).to_string(), "10.0.0.0");
        assert_eq!(thief(THIEVES - 2).to_string(), "10.255.255.255");
        assert_eq!(thief(3).to_string(), "2001:db8:0:1::3");
        assert_eq!(stranger(0).to_string(), "198.18.0.0");
        assert_eq!(stranger(STRANGERS_MASK).to_string(), "198.19.255.255");
        assert_eq!(legitimate(255).to_string(), "203.0.113.255");
    }
}
