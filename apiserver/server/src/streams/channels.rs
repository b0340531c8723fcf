//! Numbered channels in a WebSocket: the `channel.k8s.io` protocols of exec, attach and the older port-forward.
//!
//! The first byte of a message is its channel. In the base64 variants it is a digit and the rest is base64 text; the
//! fifth version adds a message that closes a channel.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::conduct::{Life, conduct};
use super::pipe::{Feed, Out, Room, Sink, Source};
use super::websocket;
use crate::limits;

/// First byte of the message that closes a channel.
const CLOSE: u8 = 255;

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    /// Digits and base64 text instead of bytes.
    pub base64: bool,
    /// The client can close a channel.
    pub closes: bool,
}

/// Who uses a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Messages are dropped.
    Nobody,
    /// The client writes it.
    Client,
    /// The server writes it.
    Server,
    Both,
}

/// One channel. Its source is empty where the client does not write it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub source: Source,
    pub sink: Sink,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Bytes(usize, Bytes),
    Close(usize),
    Nothing,
    /// Not of this protocol.
    Wrong,
}

impl Framing {
    fn read(self, mut message: Bytes) -> Said {
        let Some(first) = message.first().copied() else { return Said::Nothing };
        if self.closes && first == CLOSE {
            return match message.as_ref() {
                [_, channel] => Said::Close((*channel).into()),
                _ => Said::Wrong,
            };
        }
        let bytes = message.split_off(1);
        if !self.base64 {
            return Said::Bytes(first.into(), bytes);
        }
        match STANDARD.decode(&bytes) {
            Ok(bytes) => Said::Bytes(first.wrapping_sub(b'0').into(), bytes.into()),
            Err(_) => Said::Nothing,
        }
    }

    fn write(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            let digit = char::from(b'0'.wrapping_add(channel));
            return Message::text(format!("{digit}{}", STANDARD.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }
}

/// Serves a WebSocket until `handler` is done with its channels, the client leaves, or `stop` is cancelled.
pub(crate) async fn serve<T, F>(
    io: T,
    framing: Framing,
    uses: &[Use],
    stop: CancellationToken,
    handler: impl FnOnce(Vec<Channel>) -> F,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    let (write, read) = websocket::socket(io).await.split();
    let life = Arc::new(Life::default());
    let (queue, writes) = mpsc::channel(limits::STREAM_WRITES_MAX);
    let room = Room::default();
    let (mut feeds, mut channels) = (Vec::new(), Vec::new());
    for (number, usage) in (0_u32..).zip(uses) {
        let (feed, source) = Feed::new(room.clone());
        feeds.push(matches!(usage, Use::Client | Use::Both).then_some(feed));
        channels.push(Channel { source, sink: Sink::new(number, queue.clone(), life.over.child_token()) });
    }
    let uses: Vec<Use> = uses.to_vec();
    conduct(
        &life,
        stop,
        receive(read, framing, feeds, life.clone()),
        send(write, framing, (uses, writes), life.clone()),
        handler(channels),
    )
    .await;
}

/// Until the client closes the socket or is gone.
async fn receive<T: AsyncRead + AsyncWrite + Unpin>(
    mut read: SplitStream<WebSocketStream<T>>,
    framing: Framing,
    mut feeds: Vec<Option<Feed>>,
    life: Arc<Life>,
) {
    while let Some(message) = read.next().await {
        if !matches!(message, Ok(Message::Pong(_))) {
            life.touch();
        }
        let bytes = match message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Close(_)) => return,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Err(error) => {
                tracing::debug!(error = %error, "the client of a WebSocket is gone");
                return;
            }
        };
        match framing.read(bytes) {
            Said::Bytes(channel, bytes) => {
                if let Some(Some(feed)) = feeds.get(channel) {
                    feed.put(bytes).await;
                }
            }
            Said::Close(channel) => match feeds.get_mut(channel) {
                Some(feed) => *feed = None,
                None => return,
            },
            Said::Nothing => {}
            Said::Wrong => return,
        }
    }
}

