//! Whether everything that was acknowledged is kept, asked of Privet's own interface after the load.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::load::Connection;

/// The load's thread has two messages, instructions and a question; the answer is the third.
const MESSAGES_PER_CONVERSATION: u64 = 3;
const PAGE: u64 = 500;
const READERS: usize = 8;

/// What was promised and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) acknowledged_messages: u64,
    pub(crate) stored_messages: u64,
    /// Messages missing from conversations, whole conversations included. More elsewhere do not make up for them.
    pub(crate) lost_messages: u64,
}

/// Reads every conversation with its messages.
pub(crate) async fn count(address: SocketAddr, answered: u64) -> Result<Kept> {
    let ids = list(address).await?;
    let mut readers = JoinSet::new();
    for chunk in ids.chunks(ids.len().div_ceil(READERS).max(1)).map(<[String]>::to_vec) {
        readers.spawn(count_messages(address, chunk));
    }
    let mut sizes: HashMap<u64, u64> = HashMap::new();
    while let Some(joined) = readers.join_next().await {
        for size in joined.context("a reader failed")?? {
            *sizes.entry(size).or_default() += 1;
        }
    }
    Ok(compare(answered, &sizes))
}

/// `sizes` has how many conversations have how many messages.
fn compare(answered: u64, sizes: &HashMap<u64, u64>) -> Kept {
    let conversations: u64 = sizes.values().sum();
    let missing: u64 = sizes.iter().map(|(size, count)| MESSAGES_PER_CONVERSATION.saturating_sub(*size) * count).sum();
    Kept {
        acknowledged_messages: answered * MESSAGES_PER_CONVERSATION,
        stored_messages: sizes.iter().map(|(size, count)| size * count).sum(),
        lost_messages: answered.saturating_sub(conversations) * MESSAGES_PER_CONVERSATION + missing,
    }
}

async fn list(address: SocketAddr) -> Result<Vec<String>> {
    let mut connection = Connection::new(address);
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = json(&connection.get(&format!("/api/conversations?limit={PAGE}{cursor}")).await?)?;
        let items = page.get("data").and_then(Value::as_array).context("a list of conversations has no `data`")?;
        ids.extend(items.iter().filter_map(|item| item.get("id")?.as_str().map(str::to_owned)));
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => {
                let next = format!("&cursor={next}");
                ensure!(next != cursor, "the list of conversations does not advance");
                cursor = next;
            }
            None => return Ok(ids),
        }
    }
}

async fn count_messages(address: SocketAddr, ids: Vec<String>) -> Result<Vec<u64>> {
    let mut connection = Connection::new(address);
    let mut sizes = Vec::with_capacity(ids.len());
    for id in ids {
        let conversation = json(&connection.get(&format!("/api/conversations/{id}")).await?)?;
        let messages =
            conversation.get("messages").and_then(Value::as_array).context("a conversation has no `messages`")?;
        sizes.push(messages.len() as u64);
    }
    Ok(sizes)
}

fn json(body: &Bytes) -> Result<Value> {
    serde_json::from_slice(body).context("the answer is not JSON")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::bare_proxy::accept;

    #[test]
    fn whole_conversations_and_single_messages_are_missed() {
        let kept = compare(10, &HashMap::from([(3, 8), (2, 1)]));
        assert_eq!(kept, Kept { acknowledged_messages: 30, stored_messages: 26, lost_messages: 4 });
    }

    /// Three conversations on two pages, the last with one message too few.
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = match request.uri().path() {
            "/api/conversations" if query.ends_with("&cursor=b") => json!({"data": [{"id": "c"}], "next_cursor": null}),
            "/api/conversations" => json!({"data": [{"id": "a"}, {"id": "b"}], "next_cursor": "b"}),
            "/api/conversations/c" => json!({"messages": [1, 2]}),
            _ => json!({"messages": [1, 2, 3]}),
        };
        Ok(Response::new(Full::from(body.to_string())))
    }

    #[tokio::test]
    async fn every_page_and_every_conversation_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, |stream| async move {
            let io = TokioIo::new(stream);
            http1::Builder::new().serve_connection(io, service_fn(answer)).await.unwrap();
        }));
        let kept = count(address, 3).await.unwrap();
        assert_eq!(kept, Kept { acknowledged_messages: 9, stored_messages: 8, lost_messages: 1 });
    }

    #[test]
    fn unacknowledged_messages_that_were_kept_lose_nothing() {
        assert_eq!(compare(10, &HashMap::from([(3, 11)])).lost_messages, 0);
    }
}
