//! The run: every subject takes its turn in every round, so that what disturbs the machine disturbs all of them alike.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use crate::history::{self, Kept};
use crate::load::{self, Form, Outcome};
use crate::machine;
use crate::memory::{self, MemoryFigures};
use crate::proc_stat;
use crate::retrieval::{self, Retrieval};
use crate::subject::{Programs, Running, Subject};
use crate::traces::{self, TraceFigures};
use crate::upstream::EVENTS;

/// Connections of the load that asks as fast as it is answered.
pub(crate) const CONNECTIONS: u32 = 64;
/// Rate of the load that measures added latency; low enough that nothing queues.
pub(crate) const RATE_PER_SECOND: u32 = 200;
const RATE_CONNECTIONS: u32 = 16;
/// What a server still does for requests it has answered belongs to them.
const SETTLE: Duration = Duration::from_millis(150);
const WARM_UP: Duration = Duration::from_millis(500);

/// What to measure, with which programs.
pub(crate) struct Plan {
    pub(crate) privet: PathBuf,
    pub(crate) bench: PathBuf,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) rounds: u16,
    pub(crate) seconds: f64,
    pub(crate) observations: u64,
    pub(crate) memories: u64,
    pub(crate) model: Option<PathBuf>,
    pub(crate) conversations: Vec<PathBuf>,
}

/// All that was measured.
pub(crate) struct Measured {
    pub(crate) rounds: u16,
    pub(crate) seconds: f64,
    pub(crate) fsync: Option<Duration>,
    pub(crate) subjects: Vec<Figures>,
    pub(crate) traces: Option<TraceFigures>,
    pub(crate) memory: Vec<MemoryFigures>,
    pub(crate) retrieval: Vec<Retrieval>,
}

/// One subject's turns.
pub(crate) struct Figures {
    pub(crate) subject: Subject,
    pub(crate) turns: Vec<Turn>,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) rss_idle_bytes: Option<u64>,
    pub(crate) rss_loaded_bytes: Option<u64>,
    pub(crate) kept: Option<Kept>,
}

/// What one turn of one subject gave.
pub(crate) struct Turn {
    pub(crate) requests_per_second: f64,
    pub(crate) cpu_us_per_request: Option<f64>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) first_byte_p50: Duration,
    pub(crate) cpu_us_per_event: Option<f64>,
}

/// Starts everything, measures, and stops everything again.
pub(crate) fn measure(runtime: &Runtime, plan: &Plan) -> Result<Measured> {
    let scratch = plan.bench.parent().context("this program is in no folder")?;
    let programs = Programs { bench: &plan.bench, privet: &plan.privet, scratch };
    if plan.subjects.iter().any(|subject| subject.is_privet()) {
        ensure!(
            plan.privet.is_file(),
            "{} is missing; build it with: cargo build --release --package privet-server",
            plan.privet.display()
        );
    }
    let fsync = machine::time_fsync(scratch);
    let upstream = Running::upstream(&programs)?;
    let mut running = Vec::new();
    for &subject in &plan.subjects {
        let server = Running::start(subject, &programs, upstream.address)
            .with_context(|| format!("{subject} could not be started"))?;
        running.push((Figures::new(subject), server));
    }
    thread::sleep(Duration::from_secs(1));
    for (figures, server) in &mut running {
        figures.rss_idle_bytes = server.pid().map(proc_stat::resident_bytes);
        let outcome = runtime.block_on(load::closed(server.address, CONNECTIONS, WARM_UP, Form::Whole));
        ensure!(outcome.answered > 0, "{} answers nothing: {:?}", figures.subject, outcome.first_error);
        figures.count(&outcome);
    }
    let duration = Duration::from_secs_f64(plan.seconds);
    for round in 1..=plan.rounds {
        for (figures, server) in &mut running {
            println!("round {round} of {}: {}", plan.rounds, figures.subject);
            take_turn(runtime, figures, server, duration);
        }
    }
    for (figures, server) in running.iter_mut().filter(|(figures, _)| figures.subject.keeps_history()) {
        println!("counting what is kept: {}", figures.subject);
        match runtime.block_on(history::count(server.address, figures.answered)) {
            Ok(kept) => figures.kept = Some(kept),
            // The other figures stand; the report says that this one is missing, and why.
            Err(error) => figures.fail(format!("what is kept could not be counted: {error:#}")),
        }
    }
    // Dropped, the servers stop: they must not disturb what follows.
    let subjects = running.into_iter().map(|(figures, _)| figures).collect();
    let traces = match plan.observations {
        0 => None,
        observations => Some(traces::measure(runtime, &programs, upstream.address, observations)?),
    };
    let memory = match plan.memories {
        0 => Vec::new(),
        memories => memory::measure(runtime, &programs, upstream.address, memories)?,
    };
    let retrieval = match &plan.model {
        Some(model) => retrieval::measure(&programs, model, &plan.conversations)?,
        None => Vec::new(),
    };
    Ok(Measured { rounds: plan.rounds, seconds: plan.seconds, fsync, subjects, traces, memory, retrieval })
}

