//! Settlement: what a call did cost, once it has ended in whatever way.
//!
//! A provider's final count is the truth. Where there is none, a call under a budget is charged all that it held: what a
//! provider made is not what came through the wire, and a model may think unseen. A call under no budget has no ceiling to keep;
//! what it used is estimated from what came. A settlement that cannot be written now is kept and tried again; until then its hold stays charged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use privet_dialects::canonical::Usage;
use privet_domain::money::Nanos;
use privet_domain::pricing::IMAGE_TOKENS_MAX;
use privet_domain::time::Timestamp;
use privet_store::{Hold, Outcome, Settlement, Store, StoreError, TurnEnd, UsageSource};

use crate::Engine;
use crate::admission::{Admission, Inherited, Terms, ask};
use crate::budget::Budgets;
use crate::traces::{CallTrace, Ended};

/// Settlements that could not be written are tried again so often.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// No call has so many tokens: a provider that says so says nothing.
const TOKENS_MAX: u64 = 1_000_000_000;

/// A call whose hold is durable. It must be settled.
pub(crate) struct OpenCall {
    pub(crate) hold: Arc<Hold>,
    pub(crate) terms: Terms,
}

/// What is known of a call's use when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) outcome: Outcome,
    pub(crate) tokens: TokensUsed,
    /// The service tier that the provider named.
    pub(crate) tier: Option<String>,
}

/// Who knows how many tokens were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokensUsed {
    /// Nothing reached the provider, or it refused.
    Nothing,
    /// The provider counted, to the end.
    Reported(Usage),
    /// The provider counted until it was cut; so many bytes of output came.
    ReportedSoFar(Usage, u64),
    /// Nobody counted; so many bytes of output came.
    Bytes(u64),
    /// Nothing is known: it may be all that was allowed.
    Unknown,
}

/// The settlements that could not be written yet.
#[derive(Default)]
pub(crate) struct Unsettled(Mutex<Vec<Settlement>>);

impl Engine {
    /// Writes what a call cost together with how its turn ended; then its money is free.
    ///
    /// # Errors
    /// When the turn could not be written. The settlement then is written alone, now or later.
    ///
    /// The call's trace is written meanwhile. That it cannot be is logged and harms nobody.
    pub(crate) async fn settle(
        &self,
        call: OpenCall,
        used: Used,
        turn: Option<TurnEnd>,
        trace: Option<(CallTrace, Ended<'_>)>,
    ) -> Result<(), StoreError> {
        let settlement = self.weigh(&call, used);
        let traced = trace.map(|(trace, ended)| trace.end(&ended, &settlement));
        let ((), written) =
            tokio::join!(self.traces.record_call(traced), self.store.end_call(settlement.clone(), turn));
        match &written {
            Ok(()) => self.budgets.settled(&settlement.hold, settlement.cost),
            Err(_) => self.settle_alone(settlement).await,
        }
        written
    }

    /// Writes what a call cost that another call of its request follows, or was made beside. Its turn goes on.
    ///
    /// A settlement that cannot be written now is written later, as any.
    pub(crate) async fn settle_attempt(&self, call: OpenCall, used: Used) -> (Settlement, Inherited) {
        let settlement = self.weigh(&call, used);
        let inherited = call.terms.bequeath(settlement.usage.input.saturating_add(settlement.usage.output));
        self.settle_alone(settlement.clone()).await;
        (settlement, inherited)
    }

    /// What a call did cost; its tokens are counted, and what it teaches is learnt.
    fn weigh(&self, call: &OpenCall, used: Used) -> Settlement {
        let settlement = settlement(call, used, self.clock.now());
        let tokens = settlement.usage.input.saturating_add(settlement.usage.output);
        let uncounted = tokens.saturating_sub(call.terms.counted_tokens);
        self.gates.add_tokens(call.terms.family_id, &call.terms.token_rates, uncounted);
        if settlement.source == UsageSource::Reported {
            let hold = &settlement.hold;
            if let Some(bound) = call.terms.input_bound() {
                self.hidden_input.learn(&format!("{}/{}", hold.provider, hold.model), bound, &settlement.usage);
            }
        }
        measure(&settlement, &call.terms);
        settlement
    }

    /// Ends a call whose hold could not be written, or was it? Where the database did not say, the money stays reserved until a
    /// settlement at nothing is durable, which takes the place of a hold that was written after all.
    pub(crate) fn give_up(&self, admission: Admission, error: &StoreError) {
        let is_unwritten = matches!(error, StoreError::NotFound | StoreError::Fenced | StoreError::DiskFull);
        // What no budget bounds is not kept either, or a database that is down would fill the memory.
        if is_unwritten || admission.hold.charges.is_empty() {
            return;
        }
        let (hold, terms) = admission.into_durable();
        let nothing = Used { outcome: Outcome::Failed, tokens: TokensUsed::Nothing, tier: None };
        self.unsettled.push(settlement(&OpenCall { hold, terms }, nothing, self.clock.now()));
    }

    async fn settle_alone(&self, settlement: Settlement) {
        match self.store.end_call(settlement.clone(), None).await {
            Ok(()) => self.budgets.settled(&settlement.hold, settlement.cost),
            Err(error) => {
                tracing::error!(call = %settlement.hold.id, %error, "a call cannot be settled now; its hold stays charged until it is");
                self.unsettled.push(settlement);
            }
        }
    }

    /// Tries again to write what could not be written, for ever.
    pub async fn settle_late(&self) {
        loop {
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
            self.unsettled.write(&self.store, &self.budgets).await;
        }
    }

    /// Writes what could not be written before, once more: the server ends.
    pub async fn settle_last(&self) {
        self.unsettled.write(&self.store, &self.budgets).await;
    }
}

impl Unsettled {
    fn push(&self, settlement: Settlement) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(settlement);
    }

