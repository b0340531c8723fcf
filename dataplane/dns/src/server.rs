//! The wire: questions over UDP and TCP on loopback.
//!
//! What is answered is `resolve`'s; here it is only read and written. Everything is answered from one view, since all
//! askers on loopback look the same; a server for another view is another port.

use crate::resolve::resolve;
use crate::zones::{Code, Record, Type, View, Zones};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record as WireRecord, RecordType};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Where the zones of the moment come from.
pub type Snapshot = Arc<dyn Fn() -> Arc<Zones> + Send + Sync>;

/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// Largest UDP question read.
const MAX_QUESTION: usize = 4096;

/// A server that answers while this is polled.
pub type Serving = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answer until a socket fails.
pub fn serve(udp: UdpSocket, tcp: TcpListener, zones: Snapshot, view: View) -> Serving {
    Box::pin(async move {
        tokio::join!(serve_udp(udp, zones.clone(), view.clone()), serve_tcp(tcp, zones, view));
    })
}

async fn serve_udp(socket: UdpSocket, zones: Snapshot, view: View) {
    let mut buffer = vec![0u8; MAX_QUESTION];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(bytes) = answer(&buffer[..length], &zones(), &view, true) {
            let _ = socket.send_to(&bytes, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zones: Snapshot, view: View) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (zones, view) = (zones.clone(), view.clone());
        tokio::spawn(async move {
            let _ = tcp_client(stream, zones, view).await;
        });
    }
}

async fn tcp_client(mut stream: TcpStream, zones: Snapshot, view: View) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut question = vec![0u8; length.into()];
        tokio::time::timeout(IDLE, stream.read_exact(&mut question)).await??;
        let Some(bytes) = answer(&question, &zones(), &view, false) else { return Ok(()) };
        let Ok(length) = u16::try_from(bytes.len()) else { return Ok(()) };
        stream.write_u16(length).await?;
        stream.write_all(&bytes).await?;
    }
}

fn asked(r#type: RecordType) -> Type {
    match r#type {
        RecordType::A => Type::A,
        RecordType::AAAA => Type::Aaaa,
        RecordType::CNAME => Type::Cname,
        RecordType::NS => Type::Ns,
        RecordType::SOA => Type::Soa,
        RecordType::TXT => Type::Txt,
        RecordType::MX => Type::Mx,
        RecordType::SRV => Type::Srv,
        _ => Type::Other,
    }
}

fn data(record: &Record) -> Option<RData> {
    let words: Vec<&str> = record.data.split_whitespace().collect();
    let name = |i: usize| words.get(i).and_then(|w| Name::from_ascii(w).ok());
    let number = |i: usize| words.get(i).and_then(|w| w.parse::<u32>().ok());
    let short = |i: usize| number(i).and_then(|n| u16::try_from(n).ok());
    let seconds = |i: usize| number(i).and_then(|n| i32::try_from(n).ok());
    Some(match record.r#type {
        Type::A => RData::A(A(record.data.parse().ok()?)),
        Type::Aaaa => RData::AAAA(hickory_proto::rr::rdata::AAAA(record.data.parse().ok()?)),
        Type::Cname => RData::CNAME(CNAME(name(0)?)),
        Type::Ns => RData::NS(NS(name(0)?)),
        Type::Txt => RData::TXT(TXT::new(quoted(&record.data))),
        Type::Mx => RData::MX(MX::new(short(0)?, name(1)?)),
        Type::Srv => RData::SRV(SRV::new(short(0)?, short(1)?, short(2)?, name(3)?)),
        Type::Soa => RData::SOA(SOA::new(
            name(0)?,
            name(1)?,
            number(2)?,
            seconds(3)?,
            seconds(4)?,
            seconds(5)?,
            number(6)?,
        )),
        Type::Caa | Type::Other => return None,
    })
}

/// `"a" "b"` as a and b; a text without quotes as it is.
fn quoted(text: &str) -> Vec<String> {
    if !text.starts_with('"') {
        return vec![text.to_string()];
    }
    text.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

fn wire(record: &Record) -> Option<WireRecord> {
    Some(WireRecord::from_rdata(Name::from_ascii(&record.name).ok()?, record.ttl, data(record)?))
}

/// The answer to a question; None if it is not worth one.
fn answer(bytes: &[u8], zones: &Zones, view: &View, udp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = true;
    match question.queries.first() {
        Some(query) if question.metadata.op_code == OpCode::Query => {
            let found = resolve(zones, &query.name().to_ascii(), asked(query.query_type()), view);
            reply.add_query(query.clone());
            reply.add_answers(found.records.iter().filter_map(wire));
            reply.add_authorities(found.authority.iter().filter_map(wire));
            reply.metadata.response_code = match found.code {
                Code::NoError => ResponseCode::NoError,
                Code::NxDomain => ResponseCode::NXDomain,
                Code::Refused => ResponseCode::Refused,
            };
        }
        Some(_) => reply.metadata.response_code = ResponseCode::NotImp,
        None => reply.metadata.response_code = ResponseCode::FormErr,
    }
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        reply.set_edns(edns);
    }
    let encoded = reply.to_vec().ok()?;
    let limit = usize::from(question.max_payload()).clamp(512, 1232);
    if udp && encoded.len() > limit { reply.truncate().to_vec().ok() } else { Some(encoded) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zones::Balancer;
    use hickory_proto::op::Query;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn udp_and_tcp_answer() {
        let mut zones = Zones::default();
        let addresses = (1..=3).map(|i| Ipv4Addr::new(127, 66, 1, i)).collect();
        zones.balancers.insert("web.elb.amazonaws.com".into(), Balancer { name: "web".into(), addresses });
        let zones = Arc::new(zones);
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("udp");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("tcp");
        let (udp_at, tcp_at) = (udp.local_addr().expect("address"), tcp.local_addr().expect("address"));
        tokio::spawn(serve(udp, tcp, Arc::new(move || zones.clone()), View::Internet));
        let mut question = Message::query();
        question.add_query(Query::query(
            Name::from_ascii("web.elb.amazonaws.com.").expect("name"),
            RecordType::A,
        ));
        let bytes = question.to_vec().expect("question");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("socket");
        socket.send_to(&bytes, udp_at).await.expect("send");
        let mut buffer = [0u8; 1500];
        let (length, _) = socket.recv_from(&mut buffer).await.expect("answer");
        assert_eq!(Message::from_vec(&buffer[..length]).expect("message").answers.len(), 3);
        let mut stream = TcpStream::connect(tcp_at).await.expect("connect");
        stream.write_u16(bytes.len() as u16).await.expect("length");
        stream.write_all(&bytes).await.expect("question");
        let length = stream.read_u16().await.expect("length");
        let mut buffer = vec![0u8; length.into()];
        stream.read_exact(&mut buffer).await.expect("answer");
        assert_eq!(Message::from_vec(&buffer).expect("message").answers.len(), 3);
        assert_eq!(answer(&[1, 2, 3], &Zones::default(), &View::Internet, true), None);
    }
}
