//! Admission: whether a call may be made, and the money held for it. What may be refused cheaply is refused first: switches,
//! models, tokens, calls at once, money.

use std::sync::Arc;
use std::time::Duration;

use privet_dialects::request_size::RequestSize;
use privet_dialects::unbounded_field::{Escape, UnboundedField};
use privet_domain::id::{ApiKeyId, RequestId};
use privet_domain::key_limits::ModelNotAllowed;
use privet_domain::money::Nanos;
use privet_domain::pricing::{Ask, Price};
use privet_domain::rate::Rate;
use privet_store::{CallKind, Hold, StoreError, SwitchedOff};

use crate::Engine;
use crate::budget::{NoMoney, Remedy, Reservation, ReserveError, Spender};
use crate::gates::{Crowded, Place, RateStanding};
use crate::keyring::Caller;
use crate::router::Target;
use crate::switchboard::Stoppable;

/// Where money is short, a request without an output limit gets a smaller one, but no smaller than this (tokens).
const OUTPUT_TOKENS_MIN: u64 = 16;
/// OpenAI's name of the tier at standard prices (<https://platform.openai.com/docs/api-reference/chat/create>).
const STANDARD_TIER: &str = "default";
/// Before a call is made, a token is taken for so many bytes by the token rates; the true count is added afterwards.
const BYTES_PER_TOKEN: u64 = 4;

/// A call that wants to be made.
#[derive(Clone)]
pub(crate) struct Applicant<'a> {
    pub(crate) caller: &'a Caller,
    /// The call: by the id of its request, or by one beside it for a further call of the request.
    pub(crate) call_id: RequestId,
    pub(crate) kind: CallKind,
    /// The model's name as the client said it.
    pub(crate) asked_model: Option<&'a str>,
    pub(crate) target: &'a Target,
    pub(crate) size: RequestSize,
    pub(crate) output: OutputWish,
    pub(crate) tier: Option<&'a str>,
    /// Whether a tier may be set on the request, which names none.
    pub(crate) sets_tier: bool,
    /// What the request has that nobody can bound.
    pub(crate) unbounded: Option<UnboundedField>,
    /// How the call stands among those of its request.
    pub(crate) order: CallOrder,
}

/// How a call stands among those of its request.
#[derive(Clone, Debug)]
pub(crate) struct CallOrder {
    /// What it takes over from a call that ended before it.
    pub(crate) inherits: Option<Inherited>,
    /// It waits for money that calls under way hold no longer than this, nor than any request.
    pub(crate) patience: Duration,
}

/// What the next call of a request takes over from the one before, which has ended.
#[derive(Clone, Debug)]
pub(crate) struct Inherited {
    places: Arc<Places>,
    /// The tokens that were counted and not used.
    counted_tokens: u64,
}

/// The places of a call among those at once: of its key, if they are limited, and of the server.
#[derive(Debug)]
pub(crate) struct Places {
    #[expect(dead_code, reason = "held, not read")]
    of_key: Option<Place>,
    #[expect(dead_code, reason = "held, not read")]
    of_server: Place,
}

impl Places {
    /// Of a call whose key is not limited.
    #[cfg(test)]
    pub(crate) const fn of_server(of_server: Place) -> Self {
        Self { of_key: None, of_server }
    }
}

/// How much output a call wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutputWish {
    /// None: embeddings.
    None,
    /// So many answers, each of at most so many tokens; `None` where the client names no limit.
    /// `sets_default`: then the default is set on the request, also where no budget asks for it.
    Answers { count: u32, limit: Option<u64>, sets_default: bool },
    /// An answer that is kept here: no provider is asked, and nothing is paid.
    Kept,
}

/// A call that may be made. Nothing is written yet: dropped, it leaves nothing behind.
pub(crate) struct Admission {
    pub(crate) hold: Arc<Hold>,
    /// The output limit to set on the request, which names none.
    pub(crate) output_limit: Option<u64>,
    /// The service tier to set on the request, which names none.
    pub(crate) service_tier: Option<&'static str>,
    pub(crate) terms: Terms,
    reservation: Reservation,
}