    async fn write(&self, store: &Store, budgets: &Budgets) {
        let late = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for settlement in late {
            match store.end_call(settlement.clone(), None).await {
                Ok(()) => {
                    tracing::info!(call = %settlement.hold.id, "settled late");
                    budgets.settled(&settlement.hold, settlement.cost);
                }
                Err(_) => self.push(settlement),
            }
        }
    }
}

/// Counts it, and says aloud when a provider took more than it could by its own rules.
fn measure(settlement: &Settlement, terms: &Terms) {
    metrics::counter!("privet_spent_nanos_total").increment(u64::try_from(settlement.cost.as_i64()).unwrap_or(0));
    let hold = &settlement.hold;
    if settlement.cost > hold.amount && hold.price.is_some() {
        metrics::counter!("privet_overrun_calls_total").increment(1);
        tracing::error!(
            call = %hold.id, provider = hold.provider, model = hold.model, held = %hold.amount, cost = %settlement.cost,
            cause = overrun(&settlement.usage, terms), "a call cost more than was held for it"
        );
    }
}

impl Terms {
    /// The most input tokens that the request can have; `None` where only the provider knows its size.
    fn input_bound(&self) -> Option<u64> {
        let Self { size, price, .. } = self;
        let of_image = price.as_ref().and_then(|price| price.image_tokens_max).unwrap_or(IMAGE_TOKENS_MAX);
        let bound = size.text_tokens.saturating_add(size.audio_tokens);
        (size.unknown_parts == 0).then(|| bound.saturating_add(size.images.saturating_mul(of_image)))
    }
}

/// Why a call cost more than was held for it, and what helps.
fn overrun(counted: &Usage, terms: &Terms) -> &'static str {
    let context = terms.price.as_ref().and_then(|price| price.context_tokens);
    if counted.output > terms.output_tokens.saturating_add(terms.size.predicted_tokens) {
        "the provider wrote more output than the request's limit, or than `output_tokens_max` of the model's row in the price book"
    } else if terms.input_bound().is_some_and(|bound| counted.input > bound) {
        "the provider adds to the input, as a server with a prompt of its own does: from now on as much is held on top"
    } else if context.is_some_and(|context| counted.input.saturating_add(counted.output) > context) {
        "the provider takes more than `context_tokens` of the model's row in the price book: write the larger figure there"
    } else {
        "a dearer price applied than could be foreseen: check the model's row in the price book, its tiers too"
    }
}

