//! Where a webhook is: the parts of its URL, and the name its certificate must be for.

use apiserver_registry::WebhookAddress;

/// A webhook's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Host as the certificate names it: without brackets, `NAME.NAMESPACE.svc` of a Service.
    pub host: String,
    pub port: u16,
    /// As a URL shows it; the port of a URL only where it has one.
    pub authority: String,
    pub path: String,
    /// Namespace, name and port of the Service behind it.
    pub service: Option<(String, String, u16)>,
}

impl Address {
    /// # Errors
    /// Where a URL has no host.
    pub(super) fn of(address: &WebhookAddress) -> Result<Self, String> {
        match address {
            WebhookAddress::Service { namespace, name, port, path } => {
                let host = format!("{name}.{namespace}.svc");
                Ok(Self {
                    authority: format!("{host}:{port}"),
                    host,
                    port: *port,
                    path: clean(path),
                    service: Some((namespace.clone(), name.clone(), *port)),
                })
            }
            WebhookAddress::Url(url) => {
                let uri: http::Uri =
                    url.parse().map_err(|error| format!("Unparsable URL: parse {url:?}: {error}"))?;
                let authority = uri.authority().ok_or_else(|| format!("the URL {url:?} has no host"))?;
                let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
                Ok(Self {
                    host,
                    port: authority.port_u16().unwrap_or(443),
                    authority: authority.as_str().to_owned(),
                    path: clean(uri.path()),
                    service: None,
                })
            }
        }
    }

    /// The URL of a call, as errors show it.
    pub(super) fn url(&self, timeout_s: u64) -> String {
        format!("https://{}{}", self.authority, self.path_and_query(timeout_s))
    }

    pub(super) fn path_and_query(&self, timeout_s: u64) -> String {
        format!("{}?timeout={timeout_s}s", self.path)
    }
}

/// A path without a slash at its end, as Go's `path.Join` leaves it.
fn clean(path: &str) -> String {
    let steps: Vec<&str> = path.split('/').filter(|step| !matches!(*step, "" | ".")).collect();
    format!("/{}", steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_as_gos_client_shows_them() {
        let service = |path: &str| WebhookAddress::Service {
            namespace: "ns".into(),
            name: "hook".into(),
            port: 8443,
            path: path.into(),
        };
        for (address, host, port, url) in [
            (
                WebhookAddress::Url("https://127.0.0.1:9443/mutate/".into()),
                "127.0.0.1",
                9443,
                "https://127.0.0.1:9443/mutate?timeout=10s",
            ),
            (
                WebhookAddress::Url("https://hooks.example.com".into()),
                "hooks.example.com",
                443,
                "https://hooks.example.com/?timeout=10s",
            ),
            (WebhookAddress::Url("https://[::1]:1/a//b".into()), "::1", 1, "https://[::1]:1/a/b?timeout=10s"),
            (service(""), "hook.ns.svc", 8443, "https://hook.ns.svc:8443/?timeout=10s"),
            (service("/v"), "hook.ns.svc", 8443, "https://hook.ns.svc:8443/v?timeout=10s"),
        ] {
            let found = Address::of(&address).expect("an address");
            assert_eq!((found.host.as_str(), found.port, found.url(10).as_str()), (host, port, url));
        }
    }
}
