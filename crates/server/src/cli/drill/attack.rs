//! `privet drill attack`: the flood of the lesson, twice. First by strangers without a key, then by thieves with a stolen one,
//! each of them from an address of its own. Meanwhile a legitimate user calls, and the mock upstream keeps the bill.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use privet_domain::money::Nanos;
use privet_upstream::MockUpstream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::addresses;
use super::connection::{Ask, Connection};
use super::flood::{Crowd, Flood};
use super::legitimate_user::LegitimateUser;
use super::memory::Memory;
use super::report::{Ledger, Phase, Report};
use super::site::{Key, Site};
use crate::cli::server_process::ServerProcess;
use crate::cli::{Exit, FAILURE, print_json};

/// As shells say of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// Of the attackers; the upstream's bill has a row for each model.
const ATTACKED_MODEL: &str = "gpt-4o";
const LEGITIMATE_MODEL: &str = "gpt-4o-mini";
/// What strangers ask: the lesson's own request.
const STRANGERS_BODY: &str = r#"{"messages":[{"role":"user","content":"Write me something long, please."}]}"#;
/// Many short calls cost as much as few long ones, and try the ledger harder.
const THIEVES_BODY: &str = r#"{"model":"openai/gpt-4o","max_tokens":16,"messages":[{"role":"user","content":"Write me something long, please."}]}"#;
const BAR: &str = "{msg} {wide_bar} {human_pos}/{human_len}  {per_sec}  {eta} left";

#[derive(Args)]
pub(in crate::cli) struct AttackArgs {
    /// How many requests each of the two floods sends
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..=addresses::THIEVES))]
    requests: u64,
    /// Over how many connections
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=400))]
    connections: u32,
    /// What the stolen key may spend in all
    #[arg(long, value_name = "DOLLARS", default_value = "1.00", value_parser = Nanos::parse_dollars)]
    budget: Nanos,
    /// Print the report as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: AttackArgs) -> Result<(), Exit> {
    let folder = tempfile::tempdir()
        .map_err(|error| Exit::new(FAILURE, format!("no temporary folder for the server under attack: {error}")))?;
    let mut server = None;
    let outcome = tokio::select! {
        outcome = Box::pin(attack(&args, folder.path(), &mut server)) => outcome.map_err(Exit::from),
        stopped = interrupted() => Err(stopped),
    };
    if let Some(server) = server {
        server.stop().await;
    }
    let report = outcome?;
    if args.json {
        print_json(&report)?;
    } else {
        println!("{}", report.table());
    }
    report.broken_promises().map_or(Ok(()), |sentence| Err(Exit::new(FAILURE, sentence)))
}

/// Resolves when the drill is told to end.
async fn interrupted() -> Exit {
    let wait = async {
        let (mut interrupt, mut terminate, mut hang_up) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        Ok::<(), std::io::Error>(())
    };
    match wait.await {
        Ok(()) => Exit::new(INTERRUPTED, "the drill was stopped before its end; the server under attack is gone too"),
        Err(error) => Exit::new(FAILURE, format!("the drill cannot listen for signals: {error}")),
    }
}

/// The scene of the attack.
struct Scene<'a> {
    mock: &'a MockUpstream,
    server: &'a ServerProcess,
    address: SocketAddr,
    /// What the upstream charges for one call of an attacker.
    call_price: Nanos,
    user: LegitimateUser,
}

/// Sets the scene and runs both floods. The server is left in `stage`, for whoever ends it.
async fn attack(args: &AttackArgs, folder: &Path, stage: &mut Option<ServerProcess>) -> Result<Report> {
    let mock = MockUpstream::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .context("the mock upstream finds no free port on 127.0.0.1")?;
    let site = Site::prepare(folder, &mock.base_url(), &format!("openai/{ATTACKED_MODEL}"))?;
    // For good, and not for a day: a drill at midnight would be given it twice.
    let budget = format!("{}/total", args.budget.to_string().trim_start_matches('$'));
    let stolen = site.make_key("stolen", &["--budget", &budget]).await?;
    let legitimate = site.make_key("legitimate", &[]).await?;
    let auditor = site.make_key("auditor", &["--scopes", "admin"]).await?;
    let server = stage.insert(site.serve()?);
    let address = server.listening().await?;

    let call_price = price_of_a_call(&mock, address, &legitimate).await?;
    let user = LegitimateUser::new(address, &legitimate.secret, &format!("openai/{LEGITIMATE_MODEL}"))?;
    let mut scene = Scene { mock: &mock, server, address, call_price, user };
    let ask = Ask::post("/api/chat", None, STRANGERS_BODY.to_owned())?;
    let flood = scene.flood(args, Crowd::Strangers, ask);
    let without_a_key = scene.run("without a key", flood).await?;
    let ask = Ask::post("/v1/chat/completions", Some(&stolen.secret), THIEVES_BODY.to_owned())?;
    let flood = scene.flood(args, Crowd::Thieves, ask);
    let mut with_a_stolen_key = scene.run("with a stolen key", flood).await?;
    with_a_stolen_key.ledger = Some(read_ledger(address, &auditor, &stolen).await?);
    let Scene { call_price, .. } = scene;
    mock.stop().await;
    Ok(Report {
        requests: args.requests,
        connections: args.connections,
        budget_nanos: args.budget,
        call_price_nanos: call_price,
        without_a_key,
        with_a_stolen_key,
    })
}

