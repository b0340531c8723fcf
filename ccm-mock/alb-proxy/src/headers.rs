//! What an ALB adds to and takes from the head of a request and an answer.
//!
//! Header names are sent as hyper writes them: lower case.

use ccm_mock_aws_api::elbv2::Attributes;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use std::net::SocketAddrV4;

const TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

fn on(attributes: &Attributes, key: &str) -> bool {
    attributes.get(key).is_some_and(|v| v == "true")
}

/// Take out what belongs to one connection only; an upgrade is kept.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let upgrade = headers.get(UPGRADE).cloned();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| n.trim().to_ascii_lowercase().parse().ok())
        .collect();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in named {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// A fresh trace id from the time and a random number.
fn new_trace_id(now_s: u64, random: u128) -> String {
    format!("1-{:08x}-{:024x}", now_s & 0xffff_ffff, random & 0xffff_ffff_ffff_ffff_ffff_ffff)
}

/// Put in or extend X-Amzn-Trace-Id; answers the Root's id.
pub(crate) fn trace_id(headers: &mut HeaderMap, now_s: u64, random: u128) -> String {
    let id = new_trace_id(now_s, random);
    let given = headers.get(TRACE).and_then(|v| v.to_str().ok()).map(str::to_string);
    let root = given.as_ref().and_then(|t| t.split(';').find_map(|p| p.trim().strip_prefix("Root=")));
    let (value, root) = match (&given, root) {
        (Some(given), Some(root)) => (format!("Self={id};{given}"), root.to_string()),
        _ => (format!("Root={id}"), id.clone()),
    };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(TRACE, value);
    }
    root
}

/// Say who the client is.
pub(crate) fn forwarded(
    headers: &mut HeaderMap,
    attributes: &Attributes,
    client: SocketAddrV4,
    scheme: &'static str,
    port: u16,
) {
    let mode = attributes.get("routing.http.xff_header_processing.mode").map_or("append", String::as_str);
    let with_port = on(attributes, "routing.http.xff_client_port.enabled");
    let own = if with_port { client.to_string() } else { client.ip().to_string() };
    match mode {
        "remove" => {
            headers.remove(FOR);
        }
        "preserve" => {}
        _ => {
            let given: Vec<&str> = headers.get_all(FOR).iter().filter_map(|v| v.to_str().ok()).collect();
            let value = given.into_iter().chain([own.as_str()]).collect::<Vec<_>>().join(", ");
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(FOR, value);
            }
        }
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
    headers.insert("x-forwarded-port", HeaderValue::from(port));
}

/// Take out headers with odd names if the load balancer is told to.
pub(crate) fn drop_invalid(headers: &mut HeaderMap, attributes: &Attributes) {
    if !on(attributes, "routing.http.drop_invalid_header_fields.enabled") {
        return;
    }
    let odd = |n: &HeaderName| !n.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let names: Vec<HeaderName> = headers.keys().filter(|n| odd(n)).cloned().collect();
    names.into_iter().for_each(|n| {
        headers.remove(n);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_request_is_told_about_its_client() {
        let mut headers = HeaderMap::new();
        headers.insert(FOR, HeaderValue::from_static("192.0.2.1"));
        headers.insert(TRACE, HeaderValue::from_static("Root=1-67891233-abcdef012345678912345678;Sampled=1"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, x-odd"));
        headers.insert("x-odd", HeaderValue::from_static("1"));
        strip_hop_by_hop(&mut headers);
        let root = trace_id(&mut headers, 1, 2);
        let attributes = Attributes::new();
        forwarded(
            &mut headers,
            &attributes,
            SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 10), 5),
            "https",
            443,
        );
        assert_eq!(root, "1-67891233-abcdef012345678912345678");
        assert_eq!(headers[FOR], "192.0.2.1, 198.51.100.10");
        assert_eq!(
            headers["x-amzn-trace-id"],
            "Self=1-00000001-000000000000000000000002;Root=1-67891233-abcdef012345678912345678;Sampled=1"
        );
        assert_eq!((headers.get("x-odd"), headers.get(CONNECTION)), (None, None));
    }
}
