//! Sending observations that ended to a collector, in the order of their end, beside the requests.
//!
//! What is sent leaves the queue of the store only after the collector has it, so that nothing is missing whoever dies; after a
//! crash some may come twice, under the same ids. Of several servers one sends.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use privet_dialects::otlp::{Outgoing, decode_reply, encode_export};
use privet_domain::id::ProjectId;
use privet_providers::{Collector, CollectorError};
use privet_store::{Lease, QueuedObservation, SharedWork, StoreError};

use crate::Engine;

/// So many observations are sent together, and no more once they have so many bytes.
const BATCH_OBSERVATIONS: u32 = 512;
const BATCH_BYTES: usize = 4 << 20;
/// An empty queue is looked at again after this time.
const IDLE: Duration = Duration::from_secs(1);
/// Another server has the right to send; is it still there?
const LEASE_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// No collector makes us wait longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Where traces go besides.
pub struct Export {
    /// The collector.
    pub collector: Collector,
    /// The names of the projects whose traces it gets; empty for all.
    pub projects: Vec<String>,
}

/// Why a batch was not sent.
enum Unsent {
    Store(StoreError),
    Collector(CollectorError),
}

impl From<StoreError> for Unsent {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Export {
    /// Sends, for ever.
    pub async fn follow(&self, engine: &Engine) {
        let mut names = HashMap::new();
        let mut failures = 0;
        loop {
            let mut lease = match engine.traces.store.lease(SharedWork::Export).await {
                Ok(Some(lease)) => lease,
                Ok(None) => {
                    tokio::time::sleep(LEASE_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "traces are not exported until the database answers");
                    tokio::time::sleep(LEASE_PAUSE).await;
                    continue;
                }
            };
            self.send_while_held(engine, &mut lease, &mut names, &mut failures).await;
        }
    }

