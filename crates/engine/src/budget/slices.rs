//! The slices of one server, in memory: what it was granted of each window, settled and holds. No I/O.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use privet_domain::budget::Window;
use privet_domain::id::ReplicaId;
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use privet_store::{Charge, Grant, GrantRequest, Hold};
use tokio::time::Instant;

use super::{NoMoney, Remedy, Rule};

/// A window is remembered so long after its end: a clock that is set back finds it again.
const REMEMBERED_FOR: Duration = Duration::from_secs(3 * 86_400);
/// After the store had too little, so long until it is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Slices {
    pub(super) replica_id: ReplicaId,
    slices: HashMap<Charge, Slice>,
    /// Each budget's window as last computed: the calendar is not asked for each request.
    windows: HashMap<Arc<str>, Window>,
    /// Whether something may have been settled that is not marked in a slice.
    settled_unseen: bool,
}

struct Slice {
    limit: Nanos,
    ends_at: Option<Timestamp>,
    granted: Nanos,
    settled: Nanos,
    held: Nanos,
    /// Whether the store was asked since the slice is remembered.
    is_known: bool,
    /// What others were granted, and what of it they had not settled, when the store was last asked.
    elsewhere: Nanos,
    elsewhere_open: Nanos,
    /// When the store last had less than was needed.
    short_at: Option<Instant>,
    used_at: Instant,
    /// Whether something was settled since [`Slices::take_settled`].
    is_settled: bool,
}

/// Windows in which something was settled.
pub struct SettledWindows {
    /// Those that are known.
    pub windows: Vec<SettledWindow>,
    /// Whether there may be others: then all budgets must be looked at.
    pub are_others: bool,
}

/// A window in which something was settled.
#[derive(Clone, Debug)]
pub struct SettledWindow {
    /// The window.
    pub charge: Charge,
    /// The whole budget.
    pub limit: Nanos,
    /// When it is full again; `None` for one that lasts for ever.
    pub resets_at: Option<Timestamp>,
}

/// What became of an attempt to reserve.
pub(super) enum Attempt {
    Reserved {
        amount: Nanos,
        charges: Vec<Charge>,
        replica_id: ReplicaId,
    },
    /// The store may have more.
    Grow,
    /// Calls under way hold what is lacking.
    Wait(Box<NoMoney>),
    Refused(Box<NoMoney>),
}

/// Whether waiting is still right.
pub(super) enum Probe {
    Waits,
    Changed,
}

/// What is asked of the store.
pub(super) struct Wish {
    pub(super) charge: Charge,
    pub(super) need: Nanos,
    /// What is given back first.
    pub(super) excess: Nanos,
}

impl Slice {
    fn free(&self) -> Nanos {
        self.granted.saturating_sub(self.settled).saturating_sub(self.held)
    }

    /// What would be free if all calls under way cost nothing.
    fn potential(&self) -> Nanos {
        self.granted.saturating_sub(self.settled).saturating_add(self.elsewhere_open)
    }

    fn may_ask(&self) -> bool {
        self.short_at.is_none_or(|at| at.elapsed() >= ASK_PAUSE)
    }
}

impl Slices {
    pub(super) fn new(replica_id: ReplicaId) -> Self {
        Self { replica_id, slices: HashMap::new(), windows: HashMap::new(), settled_unseen: true }
    }

    pub(super) fn attempt(
        &mut self,
        rules: &[Arc<Rule>],
        most: Nanos,
        least: Nanos,
        may_wait: bool,
        now: Timestamp,
    ) -> Attempt {
        let charges: Vec<Charge> = rules.iter().map(|rule| self.charge(rule, now)).collect();
        let mut amount = most;
        let mut someone_holds = false;
        for (rule, charge) in rules.iter().zip(&charges) {
            let Some(slice) = self.slices.get(charge) else { return Attempt::Grow };
            if least > rule.budget.amount {
                return Attempt::Refused(no_money(rule, slice, least, Remedy::NeverFits));
            }
            if slice.limit != rule.budget.amount || (slice.free() < most && slice.may_ask()) {
                return Attempt::Grow;
            }
            if slice.free() < most {
                if slice.potential() < least {
                    return Attempt::Refused(no_money(rule, slice, least, Remedy::NextWindow));
                }
                someone_holds |= slice.held > Nanos::ZERO || slice.elsewhere_open > Nanos::ZERO;
                amount = amount.min(slice.free());
            }
        }
        if amount < least || (amount < most && someone_holds && may_wait) {
            let tightest =
                rules.iter().zip(&charges).filter_map(|(rule, charge)| Some((rule, self.slices.get(charge)?)));
            return match tightest.min_by_key(|(_, slice)| slice.free()) {
                Some((rule, slice)) => Attempt::Wait(no_money(rule, slice, least, Remedy::CallsUnderWay)),
                None => Attempt::Grow,
            };
        }
        for charge in &charges {
            if let Some(slice) = self.slices.get_mut(charge) {
                slice.held = slice.held.saturating_add(amount);
                slice.used_at = Instant::now();
            }
        }
        Attempt::Reserved { amount, charges, replica_id: self.replica_id }
    }

    pub(super) fn probe(&mut self, rules: &[Arc<Rule>], most: Nanos, now: Timestamp) -> Probe {
        let short = rules.iter().any(|rule| {
            let charge = self.charge(rule, now);
            self.slices.get(&charge).is_some_and(|slice| {
                slice.free() < most && (slice.held > Nanos::ZERO || slice.elsewhere_open > Nanos::ZERO)
            })
        });
        if short { Probe::Waits } else { Probe::Changed }
    }

