//! The command that a container itself runs: which one, whether it can be run here, and its lines in the log.
//!
//! Where there is none, the image serves or idles, as it does without a command.

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{broadcast, mpsc};

use super::container::{View, is_bare, substitute, view};
use super::parse::{Part, parse};
use super::{ExecError, Streams, Surroundings, commands, pi, shell};
use crate::console::find;
use crate::image::{Behaviour, behaviour_of, short};
use crate::logs::Logs;
use crate::run::{UPSTREAM, Workloads};

/// Bytes of a line of a log; longer ones are cut up.
const LINE_MAX: usize = 16 << 10;

/// What a container does once it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// What its image does: serve, or idle.
    Image,
    /// This command, to its end.
    Command(Vec<String>),
    /// It was given a command that is not simulated, for this reason.
    Unsupported(String),
}

/// What a container of a Pod does once it is started.
pub fn entry(pod: &Pod, container: &str) -> Entry {
    let known = find(pod, container);
    let elsewhere = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(UPSTREAM));
    let Some(container) = known.as_deref().filter(|_| !elsewhere) else { return Entry::Image };
    let image = container.image.as_deref().unwrap_or_default();
    let idles = behaviour_of(image).is_some_and(|(behaviour, _)| behaviour == Behaviour::Idle);
    let Some(words) = words(container, short(image), idles) else { return Entry::Image };
    match check(&words, short(image)) {
        Ok(()) => Entry::Command(words),
        // A server's own binary, called by name.
        Err(_) if !idles || is_bare(image) => Entry::Image,
        Err(why) => Entry::Unsupported(why),
    }
}

/// The words of the command, if the container is given one.
fn words(container: &Container, image: &str, idles: bool) -> Option<Vec<String>> {
    let command = container.command.clone().unwrap_or_default();
    let arguments = container.args.clone().unwrap_or_default();
    let waits = ["tail", "-f", "/dev/null"];
    let words: Vec<String> = match (command.is_empty(), arguments.first()) {
        (false, _) => command.into_iter().chain(arguments).collect(),
        (true, Some(first)) if idles && image != "pause" => {
            // Its entry point takes what is no command for arguments of curl.
            let prefixed = image.ends_with("curl") && commands::tool(first, &all_tools(image)).is_none();
            prefixed.then(|| "curl".to_owned()).into_iter().chain(arguments).collect()
        }
        // Its shell, which somebody may type into.
        (true, None) if idles && container.stdin == Some(true) && !is_bare(image) => vec!["sh".to_owned()],
        (true, _) => return None,
    };
    (words != waits).then_some(words)
}

fn all_tools(image: &str) -> View {
    View { tools: !is_bare(image), perl: image == "perl", ..View::default() }
}

/// Whether a command can be run here.
fn check(words: &[String], image: &str) -> Result<(), String> {
    let tools = all_tools(image);
    let name = words.first().map(String::as_str).unwrap_or_default();
    match commands::tool(name, &tools) {
        None => Err(format!("{name:?} is not simulated")),
        Some("sh" | "bash" | "ash") => {
            let script = words.iter().skip(1).skip_while(|word| word.starts_with('-')).take(1);
            let given = words.get(1).is_some_and(|flags| flags.starts_with('-') && flags.contains('c'));
            script.filter(|_| given).try_for_each(|script| check_script(script, &tools))
        }
        Some("perl") if pi::asked(&words[1..]).is_none() => {
            Err("of perl only print bpi(N) is simulated".to_owned())
        }
        Some(_) => Ok(()),
    }
}

fn check_script(script: &str, tools: &View) -> Result<(), String> {
    for command in parse(script)? {
        let Some([Part::Text(name)]) = command.words.first().map(Vec::as_slice) else { continue };
        let known = shell::BUILT_IN.contains(&name.as_str()) || commands::tool(name, tools).is_some();
        if !known && !name.contains('=') {
            return Err(format!("{name:?} is not simulated"));
        }
    }
    Ok(())
}

impl Workloads {
    /// Run the command of a container of a running Pod, and give its exit code. What it says is its log, which
    /// begins anew. Whatever serves or idles does so until this is dropped.
    ///
    /// # Errors
    /// When the Pod or its container does not run.
    pub async fn run_entry(
        &self,
        (uid, container): (&str, &str),
        around: &dyn Surroundings,
    ) -> Result<i32, ExecError> {
        let (pod, ip) = self.pod(uid).ok_or(ExecError::NotRunning)?;
        let Entry::Command(words) = entry(&pod, container) else { return std::future::pending().await };
        let seen = view(&pod, container, ip, around).ok_or(ExecError::NotRunning)?;
        let words: Vec<String> = words.iter().map(|word| substitute(word, &seen.env)).collect();
        let logs = self.fresh_logs(uid, container).ok_or(ExecError::NotRunning)?;
        let found = find(&pod, container).ok_or(ExecError::NotRunning)?;
        let consoles = self.consoles(uid).ok_or(ExecError::NotRunning)?;
        consoles.open(&found);
        let (stdin, shown) =
            consoles.take(container).map_or((None, None), |(input, said)| (input, Some(said)));
        let (out, said) = mpsc::channel(64);
        let tty = found.tty == Some(true);
        let streams = Streams { stdin, stdout: Some(out.clone()), stderr: Some(out), tty };
        let (code, ()) = tokio::join!(
            self.exec((uid, container), &words, streams, around),
            keep(said, &logs, shown.as_ref())
        );
        logs.close();
        consoles.close(container);
        code
    }
}

