//! Answers in protobuf: the same objects as in JSON, byte for byte what Go writes for them, in every form of answer.

mod common;

use std::time::Duration;

use apiserver_json::{Value, json};
use apiserver_schema::{from_protobuf, to_protobuf};
use apiserver_server::{ApiServer, ResponseBody, User};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use common::server;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CLIENT_GO: &str = "application/vnd.kubernetes.protobuf,application/json";
const METADATA: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().expect("text")
    }

    /// The object in a protobuf body.
    fn object(&self) -> Value {
        assert_eq!(self.content_type(), PROTOBUF, "{:?}", self.body);
        from_protobuf(&self.body).expect("a protobuf body")
    }
}

/// `media` is what is accepted, and what is sent.
async fn send(server: &ApiServer, method: Method, path: &str, media: [&str; 2], body: Bytes) -> Reply {
    let answer = common::send(server, &User::master("test"), (method, path), media, body).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Reply { status: parts.status, headers: parts.headers, body }
}

/// Sends JSON.
async fn ask(server: &ApiServer, method: Method, path: &str, accept: &str, body: &Value) -> Reply {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    send(server, method, path, [accept, "application/json"], body).await
}

async fn get(server: &ApiServer, path: &str, accept: &str) -> Reply {
    ask(server, Method::GET, path, accept, &Value::Null).await
}

async fn get_json(server: &ApiServer, path: &str) -> Value {
    common::ask(server, Method::GET, path, &Value::Null).await.1
}

async fn create(server: &ApiServer, path: &str, object: &Value) -> Reply {
    let reply = ask(server, Method::POST, path, CLIENT_GO, object).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{object}: {:?}", reply.body);
    reply
}

/// The paths of all collections that can be listed, and their group versions.
async fn collections(server: &ApiServer) -> Vec<String> {
    let mut roots = vec!["/api/v1".to_owned()];
    for group in get_json(server, "/apis").await["groups"].as_array().expect("groups") {
        for version in group["versions"].as_array().expect("versions") {
            roots.push(format!("/apis/{}", version["groupVersion"].as_str().expect("text")));
        }
    }
    let mut paths = Vec::new();
    for root in roots {
        for resource in get_json(server, &root).await["resources"].as_array().expect("resources") {
            if resource["verbs"].as_array().expect("verbs").contains(&json!("list")) {
                paths.push(format!("{root}/{}", resource["name"].as_str().expect("text")));
            }
        }
    }
    paths
}

#[tokio::test]
async fn every_kind_is_listed_and_read_as_go_writes_it() {
    let server = server().await;
    let paths = collections(&server).await;
    assert!(paths.len() > 55, "{paths:?}");
    let mut objects = 0;
    for path in paths {
        let list = get_json(&server, &path).await;
        let reply = get(&server, &path, CLIENT_GO).await;
        assert_eq!(reply.content_type(), PROTOBUF, "{path}");
        assert_eq!(reply.body, to_protobuf(&list).expect("a message"), "{path}");
        let partial = get(&server, &path, METADATA_LIST).await.object();
        assert_eq!(partial["kind"], "PartialObjectMetadataList");
        let items = list["items"].as_array().expect("items");
        assert_eq!(partial["items"].as_array().map_or(0, <[_]>::len), items.len());
        let Some(item) = items.first() else { continue };
        let (root, plural) = path.rsplit_once('/').expect("a path");
        let name = item["metadata"]["name"].as_str().expect("a name");
        let path = match item["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
            None => format!("{path}/{name}"),
        };
        let object = get_json(&server, &path).await;
        assert_eq!(
            get(&server, &path, PROTOBUF).await.body,
            to_protobuf(&object).expect("a message"),
            "{path}"
        );
        let partial = get(&server, &path, METADATA).await.object();
        assert_eq!(
            (&partial["apiVersion"], &partial["kind"]),
            (&json!("meta.k8s.io/v1"), &json!("PartialObjectMetadata"))
        );
        // What is kept nowhere has none.
        let uid = |of: &Value| of["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        assert_eq!(uid(&partial), uid(&object));
        objects += 1;
    }
    assert!(objects > 10);
}

#[tokio::test]
async fn a_list_that_is_not_kept_is_the_same_list() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let text = "x".repeat(900_000);
    for i in 0..8 {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c-{i}")}, "data": {"k": text}});
        create(&server, path, &object).await;
    }
    let want = to_protobuf(&get_json(&server, path).await).expect("a message");
    assert!(want.len() > apiserver_server::limits::LIST_KEPT_BYTES);
    assert!(get(&server, path, PROTOBUF).await.body == want, "the lists differ");
}

