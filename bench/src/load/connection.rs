//! One kept connection of the load: opened when first used, and again after it broke.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::subject::KEY;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A whole answer, and when its parts came.
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) first_byte: Duration,
    pub(crate) whole: Duration,
}

/// A connection to one server.
pub(crate) struct Connection {
    address: SocketAddr,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Opens nothing yet.
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Sends JSON and reads the answer to its end, measuring from `since`.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes, since: Instant) -> Result<Answer> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, body, since).await
    }

    /// Sends spans in OTLP's protobuf form.
    pub(crate) async fn post_spans(&mut self, body: Bytes) -> Result<Answer> {
        let request = Request::post("/v1/traces").header(header::CONTENT_TYPE, "application/x-protobuf");
        self.send(request, body, Instant::now()).await
    }

    /// Reads a document.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        Ok(self.send(Request::get(path), Bytes::new(), Instant::now()).await?.body)
    }

    /// The kept connection once it can take another request, or a new one when the server has closed it.
    async fn ready(&mut self) -> Result<Open> {
        if let Some(mut open) = self.open.take()
            && open.sender.ready().await.is_ok()
        {
            return Ok(open);
        }
        connect(self.address).await
    }

    async fn send(&mut self, request: http::request::Builder, body: Bytes, since: Instant) -> Result<Answer> {
        let request = request
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
            .body(Full::new(body))?;
        let exchange = async {
            let mut open = self.ready().await?;
            let response = open.sender.send_request(request).await.context("no answer")?;
            let answer = read(response, since).await?;
            // Only a connection whose answer was read to the end can be used again.
            self.open = Some(open);
            Ok(answer)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => bail!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<Open> {
    let stream = TcpStream::connect(address).await.context("no connection")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is told to whoever waits for an answer.
        let _ = connection.await;
    });
    sender.ready().await.context("the connection closed at once")?;
    Ok(Open { sender, _driver: driver })
}

async fn read(response: Response<Incoming>, since: Instant) -> Result<Answer> {
    let status = response.status();
    let mut incoming = response.into_body();
    let mut body = BytesMut::new();
    let mut first_byte = None;
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.context("the answer was cut")?.into_data() {
            first_byte.get_or_insert_with(|| since.elapsed());
            body.extend_from_slice(&data);
        }
    }
    let whole = since.elapsed();
    ensure!(status == StatusCode::OK, "status {status}: {}", String::from_utf8_lossy(&body));
    Ok(Answer { body: body.freeze(), first_byte: first_byte.unwrap_or(whole), whole })
}