impl Scene<'_> {
    fn flood(&self, args: &AttackArgs, crowd: Crowd, ask: Ask) -> Flood {
        Flood { server: self.address, crowd, ask, requests: args.requests, connections: args.connections }
    }

    /// One flood, with the legitimate user beside it.
    async fn run(&mut self, name: &'static str, flood: Flood) -> Result<Phase> {
        let bill_before = bill(self.mock)?;
        let progress = progress_bar(name, flood.requests)?;
        let (over, since) = (CancellationToken::new(), Instant::now());
        let flooding = async {
            let tally = flood.run(&progress).await;
            over.cancel();
            (tally, since.elapsed())
        };
        let ((tally, elapsed), visits) = tokio::join!(flooding, self.user.call_until(over.clone()));
        let (tally, legitimate) = (tally?, visits?);
        let refused = i64::try_from(tally.refused).context("more refusals than can be counted in money")?;
        Ok(Phase {
            bill_nanos: bill(self.mock)?.saturating_sub(bill_before),
            ledger: None,
            lost_without_gates_nanos: Nanos::new(self.call_price.as_i64().saturating_mul(refused)),
            flood: tally,
            legitimate,
            server_memory: Memory::of_process(self.server.id()),
            elapsed_ms: millis(elapsed),
        })
    }
}

/// What the upstream has charged for the attackers' model so far.
fn bill(mock: &MockUpstream) -> Result<Nanos> {
    let nanos = mock.stats().by_model.get(ATTACKED_MODEL).map_or(0, |model| model.bill_nanos);
    Ok(Nanos::new(i64::try_from(nanos).context("the upstream's bill is larger than all money")?))
}

/// Has one call of the attackers' served, and looks what it cost.
async fn price_of_a_call(mock: &MockUpstream, server: SocketAddr, legitimate: &Key) -> Result<Nanos> {
    let before = bill(mock)?;
    let ask = Ask::post("/v1/chat/completions", Some(&legitimate.secret), THIEVES_BODY.to_owned())?;
    let answer = Connection::new(server)?.ask(&ask, addresses::legitimate(u8::MAX)).await?;
    ensure!(
        answer.status.is_success(),
        "a call with a valid key was not served before the attack: {}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(bill(mock)?.saturating_sub(before))
}

/// What the server's own books say of the stolen key.
async fn read_ledger(server: SocketAddr, auditor: &Key, stolen: &Key) -> Result<Ledger> {
    let target = format!("/api/usage?key={}", stolen.id);
    let answer = Connection::new(server)?.get(&target, &auditor.secret).await.context("the ledger cannot be read")?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status.is_success(), "the ledger cannot be read: GET {target} answered {}: {body}", answer.status);
    serde_json::from_slice(&answer.body).with_context(|| format!("the ledger cannot be read from {body}"))
}

/// On stderr, and hidden when that is no terminal.
fn progress_bar(name: &'static str, requests: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template(BAR).context("the progress bar's template is wrong")?;
    Ok(ProgressBar::new(requests).with_style(style).with_message(name).with_finish(ProgressFinish::AndClear))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thieves_ask_the_model_whose_bill_is_watched() {
        let body: serde_json::Value = serde_json::from_str(THIEVES_BODY).unwrap();
        assert_eq!(body["model"], format!("openai/{ATTACKED_MODEL}"));
        assert_ne!(ATTACKED_MODEL, LEGITIMATE_MODEL);
    }

    #[test]
    fn the_progress_bar_can_be_drawn() {
        assert!(progress_bar("without a key", 10).is_ok());
    }
}
