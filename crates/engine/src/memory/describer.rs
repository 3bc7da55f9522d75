//! The worker that has memories described, beside the one that follows the outbox and never in its way. What was said last comes
//! first, what was there before descriptions were asked for comes by a sweep, and all of it at a limited pace.
//!
//! All of it can be repeated: a memory is claimed by a lease, and its description is stored by one transaction with the end of its task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use privet_domain::id::ProjectId;
use privet_domain::memory::{MemoryId, NewRepresentation, Representation};
use privet_domain::rate::Rate;
use privet_store::{DescriptionTask, StoreError};

use super::Memory;
use super::describing::Failure;
use crate::Engine;

/// So many memories of a project are described at once; then comes the next project.
const STEP: u32 = 4;
/// Nobody else takes them before: longer than two calls can last.
const LEASE: Duration = Duration::from_secs(600);
/// It is looked this often for what waits, where nothing is heard of it.
const POLL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// A memory whose description broke off so often is given up.
const ATTEMPTS_MAX: u32 = 8;
/// After so many refusals in a row, of whichever texts, it is not the texts.
const REFUSALS_MAX: u32 = 3;

/// How memories are described, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriberSettings {
    /// The model, by any name that requests may give.
    pub model: String,
    /// What is asked for.
    pub wanted: Vec<Representation>,
    /// A shorter text is not worth it.
    pub bytes_min: usize,
    /// So many are described at most, by each server.
    pub pace: Rate,
}

impl DescriberSettings {
    /// How long one memory takes at the pace.
    fn interval(&self) -> Duration {
        self.pace.per / self.pace.count.get()
    }
}

/// When it is tried again after failures: later each time.
#[derive(Clone, Copy, Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn failed(&mut self, at_least: Option<Duration>) {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        self.until = Instant::now().checked_add(pause.max(at_least.unwrap_or_default()));
    }
}

/// Where the worker is. All of it may be forgotten: a restart finds it again.
struct Round {
    /// From where on it is still to be seen what was there before; `None` when all of it was.
    sweep: Option<Option<MemoryId>>,
    /// The project that was served last.
    project: Option<ProjectId>,
    /// Projects that cannot now.
    paused: HashMap<ProjectId, Pause>,
    /// The describer cannot now.
    pause: Pause,
    /// Texts that were refused since one was described.
    refusals: u32,
}

/// What a step did.
enum Step {
    /// Tried to describe so many.
    Tried(u32),
    /// Looked on for what was there before.
    Swept,
    /// Nothing: there is nothing to do, or not now.
    Nothing,
}

