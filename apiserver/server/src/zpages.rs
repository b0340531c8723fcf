//! `/statusz` and `/flagz`: what runs here, since when, and how it was set up; for people, and as objects of
//! `config.k8s.io` for programs that ask for these.

use apiserver_json::{Map, Value, json};
use apiserver_meta::Status;
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::answer::{Answer, failure};
use crate::context::Context;
use crate::negotiate;

pub(crate) const STATUS: &str = "/statusz";
pub(crate) const FLAGS: &str = "/flagz";

const NAME: &str = "apiserver";
const MEDIA: &[&str] = &["application/json", "application/yaml", "text/plain"];
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
/// Pages that this one leads to.
const PATHS: [&str; 7] = [FLAGS, "/healthz", "/livez", "/metrics", "/readyz", STATUS, "/version"];

/// In what form a page is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Text,
    Object { yaml: bool, old: bool },
}

/// The form that is accepted; `None` where there is no such form.
fn form(headers: &HeaderMap, kind: &str) -> Option<Form> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    accept.split(',').find_map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let (mut wanted, mut group, mut version) = ("", "", "");
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => wanted = value,
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                _ => {}
            }
        }
        match media {
            "" | "*/*" | "text/*" | "text/plain" => Some(Form::Text),
            "application/json" | "application/yaml"
                if (wanted, group) == (kind, "config.k8s.io")
                    && ["v1alpha1", "v1beta1"].contains(&version) =>
            {
                Some(Form::Object { yaml: media == "application/yaml", old: version == "v1alpha1" })
            }
            _ => None,
        }
    })
}

/// The answer to one of these paths.
pub(crate) fn answer(context: &Context<'_>, path: &str) -> Answer {
    let (kind, page) = if path == STATUS { ("Statusz", status(context)) } else { ("Flagz", flags(context)) };
    let Some(form) = form(context.headers, kind) else {
        let errors = negotiate::for_errors(context.headers, context.accepted.pretty);
        return failure(errors, &Status::not_acceptable(MEDIA));
    };
    let Form::Object { yaml, old } = form else {
        return Answer::text(StatusCode::OK, text(&path[1..], &page));
    };
    let version = if old { "v1alpha1" } else { "v1beta1" };
    let mut object = page.object;
    object["kind"] = kind.into();
    object["apiVersion"] = format!("config.k8s.io/{version}").into();
    object["metadata"] = json!({"name": NAME});
    let (media, body) = if yaml {
        ("application/yaml", crate::yaml_writer::write(&object))
    } else {
        ("application/json", format!("{object:#}"))
    };
    let mut answer = Answer::json(StatusCode::OK, body);
    let media = format!("{media};g=config.k8s.io;v={version};as={kind}");
    answer.content_type = HeaderValue::from_str(&media).unwrap_or(answer.content_type);
    let page = &path[1..];
    answer.warn(
        old.then(|| {
            format!("This version of the {page} endpoint is deprecated. Please use a newer version.")
        }),
    )
}

/// What a page says: as lines, and as an object without its names.
struct Page {
    lines: Vec<(String, String)>,
    object: Value,
}

fn text(name: &str, page: &Page) -> String {
    let gap = if name == "statusz" { "\n" } else { "" };
    let lines: Vec<String> = page.lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("\n{NAME} {name}\n{WARNING}\n{gap}{}", lines.concat())
}

fn status(context: &Context<'_>) -> Page {
    let build = crate::health::build(&context.server.inner.config.version);
    let of = |member: &str| build[member].as_str().unwrap_or("").to_owned();
    let emulated = format!("{}.{}", of("emulationMajor"), of("emulationMinor"));
    let binary = of("gitVersion").trim_start_matches('v').to_owned();
    let since = context.server.inner.started;
    let seconds = jiff::Timestamp::now().as_second() - since.as_second();
    let up = format!("{} hr {:02} min {:02} sec", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let lines = [
        ("Started", since.strftime("%a %b %e %H:%M:%S UTC %Y").to_string()),
        ("Up", up),
        ("Go version", of("goVersion")),
        ("Binary version", binary.clone()),
        ("Emulation version", emulated.clone()),
        ("Paths", PATHS.join(" ")),
    ];
    Page {
        lines: lines.map(|(name, value)| (name.to_owned(), value)).into(),
        object: json!({
            "startTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "uptimeSeconds": seconds,
            "goVersion": of("goVersion"),
            "binaryVersion": binary,
            "emulationVersion": emulated,
            "paths": PATHS,
        }),
    }
}

/// What this server was told, under upstream's names for it.
fn flags(context: &Context<'_>) -> Page {
    let config = &context.server.inner.config;
    let off: Vec<&str> = context.server.registry().disabled_plugins().iter().map(String::as_str).collect();
    let list = |items: &[&str]| format!("[{}]", items.join(","));
    let modes: &[&str] = if config.always_allows { &["RBAC", "AlwaysAllow"] } else { &["RBAC"] };
    let issuers: Vec<&str> = config.authentication.issuers().iter().map(String::as_str).collect();
    let lines: Vec<(String, String)> = [
        ("advertise-address", config.endpoint.ip().to_string()),
        ("authorization-mode", list(modes)),
        ("bind-address", config.advertise.ip().to_string()),
        ("disable-admission-plugins", list(&off)),
        ("secure-port", config.advertise.port().to_string()),
        ("service-account-issuer", list(&issuers)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut map = Map::new();
    for (name, value) in &lines {
        map.insert(name.as_str().into(), value.as_str().into());
    }
    Page { object: json!({"flags": Value::Object(map)}), lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_text_unless_its_object_is_asked_for() {
        let object = |yaml, old| Some(Form::Object { yaml, old });
        for (accept, want) in [
            ("", Some(Form::Text)),
            ("*/*", Some(Form::Text)),
            ("text/plain;charset=utf-8", Some(Form::Text)),
            ("application/json", None),
            ("text/html, text/plain", Some(Form::Text)),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Statusz", object(false, false)),
            ("application/yaml;as=Statusz;g=config.k8s.io;v=v1alpha1", object(true, true)),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", None),
            ("application/json;v=v2;g=config.k8s.io;as=Statusz", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(form(&headers, "Statusz"), want, "{accept}");
        }
    }

    #[test]
    fn what_people_read_begins_with_a_warning() {
        let page = Page { lines: vec![("v".into(), "2".into())], object: Value::Null };
        assert_eq!(text("flagz", &page), format!("\napiserver flagz\n{WARNING}\nv: 2\n"));
    }
}
