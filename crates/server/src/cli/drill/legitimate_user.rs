//! The legitimate user: somebody with a valid key who calls while the flood runs, and who should not feel it.
//!
//! Calls leave at fixed times, whether or not earlier ones are answered, each over a new connection: a server that stalls
//! would be asked less while it does otherwise, and look better than it is. No address calls more than once in 10 s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use secrecy::SecretString;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::addresses;
use super::connection::{Ask, Connection};

/// Between two calls.
const INTERVAL: Duration = Duration::from_millis(100);
/// Between the first calls, so that they fall into the shortest flood.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);
/// In turn: each calls once in 12 s, which leaves 2 s for a late timer before the limit of one in 10 s.
const ADDRESSES: u8 = 120;
/// However short the flood is.
const CALLS_MIN: usize = 3;

/// Who calls.
pub(super) struct LegitimateUser {
    server: SocketAddr,
    ask: Arc<Ask>,
    next_address: u8,
}

/// What the user saw.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Visits {
    pub(super) calls: usize,
    pub(super) served: usize,
    /// 99 of 100 calls were whole within this time; connecting is a part of it.
    pub(super) p99_micros: u64,
    pub(super) max_micros: u64,
    /// What the first call that was not served came to.
    pub(super) first_refusal: Option<String>,
}

impl LegitimateUser {
    /// Asks another model than the attackers do, so that the upstream's bill tells who was served.
    pub(super) fn new(server: SocketAddr, key: &SecretString, model: &str) -> Result<Self> {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Good morning!"}}]}}"#);
        Ok(Self { server, ask: Arc::new(Ask::post("/api/chat", Some(key), body)?), next_address: 0 })
    }

    /// Calls again and again until the flood is over.
    pub(super) async fn call_until(&mut self, over: CancellationToken) -> Result<Visits> {
        let mut calls = JoinSet::new();
        let mut due = tokio::time::Instant::now();
        while calls.len() < CALLS_MIN || !over.is_cancelled() {
            due += if calls.len() < CALLS_MIN { FIRST_INTERVAL } else { INTERVAL };
            tokio::time::sleep_until(due).await;
            let from = addresses::legitimate(self.next_address);
            self.next_address = (self.next_address + 1) % ADDRESSES;
            let (mut connection, ask) = (Connection::new(self.server)?, self.ask.clone());
            calls.spawn(async move {
                let since = Instant::now();
                let answer = connection.ask(&ask, from).await;
                (since.elapsed(), answer)
            });
        }
        let mut visits = Visits::default();
        let mut latencies = Vec::with_capacity(calls.len());
        while let Some(joined) = calls.join_next().await {
            let (latency, answer) = joined?;
            latencies.push(latency);
            match answer {
                Ok(answer) if answer.status.is_success() => visits.served += 1,
                Ok(answer) => {
                    let body = String::from_utf8_lossy(&answer.body);
                    visits.first_refusal.get_or_insert_with(|| format!("{}: {body}", answer.status));
                }
                Err(error) => {
                    visits.first_refusal.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
        latencies.sort_unstable();
        visits.calls = latencies.len();
        visits.p99_micros = micros(percentile(&latencies, 99));
        visits.max_micros = micros(percentile(&latencies, 100));
        Ok(visits)
    }
}

/// The smallest of the sorted values that so many in a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values_and_never_too_low() {
        let values = |count: u64| (1..=count).map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(percentile(&values(1000), 99), Duration::from_millis(990));
        assert_eq!(percentile(&values(101), 99), Duration::from_millis(100));
        assert_eq!(percentile(&values(3), 99), Duration::from_millis(3));
        assert_eq!(percentile(&values(3), 100), Duration::from_millis(3));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn no_address_calls_more_than_once_in_ten_seconds() {
        assert!(INTERVAL * u32::from(ADDRESSES) >= Duration::from_secs(11));
    }
}
