//! A request of any client to any provider: it is refused, or what is sent is a request of the provider's dialect.

use bytes::Bytes;
use privet_dialects::anthropic::incoming::IncomingMessages;
use privet_dialects::canonical::Message;
use privet_dialects::count::encode_question;
use privet_dialects::gemini::incoming::{Asked, IncomingGenerate};
use privet_dialects::incoming::Incoming;
use privet_dialects::linked_media::{Follow, Media, MediaKind, inline, links};
use privet_dialects::openai::chat_request::{IncomingChat, MaxTokensField};
use privet_dialects::responses::incoming::{Birth, IncomingResponses, Referenced};
use privet_dialects::translate::{EncodeOptions, encode_request};
use privet_dialects::{BadRequest, Dialect, Inbound};
use privet_domain::id::ResponseId;
use serde_json::Value;

pub(crate) fn check(inbound: Inbound, outbound: Dialect, input: &[u8]) {
    let Ok(mut incoming) = read(inbound, Bytes::copy_from_slice(input)) else { return };
    assert!(!incoming.messages().is_empty(), "a thread has a message");
    let said = incoming.messages().to_vec();
    let alone = incoming.size(&[]);
    assert!(alone.text_tokens <= incoming.size(&said).text_tokens, "more is not less");
    let _ = (incoming.unbounded_field(), incoming.output_limit(), incoming.parameters(), incoming.metadata());
    let _ = (incoming.user(), incoming.tools_json(), incoming.service_tier(outbound));
    sent(&incoming, outbound, &[]);
    sent(&incoming, outbound, &said);
    if let Ok(question) = encode_question(&incoming, "m", outbound) {
        let _ = object(&question);
    }
    incoming.set_lead(said);
    sent(&incoming, outbound, &[]);
}

fn sent(incoming: &Incoming, outbound: Dialect, history: &[Message]) {
    for (max_tokens_field, output_limit) in [(None, None), (Some(MaxTokensField::MaxCompletionTokens), Some(7))] {
        let options = EncodeOptions { max_tokens_field, default_max_tokens: 9, output_limit, service_tier: None };
        let Ok(body) = encode_request(incoming, "m", history, outbound, &options) else { continue };
        let written = object(&body);
        if outbound != Dialect::Gemini {
            assert_eq!(written.get("model"), Some(&Value::from("m")), "the model is the provider's");
        }
        for inbound in Inbound::ALL.into_iter().filter(|inbound| inbound.dialect() == outbound) {
            let read = read(inbound, body.clone());
            assert!(read.is_ok(), "what is sent is a request of its dialect: {read:?}\n{}", show(&body));
        }
        follow(outbound, &body);
    }
}

/// With the bytes in place of its links, it is still a request, and has none left.
fn follow(outbound: Dialect, body: &Bytes) {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    let Some(media) = Media::read(PNG.to_vec(), MediaKind::Any) else { return };
    let open = links(outbound, body, Follow::All);
    let closed = inline(outbound, body, Follow::All, |_| Some(&media));
    let _ = object(&closed);
    assert!(links(outbound, &closed, Follow::All).is_empty(), "no link is left of {open:?}");
    if open.is_empty() {
        assert_eq!(&closed, body, "without links nothing changes");
    }
}

fn object(body: &[u8]) -> serde_json::Map<String, Value> {
    let written = serde_json::from_slice(body);
    assert!(written.is_ok(), "what is sent is a JSON object: {written:?}\n{}", show(body));
    written.unwrap_or_default()
}

fn show(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(2_000).collect()
}

fn read(inbound: Inbound, body: Bytes) -> Result<Incoming, BadRequest> {
    match inbound {
        Inbound::OpenAiChat => IncomingChat::parse(body).map(Incoming::from),
        Inbound::AnthropicMessages => IncomingMessages::parse(body).map(Incoming::from),
        Inbound::OpenAiResponses => {
            IncomingResponses::parse(body, Birth { id: ResponseId::new(), at: 0 }, &Referenced::new())
                .map(Incoming::from)
        }
        Inbound::Gemini => {
            IncomingGenerate::parse(body, Asked { model: "m".to_owned(), stream: false }).map(Incoming::from)
        }
    }
}
