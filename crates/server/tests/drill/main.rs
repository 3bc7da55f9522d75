//! `privet drill` as a user runs it: the built binary, its report, and what it leaves behind.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

const PRIVET: &str = env!("CARGO_BIN_EXE_privet");
/// A tenth of what is promised: the whole takes half a minute in a released build (`privet drill attack`).
const REQUESTS: u64 = 50_000;
const CONNECTIONS: u64 = 200;
const BUDGET_NANOS: u64 = 500_000_000;
/// Of a server that is flooded without a key. A program that is not optimised has 32 MiB more of its own code in memory.
const PEAK_BYTES_MAX: u64 = if cfg!(debug_assertions) { 96 } else { 64 } * 1024 * 1024;

/// A drill whose temporary files go to this folder.
fn attack(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PRIVET);
    command.args(["drill", "attack"]).args(arguments).env("TMPDIR", folder).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| unreachable!("no number: {value}"))
}

#[tokio::test]
async fn fault_01_and_02_an_attack_is_refused_at_the_gates_and_costs_no_more_than_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--requests", "50000", "--connections", "200", "--budget", "0.50", "--json"];
    let output = attack(folder.path(), &arguments).output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((number(&report["requests"]), number(&report["connections"])), (REQUESTS, CONNECTIONS));
    assert_eq!(number(&report["budget_nanos"]), BUDGET_NANOS);

    for phase in [&report["without_a_key"], &report["with_a_stolen_key"]] {
        assert_eq!((number(&phase["requests"]), number(&phase["unanswered"])), (REQUESTS, 0), "{report:#}");
        assert_eq!(number(&phase["served"]) + number(&phase["refused"]), REQUESTS, "{report:#}");
        let lost = number(&phase["refused"]) * number(&report["call_price_nanos"]);
        assert_eq!(number(&phase["lost_without_gates_nanos"]), lost, "{report:#}");
        let legitimate = &phase["legitimate"];
        assert!(number(&legitimate["calls"]) >= 3, "{report:#}");
        assert_eq!(legitimate["served"], legitimate["calls"], "{report:#}");
        assert!(number(&legitimate["p99_micros"]) <= number(&legitimate["max_micros"]), "{report:#}");
        if cfg!(target_os = "linux") {
            let memory = &phase["server_memory"];
            assert!(number(&memory["peak_bytes"]) >= number(&memory["after_bytes"]), "{report:#}");
        }
    }
    if cfg!(target_os = "linux") {
        let peak = number(&report["without_a_key"]["server_memory"]["peak_bytes"]);
        assert!(peak <= PEAK_BYTES_MAX, "{report:#}");
    }
    check_strangers(&report["without_a_key"]);
    check_thieves(&report["with_a_stolen_key"], number(&report["call_price_nanos"]));
    assert!(is_empty(folder.path()), "the drill left files behind");
}

/// Every address gets as far as the key once in 10 s, and no further.
fn check_strangers(phase: &Value) {
    let gates = &phase["gates"];
    assert_eq!(gates.as_object().unwrap().len(), 2, "{phase:#}");
    assert_eq!((number(&phase["served"]), number(&phase["bill_nanos"])), (0, 0), "{phase:#}");
    let times = 1 + number(&phase["elapsed_ms"]) / 10_000;
    assert!((CONNECTIONS..=CONNECTIONS * times).contains(&number(&gates["key"])), "{phase:#}");
    assert_eq!(number(&gates["key"]) + number(&gates["address"]), REQUESTS, "{phase:#}");
    assert_eq!((&phase["statuses"]["401"], &phase["statuses"]["429"]), (&gates["key"], &gates["address"]), "{phase:#}");
}

/// No address stands in their way; the budget does, when it is all but spent.
fn check_thieves(phase: &Value, call_price: u64) {
    let bill = number(&phase["bill_nanos"]);
    assert_eq!(phase["gates"].as_object().unwrap().len(), 1, "{phase:#}");
    assert_eq!(phase["gates"]["budget"], phase["refused"], "{phase:#}");
    assert_eq!(phase["statuses"]["402"], phase["refused"], "{phase:#}");
    assert_eq!(bill, number(&phase["served"]) * call_price, "{phase:#}");
    assert!((BUDGET_NANOS / 100 * 95..=BUDGET_NANOS).contains(&bill), "{phase:#}");
    assert_eq!((number(&phase["ledger"]["settled_nanos"]), number(&phase["ledger"]["held_nanos"])), (bill, 0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ctrl_c_ends_the_drill_and_the_server_under_attack_and_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut drill = attack(folder.path(), &["--json"]).spawn().unwrap();
    let pid = drill.id().unwrap();
    let server = tokio::select! {
        server = server_of(pid) => Some(server),
        _ended = drill.wait() => None,
    };
    let Some(server) = server else { unreachable!("the drill ended by itself: {:?}", ended(drill).await) };
    let target = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(target, rustix::process::Signal::INT).unwrap();
    let output = ended(drill).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(output.stdout.is_empty() && err.contains("stopped before its end"), "{err}");
    assert!(!is_serving(&server), "the server {server} outlived the drill");
    assert!(is_empty(folder.path()), "the drill left files behind");
}

#[cfg(target_os = "linux")]
async fn ended(drill: tokio::process::Child) -> std::process::Output {
    tokio::time::timeout(std::time::Duration::from_secs(30), drill.wait_with_output()).await.unwrap().unwrap()
}

/// Waits until the drill has a child that serves. The drill itself gives up on a server that does not start.
#[cfg(target_os = "linux")]
async fn server_of(drill: u32) -> String {
    let mut clock = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        clock.tick().await;
        let children = children_of(drill);
        if let Some(server) = children.into_iter().find(|child| is_serving(child)) {
            return server;
        }
    }
}

/// A child belongs to the thread that started it.
#[cfg(target_os = "linux")]
fn children_of(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[cfg(target_os = "linux")]
fn is_serving(process: &str) -> bool {
    let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|argument| argument == b"serve")
}
