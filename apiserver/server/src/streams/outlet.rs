//! A WebSocket in which only the server speaks: watches and logs for clients that can hold nothing else open.
//!
//! What the client sends is dropped, but for pings, which are answered, and its farewell. As upstream's do, the server sends
//! no pings of its own: TCP's keepalive (`serve.rs`) finds the clients that are gone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use futures::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::websocket;
use crate::body::BoxError;
use crate::limits;

/// Sends what comes, until it ends, the client goes or the moment has come, if there is one. The stream is not asked for more
/// before the client has taken what it was: one that reads nothing makes nothing grow, and is left when its time is up.
pub(crate) async fn serve<T, S>(io: T, messages: S, until: Option<Instant>)
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
    let ends = async {
        match until {
            Some(moment) => sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    // A farewell of the client is answered by the socket itself.
    let is_over = tokio::select! {
        Ok(()) = speaks => true,
        () = listens => false,
        () = ends => true,
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

/// The bytes of a log as messages, of Base64 where the client can't take bytes.
pub(crate) fn parts(chunk: &Bytes, base64: bool) -> Vec<Message> {
    let parts = chunk.chunks(limits::LOG_MESSAGE_BYTES_MAX);
    let message = |part: &[u8]| match base64 {
        true => Message::text(STANDARD.encode(part)),
        false => Message::Binary(chunk.slice_ref(part)),
    };
    parts.map(message).collect()
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
            (parts(&Bytes::from_static(b"abc\n"), false), vec![binary(b"abc\n")]),
            (parts(&Bytes::from_static(b"abc\n"), true), vec![text("YWJjCg==")]),
            (parts(&Bytes::new(), true), vec![]),
        ] {
            assert_eq!(found, want);
        }
        let long = parts(&Bytes::from(vec![b'x'; limits::LOG_MESSAGE_BYTES_MAX + 1]), false);
        assert_eq!(long.iter().map(Message::len).collect::<Vec<_>>(), [limits::LOG_MESSAGE_BYTES_MAX, 1]);
    }

    #[tokio::test]
    async fn what_comes_is_sent_and_the_end_is_told() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let chunk = |text: &'static str| Ok(lines(&Bytes::from_static(text.as_bytes())));
        let session = tokio::spawn(serve(ours, futures::stream::iter([chunk("a\nb\n"), chunk("c\n")]), None));
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
        let session = tokio::spawn(serve(ours, futures::stream::pending(), None));
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

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_left_when_the_time_is_up() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let endless = futures::stream::repeat_with(|| Ok(vec![Message::text("x".repeat(64))]));
        let since = Instant::now();
        serve(ours, endless, Some(since + std::time::Duration::from_secs(30))).await;
        let lasted = since.elapsed();
        assert!(lasted >= std::time::Duration::from_secs(30), "{lasted:?}");
        assert!(lasted <= std::time::Duration::from_secs(31) + limits::STREAM_FAREWELL_MAX, "{lasted:?}");
    }
}
