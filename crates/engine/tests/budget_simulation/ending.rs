//! The end of a schedule: when nothing is under way, no money is missing, and no calendar's period got more than its budget.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use privet_domain::budget::{Budget, Period};
use privet_domain::money::Nanos;
use privet_domain::time::Clock as _;
use privet_engine::budget::{ReserveError, Sharing};
use privet_engine::usage::Reconciliation;

use crate::ledger::Reader;
use crate::world::World;

impl World {
    /// Settles, reconciles and fences everything, and looks for what is missing. Gives back the connection.
    pub(crate) async fn end(mut self) -> Reader {
        self.reserved.clear();
        while let Some(held) = self.held.pop() {
            if self.processes.iter().any(|process| process.number == held.process) {
                let cost = self.chance.up_to(held.hold.amount.as_i64());
                self.settle_held(held, cost).await;
            }
        }
        self.note("all that live have settled".to_owned());
        if self.chance.is(50) {
            for process in &self.processes {
                process.budgets.retire().await.unwrap();
            }
            self.note("all that live have retired".to_owned());
        }
        self.processes.clear();
        let last = self.process(Sharing::Alone, 0).await;
        self.note("the last process has fenced all others".to_owned());
        for call in self.store.abandoned_calls().await.unwrap() {
            let how = self.chance.of(&[Reconciliation::Charge, Reconciliation::Release]);
            self.reconcile_call(&call, how).await;
        }
        self.check().await;
        assert!(self.ledger.open.is_empty(), "{:?}", self.ledger.open);
        for slice in &self.ledger.slices {
            assert_eq!(slice.granted, slice.settled, "money is missing: {slice:?}");
        }
        self.periods_got_no_more_than_their_budget();

        let settled = self.ledger.settled();
        for rule in &self.rules {
            let window = (rule.id.to_string(), rule.budget.window(self.clock.now()).start.as_micros());
            let left = rule.budget.amount.as_i64() - settled.get(&window).copied().unwrap_or(0);
            let rules = Arc::from([rule.clone()]);
            if left >= 0 {
                let all = last.budgets.reserve(&rules, Nanos::new(left), Nanos::new(left)).await;
                drop(all.unwrap_or_else(|error| panic!("{left} of {window:?} are left: {error:?}")));
            }
            tokio::time::advance(Duration::from_millis(100)).await;
            let more = Nanos::new(left.max(0) + 1);
            let refused = last.budgets.reserve(&rules, more, more).await;
            assert!(matches!(refused, Err(ReserveError::NoMoney(_))), "{left} of {window:?} are left, not {more:?}");
        }
        self.reader
    }

    /// Sums what was paid by the calendar, which is computed here once more, by the time that each call's own clock showed.
    fn periods_got_no_more_than_their_budget(&self) {
        for rule in &self.rules {
            let mut paid: HashMap<String, i64> = HashMap::new();
            for call in self.ledger.paid.iter().filter(|call| call.windows.iter().any(|(id, _)| **id == *rule.id)) {
                *paid.entry(period(&rule.budget, call.made_at)).or_default() += call.cost;
            }
            let of_this = self.largest.iter().filter(|((id, _), _)| **id == *rule.id);
            let largest = of_this.map(|(_, &largest)| largest).max().unwrap_or(0);
            for (period, paid) in paid {
                assert!(paid <= largest, "{} paid {paid} in {period}, at most {largest}", rule.id);
            }
        }
    }
}

/// The name of the period that an instant is in.
fn period(budget: &Budget, micros: i64) -> String {
    let zone = TimeZone::get(&budget.zone.to_string()).unwrap();
    let date = jiff::Timestamp::from_microsecond(micros).unwrap().to_zoned_datetime(zone).date();
    match budget.period {
        Period::Day => date.to_string(),
        Period::Week => {
            let week = date.iso_week_date();
            format!("{}-W{}", week.year(), week.week())
        }
        Period::Month => format!("{}-{}", date.year(), date.month()),
        Period::Total => String::new(),
    }
}
