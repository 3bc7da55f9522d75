//! What runs beside the requests: following keys, switches and prompts, tending the shares of the budgets, late settlements, the log of
//! refusals, old answers of Idempotency-Keys and of the cache, old traces, their export, the memory's outbox, its descriptions and what has expired of it, budget alerts,
//! the upkeep of metrics.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use privet_engine::Engine;
use privet_engine::alerts::Alerts;
use privet_engine::traces::{Export, Retention};
use tokio::task::JoinSet;

use crate::http::idempotency;

/// Samples of histograms are put into their buckets this often.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What is done beside the requests as the configuration says.
pub(crate) struct Duties {
    pub(crate) alerts: Option<Alerts>,
    pub(crate) retention: Retention,
    pub(crate) export: Option<Export>,
}

/// The tasks beside the requests; dropped, they end.
pub(crate) struct Beside(JoinSet<()>);

impl Beside {
    pub(crate) fn start(engine: &Arc<Engine>, metrics: PrometheusHandle, duties: Duties) -> Self {
        let Duties { alerts, retention, export } = duties;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(METRICS_UPKEEP).await;
                metrics.run_upkeep();
            }
        });
        let own = engine.clone();
        tasks.spawn(async move { own.keyring.follow().await });
        let own = engine.clone();
        tasks.spawn(async move { own.follow_switches().await });
        let own = engine.clone();
        tasks.spawn(async move { own.prompts.follow().await });
        let own = engine.clone();
        tasks.spawn(async move { own.budgets.tend().await });
        let own = engine.clone();
        tasks.spawn(async move { own.settle_late().await });
        let own = engine.clone();
        tasks.spawn(async move { own.refusals.follow(&own.store).await });
        let own = engine.clone();
        tasks.spawn(async move { idempotency::purge(&own).await });
        let own = engine.clone();
        tasks.spawn(async move { own.expire_cached_answers().await });
        let own = engine.clone();
        tasks.spawn(async move { retention.follow(&own.traces.store, &*own.clock).await });
        let own = engine.clone();
        tasks.spawn(async move {
            if let Some(memory) = &own.memory {
                memory.until_index_is_ready().await;
                memory.follow(&own).await;
            }
        });
        let own = engine.clone();
        tasks.spawn(async move { own.expire_memories().await });
        let own = engine.clone();
        tasks.spawn(async move {
            if let Some(memory) = &own.memory {
                memory.describe(&own).await;
            }
        });
        if let Some(export) = export {
            let own = engine.clone();
            tasks.spawn(async move { export.follow(&own).await });
        }
        if let Some(alerts) = alerts {
            let own = engine.clone();
            tasks.spawn(async move { alerts.follow(&own).await });
        }
        Self(tasks)
    }

    /// Ends the tasks, and does a last time what they would have done.
    pub(crate) async fn stop(mut self, engine: &Engine) {
        self.0.shutdown().await;
        engine.settle_last().await;
        engine.refusals.write(&engine.store).await;
        if let Err(error) = engine.keyring.write_uses().await {
            tracing::warn!(%error, "when the keys were last used is not written");
        }
        if let Err(error) = engine.budgets.retire().await {
            tracing::warn!(%error, "the share of the budgets is not returned; the next server takes it back");
        }
    }
}
