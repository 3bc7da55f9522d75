//! One kept HTTP/1.1 connection of a drill: opened when first used, and again after it broke.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longer than any answer of a server that keeps its promises.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The server names the gate that refused a request in this header.
const GATE_HEADER: &str = "x-privet-gate";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// What is asked, the same each time.
pub(super) struct Ask {
    method: Method,
    target: &'static str,
    authorization: Option<HeaderValue>,
    body: Bytes,
}

/// What came back, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) gate: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// A connection to the server.
pub(super) struct Connection {
    host: HeaderValue,
    server: SocketAddr,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Ask {
    /// Posts JSON, with a key or without.
    pub(super) fn post(target: &'static str, key: Option<&SecretString>, body: String) -> Result<Self> {
        let authorization = key.map(bearer).transpose()?;
        Ok(Self { method: Method::POST, target, authorization, body: Bytes::from(body) })
    }
}

impl Connection {
    /// Opens nothing yet.
    pub(super) fn new(server: SocketAddr) -> Result<Self> {
        let host = HeaderValue::try_from(server.to_string()).context("the server's address fits no header")?;
        Ok(Self { host, server, open: None })
    }

    /// Asks as if from this address.
    pub(super) async fn ask(&mut self, ask: &Ask, from: IpAddr) -> Result<Answer> {
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(ask.target)
            .header(header::CONTENT_TYPE, "application/json")
            .header(FORWARDED_FOR, from.to_string());
        if let Some(authorization) = &ask.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.send(request, ask.body.clone()).await
    }

    /// Reads a document as this machine.
    pub(super) async fn get(&mut self, target: &str, key: &SecretString) -> Result<Answer> {
        self.send(Request::get(target).header(header::AUTHORIZATION, bearer(key)?), Bytes::new()).await
    }

    async fn send(&mut self, request: http::request::Builder, body: Bytes) -> Result<Answer> {
        let request = request.header(header::HOST, &self.host).body(Full::new(body))?;
        let exchange = async {
            let mut open = self.ready().await?;
            let (parts, body) = open.sender.send_request(request).await.context("no answer")?.into_parts();
            let body = body.collect().await.context("the answer was cut")?.to_bytes();
            // Only a connection whose answer was read to the end can be used again.
            self.open = Some(open);
            Ok(Answer { status: parts.status, gate: parts.headers.get(GATE_HEADER).cloned(), body })
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => bail!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        }
    }

    /// The kept connection once it can take another request, or a new one when the server has closed it.
    async fn ready(&mut self) -> Result<Open> {
        if let Some(mut open) = self.open.take()
            && open.sender.ready().await.is_ok()
        {
            return Ok(open);
        }
        connect(self.server).await
    }
}

async fn connect(server: SocketAddr) -> Result<Open> {
    let stream = TcpStream::connect(server).await.context("no connection")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is told to whoever waits for an answer.
        let _ended = connection.await;
    });
    sender.ready().await.context("the connection closed at once")?;
    Ok(Open { sender, _driver: driver })
}

fn bearer(key: &SecretString) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).context("a key fits no header")?;
    value.set_sensitive(true);
    Ok(value)
}
