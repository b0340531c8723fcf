//! What Go's `net/url` finds wrong with a URL.

use crate::field::go_quote;

/// Why a text is no URL, in Go's words; `None` if it is one.
pub fn error(raw: &str) -> Option<String> {
    let (url, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    if let Err(why) = parts(url) {
        return Some(format!("parse {}: {why}", go_quote(url)));
    }
    let why = escapes(fragment).err()?;
    Some(format!("parse {}: {why}", go_quote(raw)))
}

fn parts(url: &str) -> Result<(), String> {
    if url.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let scheme = scheme(url)?;
    let rest = if scheme.is_empty() { url } else { &url[scheme.len() + 1..] };
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    if !rest.starts_with('/') {
        let first = rest.split('/').next().unwrap_or_default();
        return match scheme {
            "" if first.contains(':') => Err("first path segment in URL cannot contain colon".to_owned()),
            "" => escapes(rest),
            _ => Ok(()),
        };
    }
    let authority = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///"));
    let Some(authority) = authority else { return escapes(rest) };
    let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    check_host(host)?;
    let is_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !user.bytes().all(is_user) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    escapes(user)?;
    escapes(path)
}

/// What stands before the first colon, if that could be a scheme.
fn scheme(url: &str) -> Result<&str, String> {
    for (i, byte) in url.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok(&url[..i]),
            _ => return Ok(""),
        }
    }
    Ok("")
}

fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = match host.rfind('[') {
        Some(0) => {
            let end = host.rfind(']').ok_or("missing ']' in host")?;
            (&host[1..end], &host[end + 1..])
        }
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty() || port.starts_with(':') && port[1..].bytes().all(|b| b.is_ascii_digit());
    if !is_port {
        return Err(format!("invalid port {} after host", go_quote(port)));
    }
    escapes(name)?;
    let is_named = |b: u8| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&b);
    match name.chars().find(|c| c.is_ascii() && !is_named(*c as u8)) {
        Some(wrong) => Err(format!("invalid character {} in host name", go_quote(&wrong.to_string()))),
        None => Ok(()),
    }
}

/// Every percent sign begins the number of a byte.
fn escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let mut i = 0;
    while let Some(at) = text[i..].find('%') {
        let start = i + at;
        let digits = bytes.get(start + 1..start + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let shown = &bytes[start..bytes.len().min(start + 3)];
            return Err(format!("invalid URL escape {}", go_quote(&String::from_utf8_lossy(shown))));
        }
        i = start + 3;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_no_url_is_told_as_go_tells_it() {
        for (url, want) in [
            ("https://example.com:8443/a?b#c", None),
            ("example.com/path", None),
            ("https://[::1]:80/", None),
            ("mailto:x", None),
            ("", None),
            (":", Some(r#"parse ":": missing protocol scheme"#)),
            ("a b:80/x", Some(r#"parse "a b:80/x": first path segment in URL cannot contain colon"#)),
            ("https://h:x/", Some(r#"parse "https://h:x/": invalid port ":x" after host"#)),
            ("https://a b/", Some(r#"parse "https://a b/": invalid character " " in host name"#)),
            ("https://[::1", Some(r#"parse "https://[::1": missing ']' in host"#)),
            ("https://x/%zz", Some(r#"parse "https://x/%zz": invalid URL escape "%zz""#)),
            ("https://x/%é", Some("parse \"https://x/%é\": invalid URL escape \"%é\"")),
            ("https://x/#%q", Some(r#"parse "https://x/#%q": invalid URL escape "%q""#)),
            ("https://a\nb", Some(r#"parse "https://a\nb": net/url: invalid control character in URL"#)),
            ("https://a b@x", Some(r#"parse "https://a b@x": net/url: invalid userinfo"#)),
        ] {
            assert_eq!(super::error(url).as_deref(), want, "{url}");
        }
    }
}
