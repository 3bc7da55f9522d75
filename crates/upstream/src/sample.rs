//! A deterministic instance of a JSON schema, so that structured output needs no script.
//! It covers what providers accept for structured output, not all of JSON Schema.

use serde_json::{Map, Value, json};

/// Deeper than any schema a test writes; a schema that refers to itself ends here.
const DEPTH_MAX: u32 = 12;

pub(super) fn instance(schema: &Value) -> Value {
    build(schema, schema, 0)
}

fn build(root: &Value, schema: &Value, depth: u32) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| build(root, target, depth + 1));
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(value) = first(schema, "enum") {
        return value.clone();
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        if let Some(branch) = first(schema, alternatives) {
            return build(root, branch, depth + 1);
        }
    }
    match kind(schema).as_str() {
        "object" => object(root, schema, depth),
        "array" => array(root, schema, depth),
        "integer" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "number" => schema.get("minimum").cloned().unwrap_or(json!(1.5)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!("text"),
    }
}

fn first<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get(key).and_then(Value::as_array).and_then(|values| values.first())
}

/// The type in lower case, as Gemini writes it in capitals; of several types the first.
fn kind(schema: &Value) -> String {
    let named = schema.get("type").and_then(Value::as_str).or_else(|| first(schema, "type").and_then(Value::as_str));
    match named {
        Some(name) => name.to_ascii_lowercase(),
        None if schema.get("properties").is_some() => "object".to_owned(),
        None => "string".to_owned(),
    }
}

fn object(root: &Value, schema: &Value, depth: u32) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let filled: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.clone(), build(root, property, depth + 1)))
        .collect();
    Value::Object(filled)
}

fn array(root: &Value, schema: &Value, depth: u32) -> Value {
    let length = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(100);
    let item = schema.get("items").map_or(json!("text"), |items| build(root, items, depth + 1));
    Value::Array((0..length).map(|_| item.clone()).collect())
}