#[tokio::test]
async fn writes_and_errors_are_answered_in_protobuf() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let created = create(&server, path, &object).await.object();
    assert_eq!(created["data"], json!({"k": "v"}));
    let again = ask(&server, Method::POST, path, CLIENT_GO, &object).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let status = again.object();
    assert_eq!((&status["apiVersion"], &status["kind"]), (&json!("v1"), &json!("Status")));
    assert_eq!(status["message"], "configmaps \"a\" already exists");
    let gone = ask(&server, Method::DELETE, &format!("{path}/a"), CLIENT_GO, &Value::Null).await.object();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    // Errors are never transformed: who accepts a form of metadata alone gets readable JSON.
    let alone = METADATA.split(',').next().expect("a clause");
    let missing = get(&server, &format!("{path}/a"), alone).await;
    assert_eq!((missing.status, missing.content_type()), (StatusCode::NOT_FOUND, "application/json"));
    assert!(missing.body.starts_with(b"{\n  \""));
    let unknown = get(&server, "/api/v1/nothing", CLIENT_GO).await;
    assert_eq!(
        (unknown.status, unknown.object()["reason"].clone()),
        (StatusCode::NOT_FOUND, json!("NotFound"))
    );
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let review = create(&server, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await.object();
    assert_eq!(review["status"]["userInfo"]["username"], "test");
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let refused = get(&server, path, &table).await;
    assert_eq!((refused.status, refused.content_type()), (StatusCode::NOT_ACCEPTABLE, "application/json"));
    assert_eq!(
        get(&server, path, &format!("{table},application/json")).await.content_type(),
        "application/json"
    );
}

