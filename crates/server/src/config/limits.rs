//! Limits and budgets: `[limits]`, `[[budgets]]` and the proxies that may say who the client is.

use std::collections::BTreeMap;
use std::time::Duration;

use privet_domain::budget::{Allowance, Budget, BudgetScope, ZoneName};
use privet_domain::model::ModelName;
use privet_domain::rate::Rate;
use privet_engine::limits::{KeyDefaults, LimitSettings};

use super::error::ConfigError;
use super::layers::{Layers, Origin};
use super::setting::{self, Shown, Value};
use super::trusted_proxies::TrustedProxies;

/// The list of tables that holds the budgets.
pub(super) const BUDGETS: &str = "budgets";
/// The fields of a budget.
pub(super) const BUDGET_FIELDS: [&str; 5] = ["limit", "user", "project", "key", "time_zone"];
/// What switches a limit off.
const OFF: &str = "off";
/// The longest time that a rate may speak of: limiters count in nanoseconds.
const RATE_PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What is limited for each client's address, and how that address is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoorSettings {
    pub(crate) trusted_proxies: TrustedProxies,
    /// Requests to `/api/chat`.
    pub(crate) chat: Option<Rate>,
    /// Requests to every other route that takes a key.
    pub(crate) api: Option<Rate>,
    /// Keys that are refused.
    pub(crate) refused: Option<Rate>,
}

/// What stands before the key: the address's limits.
pub(super) fn door(layers: &Layers, shown: &mut Vec<Shown>) -> Result<DoorSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    Ok(DoorSettings {
        trusted_proxies: value("server.trusted_proxies").parse(TrustedProxies::parse)?,
        chat: value("limits.address.chat").parse(rate)?,
        api: value("limits.address.api").parse(rate)?,
        refused: value("limits.address.refused").parse(rate)?,
    })
}

/// What the engine keeps.
pub(super) fn limits(layers: &Layers, shown: &mut Vec<Shown>) -> Result<LimitSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    Ok(LimitSettings {
        key: KeyDefaults {
            requests: value("limits.key.requests").parse(rate)?,
            tokens: value("limits.key.tokens").parse(rate)?,
            concurrency: value("limits.key.concurrency").parse(optional_count)?,
        },
        concurrency: value("limits.concurrency").parse(count)?,
        time_zone: value("limits.time_zone").parse(zone)?,
        output_tokens: value("limits.output_tokens").parse(count)?.into(),
        budget_wait: value("limits.budget_wait").parse(setting::duration)?,
        unpriced: value("limits.unpriced").parse(models)?,
    })
}

/// The budgets of the file. Two for the same scope and period would leave open which of them holds.
pub(super) fn budgets(layers: &Layers, zone: &ZoneName, shown: &mut Vec<Shown>) -> Result<Vec<Budget>, ConfigError> {
    let mut budgets = Vec::new();
    let mut places: BTreeMap<String, Origin> = BTreeMap::new();
    for row in layers.rows(BUDGETS) {
        let budget = budget(&row, zone)?;
        let id = budget.id();
        if let Some(first) = places.get(&id) {
            let problem = format!(
                "overlapping budgets: the one of {} is for `{id}` too; keep one of them, or give them another period",
                first.place()
            );
            return Err(ConfigError::Syntax { place: row.origin.place(), problem });
        }
        let allowance = Allowance { amount: budget.amount, period: budget.period, zone: Some(budget.zone.clone()) };
        shown.push(Shown {
            key: format!("{BUDGETS}.{id}"),
            value: allowance.to_string(),
            origin: row.origin.to_string(),
        });
        places.insert(id, row.origin);
        budgets.push(budget);
    }
    Ok(budgets)
}

/// A table of a list of tables.
pub(super) struct BudgetRow {
    pub(super) origin: Origin,
    pub(super) fields: BTreeMap<String, Value>,
}

fn budget(row: &BudgetRow, default_zone: &ZoneName) -> Result<Budget, ConfigError> {
    let missing = || ConfigError::Syntax {
        place: row.origin.place(),
        problem: "a budget needs a `limit`, for example limit = \"10.00/month\"".to_owned(),
    };
    let limit = row.fields.get("limit").ok_or_else(missing)?;
    let allowance = limit.parse(|text| text.parse::<Allowance>().map_err(|error| error.to_string()))?;
    let zone_field = row.fields.get("time_zone");
    if let (Some(zone), Some(_)) = (zone_field, &allowance.zone) {
        let remedy = "the `limit` names a time zone already; name it once";
        return Err(ConfigError::value(&zone.origin, &zone.key, &zone.text, remedy));
    }
    let zone = zone_field.map(|value| value.parse(zone)).transpose()?;
    Ok(Budget::new(scope(row)?, &allowance, zone.as_ref().unwrap_or(default_zone)))
}

fn scope(row: &BudgetRow) -> Result<BudgetScope, ConfigError> {
    let mut named = ["user", "project", "key"].iter().filter_map(|&field| Some((field, row.fields.get(field)?)));
    let Some((field, value)) = named.next() else { return Ok(BudgetScope::Global) };
    if let Some((other, second)) = named.next() {
        let remedy =
            format!("the budget names a `{field}` already; write one budget for the {field} and one for the {other}");
        return Err(ConfigError::value(&second.origin, &second.key, &second.text, remedy));
    }
    match field {
        "user" => value.parse(name).map(BudgetScope::User),
        "project" => value.parse(name).map(BudgetScope::Project),
        _ => value
            .parse(|text| {
                text.parse().map_err(|_| "write the key's id, a UUID; `privet keys list` shows it".to_owned())
            })
            .map(BudgetScope::Key),
    }
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_owned()).ok_or_else(|| "write a name, or leave it out".to_owned())
}

/// A rate; nothing or `off` is none.
fn rate(text: &str) -> Result<Option<Rate>, String> {
    if matches!(text, "" | OFF) {
        return Ok(None);
    }
    let rate: Rate =
        text.parse().map_err(|_| "write N/PERIOD such as \"60/1m\" or \"1/10s\", or \"off\"".to_owned())?;
    if rate.per > RATE_PERIOD_MAX {
        return Err("write a period of at most 366 days".to_owned());
    }
    Ok(Some(rate))
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "write a whole number above 0".to_owned())
}

fn optional_count(text: &str) -> Result<Option<u32>, String> {
    match text {
        "" | OFF => Ok(None),
        _ => count(text).map(Some).map_err(|remedy| format!("{remedy}, or \"off\"")),
    }
}

fn zone(text: &str) -> Result<ZoneName, String> {
    text.parse().map_err(|_| {
        "no time zone is called so; write one of the IANA database such as \"Europe/Warsaw\" or \"UTC\"".to_owned()
    })
}

fn models(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let models = names.map(|name| match ModelName::parse(name) {
        Some(model) => Ok(model.to_string()),
        None => Err(format!("`{name}` is no model; write \"provider/model\"")),
    });
    models.collect()
}
