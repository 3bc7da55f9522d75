//! The gates between a valid key and the money: how many requests and tokens in how long a time, and how many at once.
//!
//! They count in memory and by monotonic time; a restart begins with empty counts, the money does not (see [`crate::budget`]).

mod sliding_count;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use privet_domain::id::ApiKeyId;
use privet_domain::rate::Rate;
use tokio::time::Instant;

use sliding_count::SlidingCount;

/// What a rate leaves: for the headers of an answer, and for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStanding {
    /// The rate.
    pub rate: Rate,
    /// How many are left now.
    pub remaining: u32,
    /// Until all are there again.
    pub resets_in: Duration,
    /// Until one is there again; nothing if one is there.
    pub retry_in: Duration,
}

/// Too many calls at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// Of this key, of which so many may be.
    Key(u32),
    /// Of all keys, of which so many may be.
    Server(u32),
}

/// The counts of a server, by line of keys.
#[derive(Default)]
pub struct Gates {
    requests: Mutex<HashMap<(ApiKeyId, Rate), SlidingCount>>,
    tokens: Mutex<HashMap<(ApiKeyId, Rate), SlidingCount>>,
    under_way: Arc<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    by_key: Mutex<HashMap<ApiKeyId, u32>>,
    all: Mutex<u32>,
}

impl Gates {
    /// Counts a request against all rates of a key, or against none if one of them is used up. Gives the tightest.
    ///
    /// # Errors
    /// With the rate that is used up.
    pub fn take_request(&self, key: ApiKeyId, rates: &[Rate]) -> Result<Option<RateStanding>, RateStanding> {
        let now = Instant::now();
        let mut counts = lock(&self.requests);
        let mut tightest: Option<RateStanding> = None;
        for &rate in rates {
            let count = counts.entry((key, rate)).or_insert_with(|| SlidingCount::new(now));
            let standing = count.standing(rate, now);
            if standing.remaining == 0 {
                return Err(standing);
            }
        }
        for &rate in rates {
            if let Some(count) = counts.get_mut(&(key, rate)) {
                count.add(rate, 1, now);
                let standing = count.standing(rate, now);
                tightest = Some(match tightest {
                    Some(other) if other.remaining <= standing.remaining => other,
                    _ => standing,
                });
            }
        }
        Ok(tightest)
    }

    /// Counts tokens that a request will use, as far as they are known before it; none if one of the rates is used up.
    ///
    /// # Errors
    /// With the rate that is used up.
    pub fn take_tokens(&self, key: ApiKeyId, rates: &[Rate], tokens: u64) -> Result<(), RateStanding> {
        let now = Instant::now();
        let mut counts = lock(&self.tokens);
        for &rate in rates {
            let count = counts.entry((key, rate)).or_insert_with(|| SlidingCount::new(now));
            let standing = count.standing(rate, now);
            if standing.remaining == 0 {
                return Err(standing);
            }
        }
        drop(counts);
        self.add_tokens(key, rates, tokens);
        Ok(())
    }

    /// How a key stands with its rates of tokens: the tightest. Counts nothing.
    pub fn token_standing(&self, key: ApiKeyId, rates: &[Rate]) -> Option<RateStanding> {
        let now = Instant::now();
        let mut counts = lock(&self.tokens);
        let standings = rates.iter().map(|&rate| {
            let count = counts.entry((key, rate)).or_insert_with(|| SlidingCount::new(now));
            count.standing(rate, now)
        });
        standings.min_by_key(|standing| standing.remaining)
    }

    /// Counts further tokens of a request that was let in.
    pub fn add_tokens(&self, key: ApiKeyId, rates: &[Rate], tokens: u64) {
        let now = Instant::now();
        let mut counts = lock(&self.tokens);
        for &rate in rates {
            if let Some(count) = counts.get_mut(&(key, rate)) {
                count.add(rate, tokens, now);
            }
        }
    }

    /// Takes a place among the calls of a key, if there is one.
    ///
    /// # Errors
    /// When too many are under way.
    pub fn take_place_of_key(&self, key: ApiKeyId, most: u32) -> Result<Place, Crowded> {
        let mut by_key = lock(&self.under_way.by_key);
        let count = by_key.entry(key).or_default();
        if *count >= most {
            return Err(Crowded::Key(most));
        }
        *count += 1;
        Ok(Place { under_way: self.under_way.clone(), key: Some(key) })
    }

    /// Takes a place among the calls of the server, if there is one.
    ///
    /// # Errors
    /// When too many are under way.
    pub fn take_place(&self, most: u32) -> Result<Place, Crowded> {
        let mut all = lock(&self.under_way.all);
        if *all >= most {
            return Err(Crowded::Server(most));
        }
        *all += 1;
        Ok(Place { under_way: self.under_way.clone(), key: None })
    }
}

/// A place among the calls at once, of a key or of the server; given back when dropped.
#[derive(Debug)]
pub struct Place {
    under_way: Arc<UnderWay>,
    key: Option<ApiKeyId>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            let mut all = lock(&self.under_way.all);
            *all = all.saturating_sub(1);
            return;
        };
        let mut by_key = lock(&self.under_way.by_key);
        if let Some(count) = by_key.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_key.remove(&key);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_exactly_its_count_through_and_refills_with_time() {
        let (gates, key, rates) = (Gates::default(), ApiKeyId::new(), [rate("20/1m")]);
        let served = || (0..200).filter(|_| gates.take_request(key, &rates).is_ok()).count();
        assert_eq!(served(), 20);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(served(), 0, "the minute is not over");
        let refusal = gates.take_request(key, &rates).unwrap_err();
        assert!(refusal.retry_in > Duration::ZERO && refusal.retry_in <= Duration::from_secs(5), "{refusal:?}");
        tokio::time::advance(refusal.retry_in).await;
        assert_eq!(served(), 1, "as promised");
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(served(), 20);
        assert!(gates.take_request(ApiKeyId::new(), &rates).is_ok(), "another key has its own count");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_request_counts_nowhere() {
        let (gates, key) = (Gates::default(), ApiKeyId::new());
        let rates = [rate("10/1m"), rate("2/1s")];
        assert_eq!((0..5).filter(|_| gates.take_request(key, &rates).is_ok()).count(), 2);
        let standing = gates.take_request(key, &rates[..1]).unwrap().unwrap();
        assert_eq!(standing.remaining, 7, "two were let in, and this one");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_beyond_the_rate_close_the_gate_until_they_are_forgotten() {
        let (gates, key, rates) = (Gates::default(), ApiKeyId::new(), [rate("1000/1m")]);
        gates.take_tokens(key, &rates, 100).unwrap();
        gates.add_tokens(key, &rates, 1500);
        assert!(gates.take_tokens(key, &rates, 1).is_err());
        tokio::time::advance(Duration::from_secs(125)).await;
        gates.take_tokens(key, &rates, 1).unwrap();
    }

    #[tokio::test]
    async fn places_come_back() {
        let (gates, key) = (Gates::default(), ApiKeyId::new());
        let (of_key, of_all) = (gates.take_place_of_key(key, 1).unwrap(), gates.take_place(1).unwrap());
        assert_eq!(gates.take_place_of_key(key, 1).unwrap_err(), Crowded::Key(1));
        assert_eq!(gates.take_place(1).unwrap_err(), Crowded::Server(1));
        gates.take_place_of_key(ApiKeyId::new(), 1).unwrap();
        drop((of_key, of_all));
        gates.take_place_of_key(key, 1).unwrap();
        gates.take_place(1).unwrap();
    }
}
