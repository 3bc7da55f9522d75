//! Exporting observations, once they have ended, to a collector of the operator's. Beside the requests and never in their way: what
//! the collector does not take waits in the database.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use privet_dialects::otlp::encode_export;
use privet_providers::{Collector, CollectorError};
use privet_store::{StoreError, TraceStore};

/// So many observations go at once.
const BATCH: i64 = 512;
/// Where nothing waits, it is looked for so often.
const IDLE: Duration = Duration::from_millis(500);
/// While another server exports, its end is looked for so often.
const OTHERS_TURN: Duration = Duration::from_secs(5);
/// Waits grow from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(60);
/// However long a collector asks to wait, it is asked again after this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Exports for ever.
pub async fn export(store: &TraceStore, collector: &Collector) {
    let mut wait = FIRST_WAIT;
    loop {
        match turns(store, collector, &mut wait).await {
            Ok(()) => tokio::time::sleep(OTHERS_TURN).await,
            Err(error) => {
                tracing::error!(%error, "traces are not exported now; they will be later");
                tokio::time::sleep(backed_off(&mut wait)).await;
            }
        }
    }
}

/// Exports while it is this server's turn.
async fn turns(store: &TraceStore, collector: &Collector, wait: &mut Duration) -> Result<(), StoreError> {
    let Some(_turn) = store.export_turn().await? else { return Ok(()) };
    loop {
        metrics::gauge!("privet_trace_exports_waiting").set(store.exports_waiting().await? as f64);
        let Some(batch) = store.next_export(BATCH).await? else {
            tokio::time::sleep(IDLE).await;
            continue;
        };
        let packed = pack(&encode_export(&batch.observations, env!("CARGO_PKG_VERSION")));
        match collector.send(packed).await {
            Ok(()) => {
                metrics::counter!("privet_trace_exports_total").increment(batch.observations.len() as u64);
                store.exported(batch.up_to).await?;
                *wait = FIRST_WAIT;
            }
            Err(CollectorError::Refused(status)) => {
                // It would never be taken, and keep all others waiting.
                tracing::error!(
                    status,
                    observations = batch.observations.len(),
                    "the collector refuses an export for good; it is dropped. Check `traces.export.url` and `traces.export.headers`"
                );
                metrics::counter!("privet_trace_exports_refused_total").increment(batch.observations.len() as u64);
                store.exported(batch.up_to).await?;
            }
            Err(CollectorError::Temporary { reason, retry_after }) => {
                let pause = backed_off(wait).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
                tracing::warn!(reason, again_in_ms = pause.as_millis(), "an export waits for the collector");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The next wait: twice the one before, and not the same for all who wait.
fn backed_off(wait: &mut Duration) -> Duration {
    let now = *wait;
    *wait = (now * 2).min(LAST_WAIT);
    let mut random = [0_u8; 1];
    // Without randomness all wait the same, which is a pity and no fault.
    let _ = getrandom::fill(&mut random);
    now.mul_f64(0.5 + f64::from(random[0]) / 512.0)
}

fn pack(protobuf: &[u8]) -> Bytes {
    let mut packed = GzEncoder::new(Vec::with_capacity(protobuf.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = packed.write_all(protobuf);
    packed.finish().map(Bytes::from).unwrap_or_default()
}
