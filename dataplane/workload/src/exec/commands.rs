//! The tools of a simulated container, one function each.

use std::time::Duration;

use super::container::{RESOLVER, View};
use super::{Process, http, pi, shell};

/// Tools by name.
const TOOLS: [&str; 20] = [
    "sh", "bash", "ash", "env", "printenv", "echo", "hostname", "cat", "true", "false", "pwd", "whoami",
    "id", "date", "sleep", "nslookup", "getent", "curl", "wget", PERL,
];

/// It is in its own image only.
const PERL: &str = "perl";

/// Folders in which they lie.
const FOLDERS: [&str; 3] = ["/bin/", "/usr/bin/", "/usr/local/bin/"];

/// The tool that a name or path means; nothing where the container has none of that name.
pub(super) fn tool(name: &str, view: &View) -> Option<&'static str> {
    if !view.tools {
        return None;
    }
    let plain = FOLDERS.iter().find_map(|folder| name.strip_prefix(folder)).unwrap_or(name);
    TOOLS.iter().find(|known| **known == plain && (view.perl || plain != PERL)).copied()
}

/// Runs a tool and gives its exit code; nothing where there is none of that name.
pub(super) async fn run(process: &mut Process<'_>, command: &[String]) -> Option<i32> {
    let (name, arguments) = command.split_first()?;
    let code = match tool(name, &process.view)? {
        "sh" | "bash" | "ash" => Box::pin(shell::run(process, name, arguments)).await,
        "env" => env(process, arguments).await?,
        "printenv" => printenv(process, arguments).await,
        "echo" => echo(process, arguments).await,
        "hostname" => hostname(process, arguments).await,
        "cat" => cat(process, arguments).await,
        "false" => 1,
        "pwd" => said(process, process.view.directory.clone()).await,
        "whoami" => said(process, "root".to_owned()).await,
        "id" => said(process, "uid=0(root) gid=0(root) groups=0(root)".to_owned()).await,
        "date" => {
            said(process, jiff::Timestamp::now().strftime("%a %b %e %H:%M:%S UTC %Y").to_string()).await
        }
        "sleep" => sleep(process, arguments).await,
        "nslookup" => nslookup(process, arguments).await,
        "getent" => getent(process, arguments).await,
        "curl" => http::curl(process, arguments).await,
        "wget" => http::wget(process, arguments).await,
        PERL => perl(process, arguments).await,
        _ => 0,
    };
    Some(code)
}

async fn said(process: &Process<'_>, line: String) -> i32 {
    process.out(line + "\n").await;
    0
}

/// Without a command, the environment; with one, that command in a changed one.
async fn env(process: &mut Process<'_>, arguments: &[String]) -> Option<i32> {
    let mut rest = arguments;
    while let [first, others @ ..] = rest
        && let Some((name, value)) = first.split_once('=')
    {
        process.view.env.insert(name.to_owned(), value.to_owned());
        rest = others;
    }
    let [name, ..] = rest else { return Some(printenv(process, &[]).await) };
    if tool(name, &process.view).is_none() {
        process.err(format!("env: can't execute '{name}': No such file or directory\n")).await;
        return Some(127);
    }
    Box::pin(run(process, rest)).await
}

/// One program: `perl -Mbignum=bpi -wle 'print bpi(2000)'`, with which upstream explains Jobs.
async fn perl(process: &Process<'_>, arguments: &[String]) -> i32 {
    match pi::asked(arguments) {
        Some(digits) => said(process, pi::digits(digits)).await,
        None => {
            process.err("perl: only print bpi(N) is known in a simulated container\n").await;
            2
        }
    }
}

async fn printenv(process: &Process<'_>, names: &[String]) -> i32 {
    let env = &process.view.env;
    if names.is_empty() {
        let all: String = env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        process.out(all).await;
        return 0;
    }
    let found: String = names.iter().filter_map(|name| Some(format!("{}\n", env.get(name)?))).collect();
    process.out(found).await;
    i32::from(!names.iter().all(|name| env.contains_key(name)))
}

async fn echo(process: &Process<'_>, arguments: &[String]) -> i32 {
    let (words, end) = match arguments.split_first() {
        Some((first, rest)) if first == "-n" => (rest, ""),
        _ => (arguments, "\n"),
    };
    process.out(words.join(" ") + end).await;
    0
}

