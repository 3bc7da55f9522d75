//! Limits and budgets: `[limits]`, `[[budgets]]` and the proxies that may say who the client is.

use std::collections::BTreeMap;
use std::time::Duration;

use privet_domain::budget::{Allowance, Budget, BudgetScope, ZoneName};
use privet_domain::model::ModelName;
use privet_domain::rate::Rate;
use privet_engine::limits::{KeyDefaults, LimitSettings};

use super::error::ConfigError;
use super::layers::{Layers, Origin, Row};
use super::setting::{self, Shown};
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
        fees: value("limits.fees").parse(setting::truth)?,
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

fn budget(row: &Row, default_zone: &ZoneName) -> Result<Budget, ConfigError> {
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

fn scope(row: &Row) -> Result<BudgetScope, ConfigError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;

    fn refused(toml: &str) -> String {
        load(toml, &[]).unwrap_err()
    }

    fn rate_of(text: &str) -> Option<Rate> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn by_default_the_lessons_limits_hold_and_nobody_is_trusted() {
        let config = load("", &[]).unwrap();
        let expected = DoorSettings { chat: rate_of("1/10s"), refused: rate_of("5/1m"), ..DoorSettings::default() };
        assert_eq!((config.door, config.limits), (expected, LimitSettings::default()));
        assert_eq!(config.budgets, []);
    }

    #[test]
    fn limits_are_read_from_sections_inline_tables_and_lists() {
        let toml = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"cloudflare\"]\n[limits]\n\
                    address = { chat = \"off\", api = \"60/1m\" }\n\
                    key = { requests = \"20/minute\", tokens = \"100000/1m\", concurrency = 4 }\n\
                    concurrency = 8\ntime_zone = \"Europe/Warsaw\"\noutput_tokens = 100\nbudget_wait = \"1s\"\n\
                    unpriced = [\"ollama/qwen3\", \"ollama/library/x\"]\nfees = true\n";
        let config = load(toml, &[]).unwrap();
        assert_eq!(
            config.door,
            DoorSettings {
                trusted_proxies: TrustedProxies::parse("10.0.0.0/8,cloudflare").unwrap(),
                chat: None,
                api: rate_of("60/1m"),
                refused: rate_of("5/1m"),
            }
        );
        assert_eq!(
            config.limits,
            LimitSettings {
                key: KeyDefaults { requests: rate_of("20/1m"), tokens: rate_of("100000/1m"), concurrency: Some(4) },
                concurrency: 8,
                time_zone: "Europe/Warsaw".parse().unwrap(),
                output_tokens: 100,
                budget_wait: Duration::from_secs(1),
                unpriced: vec!["ollama/qwen3".to_owned(), "ollama/library/x".to_owned()],
                fees: true,
            }
        );
        let shown = config.shown.iter().find(|shown| shown.key == "server.trusted_proxies").unwrap();
        assert_eq!(shown.value, "10.0.0.0/8, cloudflare");
        assert!(shown.origin.ends_with("privet.toml:2"), "{}", shown.origin);
    }

    #[test]
    fn the_environment_sets_limits_too() {
        let environment = [
            ("PRIVET_LIMITS_ADDRESS_CHAT", "5/1s"),
            ("PRIVET_SERVER_TRUSTED_PROXIES", "10.0.0.0/8,cloudflare"),
            ("PRIVET_LIMITS_UNPRICED", "ollama/a, ollama/b"),
        ];
        let config = load("[server]\ntrusted_proxies = 2\n", &environment).unwrap();
        assert_eq!(config.door.chat, rate_of("5/1s"));
        assert_eq!(config.door.trusted_proxies, TrustedProxies::parse("10.0.0.0/8, cloudflare").unwrap());
        assert_eq!(config.limits.unpriced, ["ollama/a", "ollama/b"]);
        let error = load("", &[("PRIVET_LIMITS_ADDRES_CHAT", "1/1s")]).unwrap_err();
        assert!(error.contains("did you mean `PRIVET_LIMITS_ADDRESS_CHAT`?"), "{error}");
    }

    #[test]
    fn budgets_are_read_with_their_scope_and_calendar_and_shown() {
        let toml = "[limits]\ntime_zone = \"America/New_York\"\n\n[[budgets]]\nlimit = \"10.00/month\"\nuser = \"ola\"\n\
                    time_zone = \"Europe/Warsaw\"\n\n[[budgets]]\nlimit = \"1/day\"\n\n[[budgets]]\n\
                    key = \"01890000-0000-7000-8000-000000000000\"\nlimit = \"5/total UTC\"\n\n\
                    [[budgets]]\nproject = \"web\"\nlimit = \"7/week\"\n";
        let config = load(toml, &[]).unwrap();
        let told: Vec<(String, String)> =
            config.budgets.iter().map(|budget| (budget.id(), budget.zone.to_string())).collect();
        let expected = [
            ("user/ola/month", "Europe/Warsaw"),
            ("global/day", "America/New_York"),
            ("key/01890000-0000-7000-8000-000000000000/total", "UTC"),
            ("project/web/week", "America/New_York"),
        ];
        assert_eq!(told, expected.map(|(id, zone)| (id.to_owned(), zone.to_owned())));
        let shown = config.shown.iter().find(|shown| shown.key == "budgets.user/ola/month").unwrap();
        assert_eq!(shown.value, "10.00/month Europe/Warsaw");
        assert!(shown.origin.ends_with("privet.toml:4"), "{}", shown.origin);
    }

    #[test]
    fn a_wrong_budget_is_refused_with_its_line_and_what_is_right() {
        let row = |fields: &str| refused(&format!("# budgets\n\n[[budgets]]\n{fields}\n"));
        for (fields, line, hint) in [
            ("limit = \"-1/day\"", 4, "negative"),
            ("user = \"ola\"\nlimit = \"1/year\"", 5, "day, week, month or total"),
            ("limit = 5", 4, "AMOUNT/PERIOD"),
            ("user = \"ola\"", 3, "needs a `limit`"),
            ("limit = \"1/day\"\ntime_zone = \"Mars/Olympus\"", 5, "`Mars/Olympus`: no time zone is called so"),
            ("limit = \"1/day Mars/Olympus\"", 4, "`Mars/Olympus` is unknown"),
            ("limit = \"1/day UTC\"\ntime_zone = \"UTC\"", 5, "name it once"),
            ("limit = \"1/day\"\nusr = \"ola\"", 5, "did you mean `budgets.user`?"),
            ("limit = \"1/day\"\nuser = \"ola\"\nproject = \"web\"", 6, "names a `user` already"),
            ("limit = \"1/day\"\nkey = \"ola\"", 5, "a UUID"),
            ("limit = \"1/day\"\nuser = \" \"", 5, "write a name"),
            ("limit = [\"1/day\", \"2/week\"]", 4, "one value, not a list"),
            ("limit = { day = 1 }", 4, "takes a value"),
        ] {
            let error = row(fields);
            assert!(error.starts_with(&format!("/privet.toml:{line}: ")) && error.contains(hint), "{fields}: {error}");
        }
    }

    #[test]
    fn two_budgets_for_the_same_are_refused_with_both_lines() {
        let error = refused(
            "[[budgets]]\nlimit = \"1/day\"\nuser = \"ola\"\n[[budgets]]\nlimit = \"2/week\"\nuser = \"ola\"\n\
             [[budgets]]\nlimit = \"3/day\"\nuser = \"ola\"\n",
        );
        assert!(error.starts_with("/privet.toml:7: overlapping budgets"), "{error}");
        assert!(error.contains("/privet.toml:1 ") && error.contains("`user/ola/day`"), "{error}");
    }

    #[test]
    fn wrong_limits_are_refused_with_their_line_and_what_is_right() {
        for (toml, line, hint) in [
            ("[limits]\naddress = { chat = \"often\" }", 2, "write N/PERIOD"),
            ("[limits]\naddress = { chat = \"1/400d\" }", 2, "at most 366 days"),
            ("[limits]\naddress = { caht = \"1/10s\" }", 2, "did you mean `limits.address.chat`?"),
            ("[limits]\naddress = \"1/10s\"", 2, "`limits.address` is unknown"),
            ("[limits.key]\n\nconcurrency = 0", 3, "a whole number above 0, or \"off\""),
            ("[limits]\nconcurrency = -1", 2, "a whole number above 0"),
            ("[limits]\ntime_zone = \"Warsaw\"", 2, "Europe/Warsaw"),
            ("[limits]\nbudget_wait = \"soon\"", 2, "write a time"),
            ("[limits]\nfees = \"maybe\"", 2, "write true or false"),
            ("[limits]\nunpriced = [\"qwen3\"]", 2, "`qwen3` is no model"),
            ("[limits]\nconcurrency = [1, 2]", 2, "one value, not a list"),
            ("[server]\n\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/64\"]", 3, "`10.0.0.0/64` is no range"),
            ("[server]\ntrusted_proxies = [[\"10.0.0.0/8\"]]", 2, "list of values"),
            ("[budgets]\nlimit = \"1/day\"", 2, "write [[budgets]]"),
            ("budgets = [{limit = \"1/day\"}, 7]", 1, "mixes tables and values"),
            ("[[limits]]\nconcurrency = 1", 1, "write [limits]"),
        ] {
            let error = refused(toml);
            assert!(error.starts_with(&format!("/privet.toml:{line}: ")) && error.contains(hint), "{toml}: {error}");
        }
    }
}
