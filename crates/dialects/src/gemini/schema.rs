//! Gemini's `Schema`, a subset of OpenAPI's, as JSON Schema (<https://ai.google.dev/api/caching#Schema>).

use serde_json::{Map, Value, json};

use super::fields::camel;

/// What is a number, and may be written as a text: Google's JSON has large integers so.
const NUMBERS: [&str; 6] = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// The same as JSON Schema: types in small letters, `null` as a type of its own. The order of the properties is that of
/// `propertyOrdering`.
pub(super) fn json_schema(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut out = Map::new();
    let (mut is_nullable, mut ordering) = (false, Vec::new());
    for (name, value) in members {
        let name = camel(name);
        match (&*name, value) {
            ("nullable", value) => is_nullable = value == &Value::Bool(true),
            ("propertyOrdering", value) => ordering = texts(value),
            // The word of a type or format that says nothing.
            ("type" | "format", Value::String(word)) if word.is_empty() || word.ends_with("UNSPECIFIED") => {}
            ("format", Value::String(word)) if word == "enum" => {}
            ("type", Value::String(word)) => set(&mut out, "type", json!(word.to_ascii_lowercase())),
            ("properties", Value::Object(properties)) => {
                let converted = properties.iter().map(|(name, schema)| (name.clone(), json_schema(schema)));
                set(&mut out, "properties", Value::Object(converted.collect()));
            }
            ("defs", Value::Object(defs)) => {
                let converted = defs.iter().map(|(name, schema)| (name.clone(), json_schema(schema)));
                set(&mut out, "$defs", Value::Object(converted.collect()));
            }
            ("ref", value) => set(&mut out, "$ref", value.clone()),
            ("items" | "additionalProperties", schema @ Value::Object(_)) => set(&mut out, &name, json_schema(schema)),
            ("anyOf", Value::Array(schemas)) => set(&mut out, "anyOf", schemas.iter().map(json_schema).collect()),
            ("example", value) => set(&mut out, "examples", json!([value])),
            (number, Value::String(text)) if NUMBERS.contains(&number) => {
                let value = text.parse::<u64>().map_or_else(|_| value.clone(), Value::from);
                set(&mut out, number, value);
            }
            (name, value) => set(&mut out, name, value.clone()),
        }
    }
    order(&mut out, &ordering);
    if is_nullable {
        allow_null(&mut out);
    }
    Value::Object(out)
}

/// The same with objects that have no other members than those that they name: so Gemini holds to a schema of its answer, and so other
/// providers demand it.
pub(super) fn closed(mut schema: Value) -> Value {
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    for name in ["properties", "$defs", "definitions"] {
        if let Some(Value::Object(schemas)) = members.get_mut(name) {
            schemas.values_mut().for_each(close);
        }
    }
    for name in ["items", "additionalProperties", "not"] {
        if let Some(schema) = members.get_mut(name) {
            close(schema);
        }
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Value::Array(schemas)) = members.get_mut(name) {
            schemas.iter_mut().for_each(close);
        }
    }
    if members.get("properties").is_some_and(Value::is_object) {
        members.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

fn set(out: &mut Map<String, Value>, name: &str, value: Value) {
    out.insert(name.to_owned(), value);
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn order(schema: &mut Map<String, Value>, ordering: &[String]) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    let mut ordered = Map::new();
    for name in ordering {
        if let Some(property) = properties.shift_remove(name) {
            ordered.insert(name.clone(), property);
        }
    }
    ordered.extend(std::mem::take(properties));
    *properties = ordered;
}

fn allow_null(schema: &mut Map<String, Value>) {
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    } else if let Some(Value::Array(schemas)) = schema.get_mut("anyOf") {
        schemas.push(json!({"type": "null"}));
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_of_geminis_is_one_of_json_schemas() {
        let schema = json!({
            "type": "OBJECT", "property_ordering": ["b", "a"], "required": ["a"], "title": "T",
            "properties": {
                "a": {"type": "STRING", "format": "enum", "enum": ["x", "y"], "nullable": true},
                "b": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "minItems": "1", "max_items": 3},
                "c": {"anyOf": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": true, "example": 4},
                "type": {"type": "TYPE_UNSPECIFIED", "properties": {"nullable": {"type": "string"}}},
            },
        });
        let converted = json_schema(&schema);
        assert_eq!(
            converted,
            json!({
                "type": "object", "required": ["a"], "title": "T",
                "properties": {
                    "b": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 1, "maxItems": 3},
                    "a": {"type": ["string", "null"], "enum": ["x", "y", null]},
                    "c": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}], "examples": [4]},
                    "type": {"properties": {"nullable": {"type": "string"}}},
                },
            })
        );
        let names: Vec<&String> = converted["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["b", "a", "c", "type"]);
        assert_eq!(json_schema(&converted), converted);
    }

    #[test]
    fn a_closed_schema_has_no_other_members() {
        let open = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"properties": {}}}, "b": {"additionalProperties": true}}});
        let closed = closed(open);
        assert_eq!(closed["additionalProperties"], false);
        assert_eq!(closed["properties"]["a"]["items"]["additionalProperties"], false);
        assert_eq!(closed["properties"]["b"], json!({"additionalProperties": true}));
    }
}