async fn hostname(process: &Process<'_>, arguments: &[String]) -> i32 {
    let name = process.view.env.get("HOSTNAME").cloned().unwrap_or_default();
    match arguments.first().map(String::as_str) {
        None | Some("-s") => said(process, name).await,
        Some("-i" | "-I") => {
            said(process, process.view.ip.map_or_else(String::new, |ip| ip.to_string())).await
        }
        Some(_) => {
            process.err("hostname: sethostname: Operation not permitted\n").await;
            1
        }
    }
}

async fn cat(process: &mut Process<'_>, names: &[String]) -> i32 {
    if names.is_empty() {
        while let Some(bytes) = process.read().await {
            process.out(bytes).await;
        }
        return 0;
    }
    let mut code = 0;
    for name in names {
        let path = if name.starts_with('/') {
            name.clone()
        } else {
            format!("{}/{name}", process.view.directory.trim_end_matches('/'))
        };
        let path =
            path.replacen("/run/secrets/", "/var/run/secrets/", usize::from(path.starts_with("/run/")));
        match process.view.files.get(&path) {
            Some(text) => process.out(text.clone()).await,
            None => {
                process.err(format!("cat: {name}: No such file or directory\n")).await;
                code = 1;
            }
        }
    }
    code
}

async fn sleep(process: &Process<'_>, arguments: &[String]) -> i32 {
    let mut total = Duration::ZERO;
    for text in arguments {
        if text == "infinity" {
            return std::future::pending().await;
        }
        let (number, unit) = match text.char_indices().last() {
            Some((at, 's')) => (&text[..at], 1.0),
            Some((at, 'm')) => (&text[..at], 60.0),
            Some((at, 'h')) => (&text[..at], 3600.0),
            Some((at, 'd')) => (&text[..at], 86_400.0),
            _ => (text.as_str(), 1.0),
        };
        let seconds = number.parse::<f64>().ok().and_then(|n| Duration::try_from_secs_f64(n * unit).ok());
        let Some(seconds) = seconds else {
            process.err(format!("sleep: invalid time interval '{text}'\n")).await;
            return 1;
        };
        total = total.saturating_add(seconds);
    }
    if arguments.is_empty() {
        process.err("sleep: missing operand\n").await;
        return 1;
    }
    tokio::time::sleep(total).await;
    0
}

/// Addresses of a name; a number is its own.
pub(super) fn resolve(process: &Process<'_>, name: &str) -> Vec<std::net::Ipv4Addr> {
    if let Ok(ip) = name.parse() {
        return vec![ip];
    }
    let view = &process.view;
    let hosts = view.files.get("/etc/hosts").map_or("", String::as_str);
    let known = hosts.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut words = line.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(ip)
    });
    known.map_or_else(|| process.around.resolve(&view.namespace, &view.pod, name), |ip| vec![ip])
}

async fn nslookup(process: &Process<'_>, arguments: &[String]) -> i32 {
    let Some(name) = arguments.iter().find(|argument| !argument.starts_with('-')) else {
        process.err("Usage: nslookup HOST\n").await;
        return 1;
    };
    let mut text = format!("Server:\t\t{RESOLVER}\nAddress:\t{RESOLVER}:53\n\n");
    let found = process.around.resolve(&process.view.namespace, &process.view.pod, name);
    for ip in &found {
        text.push_str(&format!("Name:\t{name}\nAddress: {ip}\n"));
    }
    if found.is_empty() {
        text.push_str(&format!("** server can't find {name}: NXDOMAIN\n"));
    }
    process.out(text + "\n").await;
    i32::from(found.is_empty())
}

async fn getent(process: &Process<'_>, arguments: &[String]) -> i32 {
    let [database, names @ ..] = arguments else { return 1 };
    if !matches!(database.as_str(), "hosts" | "ahosts" | "ahostsv4") {
        process.err(format!("getent: unknown database: {database}\n")).await;
        return 1;
    }
    let mut code = 0;
    for name in names {
        let found = resolve(process, name);
        let lines: String = found.iter().map(|ip| format!("{:<15} {name}\n", ip.to_string())).collect();
        process.out(lines).await;
        if found.is_empty() {
            code = 2;
        }
    }
    code
}
