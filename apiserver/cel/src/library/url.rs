//! URLs: absolute ones, or absolute paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::Opaque;
use super::{mistyped, opaque};
use crate::value::{Key, Outcome, Val, fail, list, text};

/// The parts of a URL as they were written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("parse {raw:?}: {why}");
        if raw.is_empty() {
            return Err(wrong("empty url"));
        }
        if raw.chars().any(char::is_control) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        let mut rest = raw;
        let mut scheme = String::new();
        if let Some((before, after)) = raw.split_once(':')
            && before.starts_with(|c: char| c.is_ascii_alphabetic())
            && before.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            scheme = before.to_ascii_lowercase();
            rest = after;
        }
        // A fragment is no part of what is asked for.
        rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !before_query.starts_with('/') {
            return if scheme.is_empty() {
                Err(wrong("invalid URI for request"))
            } else {
                Ok(Self { scheme, host: String::new(), path: String::new(), query: query.to_owned() })
            };
        }
        let (mut host, mut path) = (String::new(), before_query.to_owned());
        if let (false, Some(authority)) = (scheme.is_empty(), before_query.strip_prefix("//")) {
            let end = authority.find('/').unwrap_or(authority.len());
            let server = &authority[..end];
            host = server.rsplit_once('@').map_or(server, |(_, host)| host).to_owned();
            path = authority[end..].to_owned();
            if host.contains(' ') {
                return Err(wrong(&format!("invalid character {:?} in host name", ' '.to_string())));
            }
            let port = host.rsplit_once(':').map(|(_, port)| port);
            if port.is_some_and(|port| !port.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit())) {
                return Err(wrong(&format!(
                    "invalid port {:?} after host",
                    format!(":{}", port.unwrap_or(""))
                )));
            }
        }
        Ok(Self { scheme, host, path, query: query.to_owned() })
    }

    fn host_and_port(&self) -> (&str, &str) {
        match self.host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host.trim_matches(['[', ']']), port),
            _ => (self.host.trim_matches(['[', ']']), ""),
        }
    }

    fn escaped_path(&self) -> String {
        let mut out = String::new();
        for byte in self.path.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }

    fn pairs<'a>(&self) -> BTreeMap<Key, Val<'a>> {
        let mut found: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            found.entry(decode(name)).or_default().push(text(&decode(value)));
        }
        found.into_iter().map(|(name, values)| (Key::Text(name.into()), list(values))).collect()
    }
}

fn decode(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let hex = raw.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A function of URLs.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let url = match (function, args) {
        ("isURL", [Val::Text(raw)]) => return Ok(Val::Bool(Url::parse(raw).is_ok())),
        ("url", [Val::Text(raw)]) => {
            return match Url::parse(raw) {
                Ok(url) => opaque(Opaque::Url(url)),
                Err(why) => fail(format!("URL parse error during conversion from string: {why}")),
            };
        }
        (_, [Val::Opaque(inner)]) => match &**inner {
            Opaque::Url(url) => url.clone(),
            _ => return mistyped(function, args),
        },
        _ => return mistyped(function, args),
    };
    Ok(match function {
        "getScheme" => text(&url.scheme),
        "getHost" => text(&url.host),
        "getHostname" => text(url.host_and_port().0),
        "getPort" => text(url.host_and_port().1),
        "getEscapedPath" => text(&url.escaped_path()),
        "getQuery" => Val::Map(Arc::new(url.pairs())),
        _ => return mistyped(function, args),
    })
}
