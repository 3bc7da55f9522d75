//! What may happen next.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::budget::Budget;
use privet_domain::id::RequestId;
use privet_domain::money::Nanos;
use privet_domain::time::Clock as _;
use privet_domain::usage::Usage;
use privet_engine::budget::{ReserveError, Rule, Sharing};
use privet_engine::usage::{Reconciliation, reconcile};
use privet_store::{CallKind, Hold, Outcome, Settlement, StoreError, UsageSource};

use crate::world::{Held, MOMENTS, Reserved, World, limit, rule, shown};

const PROCESSES_MAX: usize = 4;
const STEPS_OF_THE_CLOCK: [i64; 10] = [1, 3, 7, 3_600, -3_600, 7_200, 86_400, -86_400, 12 * 86_400, -12 * 86_400];

impl World {
    /// One step, by chance.
    pub(crate) async fn step(&mut self) {
        match self.chance.below(100) {
            0..28 => self.reserve().await,
            28..48 => self.hold().await,
            48..51 => self.give_up(),
            51..66 => self.settle().await,
            66..69 => self.settle_again().await,
            69..72 => self.crash(),
            72..75 if self.processes.len() < PROCESSES_MAX => self.start_process().await,
            75..84 => self.tend().await,
            84..86 => self.retire().await,
            86..93 => self.set_clock(),
            93..95 => self.change_budget(),
            95..97 => self.learn(),
            97..99 => self.reconcile().await,
            _ => self.hold_and_crash().await,
        }
    }

