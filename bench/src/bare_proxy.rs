//! The yardstick: hyper's server in front of hyper-util's pooled client. It forwards bodies as they come and decides nothing:
//! no authentication, no parsing, no retries, no log.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Upstream = Client<HttpConnector, Incoming>;
type Body = BoxBody<Bytes, hyper::Error>;

/// Serves until the process is ended.
pub(crate) async fn serve(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    accept(listener, move |stream| serve_connection(stream, client.clone(), upstream)).await
}

/// Says where it listens and serves every connection in a task of its own.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    println!("listening on http://{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot accept connections")?;
                stream.set_nodelay(true)?;
                connections.spawn(serve(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, client: Upstream, upstream: SocketAddr) {
    let service = service_fn(|request| forward(&client, upstream, request));
    // A client that leaves is no event for a proxy that keeps no log.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn forward(
    client: &Upstream,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, http::Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::builder().scheme("http").authority(upstream.to_string()).path_and_query(path).build()?;
    request.headers_mut().remove(header::HOST);
    match client.request(request).await {
        Ok(response) => Ok(response.map(BodyExt::boxed)),
        Err(error) => Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Full::from(error.to_string()).map_err(|never| match never {}).boxed()),
    }
}
