//! `curl` and `wget` from inside a Pod: one request over the fabric, as far as the usual options go.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dataplane_l7::{Pool, SendError, Stream, full};
use dataplane_network::{CLIENT, Error};
use http::{Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Process, commands};

/// How long a connection attempt into nothing takes.
const GIVE_UP: Duration = Duration::from_secs(130);

/// What is asked, by either tool.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    url: String,
    method: Option<String>,
    headers: Vec<(String, String)>,
    data: Option<String>,
    /// The head of the answer is shown too.
    include: bool,
    head: bool,
    silent: bool,
    /// Errors are shown even where it is silent.
    show_error: bool,
    /// An answer of 400 and more is a failure.
    fail: bool,
    /// The body goes nowhere.
    discard: bool,
    /// Shown at the end.
    write_out: String,
    timeout: Option<Duration>,
    agent: &'static str,
}

impl Asked {
    fn by(agent: &'static str) -> Self {
        Self {
            url: String::new(),
            method: None,
            headers: Vec::new(),
            data: None,
            include: false,
            head: false,
            silent: false,
            show_error: false,
            fail: false,
            discard: false,
            write_out: String::new(),
            timeout: None,
            agent,
        }
    }
}

/// Why there is no answer.
enum Failure {
    Url,
    Https,
    Name(String),
    Refused(String, u16, Ipv4Addr),
    Timeout,
    Broken,
}

/// A place that a URL names.
struct Place {
    host: String,
    port: u16,
    path: String,
}

fn place(url: &str) -> Result<Place, Failure> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = url.parse().map_err(|_| Failure::Url)?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(Failure::Https),
        _ => return Err(Failure::Url),
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(Failure::Url)?.to_owned();
    Ok(Place { host, port: uri.port_u16().unwrap_or(80), path })
}

async fn request(process: &Process<'_>, asked: &Asked) -> Result<Response<Incoming>, Failure> {
    let Place { host, port, path } = place(&asked.url)?;
    let found = commands::resolve(process, &host);
    let ip = *found.first().ok_or_else(|| Failure::Name(host.clone()))?;
    let method = match (&asked.method, asked.head, &asked.data) {
        (Some(method), ..) => Method::from_bytes(method.as_bytes()).map_err(|_| Failure::Url)?,
        (None, true, _) => Method::HEAD,
        (None, _, Some(_)) => Method::POST,
        _ => Method::GET,
    };
    let authority = if port == 80 { host.clone() } else { format!("{host}:{port}") };
    let mut request = Request::builder().method(method).uri(path);
    let own = |name: &str| asked.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, value) in [("host", authority.as_str()), ("user-agent", asked.agent), ("accept", "*/*")] {
        if !own(name) {
            request = request.header(name, value);
        }
    }
    if asked.data.is_some() && !own("content-type") {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    let request = request.body(full(asked.data.clone().unwrap_or_default())).map_err(|_| Failure::Url)?;
    // The Pod's own loopback leads to its own listeners.
    let own_ip = process.view.ip.unwrap_or(CLIENT);
    let (from, to) = if ip.is_loopback() && ip.octets()[1] == 0 {
        (Ipv4Addr::LOCALHOST, SocketAddrV4::new(own_ip, port))
    } else {
        (own_ip, SocketAddrV4::new(ip, port))
    };
    let fabric = process.fabric.clone();
    let connect = || async move {
        fabric.connect(SocketAddrV4::new(from, 0), to).await.map(|made| Box::new(made.stream) as Stream)
    };
    match Pool::new().send(None, request, connect).await {
        Ok(response) => Ok(response),
        Err(SendError::Connect { error: Error::Dropped(_) | Error::NoRoute(..), .. }) => {
            tokio::time::sleep(GIVE_UP).await;
            Err(Failure::Timeout)
        }
        Err(SendError::Connect { .. }) => Err(Failure::Refused(host, port, ip)),
        Err(SendError::Broken(_)) => Err(Failure::Broken),
    }
}

async fn show(process: &Process<'_>, asked: &Asked, response: Response<Incoming>) -> Result<u16, Failure> {
    let status = response.status();
    if asked.include {
        let version = if response.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
        let mut head = format!("HTTP/{version} {status}\n");
        for (name, value) in response.headers() {
            head.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        process.out(head + "\n").await;
    }
    if asked.fail && status.as_u16() >= 400 {
        return Ok(status.as_u16());
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::Broken)?;
        if let Ok(bytes) = frame.into_data()
            && !asked.discard
        {
            process.out(bytes).await;
        }
    }
    Ok(status.as_u16())
}

/// The whole exchange, within its time.
async fn exchange(process: &Process<'_>, asked: &Asked) -> Result<u16, Failure> {
    let both = async {
        let response = request(process, asked).await?;
        show(process, asked, response).await
    };
    match asked.timeout {
        Some(limit) => tokio::time::timeout(limit, both).await.unwrap_or(Err(Failure::Timeout)),
        None => both.await,
    }
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
}

