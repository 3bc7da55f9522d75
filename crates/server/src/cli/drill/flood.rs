//! The flood: so many requests over so many kept connections, each as fast as it is answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::task::JoinSet;

use super::addresses;
use super::connection::{Answer, Ask, Connection};

/// After a request without an answer: a server that takes no connection must not turn the flood into a busy loop.
const BREAKDOWN_PAUSE: Duration = Duration::from_millis(10);

/// Whose requests they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    /// Each connection is another stranger.
    Strangers,
    /// Each request is another thief.
    Thieves,
}

/// What to send.
pub(super) struct Flood {
    pub(super) server: SocketAddr,
    pub(super) crowd: Crowd,
    pub(super) ask: Ask,
    pub(super) requests: u64,
    pub(super) connections: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Tally {
    /// Requests that were sent.
    pub(super) requests: u64,
    /// Answers with a 2xx.
    pub(super) served: u64,
    /// Answers of a gate.
    pub(super) refused: u64,
    /// Requests without an answer.
    pub(super) unanswered: u64,
    /// Answers by status.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Refusals by gate.
    pub(super) gates: BTreeMap<String, u64>,
    /// What the first request without an answer came to.
    pub(super) first_breakdown: Option<String>,
}

impl Crowd {
    fn address(self, connection: u32, request: u64) -> IpAddr {
        match self {
            Self::Strangers => addresses::stranger(connection),
            Self::Thieves => addresses::thief(request),
        }
    }
}

impl Flood {
    /// Sends everything. Dropping the future ends it at once.
    pub(super) async fn run(self, progress: &ProgressBar) -> Result<Tally> {
        let connections = self.connections;
        let (flood, next) = (Arc::new(self), Arc::new(AtomicU64::new(0)));
        let mut workers = JoinSet::new();
        for number in 0..connections {
            let connection = Connection::new(flood.server)?;
            workers.spawn(worker(flood.clone(), number, connection, next.clone(), progress.clone()));
        }
        let mut total = Tally::default();
        while let Some(joined) = workers.join_next().await {
            total.merge(joined?);
        }
        Ok(total)
    }
}

async fn worker(
    flood: Arc<Flood>,
    number: u32,
    mut connection: Connection,
    next: Arc<AtomicU64>,
    progress: ProgressBar,
) -> Tally {
    let mut tally = Tally::default();
    loop {
        let request = next.fetch_add(1, Ordering::Relaxed);
        if request >= flood.requests {
            return tally;
        }
        let answer = connection.ask(&flood.ask, flood.crowd.address(number, request)).await;
        let broke_down = answer.is_err();
        tally.add(answer);
        progress.inc(1);
        if broke_down {
            tokio::time::sleep(BREAKDOWN_PAUSE).await;
        }
    }
}

impl Tally {
    fn add(&mut self, answer: Result<Answer>) {
        self.requests += 1;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unanswered += 1;
                self.first_breakdown.get_or_insert_with(|| format!("{error:#}"));
                return;
            }
        };
        *self.statuses.entry(answer.status.as_u16()).or_default() += 1;
        if answer.status.is_success() {
            self.served += 1;
        }
        let Some(gate) = &answer.gate else { return };
        self.refused += 1;
        let gate = gate.to_str().unwrap_or("unreadable");
        match self.gates.get_mut(gate) {
            Some(count) => *count += 1,
            None => {
                self.gates.insert(gate.to_owned(), 1);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.served += other.served;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (gate, count) in other.gates {
            *self.gates.entry(gate).or_default() += count;
        }
        self.first_breakdown = self.first_breakdown.take().or(other.first_breakdown);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn answer(status: u16, gate: Option<&'static str>) -> Result<Answer> {
        let gate = gate.map(HeaderValue::from_static);
        Ok(Answer { status: StatusCode::from_u16(status).unwrap(), gate, body: Bytes::new() })
    }

    #[test]
    fn answers_are_counted_by_status_and_by_gate() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        tally.add(answer(200, None));
        tally.add(answer(429, Some("address")));
        tally.add(Err(anyhow::anyhow!("no answer")));
        other.add(answer(429, Some("address")));
        other.add(answer(429, Some("rate")));
        other.add(answer(502, None));
        tally.merge(other);
        assert_eq!((tally.requests, tally.served, tally.refused, tally.unanswered), (6, 1, 3, 1));
        assert_eq!(tally.statuses, BTreeMap::from([(200, 1), (429, 3), (502, 1)]));
        assert_eq!(tally.gates, BTreeMap::from([("address".to_owned(), 2), ("rate".to_owned(), 1)]));
        assert_eq!(tally.first_breakdown.as_deref(), Some("no answer"));
    }

    #[test]
    fn strangers_keep_their_address_and_thieves_change_it() {
        assert_eq!(Crowd::Strangers.address(7, 1), Crowd::Strangers.address(7, 2));
        assert_ne!(Crowd::Thieves.address(7, 1), Crowd::Thieves.address(7, 2));
    }
}
