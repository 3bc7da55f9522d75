//! The limits of an address: requests to `/api/chat`, to the other routes, and refused keys.
//!
//! Each is GCRA over one table of fixed size, in monotonic time: no step of the clock opens or shuts the door.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use privet_domain::id::ApiKeyId;
use privet_domain::rate::Rate;

use super::address::ClientAddress;
use super::address_table::{AddressTable, Shared, Slot};
use super::rate_status::{Counts, RateStatus};
use crate::config::DoorSettings;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// Requests to `/api/chat`.
    Chat,
    /// Requests to every other route that takes a key.
    Api,
    /// Keys that were refused.
    RefusedKey,
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) status: RateStatus,
    /// Until the next one would be served.
    pub(crate) wait: Duration,
}

/// The limits of all addresses.
pub(crate) struct AddressLimiter<C: Clock = MonotonicClock> {
    table: Arc<AddressTable>,
    chat: Option<Limit<C>>,
    api: Option<Limit<C>>,
    refused: Option<Limit<C>>,
    clock: C,
}

struct Limit<C: Clock> {
    rate: Rate,
    limiter: RateLimiter<Slot, Shared, C, StateInformationMiddleware>,
}

impl<C: Clock + Clone> Limit<C> {
    fn new(rate: Rate, table: &Arc<AddressTable>, clock: &C) -> Option<Self> {
        let limiter = RateLimiter::new(quota(rate)?, Shared(table.clone()), clock.clone());
        Some(Self { rate, limiter })
    }
}

impl AddressLimiter {
    pub(crate) fn new(settings: &DoorSettings) -> Self {
        Self::with_clock(settings, MonotonicClock)
    }
}

impl<C: Clock + Clone> AddressLimiter<C> {
    fn with_clock(settings: &DoorSettings, clock: C) -> Self {
        let table = AddressTable::new();
        let limit = |rate: Option<Rate>| Limit::new(rate?, &table, &clock);
        let (chat, api, refused) = (limit(settings.chat), limit(settings.api), limit(settings.refused));
        Self { table, chat, api, refused, clock }
    }

    /// Counts one; `None` where there is no such limit.
    pub(crate) fn count(&self, address: ClientAddress, counted: Counted) -> Result<Option<RateStatus>, Exceeded> {
        self.ask(counted, &self.table.counted((address.counted(), counted)))
    }

    /// Whether one more would be refused, without counting it.
    pub(crate) fn look(&self, address: ClientAddress, counted: Counted) -> Result<Option<RateStatus>, Exceeded> {
        self.ask(counted, &self.table.looked_at((address.counted(), counted)))
    }

    fn ask(&self, counted: Counted, slot: &Slot) -> Result<Option<RateStatus>, Exceeded> {
        let limit = match counted {
            Counted::Chat => &self.chat,
            Counted::Api => &self.api,
            Counted::RefusedKey => &self.refused,
        };
        limit.as_ref().map(|limit| self.ask_limit(limit, slot)).transpose()
    }

    /// Counts one by a rate of the key's own.
    pub(crate) fn count_of_key(
        &self,
        address: ClientAddress,
        key: ApiKeyId,
        rate: Rate,
    ) -> Result<Option<RateStatus>, Exceeded> {
        // The state is in the table; what is made here is only the rule.
        let Some(limit) = Limit::new(rate, &self.table, &self.clock) else { return Ok(None) };
        self.ask_limit(&limit, &self.table.counted((address.counted(), key))).map(Some)
    }

    fn ask_limit(&self, Limit { rate, limiter }: &Limit<C>, slot: &Slot) -> Result<RateStatus, Exceeded> {
        let (count, interval) = (rate.count.get(), interval(*rate));
        match limiter.check_key(slot) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity().min(count);
                let reset = interval.saturating_mul(count - remaining);
                Ok(RateStatus { counts: Counts::Requests, policy: *rate, remaining, reset })
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let reset = wait.saturating_add(interval.saturating_mul(count - 1));
                Err(Exceeded {
                    status: RateStatus { counts: Counts::Requests, policy: *rate, remaining: 0, reset },
                    wait,
                })
            }
        }
    }
}

fn quota(rate: Rate) -> Option<Quota> {
    Quota::with_period(interval(rate)).map(|quota| quota.allow_burst(rate.count))
}