/// curl's options that mean something here. An error is curl's exit code and words.
fn curl_options(arguments: &[String]) -> Result<Asked, (i32, String)> {
    let mut asked = Asked::by("curl/8.14.1");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(option) = argument.strip_prefix('-').filter(|option| !option.is_empty()) else {
            asked.url = argument.clone();
            continue;
        };
        let mut letters: Vec<String> = match option.strip_prefix('-') {
            Some(long) => vec![format!("--{long}")],
            None => vec![format!("-{option}")],
        };
        while let Some(option) = letters.pop() {
            let short = !option.starts_with("--");
            let (name, joined) = match option.char_indices().nth(2) {
                Some((at, _)) if short => (option[..at].to_owned(), Some(option[at..].to_owned())),
                _ => (option, None),
            };
            if flag(&mut asked, &name) {
                letters.extend(joined.map(|rest| format!("-{rest}")));
                continue;
            }
            let known = TAKES_VALUE.iter().any(|names| names.contains(&name.as_str()));
            if !known {
                let hint = "curl: try 'curl --help' or 'curl --manual' for more information";
                return Err((2, format!("curl: option {name}: is unknown\n{hint}\n")));
            }
            let value = joined.or_else(|| rest.next().cloned());
            let value = value.ok_or_else(|| (2, format!("curl: option {name}: requires parameter\n")))?;
            valued(&mut asked, &name, value)?;
        }
    }
    if asked.url.is_empty() {
        let hint = "curl: try 'curl --help' or 'curl --manual' for more information";
        return Err((2, format!("curl: (2) no URL specified\n{hint}\n")));
    }
    Ok(asked)
}

const TAKES_VALUE: [&[&str]; 8] = [
    &["-H", "--header"],
    &["-X", "--request"],
    &["-d", "--data", "--data-raw", "--json"],
    &["-o", "--output"],
    &["-w", "--write-out"],
    &["-m", "--max-time"],
    &["--connect-timeout"],
    &["-A", "--user-agent"],
];

/// Options without a value; those about what is not there (progress, certificates, redirects) change nothing.
fn flag(asked: &mut Asked, name: &str) -> bool {
    match name {
        "-s" | "--silent" => asked.silent = true,
        "-S" | "--show-error" => asked.show_error = true,
        "-i" | "--include" | "-v" | "--verbose" => asked.include = true,
        "-I" | "--head" => (asked.head, asked.include) = (true, true),
        "-f" | "--fail" => asked.fail = true,
        "-k" | "--insecure" | "-L" | "--location" | "-4" | "--ipv4" | "--http1.1" | "--no-progress-meter" => {
        }
        _ => return false,
    }
    true
}