/// What is known of a call under way until it is settled.
pub(crate) struct Terms {
    pub(crate) price: Option<Arc<Price>>,
    /// The line of keys that the rates count for.
    pub(crate) family_id: ApiKeyId,
    pub(crate) size: RequestSize,
    /// The most output tokens of all answers together.
    pub(crate) output_tokens: u64,
    pub(crate) requested_tier: Option<String>,
    /// The rates that the call's tokens count against, and what was counted of them.
    pub(crate) token_rates: Vec<Rate>,
    pub(crate) counted_tokens: u64,
    pub(crate) stoppable: Arc<Stoppable>,
    /// Given back with the last call of the request that has them.
    pub(crate) places: Arc<Places>,
}

/// Why a call may not be made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is switched off.
    #[error("`{}` is switched off: {}. Switch it on with `privet resume`.", .0.scope, .0.reason)]
    SwitchedOff(SwitchedOff),
    /// The key may not use the model.
    #[error(transparent)]
    Model(#[from] ModelNotAllowed),
    /// The key has made its requests.
    #[error("This key may make {} requests; the next in {} s.", .0.rate, whole_seconds(.0))]
    Requests(RateStanding),
    /// The key has used its tokens.
    #[error("This key may use {} tokens; more in {} s.", .0.rate, whole_seconds(.0))]
    Tokens(RateStanding),
    /// Too many calls at once.
    #[error("{}", crowded(.0))]
    Crowded(Crowded),
    /// A budget lacks the money.
    #[error("{}", no_money(.0, *.1))]
    NoMoney(Box<NoMoney>, Option<u64>),
    /// Nobody knows what it costs.
    #[error(
        "No price is known of the model `{0}`, and the key has a budget. Write its price into the file of the setting `prices`, or allow it by name in `limits.unpriced`."
    )]
    Unpriced(String),
    /// Nobody can say what it costs at most.
    #[error(
        "What this request costs at most cannot be told: it holds a file or a search whose size only the provider knows, and the price book has no `context_tokens` of `{0}`. Send the text itself, or write the model's context into the file of the setting `prices`."
    )]
    Unbounded(String),
    /// A field escapes what the key is bounded by.
    #[error("{}", unbounded_field(.0))]
    Field(UnboundedField),
    /// Nobody knows what the service tier costs.
    #[error(
        "No price is known of the service tier `{tier}` of `{model}`, and the key has a budget. Leave it out (`service_tier`, or Anthropic's `speed`), or write the tier's price into the file of the setting `prices`."
    )]
    Tier {
        /// The tier that the request names.
        tier: String,
        /// The model, as `provider/model`.
        model: String,
    },
}

impl Refused {
    /// The gate that refused, by the name that stands in the header `x-privet-gate` and in the log of refusals.
    #[must_use]
    pub const fn gate(&self) -> &'static str {
        match self {
            Self::SwitchedOff(_) => "switch",
            Self::Model(_) | Self::Field(UnboundedField { escapes: Escape::Model, .. }) => "scope",
            Self::Requests(_) => "rate",
            Self::Tokens(_) => "tokens",
            Self::Crowded(_) => "concurrency",
            Self::NoMoney(..) | Self::Unpriced(_) | Self::Unbounded(_) | Self::Field(_) | Self::Tier { .. } => "budget",
        }
    }
}

