//! The first bytes of a connection, which tell HTTP/2 from HTTP/1.
//!
//! The HTTP library waits for them without a limit of time, so they are read here, under one, and then read again by it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose version is known; its first bytes are still to be read.
pub(super) struct Opened<S> {
    first: [u8; PREFACE.len()],
    /// How many of `first` came.
    filled: usize,
    /// How many of them were read on.
    taken: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> Opened<S> {
    /// Reads as little as tells the version; at most the preface.
    pub(super) async fn read(stream: S) -> io::Result<Self> {
        let mut opened = Self { first: [0; PREFACE.len()], filled: 0, taken: 0, stream };
        while opened.filled < PREFACE.len() && PREFACE.starts_with(opened.so_far()) {
            let space = opened.first.get_mut(opened.filled..).unwrap_or_default();
            match opened.stream.read(space).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => opened.filled += count,
            }
        }
        Ok(opened)
    }
}

impl<S> Opened<S> {
    pub(super) fn is_http2(&self) -> bool {
        self.first == *PREFACE
    }

    fn so_far(&self) -> &[u8] {
        self.first.get(..self.filled).unwrap_or_default()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.first.get(self.taken..self.filled).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
