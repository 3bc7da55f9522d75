//! `privet kill` and `privet resume`: the kill switch from the machine itself.

use clap::Args;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::switchboard::{self, SwitchError, SwitchScope};
use serde_json::json;

use super::{Common, Exit, FAILURE, USAGE, load, open_known_store, print_json, until_servers_know};

#[derive(Args)]
pub(super) struct KillArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    what: What,
    /// Why; whoever is refused reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    what: What,
}

#[derive(Args)]
#[group(multiple = false)]
struct What {
    /// All calls
    #[arg(long)]
    all: bool,
    /// The calls of this key, by its id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// The calls to this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

impl What {
    fn scope(&self) -> Option<String> {
        let key = self.key.as_ref().map(|id| format!("key/{id}"));
        let provider = self.provider.as_ref().map(|name| format!("provider/{name}"));
        self.all.then(|| "global".to_owned()).or(key).or(provider)
    }
}

impl From<SwitchError> for Exit {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Store(error) => error.into(),
            error => Self::new(FAILURE, error.to_string()),
        }
    }
}

pub(super) async fn kill(args: KillArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let store = open_known_store(&config).await?;
    let Some(scope) = args.what.scope() else {
        let switches = store.switches().await?;
        if args.common.json {
            let rows: Vec<_> =
                switches.iter().map(|off| json!({"scope": off.scope, "reason": off.reason, "at": off.at})).collect();
            return print_json(&rows);
        }
        for off in &switches {
            println!("{}  since {}: {}", off.scope, off.at, off.reason);
        }
        if switches.is_empty() {
            println!("Nothing is switched off. `privet kill --all`, `--key ID` or `--provider NAME` does it.");
        }
        return Ok(());
    };
    let mut providers: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    if let Some(name) = args.what.provider.as_deref().filter(|name| !providers.contains(name)) {
        // The server may have another configuration, and a stop must not wait for the right one.
        eprintln!(
            "No provider is called `{name}` in this configuration ({}); it is off all the same.",
            providers.join(", ")
        );
        providers.push(name);
    }
    let scope = SwitchScope::read(&scope, &store, &providers).await?;
    let switch = switchboard::switched_off(&scope, args.reason, SystemClock.now());
    store.switch_off(&switch).await?;
    until_servers_know().await;
    if args.common.json {
        return print_json(&json!({"scope": switch.scope, "reason": switch.reason, "at": switch.at}));
    }
    println!("Switched off: {}. Calls under way are stopped; `privet resume` switches it on again.", switch.scope);
    Ok(())
}

pub(super) async fn resume(args: ResumeArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    let Some(mut scope) = args.what.scope() else {
        return Err(Exit::new(USAGE, "say what to switch on: --all, --key ID or --provider NAME"));
    };
    let store = open_known_store(&config).await?;
    if args.what.key.is_some() {
        // A key may be named by its public id; the switch has the other one.
        scope = SwitchScope::read(&scope, &store, &[]).await?.to_string();
    }
    switchboard::switch_on(&store, &scope).await?;
    until_servers_know().await;
    if args.common.json {
        return print_json(&json!({"scope": scope, "on": true}));
    }
    println!("Switched on: {scope}.");
    Ok(())
}
