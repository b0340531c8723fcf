//! What upstream warns of in the volumes of a Pod whose files are made of something: paths that lie in each other, of which
//! only one can be there (`warningsForOverlappingVirtualPaths`).

use std::fmt;

use apiserver_json::Value;

use super::shared::{at, items, text};

/// More lines than this are not made: of so many no client sees more.
const LINES_MAX: usize = 100;

/// Where a path comes from: what it is, and its name if it has one.
#[derive(Clone, Copy)]
struct Source<'a> {
    what: &'static str,
    name: Option<&'a str>,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            None => f.write_str(self.what),
            Some(name) => write!(f, "{} {name:?}", self.what),
        }
    }
}

/// A path, and where it comes from where that is told.
struct Place<'a> {
    path: &'a str,
    source: Option<Source<'a>>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            None => write!(f, "{:?}", self.path),
            Some(source) => write!(f, "{:?} ({source})", self.path),
        }
    }
}

/// Warnings of the volumes of a Pod's spec.
pub(super) fn overlaps(spec: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for volume in items(spec, "volumes") {
        let name = text(volume, "name");
        for (member, what, named) in [
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ] {
            let Some(source) = volume.get(member) else { continue };
            let of = Source { what, name: (!named.is_empty()).then(|| text(source, named)) };
            warn(name, of, &places(source, None), &mut lines);
        }
        let mut projected = Vec::new();
        for source in items(at(volume, &["projected"]), "sources") {
            if source.as_object().is_none_or(apiserver_json::Map::is_empty) {
                lines.push(format!("volume {name:?} (Projected) has no sources provided"));
            } else {
                projected.extend(projected_places(source));
            }
        }
        warn(name, Source { what: "Projected", name: None }, &projected, &mut lines);
    }
    lines
}

/// The files of a source that lists them.
fn places<'a>(source: &'a Value, told: Option<Source<'a>>) -> Vec<Place<'a>> {
    items(source, "items").iter().map(|item| place(text(item, "path"), told)).collect()
}

fn place<'a>(path: &'a str, source: Option<Source<'a>>) -> Place<'a> {
    Place { path: path.trim_end_matches('/'), source }
}

/// The files of one source of several: of the first sort that there is.
fn projected_places(source: &Value) -> Vec<Place<'_>> {
    let unnamed = |what| Some(Source { what, name: None });
    for (member, what) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        let of = at(source, &[member]);
        if of.get("items").is_some() {
            return places(of, Some(Source { what, name: Some(text(of, "name")) }));
        }
    }
    let downward = at(source, &["downwardAPI"]);
    if downward.get("items").is_some() {
        return places(downward, unnamed("DownwardAPI"));
    }
    if let Some(token) = source.get("serviceAccountToken") {
        return vec![place(text(token, "path"), unnamed("ServiceAccountToken"))];
    }
    if let Some(bundle) = source.get("clusterTrustBundle") {
        let name = bundle.get("name").or_else(|| bundle.get("signerName")).and_then(Value::as_str);
        let of = Source { what: "ClusterTrustBundle", name: Some(name.unwrap_or("")) };
        return vec![place(text(bundle, "path"), Some(of))];
    }
    let certificate = at(source, &["podCertificate"]);
    [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ]
    .into_iter()
    .filter(|(member, _)| !text(certificate, member).is_empty())
    .map(|(member, of)| place(text(certificate, member), unnamed(of)))
    .collect()
}

fn warn(volume: &str, of: Source<'_>, places: &[Place<'_>], lines: &mut Vec<String>) {
    for (i, place) in places.iter().enumerate().filter(|(_, place)| !place.path.is_empty()) {
        for other in places[..i].iter().filter(|other| !other.path.is_empty() && lie_together(place, other)) {
            if lines.len() >= LINES_MAX {
                return;
            }
            lines.push(format!("volume {volume:?} ({of}): overlapping paths: {place} with {other}"));
        }
    }
}

/// Whether one is the other, or a directory in which the other lies.
fn lie_together(a: &Place<'_>, b: &Place<'_>) -> bool {
    let is_in = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_in(a.path, b.path) || is_in(b.path, a.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn paths_that_lie_in_each_other_are_told() {
        let files = |paths: &[&str]| -> Value {
            paths.iter().map(|path| json!({"key": "k", "path": path})).collect()
        };
        for (volume, want) in [
            (json!({"configMap": {"name": "c", "items": files(&["a", "b", "ab"])}}), vec![]),
            (
                json!({"configMap": {"name": "c", "items": files(&["a", "a/b", "a/"])}}),
                vec![
                    r#"volume "v" (ConfigMap "c"): overlapping paths: "a/b" with "a""#,
                    r#"volume "v" (ConfigMap "c"): overlapping paths: "a" with "a""#,
                    r#"volume "v" (ConfigMap "c"): overlapping paths: "a" with "a/b""#,
                ],
            ),
            (
                json!({"secret": {"secretName": "s", "items": files(&["x", "x"])}}),
                vec![r#"volume "v" (Secret "s"): overlapping paths: "x" with "x""#],
            ),
            (
                json!({"downwardAPI": {"items": files(&["x", "x"])}}),
                vec![r#"volume "v" (DownwardAPI): overlapping paths: "x" with "x""#],
            ),
            (
                json!({"projected": {"sources": [
                    {"configMap": {"name": "c", "items": files(&["token"])}}, {}, {"secret": {"name": "s"}},
                    {"serviceAccountToken": {"path": "token"}}, {"clusterTrustBundle": {"signerName": "s.io/x", "path": "token/ca"}}]}}),
                vec![
                    r#"volume "v" (Projected) has no sources provided"#,
                    r#"volume "v" (Projected): overlapping paths: "token" (ServiceAccountToken) with "token" (ConfigMap "c")"#,
                    r#"volume "v" (Projected): overlapping paths: "token/ca" (ClusterTrustBundle "s.io/x") with "token" (ConfigMap "c")"#,
                    r#"volume "v" (Projected): overlapping paths: "token/ca" (ClusterTrustBundle "s.io/x") with "token" (ServiceAccountToken)"#,
                ],
            ),
        ] {
            let mut named = volume.clone();
            named["name"] = "v".into();
            assert_eq!(overlaps(&json!({"volumes": [named]})), want, "{volume}");
        }
    }
}
