//! Usage and explanations as they are shown, by the command line and by the API alike.

use privet_domain::money::Nanos;
use privet_engine::usage::{BudgetStanding, CallsOfRequest, Explanation, Totals, UsageReport};
use privet_store::{OpenCall, SettledCall};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What was spent, and by whom. Money is nano-dollars.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageView {
    #[serde(flatten)]
    totals: TotalsView,
    /// By key id.
    by_key: Vec<PartView>,
    /// By user.
    by_user: Vec<PartView>,
    /// By `provider/model`.
    by_model: Vec<PartView>,
    /// By day (UTC).
    by_day: Vec<PartView>,
    /// Where the budgets stand.
    budgets: Vec<StandingView>,
}

/// One part of the usage.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartView {
    /// Which: a key's id, a user, a model or a day.
    name: String,
    #[serde(flatten)]
    totals: TotalsView,
}

/// Sums over calls.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) struct TotalsView {
    /// What settled calls did cost.
    settled_nanos: i64,
    /// What calls under way hold.
    held_nanos: i64,
    /// How many settled calls.
    calls: i64,
    /// Their input tokens.
    input_tokens: i64,
    /// Of them, read from the provider's cache.
    cached_input_tokens: i64,
    /// Their output tokens.
    output_tokens: i64,
    /// Of them, reasoning.
    reasoning_tokens: i64,
}

/// Where a budget stands in its present window.
#[derive(Serialize, ToSchema)]
pub(crate) struct StandingView {
    /// The budget: `global/month`, `user/ola/day`, `key/ID/total`.
    budget: String,
    /// The whole of it.
    limit_nanos: i64,
    /// What is settled.
    settled_nanos: i64,
    /// What calls under way hold, and calls whose process died.
    held_nanos: i64,
    /// When the window began, RFC 3339.
    window_start: String,
    /// When it is full again, RFC 3339.
    resets_at: Option<String>,
}

/// Why a request cost what it cost, or was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplanationView {
    /// `settled`, `open` or `refused`.
    state: &'static str,
    /// In a few sentences.
    text: String,
    /// All that is known of its call; of several, of the last one, and of all in `calls`.
    #[schema(value_type = Object)]
    facts: Value,
}

impl UsageView {
    pub(crate) fn new(report: &UsageReport, standings: Vec<BudgetStanding>) -> Self {
        let parts = |parts: &std::collections::BTreeMap<String, Totals>| {
            parts.iter().map(|(name, totals)| PartView { name: name.clone(), totals: (*totals).into() }).collect()
        };
        Self {
            totals: report.totals.into(),
            by_key: parts(&report.by_key),
            by_user: parts(&report.by_user),
            by_model: parts(&report.by_model),
            by_day: parts(&report.by_day),
            budgets: standings.into_iter().map(StandingView::from).collect(),
        }
    }
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        Self {
            settled_nanos: totals.settled_nanos,
            held_nanos: totals.held_nanos,
            calls: totals.calls,
            input_tokens: totals.input_tokens,
            cached_input_tokens: totals.cached_input_tokens,
            output_tokens: totals.output_tokens,
            reasoning_tokens: totals.reasoning_tokens,
        }
    }
}

impl From<BudgetStanding> for StandingView {
    fn from(standing: BudgetStanding) -> Self {
        Self {
            budget: standing.budget,
            limit_nanos: standing.limit.as_i64(),
            settled_nanos: standing.settled.as_i64(),
            held_nanos: standing.held.as_i64(),
            window_start: standing.window_start.to_string(),
            resets_at: standing.resets_at.map(|at| at.to_string()),
        }
    }
}

impl ExplanationView {
    /// `key` names the key of the request for people.
    pub(crate) fn new(explanation: &Explanation, key: &str) -> Self {
        match explanation {
            Explanation::Calls(calls) => Self::of_calls(calls, key),
            Explanation::Refused(refusal) => Self {
                state: "refused",
                text: format!(
                    "Request {} by {key} was refused at {} by the gate `{}`: {}",
                    refusal.id, refusal.at, refusal.gate, refusal.reason
                ),
                facts: serde_json::json!({
                    "id": refusal.id, "at": refusal.at, "gate": refusal.gate, "key_id": refusal.key_id,
                    "model": refusal.model, "reason": refusal.reason,
                }),
            },
        }
    }

