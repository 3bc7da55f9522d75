//! Checks beside chats: lists, counts, vectors, errors, and a client that leaves.

use serde_json::{Value, json};

use super::NO_MODEL;
use super::cost::LONG_OUTPUT_TOKENS;
use super::gateway::{Finding, Gateway};
use super::talk::judge;

pub(super) async fn models(gateway: &Gateway) -> Finding {
    match gateway.models().await {
        Ok(models) if models.contains(&gateway.subject.model) => Finding::works(),
        Ok(models) if models.is_empty() => {
            Finding::degraded("it lists no models: clients that choose by the list see none")
        }
        Ok(models) => Finding::degraded(format!("it lists {} models, and not this one", models.len())),
        Err(exit) => Finding::fails(exit.message),
    }
}

pub(super) async fn count(gateway: &Gateway) -> Finding {
    let body = json!({"model": gateway.subject.name(), "messages": [{"role": "user", "content": "How many tokens?"}]});
    match gateway.post("/v1/messages/count_tokens", &body).await {
        Err(finding) if finding.note.contains("has no count of tokens") => {
            Finding::skipped("servers of OpenAI's dialect count only with an answer")
        }
        answered => judge(answered, |answered| {
            let tokens = answered.body.get("input_tokens").and_then(Value::as_u64).unwrap_or(0);
            if tokens > 0 { Finding::works() } else { Finding::fails("the count has no number") }
        }),
    }
}

pub(super) async fn embeddings(gateway: &Gateway) -> Finding {
    let model = gateway.subject.embedding_model.clone().unwrap_or_default();
    let body = json!({"model": format!("{}/{model}", gateway.subject.provider), "input": ["one", "two"]});
    judge(gateway.post("/v1/embeddings", &body).await, |answered| {
        let vectors = answered.body.get("data").and_then(Value::as_array).map_or(0, Vec::len);
        match answered.body.pointer("/data/0/embedding").and_then(Value::as_array).map_or(0, Vec::len) {
            0 => Finding::fails("the answer has no vectors"),
            _ if vectors != 2 => Finding::fails(format!("two texts have {vectors} vectors")),
            dimensions => Finding::works_with(format!("{model}, {dimensions} dimensions")),
        }
    })
}

/// What a refusal of the provider's should look like.
fn refused(status: u16, body: &Value, otherwise: &str) -> Finding {
    let has_message = body.pointer("/error/message").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match status {
        200 => Finding::degraded(otherwise),
        400..=499 if has_message => Finding::works_with(status.to_string()),
        status => {
            Finding::degraded(format!("it is answered with {status}: a client that repeats failures repeats this one"))
        }
    }
}

pub(super) async fn unknown_model(gateway: &Gateway) -> Finding {
    let mut body = gateway.chat_body(json!([{"role": "user", "content": "hi"}]), json!({}));
    body["model"] = json!(format!("{}/{NO_MODEL}", gateway.subject.provider));
    match gateway.refused(&body, true).await {
        Ok((status, body)) => {
            refused(status, &body, "a model that does not exist answers: mistyped names go unnoticed")
        }
        Err(finding) => finding,
    }
}

pub(super) async fn wrong_parameter(gateway: &Gateway) -> Finding {
    let body = gateway.chat_body(json!([{"role": "user", "content": "hi"}]), json!({"temperature": 99}));
    match gateway.refused(&body, false).await {
        Ok((status, body)) => refused(status, &body, "a temperature of 99 is taken: wrong parameters go unnoticed"),
        Err(finding) => finding,
    }
}

/// Leaves a long stream as soon as it has begun.
pub(super) async fn leave_a_stream(gateway: &Gateway) -> Result<(), Finding> {
    let messages = json!([{"role": "user", "content": "Count from one to three hundred in words."}]);
    let limit = gateway.subject.output_tokens().max(LONG_OUTPUT_TOKENS);
    let body = gateway.chat_body(messages, json!({"stream": true, "max_tokens": limit}));
    let mut response = gateway.stream("/v1/chat/completions", &body).await?;
    // Whatever comes first is enough; the connection is closed with the response.
    response.chunk().await.map(drop).map_err(|_| Finding::fails("the stream broke off"))
}

/// The same as a check by itself: whether it was settled is the caller's to see.
pub(super) async fn left_alone(gateway: &Gateway) -> Finding {
    leave_a_stream(gateway).await.map_or_else(|finding| finding, |()| Finding::works())
}