/// What a call cost. Pure.
fn settlement(call: &OpenCall, mut used: Used, at: Timestamp) -> Settlement {
    let OpenCall { hold, terms } = call;
    let is_absurd = |usage: Usage| usage.input.max(usage.output) > TOKENS_MAX;
    used.tokens = match used.tokens {
        TokensUsed::Reported(usage) | TokensUsed::ReportedSoFar(usage, _) if is_absurd(usage) => TokensUsed::Unknown,
        TokensUsed::ReportedSoFar(..) | TokensUsed::Bytes(_) if !hold.charges.is_empty() => TokensUsed::Unknown,
        tokens => tokens,
    };
    let size = &terms.size;
    let bounded_output = |bytes: u64| bytes.min(terms.output_tokens);
    let (usage, source) = match used.tokens {
        TokensUsed::Nothing => (Usage::default(), UsageSource::Nothing),
        TokensUsed::Reported(usage) => (usage, UsageSource::Reported),
        TokensUsed::ReportedSoFar(usage, bytes) => {
            let output = usage.output.max(bounded_output(bytes));
            let source = if output == usage.output { UsageSource::Reported } else { UsageSource::Bounded };
            (Usage { output, ..usage }, source)
        }
        TokensUsed::Bytes(bytes) => (bound(size, bounded_output(bytes)), UsageSource::Bounded),
        TokensUsed::Unknown => (bound(size, terms.output_tokens), UsageSource::Bounded),
    };
    let (cost, bill) = match &terms.price {
        None => (Nanos::ZERO, None),
        Some(price) => {
            let tier = used.tier.as_deref().or(terms.requested_tier.as_deref());
            let cost = match used.tokens {
                TokensUsed::Unknown if !hold.charges.is_empty() => hold.amount,
                // Which of the rates applied is as little known as the tokens.
                TokensUsed::Bytes(_) | TokensUsed::Unknown => {
                    let most = price.most(&ask(size, usage.output, terms.requested_tier.as_deref()));
                    most.map_or(hold.amount, |most| most.min(hold.amount))
                }
                _ => price.cost(&usage, tier).unwrap_or(hold.amount),
            };
            let lines = price.lines(&usage, tier);
            let lines: Vec<_> = lines.iter().map(|line| (line.kind, line.tokens, line.nanos_per_million)).collect();
            (cost, serde_json::to_string(&lines).ok())
        }
    };
    Settlement { hold: hold.clone(), outcome: used.outcome, cost, usage, source, tier: used.tier, bill, at }
}