    /// What to ask the store for, so that this much is free; nothing if it is.
    pub(super) fn wish(&mut self, rule: &Rule, most: Nanos, now: Timestamp) -> Option<Wish> {
        let charge = self.charge(rule, now);
        let ends_at = self.windows.get(&rule.id).and_then(|window| window.end);
        self.forget_past(now);
        let slice = match self.slices.entry(charge.clone()) {
            Entry::Occupied(slice) => slice.into_mut(),
            Entry::Vacant(place) => place.insert(Slice {
                limit: rule.budget.amount,
                ends_at,
                granted: Nanos::ZERO,
                settled: Nanos::ZERO,
                held: Nanos::ZERO,
                is_known: false,
                elsewhere: Nanos::ZERO,
                elsewhere_open: Nanos::ZERO,
                short_at: None,
                used_at: Instant::now(),
                is_settled: false,
            }),
        };
        let mut excess = Nanos::ZERO;
        if rule.budget.amount < slice.limit {
            excess = slice.free().max(Nanos::ZERO);
            slice.granted = slice.granted.saturating_sub(excess);
        }
        if rule.budget.amount != slice.limit {
            slice.limit = rule.budget.amount;
            slice.short_at = None;
        }
        let is_new = slice.granted == Nanos::ZERO && slice.short_at.is_none();
        let need = most.saturating_sub(slice.free());
        let asks = excess > Nanos::ZERO || is_new || (need > Nanos::ZERO && slice.may_ask());
        asks.then_some(Wish { charge, need: need.max(Nanos::ZERO), excess })
    }

    pub(super) fn granted(&mut self, request: &GrantRequest, grant: &Grant) {
        if request.replica_id != self.replica_id {
            return;
        }
        if let Some(slice) = self.slices.get_mut(&request.charge) {
            // The store knows better what this server has: of a window that was forgotten, and after an answer that got lost.
            slice.granted = grant.in_all;
            if !std::mem::replace(&mut slice.is_known, true) {
                slice.settled = grant.settled;
            }
            slice.elsewhere = grant.elsewhere;
            slice.elsewhere_open = grant.elsewhere_open;
            slice.short_at = (grant.granted < request.need).then(Instant::now);
        }
    }

    pub(super) fn settle(&mut self, hold: &Hold, cost: Nanos) {
        if hold.replica_id != self.replica_id {
            self.settled_unseen = true;
            return;
        }
        for charge in &hold.charges {
            if let Some(slice) = self.slices.get_mut(charge) {
                slice.held = slice.held.saturating_sub(hold.amount);
                slice.settled = slice.settled.saturating_add(cost);
                slice.is_settled = true;
            }
        }
    }

    /// The windows in which something was settled since the last time.
    pub(super) fn take_settled(&mut self) -> SettledWindows {
        let windows = self.slices.iter_mut().filter_map(|(charge, slice)| {
            let window = SettledWindow { charge: charge.clone(), limit: slice.limit, resets_at: slice.ends_at };
            std::mem::take(&mut slice.is_settled).then_some(window)
        });
        SettledWindows { windows: windows.collect(), are_others: std::mem::take(&mut self.settled_unseen) }
    }

    pub(super) fn release(&mut self, replica_id: ReplicaId, charges: &[Charge], amount: Nanos) {
        if replica_id != self.replica_id {
            return;
        }
        for charge in charges {
            if let Some(slice) = self.slices.get_mut(charge) {
                slice.held = slice.held.saturating_sub(amount);
            }
        }
    }

    /// Takes what is free out of the slices that are wanted by others, or that were idle so long, to be returned.
    pub(super) fn take_unused(&mut self, wanted: &[Charge], idle: Duration) -> Vec<(Charge, Nanos)> {
        let mut unused = Vec::new();
        for (charge, slice) in &mut self.slices {
            let free = slice.free();
            if free > Nanos::ZERO && (wanted.contains(charge) || slice.used_at.elapsed() >= idle) {
                slice.granted = slice.granted.saturating_sub(free);
                unused.push((charge.clone(), free));
            }
        }
        unused
    }

    fn charge(&mut self, rule: &Rule, now: Timestamp) -> Charge {
        let known = self.windows.get(&rule.id).filter(|window| window.contains(now)).copied();
        let window = known.unwrap_or_else(|| {
            let window = rule.budget.window(now);
            self.windows.insert(rule.id.clone(), window);
            window
        });
        Charge { budget: rule.id.clone(), window_start: window.start }
    }

    /// Forgets windows that are long over and of which nothing is held.
    fn forget_past(&mut self, now: Timestamp) {
        let is_remembered = |end: Timestamp| now < end.after(REMEMBERED_FOR);
        self.slices.retain(|_, slice| slice.held > Nanos::ZERO || slice.ends_at.is_none_or(is_remembered));
    }
}

fn no_money(rule: &Rule, slice: &Slice, needed: Nanos, remedy: Remedy) -> Box<NoMoney> {
    let spent = slice.settled.saturating_add(slice.held).saturating_add(slice.elsewhere);
    Box::new(NoMoney {
        budget: rule.id.clone(),
        limit: rule.budget.amount,
        left: rule.budget.amount.saturating_sub(spent).max(Nanos::ZERO),
        needed,
        resets_at: slice.ends_at,
        remedy,
    })
}
