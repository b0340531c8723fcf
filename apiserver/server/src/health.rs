//! `/livez`, `/readyz`, `/healthz`, `/version` and the key documents.

use std::time::Duration;

use apiserver_json::json;
use apiserver_meta::Status;
use http::StatusCode;

use crate::dispatch::{Answer, Context, failure};
use crate::{metrics, negotiate};

const CHECKS: &[&str] = &[
    "ping",
    "log",
    STORE,
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
];

/// The check of the store. One that other servers share has upstream's name.
const STORE: &str = "store";
const ETCD: &str = "etcd";
/// How long etcd may take, as upstream's check.
const PATIENCE: Duration = Duration::from_secs(2);

/// The path, where requests of it are counted.
pub(crate) fn counted_path(path: &str) -> Option<&'static str> {
    ["/healthz", "/livez", "/readyz"].into_iter().find(|known| *known == path)
}

/// The answer to one of these paths; `None` for any other.
pub(crate) async fn answer(context: &Context<'_>) -> Option<Answer> {
    let path = context.info.path.as_str();
    for (endpoint, checks_shutdown) in [("livez", false), ("readyz", true), ("healthz", false)] {
        let Some(rest) = path.strip_prefix('/').and_then(|path| path.strip_prefix(endpoint)) else {
            continue;
        };
        return match rest {
            "" | "/" => Some(checks(context, endpoint, checks_shutdown).await),
            rest => {
                let asked = rest.strip_prefix('/').unwrap_or("");
                let shared = context.server.registry().store().is_shared();
                Some(match named(shared).find(|check| *check == asked) {
                    Some(ETCD) if !etcd_answers(context).await => Answer::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "internal server error: etcd failed\n",
                    ),
                    Some(_) => Answer::text(StatusCode::OK, "ok"),
                    None => Answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
                })
            }
        };
    }
    match path {
        metrics::PATH => Some(metrics::answer(context)),
        "/version" | "/version/" if *context.method == http::Method::GET => Some(version(context)),
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

/// The checks there are.
fn named(shared: bool) -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(move |check| if *check == STORE && shared { ETCD } else { check })
}

/// Whether etcd answers, and this server knows of everything in it. True where there is none.
async fn etcd_answers(context: &Context<'_>) -> bool {
    let store = context.server.registry().store();
    tokio::time::timeout(PATIENCE, store.catch_up()).await.is_ok_and(|outcome| outcome.is_ok())
}

async fn checks(context: &Context<'_>, endpoint: &str, checks_shutdown: bool) -> Answer {
    let stopping = checks_shutdown && *context.server.inner.shutdown.borrow();
    let verbose = context.query.get("verbose").is_some();
    let excluded: Vec<&str> = context.query.all("exclude").collect();
    let failing = !excluded.contains(&ETCD) && !etcd_answers(context).await;
    if !verbose && excluded.is_empty() && !stopping && !failing {
        return Answer::text(StatusCode::OK, "ok");
    }
    let mut lines = String::new();
    for check in named(context.server.registry().store().is_shared()) {
        if check == ETCD && failing {
            lines.push_str("[-]etcd failed: reason withheld\n");
            continue;
        }
        let state = if excluded.contains(&check) { "excluded: ok" } else { "ok" };
        lines.push_str(&format!("[+]{check} {state}\n"));
    }
    if stopping {
        lines.push_str("[-]shutdown failed: reason withheld\n");
    }
    if stopping || failing {
        lines.push_str(&format!("{endpoint} check failed\n"));
        return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, lines);
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