fn take_turn(runtime: &Runtime, figures: &mut Figures, server: &Running, duration: Duration) {
    let pid = server.pid();
    let whole = with_cpu(pid, || runtime.block_on(load::closed(server.address, CONNECTIONS, duration, Form::Whole)));
    let rss = pid.map(proc_stat::resident_bytes);
    let paced = runtime.block_on(load::paced(server.address, RATE_CONNECTIONS, RATE_PER_SECOND, duration));
    let streamed =
        with_cpu(pid, || runtime.block_on(load::closed(server.address, CONNECTIONS, duration, Form::Streamed)));
    figures.rss_loaded_bytes = figures.rss_loaded_bytes.max(rss).max(pid.map(proc_stat::resident_bytes));
    figures.turns.push(Turn {
        requests_per_second: whole.outcome.answered as f64 / whole.outcome.elapsed.as_secs_f64(),
        cpu_us_per_request: whole.cpu_us_for_each(1),
        p50: percentile(&paced.latencies, 50),
        p99: percentile(&paced.latencies, 99),
        first_byte_p50: percentile(&streamed.outcome.first_bytes, 50),
        cpu_us_per_event: streamed.cpu_us_for_each(EVENTS),
    });
    for outcome in [&whole.outcome, &paced, &streamed.outcome] {
        figures.count(outcome);
    }
}

struct Costed {
    outcome: Outcome,
    cpu: Option<Duration>,
}

impl Costed {
    fn cpu_us_for_each(&self, parts: u32) -> Option<f64> {
        let count = (self.outcome.answered + self.outcome.errors) * u64::from(parts);
        self.cpu.filter(|_| count > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / count as f64)
    }
}

fn with_cpu(pid: Option<u32>, work: impl FnOnce() -> Outcome) -> Costed {
    let before = pid.map(proc_stat::cpu_time);
    let outcome = work();
    thread::sleep(SETTLE);
    let after = pid.map(proc_stat::cpu_time);
    Costed { outcome, cpu: after.zip(before).map(|(after, before)| after.saturating_sub(before)) }
}

impl Figures {
    const fn new(subject: Subject) -> Self {
        Self {
            subject,
            turns: Vec::new(),
            answered: 0,
            errors: 0,
            first_error: None,
            rss_idle_bytes: None,
            rss_loaded_bytes: None,
            kept: None,
        }
    }

    fn fail(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    fn count(&mut self, outcome: &Outcome) {
        self.answered += outcome.answered;
        self.errors += outcome.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&outcome.first_error);
        }
    }
}

/// Of sorted values; zero when there are none.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 50), Duration::from_micros(100));
        assert_eq!(percentile(&values, 99), Duration::from_micros(198));
        assert_eq!(percentile(&values[..1], 99), Duration::from_micros(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
