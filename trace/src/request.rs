//! What is asked: a URL, from where, and what was seen if it was also sent for real.
//!
//! Only http and https URLs.

use std::net::Ipv4Addr;

/// Where a request starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum From {
    /// A client on the internet.
    #[default]
    Internet,
    /// A Pod: namespace and name.
    Pod(String, String),
    /// A node.
    Node(String),
}

impl From {
    /// `internet`, `pod/namespace/name` or `node/name`.
    pub fn parse(text: &str) -> Option<From> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            ["internet"] => Some(From::Internet),
            ["pod", namespace, name] => Some(From::Pod(namespace.to_string(), name.to_string())),
            ["node", name] => Some(From::Node(name.to_string())),
            _ => None,
        }
    }
}

impl From {
    /// In words: `Pod default/web-1`.
    pub(crate) fn place(&self) -> String {
        match self {
            From::Internet => "the internet".to_owned(),
            From::Pod(namespace, name) => format!("Pod {namespace}/{name}"),
            From::Node(name) => format!("node {name}"),
        }
    }
}

/// The turns a real request took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Target group that got it.
    pub target_group_arn: Option<String>,
    /// Target: id and port.
    pub target: Option<(String, u16)>,
    /// The Pod's address and port in the end.
    pub destination: Option<(Ipv4Addr, u16)>,
    /// The address of the load balancer that was used.
    pub balancer_address: Option<Ipv4Addr>,
}

/// A request to trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host without port.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// Where it starts.
    pub from: From,
    /// How choices fall where nothing was observed.
    pub random: u64,
    /// Seconds since the epoch, for cookies that expire; 0 if nobody looked.
    pub now_s: u64,
    /// What was seen.
    pub observed: Observed,
}

/// Why a URL cannot be traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError(String);

impl std::fmt::Display for UrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

impl Request {
    /// A GET of a URL from somewhere.
    pub fn get(url: &str, from: From) -> Result<Request, UrlError> {
        let bad = || UrlError(format!("not an http or https URL: {url}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(bad()),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(at);
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query.to_string())),
            None => (tail, None),
        };
        if authority.starts_with('[') {
            return Err(UrlError(format!("{url}: the network has IPv4 alone")));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (authority, default),
        };
        if host.is_empty() {
            return Err(bad());
        }
        Ok(Request {
            method: "GET".into(),
            scheme: scheme.into(),
            host: host.to_ascii_lowercase(),
            port,
            path: if path.is_empty() { "/".into() } else { path.into() },
            query,
            headers: Vec::new(),
            from,
            random: 0,
            now_s: 0,
            observed: Observed::default(),
        })
    }

    /// The URL again.
    pub fn url(&self) -> String {
        let usual =
            (self.scheme == "http" && self.port == 80) || (self.scheme == "https" && self.port == 443);
        let port = if usual { String::new() } else { format!(":{}", self.port) };
        let query = self.query.as_ref().map_or(String::new(), |q| format!("?{q}"));
        format!("{}://{}{port}{}{query}", self.scheme, self.host, self.path)
    }
}