    fn of_calls(CallsOfRequest { settled, open }: &CallsOfRequest, key: &str) -> Self {
        let texts =
            settled.iter().map(|call| settled_text(call, key)).chain(open.iter().map(|call| open_text(call, key)));
        let mut texts: Vec<String> = texts.collect();
        let all: Vec<Value> = settled.iter().map(settled_facts).chain(open.iter().map(open_facts)).collect();
        let mut facts = all.last().cloned().unwrap_or_default();
        if texts.len() > 1 {
            let cost: Nanos = settled.iter().map(|call| call.cost).sum();
            texts
                .insert(0, format!("The request made {} calls of providers, which cost {cost} together.", texts.len()));
            if let Some(fields) = facts.as_object_mut() {
                fields.insert("calls".to_owned(), all.into());
            }
        }
        let state = if open.is_empty() { "settled" } else { "open" };
        Self { state, text: texts.join("\n\n"), facts }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

fn begin_text(call: &OpenCall, key: &str) -> String {
    format!(
        "Call {} ({}) to {}/{} by {key}, user {}, begun at {}.",
        call.id, call.kind, call.provider, call.model, call.user_id, call.created_at
    )
}

fn settled_text(call: &SettledCall, key: &str) -> String {
    let mut lines = vec![begin_text(&call.begun, key)];
    lines.push(match call.outcome.as_str() {
        "complete" => format!("It was answered and cost {}:", call.cost),
        "failed" => format!("It failed and cost {}.", call.cost),
        "abandoned" => format!("Its process died; it was settled by hand at {}.", call.cost),
        outcome => format!("It ended early ({outcome}) and cost {}:", call.cost),
    });
    for (kind, tokens, price) in bill(call) {
        let price = Nanos::new(price);
        lines.push(format!("  {tokens} tokens of {} at {price} a million", kind.replace('_', " ")));
    }
    if call.source == "bounded" {
        lines.push(
            "The provider did not count the tokens: this is the most that they can have been, never more than was held."
                .to_owned(),
        );
    }
    lines.extend(end_text(&call.begun));
    lines.push(format!("Held before it: {}; settled at {}.", call.begun.hold, call.settled_at));
    lines.join("\n")
}

fn open_text(call: &OpenCall, key: &str) -> String {
    let mut lines = vec![begin_text(call, key)];
    lines.push(format!(
        "It is under way and holds {}; or its process died, and `privet reconcile` settles it.",
        call.hold
    ));
    lines.extend(end_text(call));
    lines.join("\n")
}

fn end_text(call: &OpenCall) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match &call.price {
        Some(price) => format!("Price: the row {price} of the price book."),
        None => "No price of the model is known: it counts as nothing.".to_owned(),
    });
    let charges: Vec<String> =
        call.charges.iter().map(|charge| format!("{} from {}", charge.budget, charge.window_start)).collect();
    lines.push(match charges.is_empty() {
        true => "No budget bounds it.".to_owned(),
        false => format!("Charged to: {}.", charges.join(", ")),
    });
    lines
}

fn bill(call: &SettledCall) -> Vec<(String, u64, i64)> {
    call.bill.as_deref().and_then(|bill| serde_json::from_str(bill).ok()).unwrap_or_default()
}

fn settled_facts(call: &SettledCall) -> Value {
    let mut facts = open_facts(&call.begun);
    if let Some(fields) = facts.as_object_mut() {
        let lines: Vec<Value> = bill(call)
            .into_iter()
            .map(
                |(kind, tokens, nanos)| serde_json::json!({"kind": kind, "tokens": tokens, "nanos_per_million": nanos}),
            )
            .collect();
        fields.insert("outcome".to_owned(), call.outcome.as_str().into());
        fields.insert("cost_nanos".to_owned(), call.cost.as_i64().into());
        fields.insert("usage".to_owned(), serde_json::json!(call.usage));
        fields.insert("usage_source".to_owned(), call.source.as_str().into());
        fields.insert("tier".to_owned(), serde_json::json!(call.tier));
        fields.insert("bill".to_owned(), lines.into());
        fields.insert("settled_at".to_owned(), serde_json::json!(call.settled_at));
    }
    facts
}

fn open_facts(call: &OpenCall) -> Value {
    let charges: Vec<Value> = call
        .charges
        .iter()
        .map(|charge| serde_json::json!({"budget": &*charge.budget, "window_start": charge.window_start}))
        .collect();
    serde_json::json!({
        "id": call.id, "kind": call.kind, "provider": call.provider, "model": call.model, "key_id": call.key_id,
        "user_id": call.user_id, "hold_nanos": call.hold.as_i64(), "price": call.price, "charges": charges,
        "created_at": call.created_at,
    })
}