/// Lines of a process, as they come; who attached is shown them at once.
async fn keep(mut said: mpsc::Receiver<Bytes>, logs: &Logs, shown: Option<&broadcast::Sender<Bytes>>) {
    let mut kept: Vec<u8> = Vec::new();
    while let Some(bytes) = said.recv().await {
        // Nobody may be looking.
        shown.map(|shown| shown.send(bytes.clone()));
        kept.extend_from_slice(&bytes);
        while let Some(end) =
            kept.iter().position(|byte| *byte == b'\n').or((kept.len() > LINE_MAX).then_some(LINE_MAX))
        {
            let line: Vec<u8> = kept.drain(..=end).collect();
            logs.write(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        }
    }
    if !kept.is_empty() {
        logs.write(String::from_utf8_lossy(&kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_network::Fabric;
    use serde_json::{Value, json};
    use std::net::Ipv4Addr;

    struct Nothing;

    impl Surroundings for Nothing {
        fn resolve(&self, _: &str, _: &str, _: &str) -> Vec<Ipv4Addr> {
            Vec::new()
        }
        fn service_variables(&self, _: &str) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    fn pod(image: &str, command: &Value, args: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "job-1", "namespace": "default", "uid": "u1",
                "labels": {"batch.kubernetes.io/job-completion-index": "3"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": image, "command": command, "args": args,
                "env": [{"name": "INDEX", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}]}]},
            "status": {"podIP": "10.0.16.20"},
        }))
        .expect("a Pod")
    }

    #[tokio::test]
    async fn commands_end_as_they_would() {
        // Image, command, arguments, exit code or what is not simulated, log.
        type Row<'a> = (&'a str, Value, Value, Result<i32, &'a str>, &'a str);
        let table: &[Row] = &[
            ("busybox", json!(["true"]), json!(null), Ok(0), ""),
            ("busybox:1.36", json!(null), json!(["false"]), Ok(1), ""),
            (
                "busybox",
                json!(["sh", "-c", "echo a; echo b >&2"]),
                json!(null),
                Err("\">\" is not supported in a simulated container"),
                "",
            ),
            ("busybox", json!(["/bin/sh", "-c"]), json!(["echo a b; echo -n c; exit 3"]), Ok(3), "a b|c"),
            ("alpine", json!(["echo", "$(INDEX)", "$(NONE)"]), json!(null), Ok(0), "3 $(NONE)"),
            ("alpine", json!(["sh", "-c", "echo $INDEX"]), json!(null), Ok(0), "3"),
            ("alpine", json!(["sleep", "0"]), json!(null), Ok(0), ""),
            ("alpine", json!(["rev", "x"]), json!(null), Err("\"rev\" is not simulated"), ""),
            (
                "alpine",
                json!(["sh", "-c", "echo a && rev x"]),
                json!(null),
                Err("\"rev\" is not simulated"),
                "",
            ),
            (
                "perl:5.34.0",
                json!(["perl", "-Mbignum=bpi", "-wle", "print bpi(5)"]),
                json!(null),
                Ok(0),
                "3.1416",
            ),
            (
                "perl",
                json!(["perl", "-e", "print 1"]),
                json!(null),
                Err("of perl only print bpi(N) is simulated"),
                "",
            ),
            (
                "busybox",
                json!(["perl", "-wle", "print bpi(5)"]),
                json!(null),
                Err("\"perl\" is not simulated"),
                "",
            ),
            ("curlimages/curl", json!(null), json!(["--version"]), Ok(2), ""),
            ("nginx", json!(["sh", "-c", "exit 4"]), json!(null), Ok(4), ""),
        ];
        for (image, command, args, ends, log) in table {
            let pod = pod(image, command, args);
            let what = format!("{image} {command} {args}");
            match (entry(&pod, "c"), ends) {
                (Entry::Unsupported(why), Err(expected)) => assert_eq!(why, *expected, "{what}"),
                (Entry::Command(_), Ok(code)) => {
                    let workloads = Workloads::new(Fabric::new());
                    workloads.start(&std::sync::Arc::new(pod)).await.expect("it starts");
                    let ended = workloads.run_entry(("u1", "c"), &Nothing).await;
                    assert_eq!(ended, Ok(*code), "{what}");
                    workloads.stop("u1", std::time::Duration::ZERO).await;
                    let lines = workloads.logs("u1", None).expect("its log is kept");
                    let text: Vec<String> = lines.since(0).into_iter().map(|line| line.text).collect();
                    if !log.is_empty() {
                        assert_eq!(text.join("|"), *log, "{what}");
                    }
                    assert!(!lines.wait(text.len() as u64).await, "{what}: nothing more comes");
                }
                (other, _) => panic!("{what}: {other:?}"),
            }
        }
    }

    #[test]
    fn servers_serve_and_what_idles_idles() {
        for (image, command, args) in [
            ("nginx", json!(null), json!(null)),
            ("nginx", json!(["nginx", "-g", "daemon off;"]), json!(null)),
            ("agnhost", json!(null), json!(["netexec", "--http-port=80"])),
            ("hashicorp/http-echo", json!(null), json!(["-text=hi"])),
            ("busybox", json!(null), json!(null)),
            ("busybox", json!(["tail", "-f", "/dev/null"]), json!(null)),
            ("registry.k8s.io/pause:3.10", json!(null), json!(["x"])),
        ] {
            assert_eq!(entry(&pod(image, &command, &args), "c"), Entry::Image, "{image} {command} {args}");
        }
    }
}
