//! What each behaviour answers to a request.
//!
//! The pages are the images' own where people know them by sight.

use crate::image::Behaviour;
use dataplane_l7::{Body, ConnectionInfo, full, incoming};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, SERVER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::fmt::Write;

/// Who answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) pod: String,
    pub(crate) namespace: String,
    pub(crate) node: String,
    pub(crate) ip: String,
    pub(crate) container: String,
    pub(crate) image: String,
    /// Text of http-echo.
    pub(crate) text: String,
}

/// Most of a body that an echo repeats.
const MAX_ECHO: usize = 64 * 1024;

fn answer(
    status: StatusCode,
    content_type: &'static str,
    server: Option<&'static str>,
    body: String,
) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(server) = server {
        response.headers_mut().insert(SERVER, HeaderValue::from_static(server));
    }
    response
}

/// Answer a request.
pub(crate) async fn respond(
    behaviour: Behaviour,
    me: &Identity,
    request: Request<Incoming>,
    info: &ConnectionInfo,
) -> Response<Body> {
    match behaviour {
        Behaviour::Nginx => nginx(me, &request),
        Behaviour::Httpd => answer(
            StatusCode::OK,
            "text/html",
            Some("Apache/2.4.65 (Unix)"),
            "<html><body><h1>It works!</h1></body></html>\n".into(),
        ),
        Behaviour::Whoami => {
            answer(StatusCode::OK, "text/plain; charset=utf-8", None, whoami(me, &request, info))
        }
        Behaviour::Netexec => netexec(me, &request, info),
        Behaviour::ServeHostname => answer(StatusCode::OK, "text/plain; charset=utf-8", None, me.pod.clone()),
        Behaviour::HttpEcho => answer(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            Some("hopyard http-echo"),
            format!("{}\n", me.text),
        ),
        Behaviour::Echo | Behaviour::Idle => echo(me, request, info).await,
    }
}

fn nginx(me: &Identity, request: &Request<Incoming>) -> Response<Body> {
    const SERVER_NAME: Option<&str> = Some("nginx/1.29.3");
    if !matches!(request.uri().path(), "/" | "/index.html") {
        let page = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx/1.29.3</center>\r\n</body>\r\n</html>\r\n";
        return answer(StatusCode::NOT_FOUND, "text/html", SERVER_NAME, page.into());
    }
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n\
         <p>If you see this page, the nginx web server is successfully installed and\nworking. Further configuration is required.</p>\n\n\
         <p><em>Thank you for using nginx.</em></p>\n<!-- pod {}/{} on {}, {} -->\n</body>\n</html>\n",
        me.namespace, me.pod, me.node, me.ip
    );
    answer(StatusCode::OK, "text/html", SERVER_NAME, page)
}

fn headers_text(request: &Request<Incoming>) -> String {
    let mut out = String::new();
    for (name, value) in request.headers() {
        let _ = writeln!(out, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    out
}

fn whoami(me: &Identity, request: &Request<Incoming>, info: &ConnectionInfo) -> String {
    format!(
        "Hostname: {}\nIP: 127.0.0.1\nIP: {}\nRemoteAddr: {}\n{} {} HTTP/1.1\n{}\n",
        me.pod,
        me.ip,
        info.peer,
        request.method(),
        request.uri(),
        headers_text(request)
    )
}

fn netexec(me: &Identity, request: &Request<Incoming>, info: &ConnectionInfo) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let msg = query.split('&').find_map(|p| p.strip_prefix("msg=")).unwrap_or_default();
    let code = query.split('&').find_map(|p| p.strip_prefix("code=")).and_then(|c| c.parse::<u16>().ok());
    let status = code.and_then(|c| StatusCode::from_u16(c).ok()).unwrap_or(StatusCode::OK);
    let text = match request.uri().path() {
        "/hostname" | "/hostName" => me.pod.clone(),
        "/echo" => msg.to_string(),
        "/clientip" => info.peer.to_string(),
        "/healthz" | "/readyz" => "ok".to_string(),
        "/header" => query
            .split('&')
            .find_map(|p| p.strip_prefix("key="))
            .and_then(|k| request.headers().get(k))
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_string(),
        _ => format!("NOW: {}", jiff::Timestamp::now()),
    };
    answer(status, "text/plain; charset=utf-8", None, text)
}

/// The whole body, unless it is too long or ends early.
async fn read(mut body: Body) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            out.extend_from_slice(&data);
        }
        if out.len() > MAX_ECHO {
            return None;
        }
    }
    Some(out)
}

async fn echo(me: &Identity, request: Request<Incoming>, info: &ConnectionInfo) -> Response<Body> {
    let html =
        request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("text/html"));
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(n, v)| (n.to_string(), Value::String(String::from_utf8_lossy(v.as_bytes()).into_owned())))
        .collect();
    let mut seen = json!({
        "pod": me.pod, "namespace": me.namespace, "node": me.node, "ip": me.ip, "container": me.container, "image": me.image,
        "method": request.method().as_str(), "path": request.uri().path(), "query": request.uri().query().unwrap_or_default(),
        "host": request.headers().get(HOST).and_then(|v| v.to_str().ok()).unwrap_or_default(),
        "remoteAddr": info.peer.to_string(), "headers": headers,
    });
    match read(incoming(request.into_body())).await {
        Some(body) if body.is_empty() => {}
        Some(body) => seen["body"] = Value::String(String::from_utf8_lossy(&body).into_owned()),
        None => seen["body"] = Value::String(format!("(more than {MAX_ECHO} bytes, or cut off)")),
    }
    if html {
        return answer(StatusCode::OK, "text/html; charset=utf-8", None, page(&seen));
    }
    answer(StatusCode::OK, "application/json", None, format!("{seen:#}\n"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(seen: &Value) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    };
    for (name, value) in seen.as_object().into_iter().flatten().filter(|(n, _)| *n != "headers") {
        row(name, value.as_str().unwrap_or_default());
    }
    for (name, value) in seen["headers"].as_object().into_iter().flatten() {
        row(name, value.as_str().unwrap_or_default());
    }
    let pod = escape(seen["pod"].as_str().unwrap_or_default());
    format!(
        "<!DOCTYPE html>\n<html><head><title>{pod}</title><style>body{{font-family:system-ui;margin:2em}}th{{text-align:left;padding-right:1em;color:#555}}td{{font-family:monospace}}</style></head>\n\
         <body><h1>{pod}</h1>\n<table>\n{rows}</table></body></html>\n"
    )
}
