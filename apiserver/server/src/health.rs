//! `/livez`, `/readyz`, `/healthz`, `/version` and the key documents.

use std::time::Duration;

use apiserver_json::json;
use apiserver_meta::Status;
use http::StatusCode;

use crate::dispatch::{Answer, Context, failure, method_not_allowed};
use crate::{metrics, negotiate};

/// The checks, and whether they are of readiness alone.
const CHECKS: &[(&str, bool)] = &[
    ("ping", false),
    ("log", false),
    (ETCD, false),
    ("etcd-readiness", true),
    ("informer-sync", true),
    ("poststarthook/start-system-namespaces-controller", false),
    ("poststarthook/rbac/bootstrap-roles", false),
    (SHUTDOWN, true),
];

/// The check of the store, whichever it is: under the name that clients ask for.
const ETCD: &str = "etcd";
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
    for endpoint in ["livez", "readyz", "healthz"] {
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
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
            Some(_) => Answer::text(StatusCode::OK, "ok"),
            None => Answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        });
    }
    match path {
        metrics::PATH => Some(metrics::answer(context)),
        "/version" | "/version/" if *context.method == http::Method::GET => Some(version(context)),
        "/.well-known/openid-configuration" | "/openid/v1/jwks" if *context.method != http::Method::GET => {
            let errors = negotiate::for_errors(context.headers, context.accepted.pretty);
            Some(failure(errors, &method_not_allowed()))
        }
        "/.well-known/openid-configuration" => Some(openid(context)),
        "/openid/v1/jwks" => context
            .server
            .inner
            .config
            .authentication
            .service_accounts
            .as_ref()
            .map(|keys| Answer::of(StatusCode::OK, "application/jwk-set+json", keys.jwks().to_string())),
        _ => None,
    }
}

/// The checks of an endpoint.
fn named(endpoint: &str) -> impl Iterator<Item = &'static str> {
    let is_ready = endpoint == "readyz";
    CHECKS.iter().filter(move |(_, of_readiness)| is_ready || !of_readiness).map(|(name, _)| *name)
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
    if failing {
        lines.push_str(&format!("{endpoint} check failed\n"));
        return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if context.query.get("verbose").is_none() {
        return Answer::text(StatusCode::OK, "ok");
    }
    lines.push_str(&format!("{endpoint} check passed\n"));
    Answer::text(StatusCode::OK, lines)
}

/// The machine as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn version(context: &Context) -> Answer {
    let accept =
        context.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let takes_json = |part: &str| {
        let media = part.split(';').next().unwrap_or("").trim();
        matches!(media, "" | "*/*" | "application/json")
    };
    if !accept.split(',').any(takes_json) {
        // Upstream's route makes nothing else.
        let text = "406: Not Acceptable\n\nAvailable representations: application/json";
        let status = Status::new(406, "NotAcceptable", text).with_details(json!({}));
        return failure(negotiate::for_errors(context.headers, false), &status);
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

fn openid(context: &Context) -> Answer {
    let advertise = context.server.inner.config.advertise;
    let body = json!({
        "issuer": crate::token::ISSUER,
        "jwks_uri": format!("https://{advertise}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    Answer::json(StatusCode::OK, body.to_string())
}
