//! Checks of plain chats.

use serde_json::{Value, json};

use super::gateway::{Answered, Finding, Gateway};

const ODD: &str = "Zażółć 你好 👋🏽";

fn said(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// Judges a 200; anything else is found already.
pub(super) fn judge(answered: Result<Answered, Finding>, how: impl FnOnce(&Answered) -> Finding) -> Finding {
    match answered {
        Ok(answered) => answered.judged(how(&answered)),
        Err(finding) => finding,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

pub(super) async fn chat(gateway: &Gateway) -> Finding {
    judge(gateway.chat(said("Reply with the word: privet"), json!({})).await, |answered| {
        match (answered.text(), answered.finish()) {
            ("", finish) => {
                Finding::degraded(format!("an answer without text came (finish `{finish}`); try a larger model"))
            }
            (_, "") => Finding::degraded("the answer has no finish reason: a cut cannot be told from an end"),
            _ => Finding::works(),
        }
    })
}

pub(super) async fn usage(gateway: &Gateway) -> Finding {
    judge(gateway.chat(said("Reply with the word: privet"), json!({})).await, |answered| {
        let tokens = |name: &str| answered.body.pointer(&format!("/usage/{name}")).and_then(Value::as_u64).unwrap_or(0);
        let is_told = tokens("prompt_tokens") > 0 && tokens("completion_tokens") > 0;
        Finding::if_holds(is_told, "no count of tokens: under a budget each call is charged all that it holds")
    })
}

pub(super) async fn system_prompt(gateway: &Gateway) -> Finding {
    let messages = json!([
        {"role": "system", "content": "Whatever you are asked, your whole answer is the one word BANANA."},
        {"role": "user", "content": "What is two and two?"},
    ]);
    judge(gateway.chat(messages, json!({})).await, |answered| {
        let obeys = answered.text().to_uppercase().contains("BANANA");
        Finding::if_holds(obeys, format!("the instruction was not followed: `{}`", shown(answered.text())))
    })
}

pub(super) async fn turns(gateway: &Gateway) -> Finding {
    let messages = json!([
        {"role": "user", "content": "My number is 7421. Say ok."}, {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "Which number is mine? Digits only."},
    ]);
    judge(gateway.chat(messages, json!({})).await, |answered| {
        let knows = answered.text().contains("7421");
        Finding::if_holds(knows, format!("what was said before is not known: `{}`", shown(answered.text())))
    })
}

pub(super) async fn unicode(gateway: &Gateway) -> Finding {
    let asked = format!("Repeat exactly, and nothing else: {ODD}");
    judge(gateway.chat(said(&asked), json!({})).await, |answered| match answered.text() {
        text if text.contains('\u{fffd}') => Finding::fails("letters arrive broken: the provider does not write UTF-8"),
        text => Finding::if_holds(text.contains(ODD), format!("it came back as `{}`", shown(text))),
    })
}

pub(super) async fn stop_sequence(gateway: &Gateway) -> Finding {
    let asked = "Count from 1 to 9 in digits, with commas between them.";
    judge(gateway.chat(said(asked), json!({"stop": ["5"]})).await, |answered| {
        let text = answered.text();
        let stopped = !text.contains('5') && text.contains('4');
        Finding::if_holds(stopped, format!("`stop` was not heeded: `{}`", shown(text)))
    })
}

pub(super) async fn output_limit(gateway: &Gateway) -> Finding {
    let asked = said("Write the numbers from one to two hundred in words.");
    judge(gateway.chat(asked, json!({"max_tokens": 16})).await, |answered| {
        let note = format!("16 tokens should be too few, and the finish is `{}`: a cut is not told", answered.finish());
        Finding::if_holds(answered.finish() == "length", note)
    })
}

/// By Anthropic's surface.
pub(super) async fn messages(gateway: &Gateway) -> Finding {
    let body = gateway.chat_body(said("Reply with the word: privet"), json!({}));
    judge(gateway.post("/v1/messages", &body).await, |answered| {
        let text = answered.body.pointer("/content").and_then(Value::as_array).into_iter().flatten();
        let has_text = text.filter_map(|block| block.get("text")?.as_str()).any(|text| !text.is_empty());
        let usage = answered.body.pointer("/usage/output_tokens").and_then(Value::as_u64).unwrap_or(0);
        Finding::if_holds(has_text && usage > 0, "Anthropic's shape came without text or without a count of tokens")
    })
}
