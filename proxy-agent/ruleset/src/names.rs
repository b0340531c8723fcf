//! Upstream's names: base32 of a SHA-256, cut to a length, in front of readable text (nftables) or alone (iptables).
//!
//! Lengths and inputs are kube-proxy's; the golden tests hold them to it.

use crate::service::{Protocol, ServicePortName};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first `length` characters of base32(sha256(text)).
pub fn hash(text: &str, length: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut out = String::with_capacity(length);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in digest {
        buffer = (buffer << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 && out.len() < length {
            bits -= 5;
            out.push(ALPHABET[((buffer >> bits) & 31) as usize] as char);
        }
    }
    out
}

/// `KHN6ECMT-shop/web/tcp/http`: what nftables chains of a service port end in.
pub fn nft_base(name: &ServicePortName, protocol: Protocol) -> String {
    let text = format!("{}/{}/{protocol}/{}", name.service.namespace, name.service.name, name.port);
    format!("{}-{text}", hash(&text, 8))
}

/// `DBON4EEG-shop/affinity/tcp/http__10.0.1.51/8080`: what chains and sets of one endpoint end in.
pub fn nft_endpoint_base(name: &ServicePortName, protocol: Protocol, ip: Ipv4Addr, port: u16) -> String {
    let text =
        format!("{}/{}/{protocol}/{}__{ip}/{port}", name.service.namespace, name.service.name, name.port);
    format!("{}-{text}", hash(&text, 8))
}

/// The part after `KUBE-SVC-`, `KUBE-SVL-`, `KUBE-EXT-` and `KUBE-FW-`.
pub fn iptables_service(name: &ServicePortName, protocol: Protocol) -> String {
    hash(&format!("{name}{protocol}"), 16)
}

/// The part after `KUBE-SEP-`.
pub fn iptables_endpoint(name: &ServicePortName, protocol: Protocol, ip: Ipv4Addr, port: u16) -> String {
    hash(&format!("{name}{protocol}{ip}:{port}"), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let name = ServicePortName::new("shop", "web", "http");
        assert_eq!(nft_base(&name, Protocol::Tcp), "KHN6ECMT-shop/web/tcp/http");
        assert_eq!(iptables_service(&name, Protocol::Tcp), "67NZLRHBNDSAWJRO");
        let ip = Ipv4Addr::new(10, 0, 1, 21);
        assert_eq!(iptables_endpoint(&name, Protocol::Tcp, ip, 8080), "3F2QXHD22XN2PFM4");
        let name = ServicePortName::new("shop", "affinity", "http");
        let base = nft_endpoint_base(&name, Protocol::Tcp, Ipv4Addr::new(10, 0, 1, 51), 8080);
        assert_eq!(base, "DBON4EEG-shop/affinity/tcp/http__10.0.1.51/8080");
    }
}