/// Why there is no admission.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    #[error(transparent)]
    Refused(Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for AdmissionError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Engine {
    /// Counts a request against the rates of its key. Gives what is left, for the answer's headers.
    ///
    /// # Errors
    /// When the key has made its requests.
    pub fn count_request(&self, caller: &Caller) -> Result<Option<RateStanding>, Refused> {
        let rates = or_default(&caller.limits.requests, self.limits.key.requests);
        self.gates.take_request(caller.family_id, &rates).map_err(Refused::Requests)
    }

    /// How a key stands with its rates of tokens: the tightest of them, if it has any.
    #[must_use]
    pub fn token_standing(&self, caller: &Caller) -> Option<RateStanding> {
        self.gates.token_standing(caller.family_id, &or_default(&caller.limits.tokens, self.limits.key.tokens))
    }

    /// Lets a call in and reserves the most that it can cost.
    pub(crate) async fn admit(&self, applicant: Applicant<'_>) -> Result<Admission, AdmissionError> {
        let Applicant {
            caller,
            call_id,
            kind,
            asked_model,
            target,
            mut size,
            output,
            tier,
            sets_tier,
            unbounded,
            order,
        } = applicant;
        let CallOrder { inherits, patience } = order;
        let (provider, model) = (target.provider.name(), target.model.as_str());
        let stoppable = Arc::new(self.switchboard.begin(caller.key_id, provider).map_err(Refused::SwitchedOff)?);
        let name = target.name();
        caller.limits.permit(asked_model.unwrap_or(&name), &name).map_err(Refused::Model)?;
        let spender = Spender {
            family_id: caller.family_id,
            user_id: &caller.user_id,
            project: &caller.project,
            allowances: &caller.limits.budgets,
        };
        let rules = self.budgets.rules_for(&spender);
        let is_budgeted = !rules.is_empty();
        if let Some(field) = unbounded.filter(|field| self.must_refuse(field, caller, is_budgeted)) {
            return Err(Refused::Field(field).into());
        }
        if matches!(output, OutputWish::Kept) {
            size = RequestSize::default();
        } else {
            size.text_tokens = size.text_tokens.saturating_add(self.hidden_input.of(&name));
        }
        let now = self.clock.now();
        let price = self.prices.find(provider, model, now).cloned();
        let quote = self.quote(price.as_deref(), &name, &size, output, tier, is_budgeted)?;
        let token_rates = or_default(&caller.limits.tokens, self.limits.key.tokens);
        let counted_tokens = self.admit_tokens(caller, &token_rates, &size, inherits.as_ref())?;
        let place_of_key = match &inherits {
            Some(_) => None,
            None => self.place_of_key(caller)?,
        };
        let reserved = self.budgets.reserve_within(&rules, quote.most, quote.least, patience).await;
        let reservation = reserved.map_err(|error| match error {
            ReserveError::Store(error) => AdmissionError::Store(error),
            ReserveError::NoMoney(lack) => {
                let fitting = price.as_ref().and_then(|price| price.affordable_output(&quote.ask, lack.left));
                Refused::NoMoney(lack, fitting.map(|all| all / quote.answers)).into()
            }
        })?;
        // Those who wait for money take no place from the others.
        let places = match inherits {
            Some(inherited) => inherited.places,
            None => {
                let of_server = self.gates.take_place(self.limits.concurrency).map_err(Refused::Crowded)?;
                Arc::new(Places { of_key: place_of_key, of_server })
            }
        };
        let mut output_tokens = quote.ask.output_tokens;
        if let Some(price) = price.as_ref().filter(|_| reservation.amount < quote.most) {
            output_tokens = price.affordable_output(&quote.ask, reservation.amount).unwrap_or(0);
        }
        // Where none is named, the provider's project setting chooses, and it may choose a dearer one than was held for.
        let has_dearer = price.as_ref().is_some_and(|price| price.has_dearer_tier());
        let service_tier = (sets_tier && is_budgeted && has_dearer).then_some(STANDARD_TIER);
        let output_limit = quote.sets_limit.then(|| output_tokens / quote.answers);
        let hold = Hold {
            id: call_id,
            replica_id: reservation.replica_id,
            project_id: caller.project_id,
            key_id: caller.key_id,
            user_id: caller.user_id.clone(),
            kind,
            provider: provider.to_owned(),
            model: model.to_owned(),
            amount: reservation.amount,
            price: price.as_ref().map(|price| row_name(price)),
            charges: reservation.charges.clone(),
            at: now,
        };
        let terms = Terms {
            price,
            family_id: caller.family_id,
            size,
            output_tokens,
            requested_tier: tier.map(str::to_owned),
            token_rates,
            counted_tokens,
            stoppable,
            places,
        };
        Ok(Admission { hold: Arc::new(hold), output_limit, service_tier, terms, reservation })
    }

    /// Counts what a call has of tokens, until the provider counts them. What was counted for the call before it and not used is
    /// counted already.
    fn admit_tokens(
        &self,
        caller: &Caller,
        rates: &[Rate],
        size: &RequestSize,
        inherits: Option<&Inherited>,
    ) -> Result<u64, Refused> {
        if let Some(Inherited { counted_tokens: counted @ 1.., .. }) = inherits {
            return Ok(*counted);
        }
        let counted = size.text_tokens / BYTES_PER_TOKEN;
        self.gates.take_tokens(caller.family_id, rates, counted).map_err(Refused::Tokens)?;
        Ok(counted)
    }

    fn place_of_key(&self, caller: &Caller) -> Result<Option<Place>, Refused> {
        let most = caller.limits.concurrency.or(self.limits.key.concurrency);
        most.map(|most| self.gates.take_place_of_key(caller.family_id, most)).transpose().map_err(Refused::Crowded)
    }

    /// Whether a field escapes what the key is bounded by.
    fn must_refuse(&self, field: &UnboundedField, caller: &Caller, is_budgeted: bool) -> bool {
        match field.escapes {
            Escape::Model => is_budgeted || !caller.limits.models.is_empty(),
            Escape::Size => is_budgeted,
            Escape::Fee => is_budgeted && !self.limits.fees,
        }
    }

    /// What a call costs at most, and how little must be there.
    fn quote<'a>(
        &self,
        price: Option<&Price>,
        name: &str,
        size: &RequestSize,
        output: OutputWish,
        tier: Option<&'a str>,
        is_budgeted: bool,
    ) -> Result<Quote<'a>, Refused> {
        let known_max = price.and_then(|price| price.output_tokens_max);
        let (answers, limit, sets_limit) = match output {
            OutputWish::Kept => {
                let ask = Ask::default();
                return Ok(Quote { ask, answers: 1, sets_limit: false, most: Nanos::ZERO, least: Nanos::ZERO });
            }
            OutputWish::None => (1, 0, false),
            // More than the model can write is not written.
            OutputWish::Answers { count, limit: Some(limit), .. } => {
                (u64::from(count), known_max.map_or(limit, |max| limit.min(max)), false)
            }
            OutputWish::Answers { count, limit: None, sets_default } => {
                let default = self.limits.output_tokens;
                (u64::from(count), known_max.map_or(default, |max| default.min(max)), is_budgeted || sets_default)
            }
        };
        let ask = ask(size, limit.saturating_mul(answers), tier);
        let Some(price) = price else {
            let allowed = !is_budgeted || self.limits.unpriced.iter().any(|allowed| allowed == name);
            return if allowed {
                Ok(Quote { ask, answers, sets_limit, most: Nanos::ZERO, least: Nanos::ZERO })
            } else {
                Err(Refused::Unpriced(name.to_owned()))
            };
        };
        if let Some(tier) = tier.filter(|tier| is_budgeted && !price.knows_tier(tier)) {
            return Err(Refused::Tier { tier: tier.to_owned(), model: name.to_owned() });
        }
        let most = match price.most(&ask) {
            Some(most) => most,
            None if is_budgeted => return Err(Refused::Unbounded(name.to_owned())),
            None => Nanos::ZERO,
        };
        let small = Ask { output_tokens: limit.min(OUTPUT_TOKENS_MIN).saturating_mul(answers), ..ask };
        let least = if sets_limit { price.most(&small).unwrap_or(most) } else { most };
        Ok(Quote { ask, answers, sets_limit, most, least })
    }
}

