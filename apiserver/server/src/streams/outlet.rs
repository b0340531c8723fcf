//! A WebSocket in which only the server speaks: watches and logs for clients that can hold nothing else open.
//!
//! What the client sends is dropped, but for its farewell.

use bytes::{Buf, Bytes};
use futures::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::websocket;
use crate::body::BoxError;
use crate::limits;

/// Sends what comes, until it ends or the client goes. A client that reads nothing is not waited for without bound: the
/// stream is not asked for more before the client has taken what it was.
pub(crate) async fn serve<T, S>(io: T, messages: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
    S: Stream<Item = Result<Vec<Message>, BoxError>> + Send,
{
    let (mut sink, mut source) = websocket::socket(io).await.split();
    let speaks = async {
        let mut messages = std::pin::pin!(messages);
        while let Some(Ok(some)) = messages.next().await {
            for message in some {
                sink.feed(message).await?;
            }
            sink.flush().await?;
        }
        Ok::<(), tokio_tungstenite::tungstenite::Error>(())
    };
    // Pings are answered while the socket is read.
    let listens = async {
        while let Some(Ok(message)) = source.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    // A farewell of the client is answered by the socket itself.
    let is_over = tokio::select! {
        Ok(()) = speaks => true,
        () = listens => false,
    };
    let farewell = async {
        if is_over {
            sink.send(websocket::goodbye()).await?;
        }
        sink.close().await
    };
    if !matches!(timeout(limits::STREAM_FAREWELL_MAX, farewell).await, Ok(Ok(()))) {
        tracing::debug!("a client of a WebSocket was gone before its farewell");
    }
}

/// The lines of a chunk as texts.
pub(crate) fn lines(chunk: &Bytes) -> Vec<Message> {
    let lines = chunk.split_inclusive(|byte| *byte == b'\n').map(|line| chunk.slice_ref(line));
    let texts = lines.map(|line| match Utf8Bytes::try_from(line.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(line),
    });
    texts.collect()
}

/// The frames of a chunk, each behind its length of four bytes, without that.
pub(crate) fn frames(mut chunk: Bytes) -> Vec<Message> {
    let mut messages = Vec::new();
    while chunk.remaining() >= 4 {
        let length = usize::try_from(chunk.get_u32()).unwrap_or(usize::MAX).min(chunk.remaining());
        messages.push(Message::Binary(chunk.split_to(length)));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn a_chunk_is_as_many_messages_as_it_has_events() {
        let text = |text: &str| Message::text(text);
        let binary = |bytes: &'static [u8]| Message::binary(Bytes::from_static(bytes));
        for (found, want) in [
            (lines(&Bytes::from_static(b"{}\n{\"a\":1}\n")), vec![text("{}\n"), text("{\"a\":1}\n")]),
            (lines(&Bytes::new()), vec![]),
            (
                frames(Bytes::from_static(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c")),
                vec![binary(b"ab"), binary(b""), binary(b"c")],
            ),
        ] {
            assert_eq!(found, want);
        }
    }

    #[tokio::test]
    async fn what_comes_is_sent_and_the_end_is_told() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let chunk = |text: &'static str| Ok(lines(&Bytes::from_static(text.as_bytes())));
        let session = tokio::spawn(serve(ours, futures::stream::iter([chunk("a\nb\n"), chunk("c\n")])));
        for want in ["a\n", "b\n", "c\n"] {
            assert_eq!(client.next().await.expect("a message").expect("no error"), Message::text(want));
        }
        assert_eq!(client.next().await.expect("a farewell").expect("no error"), websocket::goodbye());
        session.await.expect("no panic");
    }

    #[tokio::test]
    async fn who_goes_ends_the_session_and_what_it_says_does_not() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let session = tokio::spawn(serve(ours, futures::stream::pending()));
        client.send(Message::text("ignored")).await.expect("sent");
        client.send(Message::Ping(Bytes::from_static(b"x"))).await.expect("sent");
        assert_eq!(
            client.next().await.expect("an answer").expect("no error"),
            Message::Pong(Bytes::from_static(b"x"))
        );
        client.send(websocket::goodbye()).await.expect("sent");
        assert_eq!(client.next().await.expect("a farewell").expect("no error"), websocket::goodbye());
        session.await.expect("no panic");
    }
}
