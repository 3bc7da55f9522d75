//! What a call leaves as a trace: names, contents, tokens and levels. Nothing is written here.

use std::sync::Arc;

use bytes::Bytes;
use privet_dialects::canonical::Usage;
use privet_dialects::openai::chat_request::IncomingChat;
use privet_domain::id::{ApiKeyId, ReplicaId};
use privet_domain::money::Nanos;
use privet_domain::scope::Scopes;
use privet_domain::trace::Trace;
use privet_providers::{PassedHead, Provider};
use privet_store::{CallKind, Hold, Outcome, ShownProject};
use serde_json::json;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const BEGAN: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn caller() -> Caller {
    Caller {
        key_id: ApiKeyId::new(),
        family_id: ApiKeyId::new(),
        key_name: "key".into(),
        project_id: ProjectId::new(),
        project: "default".into(),
        project_shown: Arc::new(ShownProject { id: String::new(), name: String::new() }),
        user_id: "owner".into(),
        scopes: Scopes::default(),
        limits: Arc::default(),
    }
}

fn command(body: &Value, parent: Option<&str>) -> ChatCommand {
    ChatCommand {
        caller: caller(),
        request_id: RequestId::new(),
        incoming: IncomingChat::parse(Bytes::from(body.to_string())).unwrap().into(),
        passed: PassedHead::default(),
        conversation_id: None,
        conversational: false,
        prompt: None,
        cache: None,
        trace: RequestTrace::new(parent.and_then(TraceParent::parse)),
    }
}

fn begin(command: &ChatCommand, history: &[Message]) -> CallTrace {
    let target = Target { provider: Arc::new(Provider::Offline), model: "m".to_owned() };
    CallTrace::of_chat(&ChatFacts {
        command,
        history,
        target: &target,
        conversation_id: None,
        prompt: None,
        recollection: None,
        output_limit: None,
        began: BEGAN,
    })
}

