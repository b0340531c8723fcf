//! The families of metrics, as they are told.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use apiserver_registry::Resource;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::table::{BOUNDS_MS, CODES, DRY_RUNS, Labels, Operation, SCOPES, VERBS, Way};
use super::text::{Kind, Text};
use super::{Metrics, place, process};
use crate::answer::Answer;
use crate::compress;
use crate::context::Context;

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
pub(crate) fn content_type(headers: &HeaderMap) -> HeaderValue {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let asked = |way: &str| {
        let wanted = format!("escaping={way}");
        accept.split([',', ';']).any(|part| part.trim() == wanted)
    };
    let way = ["allow-utf-8", "dots", "values"].into_iter().find(|way| asked(way)).unwrap_or("underscores");
    let text = format!("text/plain; version=0.0.4; charset=utf-8; escaping={way}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("text/plain"))
}

/// What a family says of a request, in the order of the labels' names: what all families do, and `more` of its own.
fn labels_of<'a>(labels: Labels<'a>, way: &Way, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let [group, version, resource, subresource] = labels;
    // What is no resource is none of the API's.
    let component = if resource.is_empty() { "" } else { "apiserver" };
    let mut all = vec![
        ("component", component),
        ("group", group),
        ("resource", resource),
        ("scope", SCOPES[way.scope]),
        ("subresource", subresource),
        ("verb", VERBS[way.verb]),
        ("version", version),
    ];
    all.extend_from_slice(more);
    all.sort_unstable();
    all
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
            for (place, count) in operation.codes.iter().enumerate() {
                let count = count.load(Relaxed);
                if count == 0 {
                    continue;
                }
                let code = CODES.get(place).map_or("other".to_owned(), u16::to_string);
                let own = [("code", code.as_str()), ("dry_run", DRY_RUNS[way.dry_run])];
                let labels = labels_of(*labels, way, &own);
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
            // Dry runs are no runs of their own here.
            if way.dry_run != 0 {
                continue;
            }
            let labels = labels_of(*labels, way, &[]);
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
        let dry_run = [("dry_run", DRY_RUNS[way.dry_run])];
        let mut labels = labels_of(*labels, way, if own { &[] } else { &dry_run });
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
    use std::time::Duration;

    use super::super::{Counted, text};
    use super::*;
    use crate::query::Query;

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