fn valued(asked: &mut Asked, name: &str, value: String) -> Result<(), (i32, String)> {
    match name {
        "-H" | "--header" => {
            if let Some((name, value)) = value.split_once(':') {
                asked.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        "-X" | "--request" => asked.method = Some(value),
        "--json" => {
            asked.headers.push(("content-type".to_owned(), "application/json".to_owned()));
            asked.data = Some(value);
        }
        "-d" | "--data" | "--data-raw" => match &mut asked.data {
            Some(data) => data.push_str(&format!("&{value}")),
            None => asked.data = Some(value),
        },
        "-o" | "--output" if value == "/dev/null" => asked.discard = true,
        "-o" | "--output" => {
            return Err((
                23,
                format!("curl: (23) client returned ERROR on write: {value} is in no file system\n"),
            ));
        }
        "-w" | "--write-out" => asked.write_out = value,
        "-A" | "--user-agent" => asked.headers.push(("user-agent".to_owned(), value)),
        _ => {
            let limit = seconds(&value);
            asked.timeout = Some(limit.ok_or_else(|| {
                (2, format!("curl: option {name}: expected a proper numerical parameter\n"))
            })?);
        }
    }
    Ok(())
}

/// `curl`.
pub(super) async fn curl(process: &Process<'_>, arguments: &[String]) -> i32 {
    let asked = match curl_options(arguments) {
        Ok(asked) => asked,
        Err((code, text)) => {
            process.err(text).await;
            return code;
        }
    };
    let began = std::time::Instant::now();
    let (status, failure) = match exchange(process, &asked).await {
        Ok(status) if asked.fail && status >= 400 => {
            (status, Some((22, format!("The requested URL returned error: {status}"))))
        }
        Ok(status) => (status, None),
        Err(failure) => (0, Some(curl_failure(&failure, began.elapsed().as_millis()))),
    };
    if !asked.write_out.is_empty() {
        let text = asked.write_out.replace("%{http_code}", &format!("{status:03}"));
        process.out(text.replace("\\n", "\n").replace("%{response_code}", &format!("{status:03}"))).await;
    }
    let Some((code, text)) = failure else { return 0 };
    if !asked.silent || asked.show_error {
        process.err(format!("curl: ({code}) {text}\n")).await;
    }
    code
}

fn curl_failure(failure: &Failure, elapsed: u128) -> (i32, String) {
    match failure {
        Failure::Url => (3, "URL rejected: Malformed input to a URL function".to_owned()),
        Failure::Https => (1, "Protocol \"https\" not supported".to_owned()),
        Failure::Name(host) => (6, format!("Could not resolve host: {host}")),
        Failure::Refused(host, port, _) => (
            7,
            format!(
                "Failed to connect to {host} port {port} after {elapsed} ms: Could not connect to server"
            ),
        ),
        Failure::Timeout => (28, format!("Connection timed out after {elapsed} milliseconds")),
        Failure::Broken => (52, "Empty reply from server".to_owned()),
    }
}

/// `wget`, as busybox has it.
pub(super) async fn wget(process: &Process<'_>, arguments: &[String]) -> i32 {
    let mut asked = Asked::by("Wget");
    let mut spider = false;
    let mut output: Option<String> = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-q" => asked.silent = true,
            "-S" => asked.include = true,
            "--spider" => (spider, asked.discard) = (true, true),
            "-O" => output = rest.next().cloned(),
            "-T" => asked.timeout = rest.next().and_then(|text| seconds(text)),
            "--post-data" => asked.data = rest.next().cloned(),
            "--header" => {
                let header = rest.next().and_then(|header| header.split_once(':'));
                asked.headers.extend(header.map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
            }
            other => {
                if let Some(name) = other.strip_prefix("-qO").or_else(|| other.strip_prefix("-O")) {
                    asked.silent |= other.starts_with("-q");
                    output = if name.is_empty() { rest.next().cloned() } else { Some(name.to_owned()) };
                } else if let Some(text) =
                    other.strip_prefix("--timeout=").or_else(|| other.strip_prefix("-T"))
                {
                    asked.timeout = seconds(text);
                } else if other.starts_with('-') {
                    process
                        .err(format!("wget: unrecognized option: {}\n", other.trim_start_matches('-')))
                        .await;
                    return 1;
                } else {
                    asked.url = other.to_owned();
                }
            }
        }
    }
    asked.fail = true;
    match output.as_deref() {
        Some("/dev/null") => asked.discard = true,
        Some("-") => {}
        _ if spider => {}
        _ => {
            process.err("wget: can't open output file: Read-only file system (use -O -)\n").await;
            return 1;
        }
    }
    let text = match exchange(process, &asked).await {
        Ok(status) if status < 400 => return 0,
        Ok(status) => {
            let status = http::StatusCode::from_u16(status).map(|status| status.to_string());
            format!("server returned error: HTTP/1.1 {}", status.unwrap_or_default())
        }
        Err(Failure::Url) => format!("bad address '{}'", asked.url),
        Err(Failure::Https) => "not an http or ftp url: https is not supported".to_owned(),
        Err(Failure::Name(host)) => format!("bad address '{host}'"),
        Err(Failure::Refused(_, _, ip)) => format!("can't connect to remote host ({ip}): Connection refused"),
        Err(Failure::Timeout) => "download timed out".to_owned(),
        Err(Failure::Broken) => "error getting response".to_owned(),
    };
    process.err(format!("wget: {text}\n")).await;
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Asked, (i32, String)> {
        curl_options(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn curls_options_are_understood() {
        let plain = |url: &str| Asked { url: url.to_owned(), ..Asked::by("curl/8.14.1") };
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let table = [
            ("web", plain("web")),
            ("-s web:80/x", Asked { silent: true, ..plain("web:80/x") }),
            ("-sSf web", Asked { silent: true, show_error: true, fail: true, ..plain("web") }),
            ("-I web", Asked { head: true, include: true, ..plain("web") }),
            ("-H Host:shop web", Asked { headers: header("Host", "shop"), ..plain("web") }),
            (
                "web -XPUT -d a=b",
                Asked { method: Some("PUT".into()), data: Some("a=b".into()), ..plain("web") },
            ),
            (
                "-so /dev/null -w %{http_code} web",
                Asked { silent: true, discard: true, write_out: "%{http_code}".into(), ..plain("web") },
            ),
            ("-sm2 web", Asked { silent: true, timeout: Some(Duration::from_secs(2)), ..plain("web") }),
        ];
        for (line, expected) in table {
            assert_eq!(options(line), Ok(expected), "{line}");
        }
        for (line, code) in
            [("", 2), ("-s", 2), ("--nonsense web", 2), ("-m x web", 2), ("web -H", 2), ("-o f web", 23)]
        {
            assert_eq!(options(line).map_err(|(code, _)| code).err(), Some(code), "{line}");
        }
    }
}
