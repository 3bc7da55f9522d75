//! A whole answer of any provider for any client: it is a fault, or what the client gets is an answer of its own dialect.

use bytes::Bytes;
use privet_dialects::translate::decode_response;
use privet_dialects::{Dialect, Inbound};

/// Seconds since 1970, for a provider that does not say.
const CREATED: i64 = 1_760_000_000;

pub(crate) fn check(inbound: Inbound, outbound: Dialect, input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    let Ok(whole) = decode_response(inbound, outbound, body, CREATED) else { return };
    if inbound.dialect() == outbound {
        // Only a call without arguments is mended on the way (wire fact 12), and what is mended stays as it is.
        let again = decode_response(inbound, outbound, whole.body.clone(), CREATED);
        assert_eq!(again.map(|again| again.body), Ok(whole.body), "the same dialect passes as its own bytes");
        return;
    }
    let again = decode_response(inbound, inbound.dialect(), whole.body.clone(), CREATED);
    assert!(again.is_ok(), "what the client gets is an answer: {again:?}\n{}", String::from_utf8_lossy(&whole.body));
    if let Ok(again) = again {
        let most = match inbound {
            Inbound::OpenAiChat | Inbound::Gemini => usize::MAX,
            Inbound::AnthropicMessages | Inbound::OpenAiResponses => 1,
        };
        let expected = whole.answer.messages.len().min(most);
        assert_eq!(again.answer.messages.len(), expected, "all answers arrive that the dialect has room for");
    }
}
