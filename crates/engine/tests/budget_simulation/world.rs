//! The world of a schedule: servers, what they promised and hold, budgets and clocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use privet_domain::budget::{Budget, BudgetScope, Period, ZoneName};
use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::money::Nanos;
use privet_domain::time::{Clock as _, Timestamp};
use privet_engine::budget::{BudgetParts, BudgetRules, Budgets, Reservation, Rule, Sharing};
use privet_store::{Hold, Settlement, Store};
use sqlx::types::Uuid;

use crate::bed::HandClock;
use crate::chance::Chance;
use crate::ledger::{Ledger, Reader, Window};

/// Calendars with changes of the clock at midnight, by an odd quarter, and with a day that never was.
const ZONES: [&str; 7] =
    ["UTC", "Europe/Warsaw", "America/New_York", "Africa/Cairo", "Asia/Beirut", "Asia/Kathmandu", "Pacific/Apia"];
/// Just before something happens in one of them.
pub(crate) const MOMENTS: [&str; 7] = [
    "2026-03-29T00:30:00Z",
    "2026-10-25T00:30:00Z",
    "2026-03-08T06:30:00Z",
    "2026-11-01T05:30:00Z",
    "2026-04-23T21:30:00Z",
    "2026-12-31T22:59:55Z",
    "2011-12-30T09:59:00Z",
];
const LIMITS: [i64; 6] = [0, 1, 7, 100, 5_000, 1_000_000_000];

/// A process that spends.
pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) clock: HandClock,
    /// The budgets as it knows them: one that was changed is learnt later.
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) looked_at: Timestamp,
}

/// Money that a process reserved in memory.
pub(crate) struct Reserved {
    pub(crate) process: u64,
    pub(crate) reservation: Reservation,
    pub(crate) at: Timestamp,
}

/// A durable hold.
pub(crate) struct Held {
    pub(crate) process: u64,
    pub(crate) hold: Arc<Hold>,
}

pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) reader: Reader,
    pub(crate) chance: Chance,
    pub(crate) clock: HandClock,
    /// What the clock showed before.
    pub(crate) seen: Vec<Timestamp>,
    pub(crate) sharing: Sharing,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) processes: Vec<Process>,
    pub(crate) reserved: Vec<Reserved>,
    pub(crate) held: Vec<Held>,
    pub(crate) settled: Vec<Settlement>,
    /// What each settled call cost, as the first settlement said.
    pub(crate) costs: HashMap<Uuid, i64>,
    /// The largest limit in force since a window was first granted from.
    pub(crate) largest: HashMap<Window, i64>,
    /// The ledger after the last step.
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) project_id: ProjectId,
    pub(crate) key_id: ApiKeyId,
    processes_ever: u64,
}

/// What happened, printed when the schedule fails.
pub(crate) struct Trace {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<String>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let steps = self.steps.join("\n  ");
            eprintln!("seed {} failed (PRIVET_SIMULATION_SEED={0} replays it):\n  {steps}", self.seed);
        }
    }
}

impl World {
    pub(crate) async fn new(store: &Arc<Store>, reader: Reader, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let key_id = ApiKeyId::new();
        let rules = rules(&mut chance, key_id);
        // A quarter of the schedules is that of a SQLite server, where each start ends the one before.
        let sharing = if chance.is(25) { Sharing::Alone } else { Sharing::Shared };
        let clock = HandClock::at(chance.of(&MOMENTS));
        let shown: Vec<String> = rules.iter().map(|rule| shown(rule)).collect();
        let steps = vec![format!("{sharing:?}, {} at {}", shown.join(", "), clock.now())];
        let mut world = Self {
            store: store.clone(),
            reader,
            chance,
            clock,
            seen: Vec::new(),
            sharing,
            rules,
            processes: Vec::new(),
            reserved: Vec::new(),
            held: Vec::new(),
            settled: Vec::new(),
            costs: HashMap::new(),
            largest: HashMap::new(),
            ledger: Ledger::default(),
            trace: Trace { seed, steps },
            project_id: ProjectId::new(),
            key_id,
            processes_ever: 0,
        };
        world.start_process().await;
        world
    }

    /// A new process. Where a server is alone, this is the end of all before it, though they may not know.
    pub(crate) async fn start_process(&mut self) {
        let wrong_by = self.chance.of(&[0, 0, 0, -3, 4, 3_600, -86_400]);
        let process = self.process(self.sharing, wrong_by).await;
        self.note(format!("process {} starts, its clock wrong by {wrong_by} s", process.number));
        self.processes.push(process);
    }

    pub(crate) async fn process(&mut self, sharing: Sharing, wrong_by: i64) -> Process {
        let clock = self.clock.wrong_by(wrong_by);
        let parts = BudgetParts {
            store: self.store.clone(),
            clock: Arc::new(clock.clone()),
            rules: BudgetRules::new(Vec::new(), ZoneName::utc()),
            wait: Duration::ZERO,
            sharing,
        };
        let budgets = Budgets::start(parts).await.unwrap();
        self.processes_ever += 1;
        let (number, looked_at) = (self.processes_ever, clock.now());
        Process { number, budgets, clock, rules: self.rules.clone(), looked_at }
    }

    pub(crate) fn note(&mut self, step: String) {
        self.trace.steps.push(step);
    }

    pub(crate) fn is_fenced(&self, replica: Uuid) -> bool {
        self.ledger.fenced.contains(&replica)
    }
}

/// One to four budgets, all different.
fn rules(chance: &mut Chance, key_id: ApiKeyId) -> Vec<Arc<Rule>> {
    let scopes = [
        BudgetScope::Global,
        BudgetScope::Project("shop".to_owned()),
        BudgetScope::User("ola".to_owned()),
        BudgetScope::Key(key_id),
    ];
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    for _ in 0..=chance.below(4) {
        let period = chance.of(&Period::ALL);
        let budget = Budget {
            scope: chance.of(&scopes),
            amount: Nanos::new(limit(chance)),
            period,
            zone: chance.of(&ZONES).parse().unwrap(),
        };
        if rules.iter().all(|rule| *rule.id != *budget.id()) {
            rules.push(rule(budget));
        }
    }
    rules
}

pub(crate) fn rule(budget: Budget) -> Arc<Rule> {
    Arc::new(Rule { id: budget.id().into(), budget })
}

/// An amount of a budget: mostly one that is soon spent.
pub(crate) fn limit(chance: &mut Chance) -> i64 {
    if chance.is(10) { chance.of(&LIMITS) } else { 20 + chance.up_to(200) }
}

pub(crate) fn shown(rule: &Rule) -> String {
    format!("{} = {} ({})", rule.id, rule.budget.amount.as_i64(), rule.budget.zone)
}
