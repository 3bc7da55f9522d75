//! Checks of answers of a demanded shape, of pictures, and of thinking.

use serde_json::{Value, json};

use super::gateway::{Answered, Finding, Gateway};
use super::talk::judge;

/// A red square of 32 by 32, as a PNG.
const RED: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASyp6lTCQQCgUAgEAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC";

pub(super) async fn schema(gateway: &Gateway) -> Finding {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": true}});
    let messages = json!([{"role": "user", "content": "Name one city of France, as JSON."}]);
    judge(gateway.chat(messages, json!({"response_format": format})).await, |answered| {
        let read: Value = serde_json::from_str(answered.text()).unwrap_or_default();
        let keeps =
            read.get("city").is_some_and(Value::is_string) && read.as_object().is_some_and(|all| all.len() == 1);
        Finding::if_holds(keeps, "the answer does not keep to the schema: validate it, or use tools")
    })
}

async fn see(gateway: &Gateway, url: &str) -> Result<Answered, Finding> {
    let content = json!([
        {"type": "text", "text": "Which colour is this? One word."},
        {"type": "image_url", "image_url": {"url": url}},
    ]);
    gateway.chat(json!([{"role": "user", "content": content}]), json!({})).await
}

pub(super) async fn image(gateway: &Gateway) -> Finding {
    judge(see(gateway, RED).await, |answered| {
        let sees = answered.text().to_lowercase().contains("red");
        Finding::if_holds(sees, format!("the picture is red, and the answer is `{}`", answered.text()))
    })
}

pub(super) async fn image_by_url(gateway: &Gateway) -> Finding {
    let url = gateway.subject.image_url.clone().unwrap_or_default();
    match see(gateway, &url).await {
        Ok(answered) => answered.judged(Finding::works()),
        Err(finding) => Finding {
            note: format!("{}; `images_by_url = \"fetch\"` has this server fetch it", finding.note),
            ..finding
        },
    }
}

pub(super) async fn thinking(gateway: &Gateway) -> Finding {
    let messages = json!([{"role": "user", "content": "What is 17 times 23? The number alone."}]);
    judge(gateway.chat(messages, json!({"reasoning_effort": "low"})).await, |answered| {
        let counted =
            answered.body.pointer("/usage/completion_tokens_details/reasoning_tokens").and_then(Value::as_u64);
        let shown = answered.body.pointer("/choices/0/message/reasoning_content").and_then(Value::as_str);
        let is_seen = counted.unwrap_or(0) > 0 || shown.is_some_and(|text| !text.is_empty());
        Finding::if_holds(is_seen, "an answer came, and no thinking is shown or counted")
    })
}