#[tokio::test]
async fn bodies_in_protobuf_are_read() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/secrets";
    let both = [PROTOBUF, PROTOBUF];
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "AP8="}});
    let body = to_protobuf(&object).expect("a message");
    let created = send(&server, Method::POST, path, both, body.into()).await;
    assert_eq!((created.status, &created.object()["data"]["k"]), (StatusCode::CREATED, &json!("AP8=")));
    let sent = created.object();
    let body = to_protobuf(&sent).expect("a message");
    let again = send(&server, Method::PUT, &format!("{path}/a"), both, body.into()).await.object();
    assert_eq!(again["metadata"]["resourceVersion"], sent["metadata"]["resourceVersion"]);
    // client-go sends the options of a deletion in the version of what it deletes.
    let options =
        json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let body = to_protobuf(&options).expect("a message");
    let refused = send(&server, Method::DELETE, &format!("{path}/a"), both, body.into()).await;
    assert_eq!((refused.status, &refused.object()["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    for (body, want) in [
        (&b""[..], "empty data (<empty>)"),
        (b"k8s\0", "empty body (6b387300)"),
        (b"k8s\0\x12\x7f", "unexpected EOF (6b387300127f)"),
        (
            b"{}",
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
        ),
    ] {
        let refused = send(&server, Method::POST, path, both, Bytes::from_static(body)).await;
        let message = format!("the object provided is unrecognized (must be of type Secret): {want}");
        assert_eq!(
            (refused.status, &refused.object()["message"]),
            (StatusCode::BAD_REQUEST, &json!(message))
        );
    }
}

#[tokio::test]
async fn discovery_is_answered_in_protobuf() {
    let server = server().await;
    for (path, kind, version) in [
        ("/api", "APIVersions", ""),
        ("/apis", "APIGroupList", "v1"),
        ("/apis/apps", "APIGroup", "v1"),
        ("/apis/apps/v1", "APIResourceList", "v1"),
        ("/api/v1", "APIResourceList", ""),
    ] {
        let reply = get(&server, path, PROTOBUF).await;
        assert_eq!(
            (reply.object()["kind"].as_str(), reply.object()["apiVersion"].as_str()),
            (Some(kind), Some(version))
        );
        assert_eq!(reply.body, to_protobuf(&get_json(&server, path).await).expect("a message"));
    }
    let aggregated = format!("{PROTOBUF};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let reply = get(&server, "/apis", &format!("application/json,{aggregated}")).await;
    assert_eq!(
        (reply.content_type(), &reply.headers["vary"]),
        (aggregated.as_str(), &"Accept".parse().expect("text"))
    );
    assert_eq!(from_protobuf(&reply.body).expect("a body")["kind"], "APIGroupDiscoveryList");
    assert_eq!(get(&server, "/", PROTOBUF).await.content_type(), "application/json");
    // The version is made in JSON alone; its refusal is not.
    let refused = get(&server, "/version", PROTOBUF).await;
    assert_eq!((refused.object()["code"].as_u64(), refused.content_type()), (Some(406), PROTOBUF));
    let version = get(&server, "/version", &format!("{PROTOBUF}, application/json")).await;
    assert_eq!(version.content_type(), "application/json");
}

/// A watch in protobuf: reads frames as they come.
struct Watch {
    body: ResponseBody,
    buffer: Vec<u8>,
}

impl Watch {
    async fn open(server: &ApiServer, path: &str, accept: &str) -> Self {
        let (user, media) = (User::master("test"), [accept, PROTOBUF]);
        let answer = common::send(server, &user, (Method::GET, path), media, Bytes::new()).await;
        let (parts, body) = answer.into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        assert_eq!(parts.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
        Self { body, buffer: Vec::new() }
    }

    /// The next event: its type, and the object in it.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let length = self.buffer.first_chunk().map(|head| u32::from_be_bytes(*head) as usize);
            if let Some(length) = length.filter(|length| self.buffer.len() >= 4 + length) {
                let frame: Vec<u8> = self.buffer.drain(..4 + length).skip(4).collect();
                return event(&frame);
            }
            let waited = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await;
            let frame = waited.expect("an event in time").expect("an open watch").expect("a frame");
            self.buffer.extend_from_slice(&frame.into_data().expect("data"));
        }
    }
}

/// WatchEvent{type: 1, object: 2 {raw: 1}}; the object is the rest of the frame.
fn event(frame: &[u8]) -> (String, Value) {
    let length = usize::from(frame[1]);
    let kind = String::from_utf8(frame[2..2 + length].to_vec()).expect("text");
    let start = frame.windows(4).position(|window| window == b"k8s\0").expect("an envelope");
    assert_eq!((frame[0], frame[2 + length]), (0x0a, 0x12));
    (kind, from_protobuf(&frame[start..]).expect("an object"))
}

#[tokio::test]
async fn watches_send_framed_events() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let uid = create(&server, path, &object).await.object()["metadata"]["uid"].clone();
    let initial = format!(
        "{path}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    for (accept, api_version, kind) in
        [(CLIENT_GO, "v1", "ConfigMap"), (METADATA, "meta.k8s.io/v1", "PartialObjectMetadata")]
    {
        let mut watch = Watch::open(&server, &initial, accept).await;
        let (event, object) = watch.next().await;
        assert_eq!((event.as_str(), &object["metadata"]["uid"]), ("ADDED", &uid));
        assert_eq!((&object["apiVersion"], &object["kind"]), (&json!(api_version), &json!(kind)));
        let (event, bookmark) = watch.next().await;
        assert_eq!((event.as_str(), &bookmark["kind"]), ("BOOKMARK", &json!(kind)));
        assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        let other =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "v"}});
        create(&server, path, &other).await;
        let (event, object) = watch.next().await;
        assert_eq!((event.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("b")));
        ask(&server, Method::DELETE, &format!("{path}/b"), CLIENT_GO, &Value::Null).await;
        let (event, object) = watch.next().await;
        assert_eq!((event.as_str(), &object["metadata"]["name"]), ("DELETED", &json!("b")));
    }
    let refused = get(&server, &format!("{path}?watch=1"), "application/yaml").await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
    // Long lines are folded.
    let text = String::from_utf8_lossy(&refused.body).replace("\n  ", " ");
    assert!(
        text.contains("application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"),
        "{text}"
    );
}

#[tokio::test]
async fn custom_objects_have_no_protobuf_but_their_metadata_has() {
    let server = server().await;
    let housekeeping = tokio::spawn(apiserver_server::run_housekeeping(server.clone()));
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    create(&server, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    let served = async {
        while get(&server, path, "application/json").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served).await.expect("the kind is served");
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    assert_eq!(create(&server, path, &widget).await.content_type(), "application/json");
    for (method, path) in
        [(Method::GET, format!("{path}/w")), (Method::GET, path.to_owned()), (Method::POST, path.to_owned())]
    {
        let refused = ask(&server, method, &path, PROTOBUF, &widget).await;
        assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
        assert_eq!(
            refused.object()["message"],
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
    }
    assert_eq!(get(&server, &format!("{path}/w"), METADATA).await.object()["metadata"]["name"], "w");
    let list = get(&server, path, METADATA_LIST).await.object();
    assert_eq!(list["items"].as_array().map(<[_]>::len), Some(1));
    let mut watch = Watch::open(&server, &format!("{path}?watch=1&resourceVersion=0"), METADATA).await;
    assert_eq!(watch.next().await.1["metadata"]["name"], "w");
    let mut old = Watch::open(&server, &format!("{path}?watch=1&resourceVersion=1"), METADATA).await;
    let (event, status) = old.next().await;
    assert_eq!((event.as_str(), &status["kind"], &status["code"]), ("ERROR", &json!("Status"), &json!(410)));
    housekeeping.abort();
}
