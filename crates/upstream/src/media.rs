//! Pictures and moderations in OpenAI's form: one pixel for each picture, and nothing is ever harmful.

use serde_json::{Value, json};

/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// What a picture counts as, where nothing is scripted.
pub(super) const PICTURE_TOKENS: u64 = 272;

/// How many pictures are asked for.
pub(super) fn count(body: &Value) -> u64 {
    body.get("n").and_then(Value::as_u64).unwrap_or(1)
}

/// The pictures, and the tokens that are told.
pub(super) fn images(body: &Value, tokens: Option<(u64, u64)>) -> Value {
    let pictures: Vec<Value> = (0..count(body)).map(|_| json!({"b64_json": PIXEL})).collect();
    let mut reply = json!({"created": 1_760_000_000, "data": pictures});
    if let (Some((input, output)), Some(fields)) = (tokens, reply.as_object_mut()) {
        let usage = json!({
            "input_tokens": input, "output_tokens": output, "total_tokens": input.saturating_add(output),
            "input_tokens_details": {"text_tokens": input, "image_tokens": 0},
        });
        fields.insert("usage".to_owned(), usage);
    }
    reply
}

/// A verdict for each input.
pub(super) fn moderation(body: &Value) -> Value {
    let inputs = match body.get("input") {
        Some(Value::Array(inputs)) if inputs.iter().all(Value::is_string) => inputs.len(),
        _ => 1,
    };
    let verdict = json!({"flagged": false, "categories": {"violence": false}, "category_scores": {"violence": 0.0}});
    json!({"id": "modr-mock", "model": body.get("model"), "results": vec![verdict; inputs]})
}
