//! `/metrics`: what is asked of this server and how long that takes, under upstream's names.

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
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{BoxError, ResponseBody};
use crate::compress;
use crate::dispatch::{Answer, Context};
use crate::query::Query;
use crate::request_info::RequestInfo;
use inflight::{Entered, InFlight};
use table::{BOUNDS_MS, CODES, DRY_RUNS, Labels, Operation, SCOPES, Table, VERBS, Way};
use text::{Kind, Text};

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

/// Everything as text.
pub(crate) fn answer(context: &Context<'_>) -> Answer {
    if *context.method != Method::GET {
        return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    }
    let metrics = &context.server.inner.metrics;
    let mut text = Text::default();
    metrics.write_inflight(&mut text);
    metrics.write_requests(&mut text);
    write_objects(&mut text, context);
    write_build(&mut text, &context.server.inner.config.version);
    process::write(&mut text);
    let mut answer = compress::whole_of(context, text.finish().into(), |bytes| {
        Answer::of(StatusCode::OK, "text/plain", bytes)
    });
    answer.content_type = content_type(context.headers);
    answer
}

/// The format, with the way of escaping names that was asked for: no name needs any.
fn content_type(headers: &HeaderMap) -> HeaderValue {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let asked = |way: &str| {
        let wanted = format!("escaping={way}");
        accept.split([',', ';']).any(|part| part.trim() == wanted)
    };
    let way = ["allow-utf-8", "dots", "values"].into_iter().find(|way| asked(way)).unwrap_or("underscores");
    let text = format!("text/plain; version=0.0.4; charset=utf-8; escaping={way}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("text/plain"))
}

/// What all families of requests say of one. What is no resource is none of the API's.
fn component(labels: Labels<'_>) -> &'static str {
    if labels[2].is_empty() { "" } else { "apiserver" }
}

impl Metrics {
    fn write_inflight(&self, text: &mut Text) {
        let name = "apiserver_current_inflight_requests";
        text.family(name, Kind::Gauge, "[STABLE] The most requests at a time within the last second.");
        let now = Instant::now();
        for (kind, inflight) in [("mutating", &self.mutating), ("readOnly", &self.reading)] {
            text.sample(name, &[("request_kind", kind)], inflight.most(now));
        }
    }

    fn write_requests(&self, text: &mut Text) {
        let all = self.table.all();
        self.write_running(text, &all);
        let durations = ("apiserver_request_duration_seconds", "[STABLE] Seconds that answers took.");
        write_durations(text, &all, durations, false);
        let own = (
            "apiserver_request_sli_duration_seconds",
            "[ALPHA] Seconds that answers took, without those that webhooks took.",
        );
        write_durations(text, &all, own, true);
        let name = "apiserver_request_total";
        text.family(
            name,
            Kind::Counter,
            "[STABLE] Requests that were answered, by what was asked and the code.",
        );
        for (labels, way, operation) in &all {
            let [group, version, resource, subresource] = *labels;
            for (place, count) in operation.codes.iter().enumerate() {
                let count = count.load(Relaxed);
                if count == 0 {
                    continue;
                }
                let code = CODES.get(place).map_or("other".to_owned(), u16::to_string);
                let labels = [
                    ("code", code.as_str()),
                    ("component", component(*labels)),
                    ("dry_run", DRY_RUNS[way.dry_run]),
                    ("group", group),
                    ("resource", resource),
                    ("scope", SCOPES[way.scope]),
                    ("subresource", subresource),
                    ("verb", VERBS[way.verb]),
                    ("version", version),
                ];
                text.sample(name, &labels, count);
            }
        }
    }

    fn write_running(&self, text: &mut Text, all: &[(Labels<'_>, Way, &Arc<Operation>)]) {
        let name = "apiserver_longrunning_requests";
        text.family(
            name,
            Kind::Gauge,
            "[STABLE] Requests that run long and have not ended, such as watches.",
        );
        let long = [place(&VERBS, "CONNECT"), place(&VERBS, "WATCH")];
        for (labels, way, operation) in all.iter().filter(|(_, way, _)| long.contains(&way.verb)) {
            let [group, version, resource, subresource] = *labels;
            // Dry runs are no runs of their own here.
            if way.dry_run != 0 {
                continue;
            }
            let labels = [
                ("component", component(*labels)),
                ("group", group),
                ("resource", resource),
                ("scope", SCOPES[way.scope]),
                ("subresource", subresource),
                ("verb", VERBS[way.verb]),
                ("version", version),
            ];
            text.sample(name, &labels, operation.running.load(Relaxed));
        }
    }
}

/// A family of durations; `own` is that without the time of webhooks, which has fewer labels and buckets and no dry runs.
fn write_durations(
    text: &mut Text,
    all: &[(Labels<'_>, Way, &Arc<Operation>)],
    (name, help): (&str, &str),
    own: bool,
) {
    text.family(name, Kind::Histogram, help);
    let [bucket, sum, count] = ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}"));
    let bounds: Vec<String> = BOUNDS_MS.iter().map(|ms| (*ms as f64 / 1000.0).to_string()).collect();
    // The shortest are not told apart there.
    let skipped = if own { 2 } else { 0 };
    for (labels, way, operation) in all {
        if own && way.dry_run != 0 {
            continue;
        }
        let [group, version, resource, subresource] = *labels;
        let mut labels = vec![("component", component(*labels))];
        if !own {
            labels.push(("dry_run", DRY_RUNS[way.dry_run]));
        }
        labels.extend([
            ("group", group),
            ("resource", resource),
            ("scope", SCOPES[way.scope]),
            ("subresource", subresource),
            ("verb", VERBS[way.verb]),
            ("version", version),
        ]);
        let (buckets, ns) = operation.took(own);
        if buckets.iter().all(|count| *count == 0) {
            continue;
        }
        let mut below: u64 = 0;
        let ends = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (place, (end, count)) in ends.zip(buckets).enumerate() {
            below = below.wrapping_add(count);
            if place >= skipped {
                labels.push(("le", end));
                text.sample(&bucket, &labels, below);
                labels.pop();
            }
        }
        text.sample(&sum, &labels, ns as f64 / 1e9);
        text.sample(&count, &labels, below);
    }
}

fn write_objects(text: &mut Text, context: &Context<'_>) {
    let registry = context.server.registry();
    let catalogue = registry.catalogue();
    let count = |row: &Resource| registry.cache().snapshot(&row.prefix).objects.len();
    let mut rows: Vec<(&str, &str, usize)> =
        catalogue.stored().map(|row| (row.group.as_str(), row.name.as_str(), count(row))).collect();
    rows.sort_unstable();
    let help = "Objects that are stored.";
    let name = "apiserver_resource_objects";
    text.family(name, Kind::Gauge, &format!("[ALPHA] {help}"));
    for (group, resource, count) in &rows {
        text.sample(name, &[("group", group), ("resource", resource)], count);
    }
    let name = "apiserver_storage_objects";
    let help =
        format!("[STABLE] (Deprecated since 1.34.0) {help} apiserver_resource_objects tells of groups.");
    text.family(name, Kind::Gauge, &help);
    for (group, resource, count) in &rows {
        let resource = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
        text.sample(name, &[("resource", &resource)], count);
    }
}

fn write_build(text: &mut Text, version: &str) {
    let build = crate::health::build(version);
    let name = "kubernetes_build_info";
    text.family(name, Kind::Gauge, "[BETA] Always 1; the labels say what this was built from and runs on.");
    let known = |member: &str| build.get(member).and_then(apiserver_json::Value::as_str).unwrap_or("");
    let labels = [
        ("build_date", known("buildDate")),
        ("compiler", known("compiler")),
        ("git_commit", known("gitCommit")),
        ("git_tree_state", known("gitTreeState")),
        ("git_version", known("gitVersion")),
        ("go_version", known("goVersion")),
        ("major", known("major")),
        ("minor", known("minor")),
        ("platform", known("platform")),
    ];
    text.sample(name, &labels, 1);
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_is_counted_is_valid_text() {
        let metrics = Metrics::default();
        let query = Query::parse("");
        let answered = |counted: Counted| {
            counted.answered(&mut Answer::text(StatusCode::OK, ""), Duration::ZERO);
        };
        answered(metrics.health("/readyz", &query, Instant::now()));
        answered(metrics.health("/readyz", &query, Instant::now()));
        let mut text = Text::default();
        metrics.write_inflight(&mut text);
        metrics.write_requests(&mut text);
        write_build(&mut text, "v1.36.2");
        process::write(&mut text);
        let text = text.finish();
        assert_eq!(text::tests::problems(&text), Vec::<String>::new());
        for line in [
            "apiserver_request_total{code=\"200\",component=\"\",dry_run=\"\",group=\"\",resource=\"\",scope=\"\",subresource=\"/readyz\",verb=\"GET\",version=\"\"} 2",
            "apiserver_request_duration_seconds_bucket{component=\"\",dry_run=\"\",group=\"\",resource=\"\",scope=\"\",subresource=\"/readyz\",verb=\"GET\",version=\"\",le=\"+Inf\"} 2",
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
