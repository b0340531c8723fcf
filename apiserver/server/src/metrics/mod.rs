//! `/metrics`: what is asked of this server and how long that takes, under upstream's names.

mod families;
mod inflight;
mod process;
mod table;
mod text;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use apiserver_registry::Resource;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::answer::Answer;
use crate::body::{BoxError, ResponseBody};
use crate::query::Query;
use crate::request_info::RequestInfo;
use inflight::{Entered, InFlight};
use table::{Operation, SCOPES, Table, VERBS, Way};

pub(crate) use families::{answer, content_type};

pub(crate) const PATH: &str = "/metrics";
/// Subresources whose requests are connections, whatever their method.
const CONNECTS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// The counters of a server.
pub(crate) struct Metrics {
    table: Table,
    reading: InFlight,
    mutating: InFlight,
}

impl Default for Metrics {
    fn default() -> Self {
        let since = Instant::now();
        Self { table: Table::default(), reading: InFlight::new(since), mutating: InFlight::new(since) }
    }
}

/// A request that came so far that it is counted, once it is answered.
pub(crate) struct Counted<'a> {
    operation: &'a Arc<Operation>,
    since: Instant,
    running: Option<Running>,
}

/// A request that runs long. It ends when this is dropped, and is counted then, if it was answered.
struct Running {
    operation: Arc<Operation>,
    since: Instant,
    /// Its code, and the time that went to webhooks.
    answered: Option<(StatusCode, Duration)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.operation.running.fetch_sub(1, Relaxed);
        if let Some((code, waited)) = self.answered {
            self.operation.count(code.as_u16(), self.since.elapsed(), waited);
        }
    }
}

impl<'a> Counted<'a> {
    fn new(operation: &'a Arc<Operation>, since: Instant, runs_long: bool) -> Self {
        let running = runs_long.then(|| {
            operation.running.fetch_add(1, Relaxed);
            Running { operation: operation.clone(), since, answered: None }
        });
        Self { operation, since, running }
    }

    /// The request was answered: it is counted now, or when the last of a body was sent that goes on.
    pub(crate) fn answered(self, answer: &mut Answer, waited: Duration) {
        match self.running {
            Some(mut running) if answer.status != StatusCode::SWITCHING_PROTOCOLS => {
                running.answered = Some((answer.status, waited));
                let inner = std::mem::replace(&mut answer.body, crate::body::full(Bytes::new()));
                answer.body = CountedBody { inner, _running: running }.boxed_unsync();
            }
            _ => self.operation.count(answer.status.as_u16(), self.since.elapsed(), waited),
        }
    }
}

/// The body of a request that runs long.
struct CountedBody {
    inner: ResponseBody,
    _running: Running,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(poller)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether a request goes on for as long as the client wants, and counts neither as one of many at a time.
fn runs_long(info: &RequestInfo) -> bool {
    info.is_resource && (info.verb == "watch" || CONNECTS.contains(&info.subresource.as_str()))
}

impl Metrics {
    /// Counts a request among those at a time, until what is given back is dropped.
    pub(crate) fn enter(&self, info: &RequestInfo, since: Instant) -> Option<Entered<'_>> {
        if runs_long(info) {
            return None;
        }
        let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
        Some(if reads { &self.reading } else { &self.mutating }.enter(since))
    }

    /// A request for a resource that is served.
    pub(crate) fn resource(
        &self,
        resource: &Resource,
        info: &RequestInfo,
        (method, headers, query): (&Method, &HeaderMap, &Query),
        since: Instant,
    ) -> Option<Counted<'_>> {
        let subresource = info.subresource.as_str();
        // Names that a client makes up make no rows.
        if !subresource.is_empty() && resource.subresource(subresource).is_none() {
            return None;
        }
        let labels = [resource.group.as_str(), &resource.version, &resource.name, subresource];
        let way = way(method, headers, query, info)?;
        Some(Counted::new(self.table.operation(labels, way), since, runs_long(info)))
    }

    /// A request for the health of the server, by one of the paths there are.
    pub(crate) fn health(&self, path: &'static str, query: &Query, since: Instant) -> Counted<'_> {
        let way = Way { verb: place(&VERBS, "GET"), scope: 0, dry_run: dry_run(query) };
        Counted::new(self.table.operation(["", "", "", path], way), since, false)
    }
}