impl Terms {
    /// What the next call of the request takes over, once this one has ended with so many tokens used.
    pub(crate) fn bequeath(&self, used_tokens: u64) -> Inherited {
        let counted_tokens = if used_tokens == 0 { self.counted_tokens } else { 0 };
        Inherited { places: self.places.clone(), counted_tokens }
    }
}

impl Admission {
    /// Once the hold is durable: the money stays reserved until the call is settled.
    pub(crate) fn into_durable(self) -> (Arc<Hold>, Terms) {
        self.reservation.keep();
        (self.hold, self.terms)
    }
}

struct Quote<'a> {
    ask: Ask<'a>,
    answers: u64,
    /// Whether the output limit is ours to set.
    sets_limit: bool,
    most: Nanos,
    least: Nanos,
}

/// What a request of this size, with so much output, asks of a price.
pub(crate) fn ask<'a>(size: &RequestSize, output_tokens: u64, tier: Option<&'a str>) -> Ask<'a> {
    Ask {
        text_tokens: size.text_tokens,
        images: size.images,
        audio_tokens: size.audio_tokens,
        unknown_parts: size.unknown_parts,
        output_tokens: output_tokens.saturating_add(size.predicted_tokens),
        writes_cache: size.writes_cache,
        speaks: size.speaks,
        draws: size.draws,
        tier,
    }
}

