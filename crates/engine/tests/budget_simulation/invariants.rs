//! What must be true after every step.

use std::collections::{HashMap, HashSet};

use sqlx::types::Uuid;

use crate::ledger::{Ledger, Window};
use crate::world::World;

impl World {
    /// Reads the ledger and holds it against what must be true.
    pub(crate) async fn check(&mut self) {
        let ledger = self.reader.ledger().await;
        let granted = ledger.granted();
        self.grants_stay_below_the_limit(&granted);
        self.slices_cover_what_is_spent_from_them(&ledger);
        self.each_call_is_there_once(&ledger);
        let (settled, paid) = (ledger.settled(), ledger.paid());
        for (window, settled) in settled {
            assert_eq!(settled, paid.get(&window).copied().unwrap_or(0), "{window:?}: the slices and the calls differ");
        }
        self.ledger = ledger;
    }

    /// The grants of all servers together never exceed the largest limit since the window was first spent from, and grow only
    /// below the one in force.
    fn grants_stay_below_the_limit(&mut self, granted: &HashMap<Window, i64>) {
        let before = self.ledger.granted();
        for (window, &granted) in granted {
            let known = self.rules.iter().chain(self.processes.iter().flat_map(|process| &process.rules));
            let of_this = known.filter(|rule| *rule.id == *window.0).map(|rule| rule.budget.amount.as_i64());
            let in_force = of_this.max().unwrap();
            let largest = self.largest.entry(window.clone()).or_insert(in_force);
            *largest = in_force.max(*largest);
            assert!(granted <= *largest, "{window:?}: {granted} granted of {largest}");
            let before = before.get(window).copied().unwrap_or(0);
            assert!(granted <= in_force.max(before), "{window:?}: {granted} granted after {before}, limit {in_force}");
        }
    }

    fn slices_cover_what_is_spent_from_them(&self, ledger: &Ledger) {
        let mut held = ledger.held();
        let mut reserved: HashMap<(Window, Uuid), i64> = HashMap::new();
        for reservation in self.reserved.iter().map(|reserved| &reserved.reservation) {
            for charge in &reservation.charges {
                let window = (charge.budget.to_string(), charge.window_start.as_micros());
                *reserved.entry((window, reservation.replica_id.as_uuid())).or_default() += reservation.amount.as_i64();
            }
        }
        for slice in &ledger.slices {
            let place = (slice.window.clone(), slice.replica);
            let held = held.remove(&place).unwrap_or(0);
            if ledger.fenced.contains(&slice.replica) {
                // What a dead one did not use is back to the last nano-dollar, and no more.
                assert_eq!(slice.granted, slice.settled + held, "{slice:?} is fenced and holds {held}");
            } else {
                let reserved = reserved.get(&place).copied().unwrap_or(0);
                assert!(
                    slice.settled + held + reserved <= slice.granted,
                    "{slice:?} holds {held}, reserved {reserved}"
                );
            }
        }
        assert!(held.is_empty(), "held of nobody's slice: {held:?}");
    }

    fn each_call_is_there_once(&self, ledger: &Ledger) {
        let open: HashSet<Uuid> = ledger.open.iter().map(|open| open.id).collect();
        let expected = self.held.iter().map(|held| held.hold.id.as_uuid());
        let expected: HashSet<Uuid> = expected.filter(|id| !self.costs.contains_key(id)).collect();
        assert_eq!(open, expected, "the open holds");
        let paid: HashMap<Uuid, i64> = ledger.paid.iter().map(|paid| (paid.id, paid.cost)).collect();
        assert_eq!(paid, self.costs, "what the calls cost");
    }
}
