//! Checks of tools.

use serde_json::{Value, json};

use super::gateway::{Answered, Finding, Gateway};
use super::stream;
use super::talk::judge;

fn tools() -> Value {
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = |name: &str, description: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}});
    json!([
        tool("get_weather", "The weather in a city now", city),
        tool("get_time", "The time now", json!({"type": "object", "properties": {}})),
    ])
}

fn asked(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

const ONE: &str = "What is the weather in Paris? Call get_weather.";

fn calls(answered: &Answered) -> Vec<(&str, &str)> {
    let calls = answered.body.pointer("/choices/0/message/tool_calls").and_then(Value::as_array);
    calls
        .into_iter()
        .flatten()
        .filter_map(|call| {
            let function = call.get("function")?;
            Some((function.get("name")?.as_str()?, function.get("arguments")?.as_str()?))
        })
        .collect()
}

/// Whether arguments are an object that names a city.
fn names_city(arguments: &str) -> bool {
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    arguments.get("city").is_some_and(Value::is_string)
}

fn of_first(calls: &[(&str, &str)], finish: &str) -> Finding {
    match calls.first() {
        None => Finding::degraded("the model answered in words and called no tool; try a larger model"),
        Some(("get_weather", arguments)) if names_city(arguments) && finish == "tool_calls" => Finding::works(),
        Some(("get_weather", arguments)) if names_city(arguments) => {
            Finding::degraded(format!("it called the tool and finished with `{finish}` instead of `tool_calls`"))
        }
        Some((name, arguments)) => Finding::degraded(format!("it called `{name}` with `{arguments}`")),
    }
}

pub(super) async fn one(gateway: &Gateway) -> Finding {
    let answered = gateway.chat(asked(ONE), json!({"tools": tools()})).await;
    judge(answered, |answered| of_first(&calls(answered), answered.finish()))
}

/// The call goes back as it came, with its result.
pub(super) async fn result(gateway: &Gateway) -> Finding {
    let first = match gateway.chat(asked(ONE), json!({"tools": tools()})).await {
        Ok(first) => first,
        Err(finding) => return finding,
    };
    let message = first.body.pointer("/choices/0/message").cloned().unwrap_or_default();
    let called = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
    if called.is_empty() {
        return Finding::degraded("the model called no tool, so that no result could be given");
    }
    let mut messages = vec![json!({"role": "user", "content": ONE}), message];
    let result = |call: &Value| json!({"role": "tool", "tool_call_id": call.get("id"), "content": "{\"celsius\": 21}"});
    messages.extend(called.iter().map(result));
    judge(gateway.chat(Value::Array(messages), json!({"tools": tools()})).await, |answered| {
        Finding::if_holds(answered.text().contains("21"), "the result was taken, and the answer does not speak of it")
    })
}

pub(super) async fn parallel(gateway: &Gateway) -> Finding {
    let text = "What is the weather in Paris and in Rome? Call get_weather for both at once.";
    judge(gateway.chat(asked(text), json!({"tools": tools()})).await, |answered| {
        let ids = answered.body.pointer("/choices/0/message/tool_calls").and_then(Value::as_array);
        let ids = ids.into_iter().flatten().filter_map(|call| call.get("id")?.as_str());
        let ids: std::collections::BTreeSet<&str> = ids.collect();
        match (calls(answered).len(), ids.len()) {
            (0, _) => Finding::degraded("the model answered in words and called no tool"),
            (1, _) => Finding::degraded("one call at a time: two take two turns"),
            (calls, ids) if calls != ids => Finding::fails("two calls have one id: their results cannot be told apart"),
            _ => Finding::works(),
        }
    })
}

pub(super) async fn streamed(gateway: &Gateway) -> Finding {
    let body = gateway.chat_body(asked(ONE), json!({"tools": tools(), "stream": true}));
    match stream::read(gateway, &body).await {
        Ok(streamed) => {
            let calls: Vec<(&str, &str)> =
                streamed.calls.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect();
            of_first(&calls, streamed.finish.as_deref().unwrap_or_default())
        }
        Err(finding) => finding,
    }
}

pub(super) async fn without_arguments(gateway: &Gateway) -> Finding {
    let text = "What time is it? Call get_time.";
    judge(gateway.chat(asked(text), json!({"tools": tools()})).await, |answered| match calls(answered).first() {
        None => Finding::degraded("the model answered in words and called no tool"),
        Some((_, arguments)) => {
            let is_object = serde_json::from_str::<Value>(arguments).is_ok_and(|arguments| arguments.is_object());
            if is_object {
                Finding::works()
            } else {
                Finding::fails(format!("its arguments are no object: `{arguments}`"))
            }
        }
    })
}

pub(super) async fn choice(gateway: &Gateway) -> Finding {
    let forced = json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "get_weather"}}});
    judge(gateway.chat(asked("Hello! I am in Paris."), forced).await, |answered| {
        let is_called = calls(answered).first().is_some_and(|(name, _)| *name == "get_weather");
        Finding::if_holds(is_called, "`tool_choice` named a tool, and it was not called")
    })
}