/// Until the client is gone, or the goodbye and all that waits.
async fn send<T: AsyncRead + AsyncWrite + Unpin>(
    mut write: SplitSink<WebSocketStream<T>, Message>,
    framing: Framing,
    (uses, mut writes): (Vec<Use>, mpsc::Receiver<Out>),
    life: Arc<Life>,
) {
    loop {
        let out = tokio::select! {
            biased;
            Some(out) = writes.recv() => out,
            () = life.goodbye.cancelled() => break,
            () = sleep(limits::STREAM_PING_INTERVAL) => {
                if let Err(error) = write.send(Message::Ping(Bytes::new())).await {
                    tracing::debug!(error = %error, "the client of a WebSocket is gone");
                    return;
                }
                continue;
            }
        };
        life.touch();
        // A channel has no end of its own: that of the socket is the end of all.
        let Out::Data(channel, bytes) = out else { continue };
        let written =
            uses.get(channel as usize).is_some_and(|usage| matches!(usage, Use::Server | Use::Both));
        let Ok(channel) = u8::try_from(channel) else { continue };
        if written && let Err(error) = write.send(framing.write(channel, &bytes)).await {
            tracing::debug!(error = %error, "the client of a WebSocket is gone");
            return;
        }
    }
    if let Err(error) = write.send(websocket::goodbye()).await {
        tracing::trace!(error = %error, "a WebSocket was closed by its client first");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn messages_are_read_and_written() {
        let raw = Framing::default();
        let closing = Framing { closes: true, ..raw };
        let text = Framing { base64: true, ..raw };
        let bytes = |channel, bytes: &'static [u8]| Said::Bytes(channel, Bytes::from_static(bytes));
        let table: [(Framing, &[u8], Said); 11] = [
            (raw, b"", Said::Nothing),
            (raw, b"\x00foo\n", bytes(0, b"foo\n")),
            (raw, b"\x04", bytes(4, b"")),
            (raw, b"\xff\x00", bytes(255, b"\x00")),
            (closing, b"\xff\x00", Said::Close(0)),
            (closing, b"\xff\x09", Said::Close(9)),
            (closing, b"\xff", Said::Wrong),
            (closing, b"\xff\x00\x01", Said::Wrong),
            (text, b"0Zm9vCgo=", bytes(0, b"foo\n\n")),
            (text, b"0?", Said::Nothing),
            (text, b"/", bytes(255, b"")),
        ];
        for (framing, message, expected) in table {
            assert_eq!(framing.read(Bytes::from_static(message)), expected, "{framing:?} {message:?}");
        }
        assert_eq!(raw.write(1, b"\n"), Message::binary(&b"\x01\n"[..]));
        assert_eq!(text.write(1, b"\n"), Message::text("1Cg=="));
    }

    #[tokio::test]
    async fn channels_lead_both_ways_and_end_with_a_goodbye() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let framing = Framing { closes: true, ..Framing::default() };
        let server = tokio::spawn(async move {
            let uses = [Use::Client, Use::Server, Use::Nobody];
            serve(ours, framing, &uses, CancellationToken::new(), |channels| async move {
                let [mut stdin, stdout, nobody] = <[Channel; 3]>::try_from(channels).expect("three channels");
                assert_eq!(nobody.sink.write(Bytes::from_static(b"dropped")).await, Ok(()));
                while let Some(bytes) = stdin.source.next().await {
                    stdout.sink.write(bytes).await.expect("the client is there");
                }
                stdout.sink.write(Bytes::from_static(b"end")).await.expect("the client is there");
            })
            .await;
        });
        for message in [&b"\x00hello"[..], b"\x02nobody", b"\x63nowhere", b"\xff\x00"] {
            client.send(Message::binary(message)).await.expect("send");
        }
        let mut heard = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            heard.push(message);
        }
        let expected =
            [Message::binary(&b"\x01hello"[..]), Message::binary(&b"\x01end"[..]), websocket::goodbye()];
        assert_eq!(heard, expected);
        server.await.expect("the server ends");
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_its_streams() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let server = tokio::spawn(async move {
            let stop = CancellationToken::new();
            serve(ours, Framing::default(), &[Use::Server], stop, |channels| async move {
                channels[0].sink.gone().cancelled().await;
            })
            .await;
        });
        drop(client);
        server.await.expect("the server ends");
    }
}