/// The time that one of them takes to come back, rounded up: never more than the rate says.
fn interval(rate: Rate) -> Duration {
    let nanos = rate.per.as_nanos().div_ceil(u128::from(rate.count.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(chat: &str, refused: &str) -> (AddressLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let settings =
            DoorSettings { chat: chat.parse().ok(), refused: refused.parse().ok(), ..DoorSettings::default() };
        (AddressLimiter::with_clock(&settings, clock.clone()), clock)
    }

    fn address(text: &str) -> ClientAddress {
        ClientAddress::from(text.parse::<IpAddr>().unwrap())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_request_in_ten_seconds_is_one() {
        let (limiter, clock) = limiter("1/10s", "off");
        let (me, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let status = limiter.count(me, Counted::Chat).unwrap().unwrap();
        assert_eq!((status.remaining, status.reset), (0, seconds(10)));
        clock.advance(seconds(4));
        let exceeded = limiter.count(me, Counted::Chat).unwrap_err();
        assert_eq!((exceeded.wait, exceeded.status.reset, exceeded.status.remaining), (seconds(6), seconds(6), 0));
        assert!(limiter.count(other, Counted::Chat).is_ok());
        clock.advance(seconds(6));
        assert!(limiter.count(me, Counted::Chat).is_ok(), "a refused request does not prolong the wait");
        assert_eq!(limiter.count(me, Counted::Api), Ok(None), "no limit is set for it");
    }

    #[test]
    fn a_burst_is_served_and_comes_back_bit_by_bit() {
        let (limiter, clock) = limiter("20/1m", "off");
        let me = address("192.0.2.1");
        let served = |tries: u32| (0..tries).filter(|_| limiter.count(me, Counted::Chat).is_ok()).count();
        assert_eq!(served(50), 20);
        clock.advance(seconds(9));
        assert_eq!(served(50), 3);
        assert_eq!(limiter.count(me, Counted::Chat).unwrap_err().status.reset, seconds(60));
        clock.advance(seconds(3600));
        assert_eq!(served(50), 20, "no more than the burst gathers");
    }

    #[test]
    fn looking_counts_nothing_and_sees_what_was_counted() {
        let (limiter, clock) = limiter("off", "5/1m");
        let me = address("192.0.2.1");
        for _ in 0..5 {
            for _ in 0..10 {
                assert!(limiter.look(me, Counted::RefusedKey).is_ok());
            }
            assert!(limiter.count(me, Counted::RefusedKey).is_ok());
        }
        assert_eq!(limiter.look(me, Counted::RefusedKey).unwrap_err().wait, seconds(12));
        clock.advance(seconds(12));
        assert!(limiter.look(me, Counted::RefusedKey).is_ok());
    }

    #[test]
    fn fault_04_ipv6_counts_by_network_and_the_classes_apart() {
        let (limiter, _clock) = limiter("1/10s", "1/10s");
        assert!(limiter.count(address("2001:db8:0:1::1"), Counted::Chat).is_ok());
        assert!(limiter.count(address("2001:db8:0:1:ffff::2"), Counted::Chat).is_err());
        assert!(limiter.count(address("2001:db8:0:2::1"), Counted::Chat).is_ok());
        assert!(limiter.count(address("2001:db8:0:1::1"), Counted::RefusedKey).is_ok());
    }

    #[test]
    fn fault_04_a_million_addresses_fit_and_the_last_ones_are_still_known() {
        let (limiter, _clock) = limiter("1/10s", "5/1m");
        let blocked = address("192.0.2.1");
        while limiter.count(blocked, Counted::RefusedKey).is_ok() {}
        let one = limiter.table.bytes();
        assert!(one < 64 * 1024, "memory is taken as it is needed: {one}");
        let nth = |n: u32| match n % 2 {
            0 => address(&Ipv4Addr::from_bits(0x0a00_0000 + n).to_string()),
            _ => address(&Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (u128::from(n) << 64)).to_string()),
        };
        for n in 0..1_000_000 {
            assert!(limiter.count(nth(n), Counted::Chat).is_ok(), "no address suffers from others: {n}");
        }
        assert!(limiter.table.bytes() <= 16 * 1024 * 1024, "{}", limiter.table.bytes());
        let known = (999_000..1_000_000).filter(|&n| limiter.count(nth(n), Counted::Chat).is_err()).count();
        assert!(known >= 950, "{known} of the last 1000 are known");
        assert!(limiter.look(blocked, Counted::RefusedKey).is_err(), "who waits longest is forgotten last");
    }

    #[test]
    fn extreme_rates_are_kept() {
        for rate in ["4294967295/1ms", "1/366d", "4294967295/366d", "7/1s"] {
            let (limiter, _clock) = limiter(rate, "off");
            assert!(limiter.count(address("192.0.2.1"), Counted::Chat).unwrap().is_some(), "{rate}");
        }
    }
}
