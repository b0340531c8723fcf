//! How ends are told, which streams are waited for, and a command over both transports.

use super::*;
use crate::node_proxy::{Chunks, Connection, NodeRequest, PodTarget, Promise};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

#[test]
fn ends_are_told_as_each_version_tells_them() {
    let command = ["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
    let refused = || Err("no such binary".to_owned());
    let message =
        |text: String| apiserver_json::from_str::<Value>(&text).expect("a Status")["message"].clone();
    let exec = |outcome, ending| told(Kind::Exec, &command, outcome, ending);
    assert_eq!(exec(Ok(0), Ending::Text), "");
    assert_eq!(exec(Ok(0), Ending::Status), r#"{"metadata":{},"status":"Success"}"#);
    let text =
        "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3";
    assert_eq!(exec(Ok(3), Ending::Text), text);
    assert_eq!(message(exec(Ok(3), Ending::Status)), text);
    let text = "command terminated with non-zero exit code: command terminated with exit code 3";
    assert_eq!(message(exec(Ok(3), Ending::Translated)), text);
    let status: Value = apiserver_json::from_str(&exec(Ok(3), Ending::Status)).expect("a Status");
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    let text = "Internal error occurred: error executing command in container: no such binary";
    assert_eq!(exec(refused(), Ending::Text), text);
    assert_eq!(message(exec(refused(), Ending::Status)), text);
    assert_eq!(message(exec(refused(), Ending::Translated)), format!("Internal error occurred: {text}"));
    let attached = told(Kind::Attach, &[], refused(), Ending::Text);
    assert_eq!(attached, "Internal error occurred: error attaching to container: no such binary");
}

#[test]
fn containers_are_found_as_upstream_finds_them() {
    let pod = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": "p"}, "spec": {"containers": list, "initContainers": [{"name": "init"}]}})
    };
    assert_eq!(container_of(&pod(&["a"]), "").ok().as_deref(), Some("a"));
    assert_eq!(container_of(&pod(&["a", "b"]), "b").ok().as_deref(), Some("b"));
    assert_eq!(container_of(&pod(&["a"]), "init").ok().as_deref(), Some("init"));
    let refused = |names: &[&str], asked| container_of(&pod(names), asked).expect_err("a refusal").message;
    let many = "a container name must be specified for pod p, choose one of: [init a b]";
    assert_eq!(refused(&["a", "b"], ""), many);
    assert_eq!(refused(&["a"], "c"), "container c is not valid for pod p");
}

/// A node whose every command copies its input to both outputs and ends with 7.
struct Copying;

impl Nodes for Copying {
    fn logs(&self, _: NodeRequest) -> Promise<'_, Result<Chunks, String>> {
        Box::pin(async { Err("no logs".to_owned()) })
    }
    fn port_forward(&self, _: PodTarget, _: u16) -> Promise<'_, Result<Box<dyn Connection>, String>> {
        Box::pin(async { Err("no ports".to_owned()) })
    }
    fn exec(&self, _: Process, mut streams: ProcessStreams) -> Promise<'_, Result<i32, String>> {
        Box::pin(async move {
            let mut stdin = streams.stdin.take().ok_or("no input")?;
            while let Some(bytes) = stdin.recv().await {
                for out in [&streams.stdout, &streams.stderr].into_iter().flatten() {
                    out.send(bytes.clone()).await.map_err(|_| "nobody listens")?;
                }
            }
            let size = *streams.size.borrow();
            Ok(if size == TerminalSize::default() { 7 } else { i32::from(size.width) })
        })
    }
    fn attach(&self, _: Process, _: ProcessStreams) -> Promise<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn connect(&self, _: String, _: u16) -> Promise<'_, Result<Box<dyn Connection>, String>> {
        Box::pin(async { Err("no ports".to_owned()) })
    }
}

fn job(asked: Asked) -> Job {
    Job { nodes: Arc::new(Copying), kind: Kind::Exec, process: Process::default(), asked }
}

#[tokio::test]
async fn a_websocket_carries_input_output_size_and_end() {
    use futures::{SinkExt, StreamExt};
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let asked = Asked { stdin: true, stdout: true, stderr: false, tty: true };
    let framing = Framing { base64: false, closes: true };
    let server = tokio::spawn(async move {
        channels::serve(ours, framing, &uses(asked), CancellationToken::new(), |channels| async move {
            let streams = streams_of(channels, asked).expect("five channels");
            run(job(asked), streams, Ending::Translated).await;
        })
        .await;
    });
    // The size comes in two pieces, before the input ends.
    for message in [&b"\x04{\"Width\":42,"[..], b"\x04\"Height\":24}\n", b"\x00hello"] {
        client.send(Message::binary(message)).await.expect("send");
    }
    let mut heard = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        heard.push(message);
        if heard.len() == 2 {
            client.send(Message::binary(&b"\xff\x00"[..])).await.expect("send");
        }
    }
    assert_eq!(heard[..2], [Message::binary(&b"\x01"[..]), Message::binary(&b"\x01hello"[..])]);
    let end = heard[2].clone().into_data();
    assert_eq!(end[0], 3);
    let status: Value = apiserver_json::from_slice(&end[1..]).expect("a Status");
    assert_eq!(status["details"]["causes"][0]["message"], "42");
    assert_eq!(heard.len(), 4, "a goodbye is last");
    server.await.expect("the server ends");
}

#[tokio::test]
async fn a_command_ends_when_its_client_leaves() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let asked = Asked { stdin: true, stdout: true, ..Asked::default() };
    let server = tokio::spawn(async move {
        let stop = CancellationToken::new();
        channels::serve(ours, Framing::default(), &uses(asked), stop, |channels| async move {
            let streams = streams_of(channels, asked).expect("five channels");
            run(job(asked), streams, Ending::Status).await;
        })
        .await;
    });
    drop(theirs);
    server.await.expect("it ends");
}
