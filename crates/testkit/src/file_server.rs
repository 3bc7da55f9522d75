//! A server that gives every request the same answer and counts connections: for what a product fetches, or must not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The smallest picture that is one: a PNG of one pixel.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

/// The server. Dropping it closes the listener.
#[derive(Debug)]
pub struct FileServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl FileServer {
    /// Answers with these bytes, head included, on this address.
    ///
    /// # Panics
    /// When the address is taken: a test without its server cannot go on.
    #[expect(clippy::expect_used, reason = "a test without its server cannot go on")]
    pub async fn answering(address: SocketAddr, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut read = [0; 4096];
                    let _ = stream.read(&mut read).await;
                    let _ = stream.write_all(&answer).await;
                    // The client ends it when it has seen enough.
                    let _ = stream.read(&mut read).await;
                });
            }
        });
        Self { address, connections, accepting }
    }

    /// Serves a file, called a page as careless servers do, on a free port.
    pub async fn with_file(host: impl Into<IpAddr>, file: &[u8]) -> Self {
        Self::with_file_at(SocketAddr::new(host.into(), 0), file).await
    }

    /// The same on this address.
    pub async fn with_file_at(address: SocketAddr, file: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", file.len());
        Self::answering(address, [head.as_bytes(), file].concat()).await
    }

    /// Leads on to another address, on a free port.
    pub async fn leading_to(host: impl Into<IpAddr>, location: &str) -> Self {
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        Self::answering(SocketAddr::new(host.into(), 0), head.into_bytes()).await
    }

    /// How often somebody connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://ADDRESS:PORT/NAME`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
