//! `[routing]`: how often a model that fails is called again, and when it is passed over; `[[timeouts]]`: how long calls of some
//! models may take.

use privet_domain::key_limits::ModelPattern;
use privet_engine::course::RetrySettings;
use privet_engine::health::BreakerSettings;
use privet_providers::{ModelTimeouts, ProviderSettings};

use super::error::ConfigError;
use super::layers::{Layers, Row};
use super::setting::{self, Shown};

/// The list of tables of models' own timeouts.
pub(super) const TIMEOUTS: &str = "timeouts";
/// The fields of one of them.
pub(super) const TIMEOUT_FIELDS: [&str; 5] = ["model", "connect", "first_byte", "idle", "total"];
/// More repetitions would only burden a provider that is in trouble.
const RETRIES_MAX: u32 = 2;

/// How calls find their way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutingSettings {
    pub(crate) retries: RetrySettings,
    pub(crate) breaker: BreakerSettings,
}

pub(super) fn routing(layers: &Layers, shown: &mut Vec<Shown>) -> Result<RoutingSettings, ConfigError> {
    let mut value = |key: &str| layers.shown(key, shown);
    let retries = RetrySettings {
        retries: value("routing.retries").parse(retries)?,
        wait_max: value("routing.wait_max").parse(setting::duration)?,
    };
    let breaker = BreakerSettings {
        window: value("routing.breaker.window").parse(setting::duration)?,
        calls_min: value("routing.breaker.calls").parse(setting::count)?,
        errors_percent: value("routing.breaker.errors").parse(percent)?,
        slow_percent: value("routing.breaker.slow").parse(percent)?,
        slow_after: value("routing.breaker.slow_after").parse(setting::duration)?,
        pause: value("routing.breaker.pause").parse(setting::duration)?,
    };
    Ok(RoutingSettings { retries, breaker })
}

/// Gives each provider the timeouts that are named for its models.
pub(super) fn give_timeouts(
    layers: &Layers,
    providers: &mut [ProviderSettings],
    shown: &mut Vec<Shown>,
) -> Result<(), ConfigError> {
    for row in layers.rows(TIMEOUTS) {
        let timeouts = timeouts(&row)?;
        let models = timeouts.models.to_string();
        let mut providers = providers.iter_mut().filter(|provider| reaches(&models, &provider.name)).peekable();
        if providers.peek().is_none() {
            let problem =
                format!("`{models}` is a model of no configured provider; write \"provider/model\" or \"provider/*\"");
            return Err(ConfigError::Syntax { place: row.origin.place(), problem });
        }
        shown.extend(row.fields.iter().filter(|(field, _)| *field != "model").map(|(field, value)| Shown {
            key: format!("{TIMEOUTS}.{models}.{field}"),
            value: value.text.clone(),
            origin: value.origin.to_string(),
        }));
        providers.for_each(|provider| provider.model_timeouts.push(timeouts.clone()));
    }
    Ok(())
}

fn timeouts(row: &Row) -> Result<ModelTimeouts, ConfigError> {
    let model = row.fields.get("model").ok_or_else(|| ConfigError::Syntax {
        place: row.origin.place(),
        problem: format!("a table of `{TIMEOUTS}` needs its model, for example model = \"openai/gpt-5-pro\""),
    })?;
    let time = |field: &str| row.fields.get(field).map(|value| value.parse(setting::duration)).transpose();
    let [_, connect, first_byte, idle, total] = TIMEOUT_FIELDS;
    Ok(ModelTimeouts {
        models: model.parse(|text| text.parse::<ModelPattern>().map_err(|error| error.to_string()))?,
        connect: time(connect)?,
        first_byte: time(first_byte)?,
        idle: time(idle)?,
        total: time(total)?,
    })
}

/// Whether a pattern can match a model of a provider.
fn reaches(pattern: &str, provider: &str) -> bool {
    let models = format!("{provider}/");
    match pattern.strip_suffix('*') {
        Some(beginning) => beginning.starts_with(&models) || models.starts_with(beginning),
        None => pattern.starts_with(&models),
    }
}

fn retries(text: &str) -> Result<u32, String> {
    let retries = text.parse().ok().filter(|retries| *retries <= RETRIES_MAX);
    retries.ok_or_else(|| format!("write 0 to {RETRIES_MAX}: so often a call that failed is made again"))
}

fn percent(text: &str) -> Result<Option<u8>, String> {
    if text == "off" {
        return Ok(None);
    }
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    let percent = percent.filter(|percent| (1..=100).contains(percent));
    percent.map(Some).ok_or_else(|| "write a part in percent from 1 to 100, or \"off\"".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::load;
    use super::*;

    const KEYS: [(&str, &str); 2] = [("OPENAI_API_KEY", "sk-1"), ("ANTHROPIC_API_KEY", "sk-2")];

    #[test]
    fn the_defaults_are_those_of_the_engine() {
        let routing = load("", &[]).unwrap().routing;
        assert_eq!((routing.retries, routing.breaker), (RetrySettings::default(), BreakerSettings::default()));
    }

    #[test]
    fn breakers_can_be_switched_off_and_retries_too() {
        let toml = "[routing]\nretries = 0\nwait_max = \"1s\"\n[routing.breaker]\nerrors = \"off\"\nslow = \"90%\"\n";
        let routing = load(toml, &[]).unwrap().routing;
        assert_eq!(routing.retries, RetrySettings { retries: 0, wait_max: Duration::from_secs(1) });
        assert_eq!((routing.breaker.errors_percent, routing.breaker.slow_percent), (None, Some(90)));
        assert!(load("[routing]\nretries = 3\n", &[]).unwrap_err().contains("write 0 to 2"));
        assert!(load("[routing.breaker]\nerrors = 0\n", &[]).unwrap_err().contains("percent"));
    }

    #[test]
    fn models_have_timeouts_of_their_own() {
        let toml = "[[timeouts]]\nmodel = \"openai/gpt-5-pro\"\nfirst_byte = \"600s\"\n[[timeouts]]\nmodel = \"*\"\ntotal = \"20s\"\n";
        let config = load(toml, &KEYS).unwrap();
        let of = |provider: usize, model: &str| config.providers[provider].timeouts_for(model);
        assert_eq!((of(0, "gpt-5-pro").first_byte.as_secs(), of(0, "gpt-5-pro").total.as_secs()), (600, 20));
        assert_eq!((of(0, "gpt-4o").first_byte.as_secs(), of(1, "claude").total.as_secs()), (300, 20));
    }

    #[test]
    fn timeouts_of_nobody_are_refused() {
        for (toml, says) in [
            ("[[timeouts]]\nmodel = \"groq/x\"\ntotal = \"1s\"\n", "no configured provider"),
            ("[[timeouts]]\ntotal = \"1s\"\n", "needs its model"),
            ("[[timeouts]]\nmodel = \"openai/x\"\ntotal = \"soon\"\n", "write a time"),
            ("[[timeouts]]\nmodel = \"openai/x\"\nfirstbyte = \"1s\"\n", "did you mean `timeouts.first_byte`"),
            ("[timeouts]\ntotal = \"1s\"\n", "[[timeouts]]"),
        ] {
            let error = load(toml, &KEYS).unwrap_err();
            assert!(error.contains("privet.toml:") && error.contains(says), "{toml}: {error}");
        }
    }
}
