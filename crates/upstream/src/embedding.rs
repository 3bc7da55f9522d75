//! Deterministic embeddings: texts that share words have near vectors, so that recall can be tested.
//! They know nothing of meaning.

use serde_json::Value;

/// The vectors of an OpenAI `input`: a text, texts, token ids, or lists of them.
pub(super) fn of_input(input: &Value, dimensions: usize) -> Vec<Vec<f32>> {
    match input {
        Value::Array(items) if items.iter().all(Value::is_number) => vec![vector(&input.to_string(), dimensions)],
        Value::Array(items) => items.iter().map(|item| vector(&plain(item), dimensions)).collect(),
        one => vec![vector(&plain(one), dimensions)],
    }
}

/// The vector of a Gemini request: the texts of its content's parts.
pub(super) fn of_content(request: &Value, dimensions: usize) -> Vec<f32> {
    let parts = request.pointer("/content/parts").and_then(Value::as_array);
    let texts: Vec<String> = parts.into_iter().flatten().filter_map(|part| part.get("text").map(plain)).collect();
    vector(&texts.join(" "), dimensions)
}

/// Dimensions a model has unless asked otherwise.
pub(super) fn dimensions_of(model: &str) -> usize {
    match model {
        "text-embedding-3-small" | "text-embedding-ada-002" => 1536,
        "text-embedding-3-large" | "gemini-embedding-001" => 3072,
        _ => 8,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Each word adds one to a place of its own; the length is 1.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let dimensions = dimensions.max(1);
    let mut vector = vec![0.0_f32; dimensions];
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let place = usize::try_from(hash(word) % dimensions as u64).unwrap_or(0);
        if let Some(value) = vector.get_mut(place) {
            *value += 1.0;
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length == 0.0 {
        vector.iter_mut().take(1).for_each(|value| *value = 1.0);
        return vector;
    }
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

/// FNV-1a: the same on every machine and in every release, unlike the standard library's.
fn hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
