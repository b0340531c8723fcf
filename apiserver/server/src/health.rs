//! `/livez`, `/readyz`, `/healthz`, `/version` and the key documents.

use std::collections::BTreeSet;
use std::time::Duration;

use apiserver_json::json;
use apiserver_meta::Status;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use crate::answer::{Answer, failure, method_not_allowed, no_page, not_found_here};
use crate::context::Context;
use crate::token::ServiceAccountKeys;
use crate::{metrics, negotiate, zpages};

/// The endpoints that tell of a check.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    All,
    /// Whether requests should come here.
    Readiness,
    /// Whether the process works at all.
    Life,
}

/// The checks, in order. Most are upstream's steps of a start: here they are done, or nothing has to be, before the first
/// request is answered; clients and probes ask for them by these names.
const CHECKS: &[(&str, Of)] = &[
    ("ping", Of::All),
    ("log", Of::All),
    ("loopback-serving-certificate", Of::Life),
    (ETCD, Of::All),
    ("etcd-readiness", Of::Readiness),
    ("informer-sync", Of::Readiness),
    ("poststarthook/start-apiserver-admission-initializer", Of::All),
    ("poststarthook/generic-apiserver-start-informers", Of::All),
    ("poststarthook/priority-and-fairness-config-consumer", Of::All),
    ("poststarthook/priority-and-fairness-filter", Of::All),
    ("poststarthook/storage-object-count-tracker-hook", Of::All),
    ("poststarthook/start-apiextensions-informers", Of::All),
    ("poststarthook/start-apiextensions-controllers", Of::All),
    ("poststarthook/crd-informer-synced", Of::All),
    ("poststarthook/start-system-namespaces-controller", Of::All),
    ("poststarthook/peer-endpoint-reconciler-controller", Of::All),
    ("poststarthook/start-cluster-authentication-info-controller", Of::All),
    ("poststarthook/start-kube-apiserver-identity-lease-controller", Of::All),
    ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", Of::All),
    ("poststarthook/storage-readiness", Of::All),
    ("poststarthook/start-legacy-token-tracking-controller", Of::All),
    ("poststarthook/start-service-ip-repair-controllers", Of::All),
    ("poststarthook/rbac/bootstrap-roles", Of::All),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", Of::All),
    ("poststarthook/priority-and-fairness-config-producer", Of::All),
    ("poststarthook/bootstrap-controller", Of::All),
    ("poststarthook/start-kubernetes-service-cidr-controller", Of::All),
    ("poststarthook/start-kube-aggregator-informers", Of::All),
    ("poststarthook/apiservice-status-local-available-controller", Of::All),
    ("poststarthook/apiservice-status-remote-available-controller", Of::All),
    ("poststarthook/apiservice-registration-controller", Of::All),
    ("poststarthook/apiservice-discovery-controller", Of::All),
    ("poststarthook/kube-apiserver-autoregistration", Of::All),
    ("autoregister-completion", Of::All),
    ("poststarthook/apiservice-openapi-controller", Of::All),
    ("poststarthook/apiservice-openapiv3-controller", Of::All),
    (SHUTDOWN, Of::Readiness),
];

pub(crate) const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];
/// The outcomes of the checks, as metrics.
pub(crate) const SLIS: &str = "/metrics/slis";

/// The check of the store, whichever it is: under the name that clients ask for.
const ETCD: &str = "etcd";
const JWKS: &str = "application/jwk-set+json";
const SHUTDOWN: &str = "shutdown";
/// How long etcd may take, as upstream's check.
const PATIENCE: Duration = Duration::from_secs(2);

/// The path, where requests of it are counted.
pub(crate) fn counted_path(path: &str) -> Option<&'static str> {
    ["/healthz", "/livez", "/readyz"].into_iter().find(|known| *known == path)
}