fn place(known: &[&str], text: &str) -> usize {
    known.iter().position(|name| *name == text).unwrap_or(0)
}

/// What is asked, as upstream names it; `None` of methods that no resource has.
fn way(method: &Method, headers: &HeaderMap, query: &Query, info: &RequestInfo) -> Option<Way> {
    let scope = match info.namespace.as_deref() {
        _ if !info.name.is_empty() || info.verb == "create" => "resource",
        Some(namespace) if !namespace.is_empty() => "namespace",
        _ => "cluster",
    };
    let applies = || headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/apply-patch+yaml");
    let verb = match method.as_str() {
        _ if CONNECTS.contains(&info.subresource.as_str()) => "CONNECT",
        "GET" if info.verb == "watch" || query.flag("watch") => "WATCH",
        "GET" | "HEAD" if scope == "resource" => "GET",
        "GET" | "HEAD" => "LIST",
        "PATCH" if applies() => "APPLY",
        other => VERBS.into_iter().find(|verb| *verb == other)?,
    };
    Some(Way { verb: place(&VERBS, verb), scope: place(&SCOPES, scope), dry_run: dry_run(query) })
}

fn dry_run(query: &Query) -> usize {
    let asked = query.all("dryRun").try_fold(0, |_, value| (value == "All").then_some(1));
    asked.unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::table::DRY_RUNS;
    use super::*;

    fn named(method: &str, target: &str, media: &str) -> Option<[&'static str; 3]> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, query) = (method.parse().unwrap(), Query::parse(query));
        let info = RequestInfo::parse(&method, path, &query);
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media.parse().unwrap())]);
        let way = way(&method, &headers, &query, &info)?;
        Some([VERBS[way.verb], SCOPES[way.scope], DRY_RUNS[way.dry_run]])
    }

    #[test]
    fn verbs_and_scopes_are_upstreams() {
        let apply = "application/apply-patch+yaml";
        for (method, target, media, want) in [
            ("GET", "/api/v1/namespaces/a/pods/b", "", Some(["GET", "resource", ""])),
            ("HEAD", "/api/v1/namespaces/a/pods", "", Some(["LIST", "namespace", ""])),
            ("GET", "/api/v1/pods?limit=1", "", Some(["LIST", "cluster", ""])),
            ("GET", "/api/v1/pods?watch=true", "", Some(["WATCH", "cluster", ""])),
            ("GET", "/api/v1/watch/namespaces/a/pods", "", Some(["WATCH", "namespace", ""])),
            ("POST", "/api/v1/namespaces/a/pods?dryRun=All", "", Some(["POST", "resource", "All"])),
            ("POST", "/api/v1/namespaces/a/pods?dryRun=", "", Some(["POST", "resource", "invalid"])),
            ("PATCH", "/api/v1/nodes/a/status", apply, Some(["APPLY", "resource", ""])),
            ("PATCH", "/api/v1/nodes/a", "application/json-patch+json", Some(["PATCH", "resource", ""])),
            ("DELETE", "/api/v1/namespaces/a/pods", "", Some(["DELETE", "namespace", ""])),
            ("PUT", "/api/v1/namespaces/a/pods/b", "", Some(["PUT", "resource", ""])),
            ("POST", "/api/v1/namespaces/a/pods/b/exec", "", Some(["CONNECT", "resource", ""])),
            ("OPTIONS", "/api/v1/namespaces/a/pods/b", "", None),
        ] {
            assert_eq!(named(method, target, media), want, "{method} {target}");
        }
    }
}
