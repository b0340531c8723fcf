//! WebSockets: the answer to a handshake, and a byte stream made of binary messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::limits;

/// What every handshake adds to the client's key: RFC 6455, section 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` of a `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &str) -> String {
    let digest =
        ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    STANDARD.encode(digest)
}

/// The server's side of a connection after the handshake.
pub(crate) async fn socket<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> WebSocketStream<T> {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::STREAM_CHUNK_BYTES)
        .write_buffer_size(limits::STREAM_CHUNK_BYTES)
        .max_write_buffer_size(limits::WEBSOCKET_MESSAGE_BYTES_MAX)
        .max_message_size(Some(limits::WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::WEBSOCKET_MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// The message that ends a connection without anything being wrong.
pub(crate) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Binary messages as one stream of bytes. A close message is its end.
pub(crate) struct Tunnel<T> {
    socket: WebSocketStream<T>,
    received: Bytes,
    closing: bool,
}

impl<T> Tunnel<T> {
    pub(crate) fn new(socket: WebSocketStream<T>) -> Self {
        Self { socket, received: Bytes::new(), closing: false }
    }
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => self.received = bytes,
                // Pings are answered by the socket itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let why = "invalid message type received";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let length = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received[..length]);
        self.received.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(failed)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.socket).start_send(message).map_err(failed)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(failed)?;
            self.closing = true;
            Pin::new(&mut self.socket).start_send(goodbye()).map_err(failed)?;
        }
        Pin::new(&mut self.socket).poll_flush(context).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn the_key_of_the_specification_is_accepted() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn messages_are_one_stream_until_a_close() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let mut tunnel = Tunnel::new(socket(ours).await);
        for part in [&b"ab"[..], b"", b"c"] {
            client.send(Message::Binary(Bytes::copy_from_slice(part))).await.expect("send");
        }
        client.send(Message::Ping(Bytes::from_static(b"?"))).await.expect("ping");
        let mut bytes = [0; 3];
        tunnel.read_exact(&mut bytes).await.expect("three bytes");
        assert_eq!(&bytes, b"abc");
        tunnel.write_all(b"xyz").await.expect("write");
        tunnel.flush().await.expect("flush");
        assert_eq!(client.next().await.expect("an answer").expect("fine"), Message::binary(&b"xyz"[..]));
        client.send(goodbye()).await.expect("close");
        assert_eq!(tunnel.read(&mut bytes).await.expect("the end"), 0);
        assert_eq!(client.next().await.expect("a pong").expect("fine"), Message::Pong("?".into()));
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_a_normal_close_and_text_is_refused() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let mut tunnel = Tunnel::new(socket(ours).await);
        client.send(Message::text("no")).await.expect("send");
        assert_eq!(tunnel.read_u8().await.expect_err("text").kind(), io::ErrorKind::InvalidData);
        tunnel.shutdown().await.expect("shutdown");
        assert_eq!(client.next().await.expect("a message").expect("fine"), goodbye());
    }
}