fn bound(size: &privet_dialects::request_size::RequestSize, output: u64) -> Usage {
    Usage { input: size.text_tokens.saturating_add(size.audio_tokens), output, ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use privet_dialects::request_size::RequestSize;
    use privet_domain::id::{ApiKeyId, ProjectId, ReplicaId, RequestId};
    use privet_domain::pricing::{Price, Rates};
    use privet_store::{CallKind, Durability, Location};

    use super::*;
    use crate::admission::Places;
    use crate::gates::Gates;
    use crate::switchboard::Switchboard;

    const INPUT_NANOS: i64 = 1_000;
    const OUTPUT_NANOS: i64 = 2_000;

    /// A call of at most 100 tokens in and 50 out.
    async fn call() -> (OpenCall, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Folder(folder.path().to_owned());
        let store = Arc::new(Store::open(&location, Durability::Process).await.unwrap());
        let switchboard = Switchboard::load(store).await.unwrap();
        let key = ApiKeyId::new();
        let million = |nanos: i64| Nanos::new(nanos * 1_000_000);
        let price = Price {
            model: "test/model".to_owned(),
            from: Timestamp::from_micros(0),
            source: String::new(),
            standard: Rates::flat(million(INPUT_NANOS), million(OUTPUT_NANOS)),
            long_context: None,
            tiers: std::collections::BTreeMap::new(),
            context_tokens: None,
            output_tokens_max: None,
            image_tokens_max: None,
            caches_unasked: false,
            profile: privet_domain::ability::Profile::default(),
        };
        let hold = Hold {
            id: RequestId::new(),
            replica_id: ReplicaId::new(),
            project_id: ProjectId::new(),
            key_id: key,
            user_id: "owner".into(),
            kind: CallKind::Chat,
            provider: "test".to_owned(),
            model: "model".to_owned(),
            amount: Nanos::new(100 * INPUT_NANOS + 50 * OUTPUT_NANOS),
            price: None,
            charges: Vec::new(),
            at: Timestamp::from_micros(0),
        };
        let terms = Terms {
            price: Some(Arc::new(price)),
            family_id: key,
            size: RequestSize { text_tokens: 100, ..RequestSize::default() },
            output_tokens: 50,
            requested_tier: None,
            token_rates: Vec::new(),
            counted_tokens: 25,
            stoppable: Arc::new(switchboard.begin(key, "test").unwrap()),
            places: Arc::new(Places::of_server(Gates::default().take_place(1).unwrap())),
        };
        (OpenCall { hold: Arc::new(hold), terms }, folder)
    }

    async fn cost(tokens: TokensUsed) -> (i64, UsageSource) {
        cost_of(call().await, tokens)
    }

    fn cost_of((call, _folder): (OpenCall, tempfile::TempDir), tokens: TokensUsed) -> (i64, UsageSource) {
        let used = Used { outcome: Outcome::Cut, tokens, tier: None };
        let settlement = settlement(&call, used, Timestamp::from_micros(1));
        (settlement.cost.as_i64(), settlement.source)
    }

    #[tokio::test]
    async fn what_the_provider_counted_is_charged_and_else_the_most_that_can_have_been() {
        let counted = |input, output| Usage { input, output, ..Usage::default() };
        for (tokens, expected, source) in [
            (TokensUsed::Nothing, 0, UsageSource::Nothing),
            (TokensUsed::Reported(counted(10, 5)), 10 * INPUT_NANOS + 5 * OUTPUT_NANOS, UsageSource::Reported),
            // Anthropic tells the input at once, the output at the end.
            (TokensUsed::ReportedSoFar(counted(10, 1), 20), 10 * INPUT_NANOS + 20 * OUTPUT_NANOS, UsageSource::Bounded),
            (
                TokensUsed::ReportedSoFar(counted(10, 30), 20),
                10 * INPUT_NANOS + 30 * OUTPUT_NANOS,
                UsageSource::Reported,
            ),
            (TokensUsed::Bytes(20), 100 * INPUT_NANOS + 20 * OUTPUT_NANOS, UsageSource::Bounded),
            (TokensUsed::Bytes(1_000_000), 100 * INPUT_NANOS + 50 * OUTPUT_NANOS, UsageSource::Bounded),
            (TokensUsed::Unknown, 100 * INPUT_NANOS + 50 * OUTPUT_NANOS, UsageSource::Bounded),
        ] {
            assert_eq!(cost(tokens).await, (expected, source), "{tokens:?}");
        }
    }

    #[tokio::test]
    async fn under_a_budget_only_a_final_count_is_less_than_the_hold() {
        let counted = Usage { input: 10, output: 5, ..Usage::default() };
        let budgeted = || async {
            let (mut call, folder) = call().await;
            let charges =
                vec![privet_store::Charge { budget: "everybody".into(), window_start: Timestamp::from_micros(0) }];
            call.hold = Arc::new(Hold { charges, amount: Nanos::new(777_777), ..(*call.hold).clone() });
            (call, folder)
        };
        for (tokens, expected) in [
            (TokensUsed::Nothing, 0),
            (TokensUsed::Reported(counted), 10 * INPUT_NANOS + 5 * OUTPUT_NANOS),
            (TokensUsed::ReportedSoFar(counted, 20), 777_777),
            (TokensUsed::Bytes(1), 777_777),
            (TokensUsed::Unknown, 777_777),
        ] {
            assert_eq!(cost_of(budgeted().await, tokens).0, expected, "{tokens:?}");
        }
    }

    #[tokio::test]
    async fn an_overrun_is_blamed_on_what_overran() {
        let (call, _folder) = call().await;
        let row = (**call.terms.price.as_ref().unwrap()).clone();
        let terms = Terms { price: Some(Arc::new(Price { context_tokens: Some(80), ..row })), ..call.terms };
        for (input, output, blamed) in [
            (10, 51, "more output"),
            (101, 50, "adds to the input"),
            (100, 50, "context_tokens"),
            (10, 5, "dearer price"),
        ] {
            let cause = overrun(&Usage { input, output, ..Usage::default() }, &terms);
            assert!(cause.contains(blamed), "{input} in, {output} out: {cause}");
        }
    }

    #[tokio::test]
    async fn what_only_the_provider_can_size_is_no_hidden_input() {
        let (OpenCall { mut terms, .. }, _folder) = call().await;
        let size = terms.size;
        let mut bound = |size| {
            terms.size = size;
            terms.input_bound()
        };
        assert_eq!(bound(size), Some(100));
        assert_eq!(bound(RequestSize { images: 2, ..size }), Some(100 + 2 * IMAGE_TOKENS_MAX));
        assert_eq!(bound(RequestSize { unknown_parts: 1, ..size }), None);
    }

    #[tokio::test]
    async fn a_count_that_no_call_can_have_is_none() {
        let usage = Usage { input: u64::MAX, output: u64::MAX, reasoning: u64::MAX, ..Usage::default() };
        let most = 100 * INPUT_NANOS + 50 * OUTPUT_NANOS;
        assert_eq!(cost(TokensUsed::Reported(usage)).await, (most, UsageSource::Bounded));
    }
}
