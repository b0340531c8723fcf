//! IP addresses and CIDR blocks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::address;
use super::object::Opaque;
use super::{mistyped, opaque};
use crate::value::{Outcome, Val, fail};

/// A block as it was written: its address keeps its host bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cidr {
    pub address: IpAddr,
    pub bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "network address parse error during conversion from string: network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
            )
        };
        let (address, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("unable to parse IP"))?;
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
        }
        let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits = bits.parse::<u8>().ok().filter(|bits| plain && *bits <= number(address).1);
        Ok(Self { address, bits: bits.ok_or_else(|| wrong("prefix length out of range"))? })
    }

    fn mask(self) -> u128 {
        let width = number(self.address).1;
        let all = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        let host = width - self.bits;
        if host >= 128 { 0 } else { (all >> host) << host }
    }

    fn masked(self) -> Self {
        let (value, width) = number(self.address);
        let value = value & self.mask();
        let address = if width == 32 {
            IpAddr::V4(u32::try_from(value).unwrap_or_default().into())
        } else {
            IpAddr::V6(value.into())
        };
        Self { address, bits: self.bits }
    }

    fn contains(self, other: IpAddr) -> bool {
        let ((a, wa), (b, wb)) = (number(self.address), number(other));
        wa == wb && a & self.mask() == b & self.mask()
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let parsed: IpAddr = text.parse().map_err(|_| {
        let why = address::error(text);
        format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): {why}")
    })?;
    if matches!(parsed, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(parsed)
}

fn link_local(v6: Ipv6Addr) -> bool {
    v6.segments()[0] & 0xffc0 == 0xfe80
}

fn ask(function: &str, ip: IpAddr) -> Option<bool> {
    Some(match (function, ip) {
        ("isUnspecified", ip) => ip.is_unspecified(),
        ("isLoopback", ip) => ip.is_loopback(),
        ("isLinkLocalMulticast", IpAddr::V4(v4)) => v4.octets()[..3] == [224, 0, 0],
        ("isLinkLocalMulticast", IpAddr::V6(v6)) => v6.segments()[0] & 0xff0f == 0xff02,
        ("isLinkLocalUnicast", IpAddr::V4(v4)) => v4.is_link_local(),
        ("isLinkLocalUnicast", IpAddr::V6(v6)) => link_local(v6),
        ("isGlobalUnicast", IpAddr::V4(v4)) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_link_local()
                || v4.is_broadcast())
        }
        ("isGlobalUnicast", IpAddr::V6(v6)) => {
            !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || link_local(v6))
        }
        _ => return None,
    })
}

/// A function of addresses and blocks.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let inner = |value: &Val<'_>| match value {
        Val::Opaque(inner) => Some((**inner).clone()),
        _ => None,
    };
    match (function, args) {
        ("isIP", [Val::Text(text)]) => return Ok(Val::Bool(parse_ip(text).is_ok())),
        ("ip", [Val::Text(text)]) => return parse_ip(text).map_or_else(fail, |ip| opaque(Opaque::Ip(ip))),
        ("ip.isCanonical", [Val::Text(text)]) => {
            return parse_ip(text).map_or_else(fail, |ip| Ok(Val::Bool(ip.to_string() == **text)));
        }
        ("isCIDR", [Val::Text(text)]) => return Ok(Val::Bool(Cidr::parse(text).is_ok())),
        ("cidr", [Val::Text(text)]) => {
            return Cidr::parse(text).map_or_else(fail, |cidr| opaque(Opaque::Cidr(cidr)));
        }
        _ => {}
    }
    match (function, args.first().and_then(inner), args.get(1)) {
        ("family", Some(Opaque::Ip(ip)), None) => Ok(Val::Int(if ip.is_ipv4() { 4 } else { 6 })),
        ("ip", Some(Opaque::Cidr(cidr)), None) => opaque(Opaque::Ip(cidr.address)),
        ("masked", Some(Opaque::Cidr(cidr)), None) => opaque(Opaque::Cidr(cidr.masked())),
        ("prefixLength", Some(Opaque::Cidr(cidr)), None) => Ok(Val::Int(i64::from(cidr.bits))),
        ("containsIP", Some(Opaque::Cidr(cidr)), Some(other)) => match (other, inner(other)) {
            (_, Some(Opaque::Ip(ip))) => Ok(Val::Bool(cidr.contains(ip))),
            (Val::Text(text), _) => parse_ip(text)
                .map_or_else(|_| fail("no such overload"), |ip| Ok(Val::Bool(cidr.contains(ip)))),
            _ => mistyped(function, args),
        },
        ("containsCIDR", Some(Opaque::Cidr(cidr)), Some(other)) => {
            let block = match (other, inner(other)) {
                (_, Some(Opaque::Cidr(block))) => Ok(block),
                (Val::Text(text), _) => Cidr::parse(text),
                _ => return mistyped(function, args),
            };
            block.map_or_else(fail, |block| {
                Ok(Val::Bool(block.bits >= cidr.bits && cidr.contains(block.masked().address)))
            })
        }
        (_, Some(Opaque::Ip(ip)), None) => {
            ask(function, ip).map_or_else(|| mistyped(function, args), |answer| Ok(Val::Bool(answer)))
        }
        _ => mistyped(function, args),
    }
}