/// The answer to one of these paths; `None` for any other.
pub(crate) async fn answer(context: &Context<'_>) -> Option<Answer> {
    let path = context.info.path.as_str();
    for endpoint in ENDPOINTS {
        let Some(rest) = path.strip_prefix('/').and_then(|path| path.strip_prefix(endpoint)) else {
            continue;
        };
        if rest.is_empty() {
            return Some(checks(context, endpoint).await);
        }
        let asked = rest.strip_prefix('/').unwrap_or("");
        return Some(match named(endpoint).find(|check| *check == asked) {
            Some(check) if fails(context, check).await => {
                let text = format!("internal server error: {check} failed\n");
                told(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
            Some(_) => Answer::text(StatusCode::OK, "ok"),
            None => no_page(),
        });
    }
    // What is routed by itself is found with a slash behind it, and says in the API's words that nothing is below it.
    let single =
        SINGLE.into_iter().find(|single| path.strip_prefix(single).is_some_and(|rest| rest.starts_with('/')));
    let path = match single {
        Some(single) if path.len() == single.len() + 1 => single,
        Some(_) => {
            let errors = negotiate::for_errors(context.headers, context.accepted.pretty);
            return Some(failure(errors, &not_found_here()));
        }
        None => path,
    };
    match path {
        metrics::PATH => Some(metrics::answer(context)),
        SLIS => Some(indicators(context).await),
        zpages::STATUS | zpages::FLAGS => Some(zpages::answer(context, path)),
        "/version" if *context.method == http::Method::GET => Some(version(context)),
        "/.well-known/openid-configuration" | "/openid/v1/jwks" if *context.method != http::Method::GET => {
            let errors = negotiate::for_errors(context.headers, context.accepted.pretty);
            Some(failure(errors, &method_not_allowed()))
        }
        "/.well-known/openid-configuration" => {
            let keys = context.server.inner.config.authentication.service_accounts.as_ref()?;
            Some(openid(context, keys))
        }
        "/openid/v1/jwks" => {
            let keys = context.server.inner.config.authentication.service_accounts.as_ref()?;
            Some(match refused(context, JWKS) {
                Some(refusal) => refusal,
                None => kept(Answer::of(StatusCode::OK, JWKS, keys.jwks().to_string())),
            })
        }
        _ => None,
    }
}

/// Paths that upstream routes as it does those of the API.
const SINGLE: [&str; 3] = ["/version", "/.well-known/openid-configuration", "/openid/v1/jwks"];

/// The checks of an endpoint.
pub(crate) fn named(endpoint: &str) -> impl Iterator<Item = &'static str> {
    let left_out = if endpoint == "readyz" { Of::Life } else { Of::Readiness };
    CHECKS.iter().filter(move |(_, of)| *of != left_out).map(|(name, _)| *name)
}

/// How each check comes out now.
async fn indicators(context: &Context<'_>) -> Answer {
    const NAME: &str = "kubernetes_healthcheck";
    let mut lines = Vec::new();
    for (check, _) in CHECKS {
        let passed = u8::from(!fails(context, check).await);
        let of = ENDPOINTS.iter().filter(|endpoint| named(endpoint).any(|name| name == *check));
        lines.extend(of.map(|endpoint| format!("{NAME}{{name=\"{check}\",type=\"{endpoint}\"}} {passed}\n")));
    }
    lines.sort();
    let text = format!(
        "# HELP {NAME} [STABLE] Whether a check of the server passes.\n# TYPE {NAME} gauge\n{}",
        lines.concat()
    );
    let mut answer = Answer::text(StatusCode::OK, text);
    answer.content_type = metrics::content_type(context.headers);
    answer
}

async fn fails(context: &Context<'_>, check: &str) -> bool {
    match check {
        // Whether it answers, and this server knows of everything in it.
        ETCD | "etcd-readiness" => {
            let store = context.server.registry().store();
            !tokio::time::timeout(PATIENCE, store.catch_up()).await.is_ok_and(|outcome| outcome.is_ok())
        }
        SHUTDOWN => *context.server.inner.shutdown.borrow(),
        _ => false,
    }
}

async fn checks(context: &Context<'_>, endpoint: &str) -> Answer {
    let excluded: Vec<&str> = context.query.all("exclude").collect();
    let (mut lines, mut failing) = (String::new(), false);
    for check in named(endpoint) {
        if excluded.contains(&check) {
            lines.push_str(&format!("[+]{check} excluded: ok\n"));
        } else if fails(context, check).await {
            failing = true;
            lines.push_str(&format!("[-]{check} failed: reason withheld\n"));
        } else {
            lines.push_str(&format!("[+]{check} ok\n"));
        }
    }
    let unknown: BTreeSet<&str> =
        excluded.iter().copied().filter(|name| named(endpoint).all(|check| check != *name)).collect();
    if !unknown.is_empty() {
        let quoted: Vec<String> = unknown.into_iter().map(|name| format!("\"{name}\"")).collect();
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            quoted.join(",")
        ));
    }
    if failing {
        lines.push_str(&format!("{endpoint} check failed\n"));
        return told(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if context.query.get("verbose").is_none() {
        return told(StatusCode::OK, "ok".to_owned());
    }
    lines.push_str(&format!("{endpoint} check passed\n"));
    told(StatusCode::OK, lines)
}

/// How checks came out. No browser is to take it for anything else.
fn told(status: StatusCode, text: String) -> Answer {
    let mut answer = Answer::text(status, text);
    answer.headers.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    answer
}

/// The machine as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The answer to who does not take the only form there is.
fn refused(context: &Context, media: &str) -> Option<Answer> {
    let accept =
        context.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let takes = |part: &str| {
        let named = part.split(';').next().unwrap_or("").trim();
        matches!(named, "" | "*/*") || named == media
    };
    if accept.split(',').any(takes) {
        return None;
    }
    let text = format!("406: Not Acceptable\n\nAvailable representations: {media}");
    let status = Status::new(406, "NotAcceptable", text).with_details(json!({}));
    Some(failure(negotiate::for_errors(context.headers, false), &status))
}

fn version(context: &Context) -> Answer {
    if let Some(refusal) = refused(context, "application/json") {
        return refusal;
    }
    let body = build(&context.server.inner.config.version);
    Answer::json(StatusCode::OK, format!("{body:#}"))
}

/// What this server was built from and runs on.
pub(crate) fn build(version: &str) -> apiserver_json::Value {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or("1"), numbers.next().unwrap_or("36"));
    json!({
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": minor.parse::<u32>().unwrap_or(36).saturating_sub(1).to_string(),
        "gitVersion": version,
        "gitCommit": "hopyard",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none (rust)",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

fn openid(context: &Context, keys: &ServiceAccountKeys) -> Answer {
    if let Some(refusal) = refused(context, "application/json") {
        return refusal;
    }
    let advertise = context.server.inner.config.advertise;
    let body = json!({
        "issuer": keys.issuers().first(),
        "jwks_uri": format!("https://{advertise}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": keys.algorithms().into_iter().collect::<Vec<_>>(),
    });
    kept(Answer::json(StatusCode::OK, body.to_string()))
}

/// What others may keep for an hour.
fn kept(mut answer: Answer) -> Answer {
    answer.headers.push((CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")));
    answer
}