    async fn reserve(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        if self.chance.is(70) {
            // The store is not asked again at once after it had too little.
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let process = &self.processes[self.chance.place(self.processes.len())];
        let mut rules: Vec<Arc<Rule>> = process.rules.clone();
        rules.retain(|_| self.chance.is(75));
        if rules.is_empty() {
            // What no budget bounds has no ceiling.
            return;
        }
        let tightest = rules.iter().map(|rule| rule.budget.amount.as_i64()).min().unwrap_or(100);
        let most = self.chance.up_to(tightest / 2 + tightest / 20 + 1);
        let least = if self.chance.is(60) { most } else { self.chance.up_to(most) };
        let names: Vec<&str> = rules.iter().map(|rule| &*rule.id).collect();
        let head = format!("process {} reserves {least} to {most} of {names:?}", process.number);
        let (rules, now, number) = (Arc::from(rules), process.clock.now(), process.number);
        match process.budgets.reserve(&rules, Nanos::new(most), Nanos::new(least)).await {
            Ok(reservation) => {
                let amount = reservation.amount.as_i64();
                assert!((least..=most).contains(&amount), "{head}: {amount}");
                let windows: Vec<_> = reservation.charges.iter().map(|c| (&*c.budget, c.window_start)).collect();
                let expected: Vec<_> = rules.iter().map(|rule| (&*rule.id, rule.budget.window(now).start)).collect();
                assert_eq!(windows, expected, "{head}");
                self.reserved.push(Reserved { process: number, reservation, at: now });
                self.note(format!("{head}: {amount}"));
            }
            Err(ReserveError::NoMoney(lack)) => {
                assert!(lack.left >= Nanos::ZERO && lack.left <= lack.limit, "{head}: {lack:?}");
                self.note(format!("{head}: {:?}, {} left", lack.remedy, lack.left.as_i64()));
            }
            Err(ReserveError::Store(error)) => panic!("{head}: {error}"),
        }
    }

    /// Writes a hold for what was reserved. One that was fenced meanwhile may not.
    async fn hold(&mut self) {
        if self.reserved.is_empty() {
            return;
        }
        let Reserved { process, reservation, at } = self.reserved.swap_remove(self.chance.place(self.reserved.len()));
        let hold = Arc::new(self.hold_of(&reservation, at));
        let head = format!("process {process} holds {} as {}", hold.amount.as_i64(), hold.replica_id);
        match self.store.begin_call(hold.clone(), None).await {
            Ok(()) => {
                assert!(!self.is_fenced(hold.replica_id.as_uuid()), "{head}, though it is fenced");
                reservation.keep();
                self.held.push(Held { process, hold });
                self.note(head);
            }
            Err(StoreError::Fenced) => {
                assert!(self.is_fenced(hold.replica_id.as_uuid()), "{head}, and is refused without reason");
                self.note(format!("{head}, and is refused: it is fenced"));
            }
            Err(error) => panic!("{head}: {error}"),
        }
    }

    /// The process dies after its hold was written, before it knows.
    async fn hold_and_crash(&mut self) {
        let Some(Reserved { process, reservation, at }) = self.reserved.pop() else { return };
        let hold = Arc::new(self.hold_of(&reservation, at));
        let written = self.store.begin_call(hold.clone(), None).await;
        assert_eq!(written.is_err(), self.is_fenced(hold.replica_id.as_uuid()), "{written:?}");
        if written.is_ok() {
            self.held.push(Held { process, hold });
        }
        reservation.keep();
        self.end_process(process);
        self.note(format!("process {process} dies right after it wrote a hold"));
    }

    fn give_up(&mut self) {
        if self.reserved.is_empty() {
            return;
        }
        let given_up = self.reserved.swap_remove(self.chance.place(self.reserved.len()));
        self.note(format!("process {} frees {}", given_up.process, given_up.reservation.amount.as_i64()));
    }

    /// Settles a call of a process that lives, or believes so.
    async fn settle(&mut self) {
        let lives = |held: &Held| self.processes.iter().any(|process| process.number == held.process);
        let living: Vec<usize> =
            self.held.iter().enumerate().filter(|(_, held)| lives(held)).map(|(at, _)| at).collect();
        if living.is_empty() {
            return;
        }
        let held = self.held.swap_remove(self.chance.of(&living));
        let cost = self.chance.up_to(held.hold.amount.as_i64());
        self.settle_held(held, cost).await;
    }

    pub(crate) async fn settle_held(&mut self, Held { process, hold }: Held, cost: i64) {
        self.note(format!("process {process} settles {} of {}", cost, hold.amount.as_i64()));
        let settlement = settlement(&hold, cost);
        self.store.end_call(settlement.clone(), None).await.unwrap();
        if let Some(living) = self.processes.iter().find(|living| living.number == process) {
            living.budgets.settled(&hold, Nanos::new(cost));
        }
        // One that was reconciled before stays as it is.
        self.costs.entry(hold.id.as_uuid()).or_insert(cost);
        self.settled.push(settlement);
    }

    /// A settlement comes twice, and says something else.
    async fn settle_again(&mut self) {
        if self.settled.is_empty() {
            return;
        }
        let first = self.settled[self.chance.place(self.settled.len())].clone();
        let cost = self.chance.up_to(first.hold.amount.as_i64());
        self.note(format!("a settlement comes again, with {cost} instead of {}", first.cost.as_i64()));
        let again = Settlement { cost: Nanos::new(cost), ..first };
        let twice = [self.store.end_call(again.clone(), None), self.store.end_call(again, None)];
        for outcome in futures_util::future::join_all(twice).await {
            outcome.unwrap();
        }
    }

    fn crash(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        let number = self.processes[self.chance.place(self.processes.len())].number;
        self.end_process(number);
        self.note(format!("process {number} dies"));
    }

    /// Its memory is gone, and so is what was only there.
    fn end_process(&mut self, number: u64) {
        self.reserved.retain(|reserved| reserved.process != number);
        self.processes.retain(|process| process.number != number);
    }

    async fn tend(&mut self) {
        if self.processes.is_empty() || self.sharing == Sharing::Alone {
            return;
        }
        tokio::time::advance(Duration::from_secs(self.chance.below(7))).await;
        let at = self.chance.place(self.processes.len());
        let process = &mut self.processes[at];
        let now = process.clock.now();
        let tended = process.budgets.tend_once(process.looked_at).await;
        process.looked_at = now;
        let number = process.number;
        tended.unwrap_or_else(|error| panic!("process {number} tends: {error}"));
        self.note(format!("process {number} tends"));
    }

    /// A process ends in order, though calls of its may be open.
    async fn retire(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        let process = &self.processes[self.chance.place(self.processes.len())];
        let number = process.number;
        process.budgets.retire().await.unwrap();
        // Some go on for a moment, and must find that they may not.
        if self.chance.is(50) {
            self.end_process(number);
        }
        self.note(format!("process {number} retires"));
    }

    fn set_clock(&mut self) {
        self.seen.push(self.clock.now());
        match self.chance.below(10) {
            0 => self.clock.set(self.chance.of(&MOMENTS)),
            // Where something is still held.
            1..4 => self.clock.set_to(self.chance.of(&self.seen)),
            _ => self.clock.step(self.chance.of(&STEPS_OF_THE_CLOCK)),
        }
        self.note(format!("the clock shows {}", self.clock.now()));
    }

    fn change_budget(&mut self) {
        let at = self.chance.place(self.rules.len());
        let amount = Nanos::new(limit(&mut self.chance));
        self.rules[at] = rule(Budget { amount, ..self.rules[at].budget.clone() });
        self.note(format!("the budget is now {}", shown(&self.rules[at])));
    }

    fn learn(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        let at = self.chance.place(self.processes.len());
        self.processes[at].rules = self.rules.clone();
        self.note(format!("process {} learns the budgets", self.processes[at].number));
    }

    /// Somebody settles a call whose process died, or was taken for dead.
    async fn reconcile(&mut self) {
        let abandoned = self.store.abandoned_calls().await.unwrap();
        if abandoned.is_empty() {
            return;
        }
        let call = &abandoned[self.chance.place(abandoned.len())];
        let how = self.chance.of(&[Reconciliation::Charge, Reconciliation::Release]);
        self.note(format!("{} is reconciled: {how:?}", call.hold.as_i64()));
        self.reconcile_call(call, how).await;
    }

    pub(crate) async fn reconcile_call(&mut self, call: &privet_store::OpenCall, how: Reconciliation) {
        reconcile(&self.store, call, how, self.clock.now()).await.unwrap();
        let cost = if how == Reconciliation::Charge { call.hold.as_i64() } else { 0 };
        self.costs.insert(call.id.as_uuid(), cost);
    }

    fn hold_of(&self, reservation: &privet_engine::budget::Reservation, at: privet_domain::time::Timestamp) -> Hold {
        Hold {
            id: RequestId::new(),
            replica_id: reservation.replica_id,
            project_id: self.project_id,
            key_id: self.key_id,
            user_id: "ola".into(),
            kind: CallKind::Chat,
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            amount: reservation.amount,
            price: None,
            charges: reservation.charges.clone(),
            at,
        }
    }
}

pub(crate) fn settlement(hold: &Arc<Hold>, cost: i64) -> Settlement {
    Settlement {
        hold: hold.clone(),
        outcome: Outcome::Complete,
        cost: Nanos::new(cost),
        usage: Usage::default(),
        source: UsageSource::Reported,
        tier: None,
        bill: None,
        at: hold.at,
    }
}
