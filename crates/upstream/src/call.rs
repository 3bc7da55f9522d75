//! One model call's place on the bill. Whoever answers the call owns it; dropping it unended means that the client
//! left, as the web server drops the answer then.

use std::sync::Arc;

use super::behaviour::{Behaviour, BillOnCancel, Usage};
use super::ledger::Outcome;
use super::state::Shared;

pub(super) struct Call {
    shared: Arc<Shared>,
    epoch: u64,
    model: String,
    full: Usage,
    /// Output sent so far; none before the first event.
    produced: Option<u64>,
    bill_on_cancel: BillOnCancel,
    bill_on_failure: BillOnCancel,
    ended: bool,
}

impl Call {
    /// A call already counted as begun. What it costs is set once the answer is known.
    pub(super) fn new(shared: Arc<Shared>, epoch: u64, model: String, behaviour: &Behaviour) -> Self {
        let Behaviour { bill_on_cancel, bill_on_failure, .. } = *behaviour;
        let full = Usage::default();
        Self { shared, epoch, model, full, produced: None, bill_on_cancel, bill_on_failure, ended: false }
    }

    pub(super) fn set_full(&mut self, full: Usage) {
        self.full = full;
    }

    pub(super) fn produce(&mut self, output_tokens: u64) {
        self.produced = Some(output_tokens);
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        let used = match outcome {
            Outcome::Completed => self.full,
            Outcome::Cancelled if self.bill_on_cancel == BillOnCancel::InFull => self.full,
            Outcome::Failed if self.bill_on_failure == BillOnCancel::InFull => self.full,
            Outcome::Cancelled | Outcome::Failed => self.partial(),
        };
        self.shared.end(self.epoch, &self.model, used, outcome);
    }

    fn partial(&self) -> Usage {
        self.produced.map_or(Usage::default(), |output_tokens| Usage { output_tokens, ..self.full })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}