/// A row of the price book, for the ledger: its model and its date.
fn row_name(price: &Price) -> Arc<str> {
    let from = price.from.to_string();
    format!("{} of {}", price.model, from.get(..10).unwrap_or(&from)).into()
}

fn or_default(own: &[Rate], default: Option<Rate>) -> Vec<Rate> {
    if own.is_empty() { default.into_iter().collect() } else { own.to_vec() }
}

fn whole_seconds(standing: &RateStanding) -> u64 {
    standing.retry_in.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

fn crowded(crowded: &Crowded) -> String {
    match crowded {
        Crowded::Key(most) => {
            format!("This key may have {most} calls under way at once; repeat when one has ended.")
        }
        Crowded::Server(most) => format!(
            "The server has {most} calls under way, as many as it may (`limits.concurrency`); repeat in a moment."
        ),
    }
}

fn unbounded_field(UnboundedField { name, escapes }: &UnboundedField) -> String {
    match escapes {
        Escape::Model => format!(
            "`{name}` may let another model answer than the one that the request names, and this key is bounded by models or by a budget. Leave it out, or take a key without them."
        ),
        Escape::Size => format!(
            "`{name}` may make the provider read or write more than the request says, and the key has a budget. Leave it out (the output limit is `max_tokens` or `max_completion_tokens`), or take a key without a budget."
        ),
        Escape::Fee => format!(
            "`{name}` is paid for besides its tokens, by a fee that no price here holds, and the key has a budget. Leave it out, or let such fees pass uncounted with `limits.fees = true`."
        ),
    }
}

fn no_money(lack: &NoMoney, fitting_output: Option<u64>) -> String {
    let NoMoney { budget, limit, left, needed, resets_at, remedy } = lack;
    let head = format!("The budget `{budget}` has {left} left of {limit}, this request needs up to {needed}.");
    let smaller = match fitting_output.filter(|&tokens| tokens > 0) {
        Some(tokens) => format!(" With `max_tokens` {tokens} it would fit."),
        None => String::new(),
    };
    match (remedy, resets_at) {
        (Remedy::NeverFits, _) => format!(
            "{head} It is more than the whole budget, so waiting does not help: make the request smaller, or raise the budget.{smaller}"
        ),
        (Remedy::NextWindow, Some(at)) => {
            format!("{head} The budget is full again at {at}; or raise it.{smaller}")
        }
        (Remedy::NextWindow, None) => {
            format!("{head} This budget does not fill up again, so waiting does not help: raise it.{smaller}")
        }
        (Remedy::CallsUnderWay, _) => {
            format!("{head} Calls under way hold the rest: repeat the request when they have ended.{smaller}")
        }
    }
}
