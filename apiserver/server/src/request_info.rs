//! What a request is about: `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use apiserver_meta::selector::FieldSelector;
use http::Method;

use crate::query::{Query, decode};

/// The parts of a path, and the verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    pub is_resource: bool,
    pub path: String,
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// The only name that a list or watch selects by its field: who may get the one may list it so.
    pub selected: String,
    /// Nothing comes after the word that was a verb once, so that there is no telling what is meant.
    pub is_incomplete: bool,
    /// The verb is a part of the path, as once.
    pub is_former_watch: bool,
    /// A verb that once was part of paths, and is asked for but not served.
    pub is_former_proxy: bool,
    /// Everything after the subresource, for `proxy`.
    pub rest: String,
}

impl RequestInfo {
    pub(crate) fn parse(method: &Method, raw_path: &str, query: &Query) -> Self {
        let path = decode(raw_path, false);
        let mut info = Self { path: path.clone(), verb: method.as_str().to_lowercase(), ..Self::default() };
        let Some(trimmed) = path.strip_prefix('/') else { return info };
        if trimmed.starts_with('/') {
            return info;
        }
        let parts: Vec<&str> = trimmed.trim_end_matches('/').split('/').collect();
        let mut rest: &[&str] = match parts.as_slice() {
            ["api", version, rest @ ..] => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return info,
        };
        if rest.is_empty() {
            return info;
        }
        if rest.len() == 1 && matches!(rest[0], "watch" | "proxy") {
            info.is_incomplete = true;
            return info;
        }
        info.is_resource = true;
        info.is_former_watch = rest[0] == "watch" && rest.len() > 1;
        info.is_former_proxy = rest[0] == "proxy";
        if info.is_former_watch || info.is_former_proxy {
            rest = &rest[1..];
        }
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace = Some(rest[1].to_owned());
            let own = ["status", "finalize"];
            if rest.len() > 2 && !own.contains(&rest[2]) {
                rest = &rest[2..];
            }
        }
        info.resource = rest[0].to_owned();
        info.name = rest.get(1).map_or_else(String::new, |name| (*name).to_owned());
        info.subresource = rest.get(2).map_or_else(String::new, |name| (*name).to_owned());
        info.rest = rest.get(3..).unwrap_or(&[]).join("/");
        if path.ends_with('/') && !info.rest.is_empty() {
            info.rest.push('/');
        }
        if info.resource == "namespaces" && !info.name.is_empty() {
            info.namespace = Some(info.name.clone());
        }
        if info.is_former_proxy {
            info.verb = "proxy".to_owned();
            return info;
        }
        info.verb = verb(method, &info.name, query, info.is_former_watch).to_owned();
        if matches!(info.verb.as_str(), "list" | "watch") && info.name.is_empty() {
            let fields = FieldSelector::parse(query.text("fieldSelector")).unwrap_or_default();
            let name = fields.exact("metadata.name").filter(|name| is_path_segment(name));
            info.selected = name.unwrap_or("").to_owned();
        }
        info
    }

    /// The name that a permission is asked for.
    pub(crate) fn permitted_name(&self) -> &str {
        if self.name.is_empty() { &self.selected } else { &self.name }
    }

    /// The namespace a namespaced resource is asked for in.
    pub(crate) fn scope(&self) -> Option<&str> {
        if self.resource == "namespaces" { None } else { self.namespace.as_deref() }
    }
}

/// Whether a text may be the name in a path.
fn is_path_segment(name: &str) -> bool {
    path_segment_flaws(name).is_empty()
}

/// What a name in a path may not be or have: `IsValidPathSegmentName`.
pub(crate) fn path_segment_flaws(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%'].into_iter().filter(|c| name.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

fn verb(method: &Method, name: &str, query: &Query, is_former_watch: bool) -> &'static str {
    match (method.as_str(), name.is_empty()) {
        _ if is_former_watch => "watch",
        // With a name it is a plain get, whatever `watch` says.
        ("GET" | "HEAD", true) if query.flag("watch") => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query))
    }

    #[test]
    fn names_of_segments_are_told_from_others() {
        for (name, want) in [
            ("a", ""),
            ("...", ""),
            (".", "may not be '.'"),
            ("..", "may not be '..'"),
            ("a%", "may not contain '%'"),
            ("a/%", "may not contain '/';may not contain '%'"),
        ] {
            assert_eq!(path_segment_flaws(name).join(";"), want, "{name}");
        }
    }

    #[test]
    fn paths_are_understood() {
        let info = parse("GET", "/api/v1/namespaces/a/pods/b/log");
        assert_eq!(
            (info.verb.as_str(), info.namespace.as_deref(), info.resource.as_str()),
            ("get", Some("a"), "pods")
        );
        assert_eq!((info.name.as_str(), info.subresource.as_str()), ("b", "log"));
        assert_eq!(parse("GET", "/apis/apps/v1/deployments").verb, "list");
        assert_eq!(parse("GET", "/api/v1/pods?watch=1").verb, "watch");
        assert_eq!(parse("DELETE", "/api/v1/namespaces/a/pods").verb, "deletecollection");
        let info = parse("PUT", "/api/v1/namespaces/a/finalize");
        assert_eq!(
            (info.resource.as_str(), info.name.as_str(), info.subresource.as_str()),
            ("namespaces", "a", "finalize")
        );
        assert_eq!(info.scope(), None);
        assert!(!parse("GET", "/healthz").is_resource);
        assert!(parse("GET", "/apis/apps/v1/watch/").is_incomplete);
        assert!(!parse("GET", "/apis/apps/v1/watch/deployments").is_incomplete);
        for (target, verb, resource) in
            [("/api/v1/proxy/nodes/n", "proxy", "nodes"), ("/api/v1/watch/pods", "watch", "pods")]
        {
            let info = parse("POST", target);
            assert_eq!((info.verb.as_str(), info.resource.as_str()), (verb, resource));
        }
        for (target, want) in [
            ("/api/v1/pods?fieldSelector=metadata.name%3Da", "a"),
            ("/api/v1/pods?watch=1&fieldSelector=metadata.name%3Da,spec.nodeName%3Dn", "a"),
            ("/api/v1/pods?fieldSelector=metadata.name!%3Da", ""),
            ("/api/v1/pods?fieldSelector=metadata.name%3Da%2Fb", ""),
        ] {
            assert_eq!(parse("GET", target).permitted_name(), want, "{target}");
        }
        assert!(!parse("GET", "//api/v1/pods").is_resource);
        assert_eq!(parse("GET", "/api/v1/namespaces/a/services/s:80/proxy/x/y/").rest, "x/y/");
    }
}
