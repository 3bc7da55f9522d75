//! `privet providers`: how the providers of a running server do.

use std::time::Duration;

use clap::Args;
use privet_domain::scope::Scope;
use privet_providers::HttpProvider;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{Common, Exit, FAILURE, UNAVAILABLE, chat, load, print_json};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct ProvidersArgs {
    #[command(flatten)]
    common: Common,
    /// The server [default: the configured listen address]
    #[arg(long)]
    url: Option<String>,
    /// A key with the scope `admin` [default: one made for this, in the data folder]
    #[arg(long, env = "PRIVET_API_KEY", hide_env_values = true)]
    key: Option<String>,
}

pub(super) async fn run(args: ProvidersArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let url = args.url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let client = HttpProvider::client(CONNECT_TIMEOUT).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    // Before a key is made for it, the server should be there.
    if let Err(error) = client.get(format!("{url}/healthz")).send().await {
        return Err(chat::unreachable(&url, &error));
    }
    let (key, temporary) = match &args.key {
        Some(key) => (key.clone().into(), None),
        None => chat::made_key(&config, Scope::Admin).await?,
    };
    let asked = client.get(format!("{url}/api/providers")).bearer_auth(key.expose_secret()).send().await;
    let answered = match asked {
        Ok(response) if response.status().is_success() => {
            response.bytes().await.map_err(|error| chat::unreachable(&url, &error))
        }
        Ok(response) => Err(chat::refusal(response).await),
        Err(error) => Err(chat::unreachable(&url, &error)),
    };
    chat::revoke(&config, temporary).await?;
    let list: Value = serde_json::from_slice(&answered?)
        .map_err(|error| Exit::new(UNAVAILABLE, format!("{url} is no Privet of this version: {error}")))?;
    if args.common.json {
        return print_json(&list);
    }
    for provider in list["data"].as_array().into_iter().flatten() {
        print(provider);
    }
    Ok(())
}

fn print(provider: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keys = match (&provider["keys"]["count"], &provider["keys"]["aside"]) {
        (count, aside) if aside == 0 => format!("{count} keys"),
        (count, aside) => format!("{count} keys, {aside} put aside"),
    };
    let off = provider["switched_off"].as_str().map(|reason| format!(", switched off: {reason}")).unwrap_or_default();
    println!("{} ({}): {keys}{off}", text(&provider["name"]), text(&provider["kind"]));
    for model in provider["models"].as_array().into_iter().flatten() {
        let millis = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms"));
        println!(
            "  {}: {}, {} calls, {:.0} % failed, p50 {}, p95 {}",
            text(&model["model"]),
            text(&model["state"]).replace('_', " "),
            model["calls"],
            model["error_rate"].as_f64().unwrap_or(0.0) * 100.0,
            millis(&model["p50_ms"]),
            millis(&model["p95_ms"]),
        );
        if let Some(error) = model["last_error"].as_object() {
            let said = |field: &str| error.get(field).map(text).unwrap_or_default();
            println!("    {} at {}: {}", said("kind"), said("at"), said("text"));
        }
    }
}
