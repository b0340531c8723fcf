//! Frames round-trip, real ones are understood, and hostile ones are refused.

use super::*;
use proptest::prelude::*;

fn decode_all(decoder: &mut Decoder, bytes: &[u8], step: usize) -> Result<Vec<Frame>, Error> {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut buffer)? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// Data frames whole again.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    for frame in frames {
        match (out.last_mut(), frame) {
            (
                Some(Frame::Data { stream: before, fin: fin @ false, bytes }),
                Frame::Data { stream, fin: ends, bytes: more },
            ) if *before == stream => {
                *bytes = [bytes.as_ref(), more.as_ref()].concat().into();
                *fin = ends;
            }
            (_, frame) => out.push(frame),
        }
    }
    out
}

#[test]
fn frames_round_trip_however_they_are_cut() {
    let headers = |kind: &str| Headers::from([("streamtype", kind), ("port", "80"), ("requestid", "0")]);
    let frames = vec![
        Frame::Open { stream: 1, fin: false, headers: headers("error") },
        Frame::Open { stream: 3, fin: true, headers: headers("data") },
        Frame::Reply { stream: 1, fin: false, headers: Headers::default() },
        Frame::Headers { stream: 1, fin: true, headers: headers("x") },
        Frame::Data { stream: 3, fin: false, bytes: Bytes::from(vec![7; 70_000]) },
        Frame::Ping(1),
        Frame::Data { stream: 3, fin: true, bytes: Bytes::new() },
        Frame::Reset { stream: 3, status: Reset::Cancel as u32 },
        Frame::GoAway { last: 3, status: 0 },
    ];
    let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
    for frame in &frames {
        encoder.encode(frame, &mut bytes).unwrap();
    }
    for step in [1, 7, 8, 1000, bytes.len()] {
        let decoded = decode_all(&mut Decoder::default(), &bytes, step).unwrap();
        assert_eq!(joined(decoded), frames, "in pieces of {step}");
    }
}

/// What `github.com/moby/spdystream` writes for the two streams of a port-forward: both header blocks share a window.
#[test]
fn a_go_client_is_understood() {
    let bytes = hex(GO_CLIENT);
    let headers = |kind: &str| Headers::from([("streamtype", kind), ("port", "80"), ("requestid", "0")]);
    let decoded = decode_all(&mut Decoder::default(), &bytes, 11).unwrap();
    let sorted: Vec<Frame> = decoded
        .into_iter()
        .map(|frame| match frame {
            // Go writes headers in no order.
            Frame::Open { stream, fin, headers: found } => {
                for name in ["streamtype", "port", "requestid"] {
                    let kind = if stream == 1 { "error" } else { "data" };
                    assert_eq!(found.get(name), headers(kind).get(name));
                }
                Frame::Open { stream, fin, headers: Headers::default() }
            }
            other => other,
        })
        .collect();
    let open = |stream| Frame::Open { stream, fin: false, headers: Headers::default() };
    let end = Frame::Data { stream: 1, fin: true, bytes: Bytes::new() };
    let hello = Frame::Data { stream: 3, fin: false, bytes: Bytes::from_static(b"hello") };
    let pieces = vec![open(1), end, open(3), hello, Frame::Ping(1), Frame::GoAway { last: 0, status: 0 }];
    assert_eq!(joined(sorted), pieces);
}

const GO_CLIENT: &str = "800300010000003d0000000100000000000078f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45a024cc \
     6461c0c0c0c0590489c44c50e2663400000000ffff0000000101000000800300010000001800000003000000000000c2 \
     aa15540a2512d209000000ffff000000030000000568656c6c6f80030006000000040000000180030007000000080000 \
     000000000000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn hostile_frames_are_refused() {
    let table: [(&str, &str, Error); 10] = [
        ("data of stream 0", "00000000 00000000", Error::Frame),
        ("another version", "80020006 00000004 00000001", Error::Frame),
        ("an unknown kind", "8003000a 00000000", Error::Frame),
        ("a long control frame", "80030006 00ffffff", Error::FrameTooLarge),
        ("a ping without number", "80030006 00000000", Error::Frame),
        ("a stream without number", "80030001 0000000a 00000000 00000000 0000", Error::Frame),
        ("a stream that is cut off", "80030001 00000004 00000001", Error::Frame),
        ("no header block", "80030001 0000000a 00000001 00000000 0000", Error::Compression),
        ("a block that is no zlib", "80030001 0000000e 00000001 00000000 0000 deadbeef", Error::Compression),
        ("another dictionary", "80030001 00000010 00000001 00000000 0000 78bb deadbeef", Error::Compression),
    ];
    for (what, bytes, expected) in table {
        let found = decode_all(&mut Decoder::default(), &hex(bytes), 64);
        assert_eq!(found, Err(expected), "{what}");
    }
}

/// A header block of these plain bytes, as a hostile client may write it.
fn block(plain: &[u8]) -> Result<Vec<Frame>, Error> {
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), true);
    deflate.set_dictionary(&crate::streams::spdy::dictionary::DICTIONARY).unwrap();
    let mut packed = Vec::with_capacity(plain.len() + 100);
    deflate.compress_vec(plain, &mut packed, flate2::FlushCompress::Sync).unwrap();
    let mut frame = BytesMut::new();
    let mut body = BytesMut::new();
    body.put_u32(1);
    body.put_bytes(0, 6);
    body.put_slice(&packed);
    put_control(&mut frame, 1, false, &body);
    decode_all(&mut Decoder::default(), &frame, 4096)
}

#[test]
fn header_blocks_are_bounded_and_well_formed() {
    let pairs = |count: u32, pairs: &[(&str, &str)]| {
        let mut plain = count.to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        plain
    };
    let huge = "x".repeat(4 << 20);
    let many = vec![("a", ""); limits::STREAM_HEADERS_MAX + 1];
    let mut trailing = pairs(1, &[("a", "b")]);
    trailing.push(0);
    let table: [(&str, Vec<u8>, Option<Error>); 9] = [
        ("one", pairs(1, &[("a", "b")]), None),
        ("none", pairs(0, &[]), None),
        ("a bomb", pairs(1, &[("a", &huge)]), Some(Error::HeadersTooLarge)),
        ("too many", pairs(many.len() as u32, &many), Some(Error::HeadersTooLarge)),
        ("more than there are", pairs(2, &[("a", "b")]), Some(Error::Compression)),
        ("a length beyond the end", vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], Some(Error::Compression)),
        ("twice", pairs(2, &[("a", "b"), ("a", "c")]), Some(Error::HeaderName)),
        ("capitals", pairs(1, &[("Port", "80")]), Some(Error::HeaderName)),
        ("something after the end", trailing, Some(Error::Compression)),
    ];
    for (what, plain, expected) in table {
        assert_eq!(block(&plain).err(), expected, "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..50) {
        drop(decode_all(&mut Decoder::default(), &bytes, step));
        let mut control = vec![0x80, 0x03];
        control.extend_from_slice(&bytes);
        drop(decode_all(&mut Decoder::default(), &control, step));
    }
}