fn settled(usage: Usage, source: UsageSource) -> Settlement {
    let hold = Hold {
        id: RequestId::new(),
        replica_id: ReplicaId::new(),
        project_id: ProjectId::new(),
        key_id: ApiKeyId::new(),
        user_id: "owner".into(),
        kind: CallKind::Chat,
        provider: "offline".to_owned(),
        model: "m".to_owned(),
        amount: Nanos::ZERO,
        price: None,
        charges: Vec::new(),
        at: BEGAN,
    };
    Settlement {
        hold: Arc::new(hold),
        outcome: Outcome::Complete,
        cost: Nanos::new(7),
        usage,
        source,
        tier: None,
        bill: Some(r#"[["input",2,2000000],["output",1,3000000]]"#.to_owned()),
        at: Timestamp::from_micros(BEGAN.as_micros() + 1_000),
    }
}

fn counted() -> Settlement {
    settled(Usage { input: 2, output: 1, ..Usage::default() }, UsageSource::Reported)
}

fn ask(content: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": content}]})
}

fn ended(call: CallTrace, ended: &Ended<'_>) -> (Vec<TracePatch>, ObservationPatch) {
    let (_, mut batch) = call.end(ended, &counted());
    (batch.traces, batch.observations.pop().unwrap())
}

#[test]
fn the_next_turn_repeats_what_went_in_and_came_out_to_the_byte() {
    let answer = [Message::text(Role::Assistant, "hello \"you\"\n")];
    let first = command(&ask("hi"), None);
    let (_, step) = ended(begin(&first, &[]), &Ended::Whole(&answer));
    let (input, output) = (step.input.unwrap(), step.output.unwrap());
    assert_eq!(input.as_str(), r#"[{"role":"user","content":"hi"}]"#);
    let begun = format!("{},{},", input.as_str().strip_suffix(']').unwrap(), output.as_str());

    // Kept here, and sent again by a client whose SDK adds fields of its own.
    let remembered = begin(&command(&ask("more"), None), &[Message::text(Role::User, "hi"), answer[0].clone()]);
    let again = json!({"model": "m", "messages": [
        {"content": "hi", "role": "user"},
        {"role": "assistant", "content": "hello \"you\"\n", "refusal": null, "tool_calls": null},
        {"role": "user", "content": "more"},
    ]});
    for call in [remembered, begin(&command(&again, None), &[])] {
        let input = call.observation.input.unwrap();
        assert!(input.as_str().starts_with(&begun), "{} and {begun}", input.as_str());
    }
}

#[test]
fn tools_stand_beside_the_thread_and_instructions_before_the_history() {
    let body = json!({"model": "m", "temperature": 0.5, "tools": [{"type": "function", "function": {"name": "f"}}],
                      "messages": [{"role": "system", "content": "brief"}, {"role": "user", "content": "hi"}]});
    let call = begin(&command(&body, None), &[Message::text(Role::User, "before")]);
    let input: Value = serde_json::from_str(call.observation.input.unwrap().as_str()).unwrap();
    let said = [("system", "brief"), ("user", "before"), ("user", "hi")];
    let messages = said.map(|(role, content)| json!({"role": role, "content": content}));
    assert_eq!(input, json!({"messages": messages, "tools": body["tools"]}));
    assert_eq!(Value::from(call.observation.model_parameters.unwrap()), json!({"temperature": 0.5}));
}

#[test]
fn a_trace_is_named_by_the_first_45_characters_of_what_the_user_said_last() {
    let named = |body: &Value| {
        let trace = begin(&command(body, None), &[]).trace;
        let chars = trace.name_chars_max.unwrap_or(usize::MAX);
        trace.name.unwrap().chars().take(chars).collect::<String>()
    };
    assert_eq!(named(&ask(&"ż".repeat(50))), "ż".repeat(45));
    let with_tool = json!({"model": "m", "messages": [
        {"role": "user", "content": "what time is it?"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]});
    assert_eq!(named(&with_tool), "what time is it?");
    let picture = json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]);
    assert_eq!(named(&json!({"model": "m", "messages": [{"role": "user", "content": picture}]})), "chat");
}

#[test]
fn tokens_cost_and_time_are_the_ledgers() {
    let command = command(&ask("hi"), None);
    let mut call = begin(&command, &[]);
    call.first_output(Timestamp::from_micros(BEGAN.as_micros() + 400));
    let (traces, step) = ended(call, &Ended::Whole(&[Message::text(Role::Assistant, "x")]));
    let cost = step.cost.unwrap();
    let of = |kind: &str| cost.get(kind).map(|nanos| nanos.as_i64());
    assert_eq!([of("input"), of("output"), of("total")], [Some(4), Some(3), Some(7)]);
    assert_eq!(step.usage.unwrap().get("total"), Some(&3));
    let after = |at: Option<NanoTimestamp>| at.unwrap().since(step.start.unwrap()).as_micros();
    assert_eq!([after(step.completion_start), after(step.end)], [400, 1_000]);
    assert_eq!((step.level, step.status_message), (Some(Level::Default), None));
    assert_eq!(traces[0].id, trace_id_of(command.request_id));
    assert!(traces[0].input.as_ref().unwrap().shares_with(step.input.as_ref().unwrap()), "one text in memory");
    assert_eq!(command.trace.id(), Some(&step.trace_id));
}

#[test]
fn what_failed_says_so_and_what_was_cut_keeps_what_came() {
    let begun = || begin(&command(&ask("hi"), None), &[]);
    let (traces, step) = ended(begun(), &Ended::Failed("no answer".to_owned()));
    assert_eq!((step.level, step.status_message.as_deref()), (Some(Level::Error), Some("no answer")));
    assert_eq!(step.output.unwrap().as_str(), "\"no answer\"");
    assert_eq!(traces[0].output.as_ref().unwrap().as_str(), "\"no answer\"", "as the lesson does");
    let (_, step) = ended(begun(), &Ended::Cut(&[Message::text(Role::Assistant, "hal")], "cut".to_owned()));
    assert_eq!((step.level, step.status_message.as_deref()), (Some(Level::Warning), Some("cut")));
    assert_eq!(step.output.unwrap().as_str(), r#"{"role":"assistant","content":"hal"}"#);
    let (_, step) = ended(begun(), &Ended::without_answer(&CompletionError::ClientLeft));
    assert_eq!((step.level, step.output), (Some(Level::Warning), None));
    let long = "é".repeat(10_000);
    let (_, step) = ended(begun(), &Ended::Failed(long));
    assert_eq!(step.status_message.unwrap().chars().count(), ERROR_CHARS_MAX);
}

#[test]
fn nothing_is_claimed_of_a_call_that_used_nothing_and_what_nobody_counted_is_marked() {
    let call = begin(&command(&ask("hi"), None), &[]);
    let (_, batch) = call.end(&Ended::Failed("x".to_owned()), &settled(Usage::default(), UsageSource::Nothing));
    assert_eq!((&batch.observations[0].usage, &batch.observations[0].cost), (&None, &None));
    let call = begin(&command(&ask("hi"), None), &[]);
    let (_, batch) = call.end(&Ended::Failed("x".to_owned()), &settled(Usage::default(), UsageSource::Bounded));
    assert_eq!(batch.observations[0].metadata["usage_source"], "bounded");
}

#[test]
fn without_store_nothing_that_was_said_is_kept() {
    let mut body = ask("a secret");
    body["store"] = json!(false);
    body["metadata"] = json!({"tags": "a", "order": "17"});
    let (traces, step) =
        ended(begin(&command(&body, None), &[]), &Ended::Whole(&[Message::text(Role::Assistant, "x")]));
    assert_eq!((step.input, step.output), (None, None));
    let trace = &traces[0];
    assert_eq!((&trace.input, &trace.output, trace.name.as_deref()), (&None, &None, Some("chat")));
    assert_eq!((trace.tags.len(), &trace.metadata["order"]), (1, &json!("17")));
    assert!(step.usage.is_some());
}

#[test]
fn a_refused_call_leaves_its_reason_and_not_its_thread() {
    let (_, batch) = begin(&command(&ask("hi"), None), &[]).refused("too dear".to_owned(), BEGAN);
    let (trace, step) = (&batch.traces[0], &batch.observations[0]);
    assert_eq!((&step.input, &trace.input, &step.usage), (&None, &None, &None));
    assert_eq!((step.level, step.status_message.as_deref()), (Some(Level::Error), Some("too dear")));
    assert_eq!(trace.name.as_deref(), Some("hi"));
}

#[test]
fn in_a_clients_trace_the_clients_words_hold_in_every_order_of_arrival() {
    let mut body = ask("hi");
    body["metadata"] = json!({"tags": "a"});
    let command = command(&body, Some(PARENT));
    let (ours, step) = ended(begin(&command, &[]), &Ended::Whole(&[Message::text(Role::Assistant, "x")]));
    assert_eq!(step.parent_id.unwrap().as_str(), "00f067aa0ba902b7");
    assert_eq!(step.metadata["request_id"], command.request_id.to_string());
    // The client's root began before the call.
    let mut theirs = TracePatch::new(step.trace_id.clone(), NanoTimestamp::from_nanos(BEGAN.as_micros() * 1_000 - 5));
    (theirs.name, theirs.user_id) = (Some("my agent".to_owned()), Some("ada".to_owned()));
    let patches: Vec<TracePatch> = ours.into_iter().chain([theirs]).collect();
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let [first, second, third] = order.map(|place| patches[place].clone());
        let mut trace: Trace = Trace::begin(first);
        trace.fold(second);
        trace.fold(third);
        assert_eq!((trace.name.as_deref(), trace.user_id.as_deref()), (Some("my agent"), Some("ada")), "{order:?}");
        assert_eq!((trace.input, trace.output, trace.tags), (None, None, vec!["a".to_owned()]));
    }
}

#[test]
fn the_provider_is_told_of_the_clients_trace_and_of_no_other() {
    let with = command(&ask("hi"), Some(PARENT));
    let call = begin(&with, &[]);
    let told = CallTrace::parent_of_call(Some(&call), &with.trace).unwrap();
    assert_eq!((told.trace_id.as_str(), &told.span_id), ("4bf92f3577b34da6a3ce929d0e0e4736", &call.observation.id));
    let untraced = CallTrace::parent_of_call(None, &with.trace).unwrap();
    assert_eq!(untraced.to_string(), PARENT, "as it came");
    let without = command(&ask("hi"), None);
    assert_eq!(CallTrace::parent_of_call(Some(&begin(&without, &[])), &without.trace), None);
}
