//! The accept loop: connections capped, headers timed, and an end that lets streams finish.
//!
//! A connection is any stream of bytes, so that TLS can stand in front of [`serve_connection`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::address::Peer;
use super::opening::Opened;
use crate::config::ServerLimits;

const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 * 1024;
const STREAMS_MAX: u32 = 256;
/// An HTTP/2 connection that says nothing is asked whether it is still there so often, or more often than that.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// After an accept failed for want of resources, so long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is cancelled; then takes no new connection and lets the open ones finish what they do.
/// Returns at once; `connections` ends when the last one is closed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        // A place is taken before a connection, so that the kernel's queue holds the rest.
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = Peer(address.ip());
                // Small events of a stream must not wait for one another; a socket that refuses this still works.
                let _ = stream.set_nodelay(true);
                let (router, watcher, stop) = (router.clone(), graceful.watcher(), stop.clone());
                connections.spawn(async move {
                    // One that has not begun a request when the server stops has nothing to finish.
                    let opened = tokio::select! {
                        () = stop.cancelled() => None,
                        opened = tokio::time::timeout(limits.header_timeout, Opened::read(stream)) => opened.ok(),
                    };
                    if let Some(Ok(opened)) = opened {
                        serve_connection(opened, peer, router, limits, watcher).await;
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve_connection<S>(opened: Opened<S>, peer: Peer, router: Router, limits: ServerLimits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if opened.is_http2() { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL.min(limits.header_timeout))
        .keep_alive_timeout(limits.header_timeout);
    let router = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let connection = builder.serve_connection(TokioIo::new(opened), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(error, "a connection ended badly");
    }
}
