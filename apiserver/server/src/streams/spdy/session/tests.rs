//! A session with a client made of frames: streams both ways, every kind of end, and what a hostile client gets.

use super::*;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

struct Client {
    io: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Client {
    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(&frame, &mut bytes).unwrap();
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn open(&mut self, stream: u32) {
        self.send(Frame::Open { stream, fin: false, headers: Headers::from([("port", "80")]) }).await;
    }

    /// The next frame; nothing at the end of the connection.
    async fn heard(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

/// A client, and a server that echoes every stream it is sent.
fn echo(stop: CancellationToken) -> (Client, JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(serve(ours, stop, |mut streams| async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Opened { mut source, sink, .. }) = streams.recv().await {
            tasks.spawn(async move {
                sink.accept().await?;
                while let Some(bytes) = source.next().await {
                    sink.write(bytes).await?;
                }
                sink.finish().await;
                Ok::<(), crate::streams::pipe::Gone>(())
            });
        }
    }));
    let client = Client {
        io: theirs,
        encoder: Encoder::default(),
        decoder: Decoder::default(),
        buffer: BytesMut::new(),
    };
    (client, server)
}

fn data(stream: u32, bytes: &'static [u8], fin: bool) -> Frame {
    Frame::Data { stream, fin, bytes: Bytes::from_static(bytes) }
}

#[tokio::test]
async fn streams_are_accepted_carried_and_finished() {
    let (mut client, server) = echo(CancellationToken::new());
    client.open(1).await;
    client.open(3).await;
    client.send(data(3, b"three", false)).await;
    client.send(data(3, b"", true)).await;
    client.send(Frame::Ping(7)).await;
    let mut heard = Vec::new();
    while heard.len() < 5 {
        heard.push(client.heard().await.expect("a frame"));
    }
    let reply = |stream| Frame::Reply { stream, fin: false, headers: Headers::default() };
    for expected in [reply(1), reply(3), data(3, b"three", false), data(3, b"", true), Frame::Ping(7)] {
        assert!(heard.contains(&expected), "{expected:?} in {heard:?}");
    }
    client.send(Frame::GoAway { last: 0, status: 0 }).await;
    assert_eq!(client.heard().await, Some(Frame::GoAway { last: 0, status: 0 }));
    assert_eq!(client.heard().await, None);
    server.await.expect("the session ends with its client's goodbye");
}

#[tokio::test]
async fn a_client_that_vanishes_and_a_server_that_stops_end_it() {
    let (client, server) = echo(CancellationToken::new());
    drop(client);
    server.await.expect("it ends");
    let stop = CancellationToken::new();
    let (mut client, server) = echo(stop.clone());
    client.open(1).await;
    assert!(matches!(client.heard().await, Some(Frame::Reply { .. })));
    stop.cancel();
    assert_eq!(client.heard().await, Some(Frame::GoAway { last: 0, status: 0 }));
    drop(client);
    server.await.expect("it ends");
}

#[tokio::test]
async fn streams_with_wrong_numbers_and_too_many_are_refused() {
    let (mut client, _server) = echo(CancellationToken::new());
    for (stream, status) in [(2, Reset::Protocol), (5, Reset::Cancel), (3, Reset::Protocol)] {
        client.open(stream).await;
        let expected = match status {
            Reset::Cancel => Frame::Reply { stream, fin: false, headers: Headers::default() },
            status => Frame::Reset { stream, status: status as u32 },
        };
        assert_eq!(client.heard().await, Some(expected));
    }
    let mut stream = 7;
    for _ in 1..limits::STREAMS_MAX {
        client.open(stream).await;
        assert!(matches!(client.heard().await, Some(Frame::Reply { .. })));
        stream += 2;
    }
    client.open(stream).await;
    let refused = Frame::Reset { stream, status: Reset::Refused as u32 };
    assert_eq!(client.heard().await, Some(refused));
    // One that ends makes room for another.
    client.send(Frame::Reset { stream: 5, status: Reset::Cancel as u32 }).await;
    client.open(stream + 2).await;
    assert!(matches!(client.heard().await, Some(Frame::Reply { .. })));
}

#[tokio::test]
async fn broken_bytes_end_it_with_a_reason() {
    let (mut client, server) = echo(CancellationToken::new());
    client.io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // The first word is a data frame for nobody; what follows is the length of a long one.
    client.io.write_all(&[0x80, 9, 0, 1, 0, 0, 0, 0]).await.unwrap();
    client.io.shutdown().await.unwrap();
    assert!(matches!(client.heard().await, Some(Frame::GoAway { .. })));
    server.await.expect("it ends");
    let (mut client, server) = echo(CancellationToken::new());
    client.io.write_all(&[0x80, 9, 0, 1, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(client.heard().await, Some(Frame::GoAway { last: 0, status: PROTOCOL_ERROR }));
    drop(client);
    server.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_not_buffered_for() {
    let (mut client, server) = echo(CancellationToken::new());
    // Pings whose answers nobody takes: the server gives up.
    let pings = async {
        let mut bytes = BytesMut::new();
        for _ in 0..limits::STREAM_ANSWERS_MAX {
            client.encoder.encode(&Frame::Ping(1), &mut bytes).unwrap();
        }
        while client.io.write_all(&bytes).await.is_ok() {}
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), pings).await.is_ok(), "the session ends");
    server.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_fills_a_bounded_room() {
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    let _server = tokio::spawn(serve(ours, CancellationToken::new(), |mut streams| async move {
        // Streams are held, and not read.
        let mut held = Vec::new();
        while let Some(opened) = streams.recv().await {
            held.push(opened);
        }
    }));
    let mut client = Client {
        io: theirs,
        encoder: Encoder::default(),
        decoder: Decoder::default(),
        buffer: BytesMut::new(),
    };
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let flood = async {
        for stream in (1..2000).step_by(2) {
            client.open(stream).await;
            for _ in 0..limits::STREAM_CHUNKS_MAX {
                client.send(Frame::Data { stream, fin: false, bytes: Bytes::from(vec![0; 8192]) }).await;
                sent.fetch_add(8192, Ordering::Relaxed);
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), flood).await.is_err(), "the flood is held up");
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent <= limits::STREAM_SESSION_BYTES_MAX + (64 << 10), "{sent} bytes were taken");
}

/// Reads nothing of the one stream that it is sent.
fn deaf() -> (Client, JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    let server = tokio::spawn(serve(ours, CancellationToken::new(), |mut streams| async move {
        let _held = streams.recv().await;
        std::future::pending().await
    }));
    let client = Client {
        io: theirs,
        encoder: Encoder::default(),
        decoder: Decoder::default(),
        buffer: BytesMut::new(),
    };
    (client, server)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_missed_even_while_a_stream_is_stuck() {
    let (mut client, server) = deaf();
    client.open(1).await;
    let flood = async {
        loop {
            client.send(Frame::Data { stream: 1, fin: false, bytes: Bytes::from(vec![0; 8192]) }).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), flood).await.is_err(), "nobody reads");
    drop(client);
    tokio::time::timeout(2 * limits::STREAM_PING_INTERVAL, server).await.expect("soon").expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends() {
    let (mut client, server) = echo(CancellationToken::new());
    let (mut pings, mut last) = (0, None);
    while let Some(frame) = client.heard().await {
        match frame {
            // Answers to pings do not keep a session alive.
            Frame::Ping(number) => {
                assert_eq!(number % 2, 0);
                client.send(Frame::Ping(number)).await;
                pings += 1;
            }
            other => {
                last = Some(other);
                break;
            }
        }
    }
    assert_eq!(last, Some(Frame::GoAway { last: 0, status: 0 }));
    assert!(pings > 10, "{pings} pings");
    drop(client);
    server.await.expect("it ends");
}