impl Memory {
    /// Has memories described until the future is dropped, where a describer is configured.
    pub async fn describe(&self, engine: &Arc<Engine>) {
        let Some(settings) = &self.settings.describer else { return };
        let mut round =
            Round { sweep: Some(None), project: None, paused: HashMap::new(), pause: Pause::default(), refusals: 0 };
        loop {
            let began = Instant::now();
            match self.describe_and_count(engine, settings, &mut round).await {
                Ok(Step::Tried(count)) => {
                    let time = settings.interval().saturating_mul(count);
                    tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
                }
                // Chats write by the same connection: they get as much of its time.
                Ok(Step::Swept) => tokio::time::sleep(began.elapsed()).await,
                Ok(Step::Nothing) => {
                    let _ = tokio::time::timeout(POLL, self.undescribed.notified()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "memories wait for their descriptions");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Lets what of these memories is worth it wait for a description, where any are made.
    pub(super) async fn queue_descriptions(&self, engine: &Engine, memories: &[MemoryId]) -> Result<(), StoreError> {
        let Some(settings) = &self.settings.describer else { return Ok(()) };
        let queued = self.store.queue_descriptions(memories, settings.bytes_min, engine.clock.now()).await?;
        if queued > 0 {
            self.undescribed.notify_one();
        }
        Ok(())
    }

    async fn describe_and_count(
        &self,
        engine: &Arc<Engine>,
        settings: &DescriberSettings,
        round: &mut Round,
    ) -> Result<Step, StoreError> {
        let step = self.describe_some(engine, settings, round).await?;
        metrics::gauge!("privet_memory_undescribed").set(self.store.undescribed().await? as f64);
        Ok(step)
    }

    async fn describe_some(
        &self,
        engine: &Arc<Engine>,
        settings: &DescriberSettings,
        round: &mut Round,
    ) -> Result<Step, StoreError> {
        if let Some(before) = round.sweep {
            let next = self.store.sweep_descriptions(before, settings.bytes_min, engine.clock.now()).await?;
            round.sweep = next.map(Some);
        }
        let idle = if round.sweep.is_some() { Step::Swept } else { Step::Nothing };
        if !round.pause.is_over() {
            return Ok(idle);
        }
        let Some(project) = self.next_project(engine, round).await? else { return Ok(idle) };
        let now = engine.clock.now();
        let tasks = self.store.claim_descriptions(project, STEP, LEASE, settings.bytes_min, now).await?;
        let described = self.describe_tasks(engine, settings, project, &tasks).await?;
        let mut ends: Vec<_> = tasks.iter().zip(described).collect();
        // Those that succeeded end the pauses that those that failed begin.
        ends.sort_by_key(|(_, made)| made.is_err());
        for (task, made) in ends {
            self.end_task(engine, round, task, made).await?;
        }
        Ok(Step::Tried(u32::try_from(tasks.len()).unwrap_or(STEP)))
    }

    /// The next project in which a memory waits, and that is not paused: each comes in its turn.
    async fn next_project(&self, engine: &Engine, round: &mut Round) -> Result<Option<ProjectId>, StoreError> {
        let mut is_second_round = round.project.is_none();
        loop {
            let found = self.store.next_to_describe(round.project, engine.clock.now()).await?;
            round.project = found;
            match found {
                Some(project) if round.paused.get(&project).is_none_or(Pause::is_over) => return Ok(found),
                Some(_) => {}
                None if is_second_round => return Ok(None),
                None => is_second_round = true,
            }
        }
    }

    /// Describes tasks of a project side by side.
    async fn describe_tasks(
        &self,
        engine: &Arc<Engine>,
        settings: &DescriberSettings,
        project: ProjectId,
        tasks: &[DescriptionTask],
    ) -> Result<Vec<Result<Vec<NewRepresentation>, Failure>>, StoreError> {
        let caller = self.payer(project).await?;
        match engine.describing_prompt(project).await {
            Ok(prompt) => {
                let calls = tasks.iter().map(|task| engine.describe(settings, &caller, &prompt, task));
                Ok(join_all(calls).await)
            }
            Err(failure) => Ok(tasks.iter().map(|_| Err(failure.clone())).collect()),
        }
    }

    /// Stores what came of a task, or says when it is tried again.
    async fn end_task(
        &self,
        engine: &Engine,
        round: &mut Round,
        task: &DescriptionTask,
        made: Result<Vec<NewRepresentation>, Failure>,
    ) -> Result<(), StoreError> {
        let now = engine.clock.now();
        let failure = match made {
            Ok(made) => {
                (round.refusals, round.pause) = (0, Pause::default());
                round.paused.remove(&task.memory.scope.project);
                if self.store.describe_memory(task, &made, now).await? {
                    metrics::counter!("privet_memory_described_total").increment(1);
                    self.written.notify_one();
                }
                return Ok(());
            }
            Err(failure) => failure,
        };
        if !matches!(failure, Failure::Unwanted) {
            metrics::counter!("privet_memory_describe_failures_total").increment(1);
        }
        let (memory, project) = (task.memory.id, task.memory.scope.project);
        match &failure {
            Failure::Project(_) | Failure::Unwanted => {
                let pause = round.paused.entry(project).or_default();
                if pause.is_over() {
                    tracing::warn!(reason = %failure, %project, "memories of a project wait for their descriptions");
                    pause.failed(None);
                }
                self.store.postpone_description(task, now, true).await
            }
            Failure::Describer { retry_after, .. } => {
                round.describer_failed(&failure, *retry_after);
                self.store.postpone_description(task, now, true).await
            }
            Failure::Broken(_) if task.attempts < ATTEMPTS_MAX => {
                tracing::warn!(error = %failure, %memory, attempts = task.attempts, "a memory waits for its description");
                self.store.postpone_description(task, now.after(task.backoff()), false).await
            }
            Failure::Refused(_) if task.attempts < ATTEMPTS_MAX && round.refusals >= REFUSALS_MAX => {
                round.describer_failed(&failure, None);
                self.store.postpone_description(task, now.after(task.backoff()), false).await
            }
            Failure::Broken(_) | Failure::Refused(_) | Failure::Unreadable(_) => {
                tracing::warn!(error = %failure, %memory, "a memory stays without a description");
                round.refusals += 1;
                if round.refusals > REFUSALS_MAX {
                    round.describer_failed(&failure, None);
                }
                self.store.give_up_description(task).await
            }
        }
    }
}

impl Round {
    /// Tells it once for all tasks of a step.
    fn describer_failed(&mut self, failure: &Failure, retry_after: Option<Duration>) {
        if self.pause.is_over() {
            tracing::warn!(error = %failure, "memories wait for their descriptions: the describer fails");
            self.pause.failed(retry_after);
        }
    }
}