    async fn send_while_held(
        &self,
        engine: &Engine,
        lease: &mut Lease,
        names: &mut HashMap<ProjectId, String>,
        failures: &mut u32,
    ) {
        while lease.is_held().await {
            let pause = match self.send_next(engine, names).await {
                Ok(true) => {
                    *failures = 0;
                    continue;
                }
                Ok(false) => {
                    *failures = 0;
                    IDLE
                }
                Err(unsent) => {
                    *failures = failures.saturating_add(1);
                    metrics::counter!("privet_trace_export_failures_total").increment(1);
                    // Without randomness all servers would try at once, which is no harm.
                    pause_of(&unsent, *failures, getrandom::u64().unwrap_or(u64::MAX))
                }
            };
            tell_backlog(engine).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends the first of the queue; `false` if there is nothing.
    async fn send_next(&self, engine: &Engine, names: &mut HashMap<ProjectId, String>) -> Result<bool, Unsent> {
        let store = &engine.traces.store;
        let queued = store.queued_for_export(BATCH_OBSERVATIONS, BATCH_BYTES).await?;
        let Some(last) = queued.last().map(|one| one.seq) else { return Ok(false) };
        let outgoing = self.outgoing(engine, names, queued).await?;
        self.send(outgoing).await?;
        store.exported(last).await?;
        Ok(true)
    }

    /// What of the queue is to be sent.
    async fn outgoing(
        &self,
        engine: &Engine,
        names: &mut HashMap<ProjectId, String>,
        queued: Vec<QueuedObservation>,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let mut outgoing = Vec::with_capacity(queued.len());
        let mut expired = 0_u64;
        for QueuedObservation { project, observation, .. } in queued {
            let Some((trace, observation)) = observation else {
                expired += 1;
                continue;
            };
            let project_name = match names.get(&project) {
                Some(name) => name.clone(),
                None => {
                    let name = engine.store.project_name(project).await?.unwrap_or_else(|| project.to_string());
                    names.insert(project, name.clone());
                    name
                }
            };
            if self.projects.is_empty() || self.projects.contains(&project_name) {
                outgoing.push(Outgoing { project, project_name, trace, observation });
            }
        }
        if expired > 0 {
            metrics::counter!("privet_trace_export_dropped_total", "reason" => "expired").increment(expired);
            tracing::error!(observations = expired, "observations expired or were deleted before they were exported");
        }
        Ok(outgoing)
    }

    /// Sends them all. What a collector will never take is found by halves, and dropped.
    async fn send(&self, outgoing: Vec<Outgoing>) -> Result<(), Unsent> {
        let mut parts = vec![outgoing];
        while let Some(mut part) = parts.pop() {
            let count = part.len();
            if count == 0 {
                continue;
            }
            let (returned, body) = encoded(part).await?;
            part = returned;
            match self.collector.send(body).await {
                Ok(reply) => told(count, decode_reply(&reply)),
                Err(CollectorError::Rejected(_)) if count > 1 => {
                    let second = part.split_off(count / 2);
                    parts.extend([second, part]);
                }
                Err(error @ CollectorError::Rejected(_)) => {
                    metrics::counter!("privet_trace_export_dropped_total", "reason" => "rejected").increment(1);
                    let id = part.first().map(|one| one.observation.id.to_string()).unwrap_or_default();
                    tracing::error!(%error, observation = id, "an observation is not exported");
                }
                Err(error) => return Err(Unsent::Collector(error)),
            }
        }
        Ok(())
    }
}

/// Protobuf, compressed; off the runtime's threads.
async fn encoded(outgoing: Vec<Outgoing>) -> Result<(Vec<Outgoing>, Bytes), StoreError> {
    let work = move || {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // A vector takes all that is written to it.
        let written = gzip.write_all(&encode_export(&outgoing)).and_then(|()| gzip.finish());
        written.map(|body| (outgoing, Bytes::from(body)))
    };
    let failed = |reason: String| StoreError::Unavailable(format!("an export could not be encoded: {reason}"));
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?;
    done.map_err(|error| failed(error.to_string()))
}

fn told(count: usize, rejected: Option<(u64, String)>) {
    let (rejected, reason) = rejected.unwrap_or_default();
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    metrics::counter!("privet_trace_exported_total").increment(count.saturating_sub(rejected));
    if rejected > 0 {
        metrics::counter!("privet_trace_export_dropped_total", "reason" => "rejected").increment(rejected);
        tracing::error!(observations = rejected, reason, "the collector did not keep some observations");
    }
}

async fn tell_backlog(engine: &Engine) {
    let Ok(backlog) = engine.traces.store.export_backlog().await else { return };
    let age = backlog.since.map(|since| engine.clock.now().as_micros() - since.as_nanos() / 1_000);
    metrics::gauge!("privet_trace_export_queue").set(backlog.observations as f64);
    metrics::gauge!("privet_trace_export_age_seconds").set(age.unwrap_or(0).max(0) as f64 / 1e6);
}

/// How long to wait after so many failures in a row.
fn pause_of(unsent: &Unsent, failures: u32, random: u64) -> Duration {
    match unsent {
        Unsent::Store(error) => tracing::warn!(%error, "traces wait for their export"),
        Unsent::Collector(error) => tracing::warn!(%error, failures, "traces wait for their export"),
    }
    let longest = match unsent {
        Unsent::Collector(CollectorError::Refused(_)) => LONGEST_PAUSE,
        _ => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_PAUSE),
    };
    // Half of it for sure, the other half by chance.
    let millis = u64::try_from(longest.as_millis() / 2).unwrap_or(u64::MAX);
    let pause = Duration::from_millis(millis + random % millis.saturating_add(1));
    match unsent {
        Unsent::Collector(CollectorError::Busy { retry_after: Some(wait), .. }) => {
            pause.max(*wait).min(RETRY_AFTER_MAX)
        }
        _ => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_chance_and_honour_what_the_collector_asks_for() {
        let busy = |retry_after| Unsent::Collector(CollectorError::Busy { status: 503, retry_after });
        assert_eq!(pause_of(&busy(None), 1, 0), Duration::from_millis(500));
        assert_eq!(pause_of(&busy(None), 1, 500), Duration::from_secs(1));
        assert_eq!(pause_of(&busy(None), 40, 0), Duration::from_secs(30));
        assert_eq!(pause_of(&busy(Some(Duration::from_secs(90))), 1, 0), Duration::from_secs(90));
        assert_eq!(pause_of(&busy(Some(Duration::from_secs(9_000))), 1, 0), RETRY_AFTER_MAX);
        assert_eq!(pause_of(&Unsent::Collector(CollectorError::Refused(401)), 1, 0), Duration::from_secs(30));
    }
}
