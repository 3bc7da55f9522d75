//! Tokens and costs by kind, in the forms that SDKs send: Langfuse's own, and OpenAI's, whose sums include their parts.

use std::collections::BTreeMap;

use privet_domain::money::Nanos;
use serde_json::{Map, Value};

use super::{Invalid, amount};
use crate::traced_text::{LIST_MAX, NAME_BYTES_MAX, shortened};

/// Nobody uses more in one call, and sums of it fit.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// Tokens by kind.
type Usage = BTreeMap<String, u64>;
/// Nano-dollars by kind.
type Costs = BTreeMap<String, Nanos>;

/// Reads a usage; the older form has costs beside the tokens.
pub(super) fn usage(value: Option<Value>) -> Result<(Option<Usage>, Option<Costs>), Invalid> {
    let members = match value {
        None | Some(Value::Null) => return Ok((None, None)),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Invalid("the usage must be an object of tokens by kind".to_owned())),
    };
    check_kinds(&members)?;
    let mut costs = Costs::new();
    for (name, kind) in [("inputCost", "input"), ("outputCost", "output"), ("totalCost", "total")] {
        if let Some(dollars) = members.get(name).and_then(Value::as_f64) {
            costs.insert(kind.to_owned(), amount(dollars)?);
        }
    }
    let usage = match ["prompt_tokens", "completion_tokens", "input_tokens_details", "output_tokens_details"]
        .iter()
        .any(|name| members.contains_key(*name))
    {
        true => of_openai(&members)?,
        false => plain(&members)?,
    };
    Ok(((!usage.is_empty()).then_some(usage), (!costs.is_empty()).then_some(costs)))
}

/// Tokens by kind, whatever the kinds are called; older names become today's.
fn plain(members: &Map<String, Value>) -> Result<Usage, Invalid> {
    let mut usage = Usage::new();
    for (kind, value) in members {
        let kind = match kind.as_str() {
            "unit" | "inputCost" | "outputCost" | "totalCost" => continue,
            "promptTokens" => "input",
            "completionTokens" => "output",
            "totalTokens" => "total",
            kind => kind,
        };
        if let Some(count) = count(kind, value)? {
            usage.insert(kind.to_owned(), count);
        }
    }
    Ok(usage)
}

/// OpenAI's usage. Its sums include their details; kinds here are apart.
fn of_openai(members: &Map<String, Value>) -> Result<Usage, Invalid> {
    let mut usage = Usage::new();
    for (kind, sums, details) in [
        ("input", ["prompt_tokens", "input_tokens"], ["prompt_tokens_details", "input_tokens_details"]),
        ("output", ["completion_tokens", "output_tokens"], ["completion_tokens_details", "output_tokens_details"]),
    ] {
        let Some(sum) = sums.iter().find_map(|name| members.get(*name)) else { continue };
        let Some(mut left) = count(kind, sum)? else { continue };
        let details = details.iter().find_map(|name| members.get(*name)?.as_object());
        for (detail, value) in details.into_iter().flatten() {
            if let Some(part) = count(detail, value)?.filter(|part| *part > 0) {
                left = left.saturating_sub(part);
                usage.insert(format!("{kind}_{detail}"), part);
            }
        }
        usage.insert(kind.to_owned(), left);
    }
    if let Some(total) = members.get("total_tokens").map(|total| count("total", total)).transpose()?.flatten() {
        usage.insert("total".to_owned(), total);
    }
    Ok(usage)
}

fn count(kind: &str, value: &Value) -> Result<Option<u64>, Invalid> {
    if value.is_null() {
        return Ok(None);
    }
    let float = || value.as_f64().filter(|count| (0.0..=TOKENS_MAX as f64).contains(count)).map(|count| count as u64);
    let whole = value.as_u64().or_else(float).filter(|count| *count <= TOKENS_MAX);
    whole.map(Some).ok_or_else(|| {
        let (kind, given) = (shortened(kind), shortened(&value.to_string()));
        Invalid(format!("the usage `{kind}` must be a number from 0 to {TOKENS_MAX}, not {given}"))
    })
}

fn check_kinds(members: &Map<String, Value>) -> Result<(), Invalid> {
    if members.len() <= LIST_MAX && members.keys().all(|kind| kind.len() <= NAME_BYTES_MAX) {
        return Ok(());
    }
    Err(Invalid(format!("a usage has at most {LIST_MAX} kinds, with names of at most {NAME_BYTES_MAX} bytes")))
}

/// Reads costs by kind, in dollars.
pub(super) fn costs(members: Option<Map<String, Value>>) -> Result<Option<Costs>, Invalid> {
    let Some(members) = members else { return Ok(None) };
    check_kinds(&members)?;
    let mut costs = Costs::new();
    for (kind, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        let dollars = value
            .as_f64()
            .ok_or_else(|| Invalid(format!("the cost `{}` must be a number of dollars", shortened(&kind))))?;
        costs.insert(kind, amount(dollars)?);
    }
    Ok((!costs.is_empty()).then_some(costs))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_lose_what_stands_apart_and_older_names_become_todays() {
        let openai = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 2}});
        let (read, _) = usage(Some(openai)).unwrap();
        let expected =
            json!({"input": 6, "input_cached_tokens": 4, "output": 3, "output_reasoning_tokens": 2, "total": 15});
        assert_eq!(serde_json::to_value(read).unwrap(), expected);
        let older =
            json!({"promptTokens": 1, "completionTokens": 2, "totalTokens": null, "unit": "TOKENS", "inputCost": 0.5});
        let (read, cost) = usage(Some(older)).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), json!({"input": 1, "output": 2}));
        assert_eq!(cost.unwrap()["input"], Nanos::new(500_000_000));
        assert!(usage(Some(json!({"input": -1}))).is_err());
        assert!(costs(json!({"input": "dear"}).as_object().cloned()).is_err());
    }
}
