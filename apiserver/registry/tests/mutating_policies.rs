//! Mutating admission policies on a registry over memory.

mod common;

use apiserver_json::{Value, json};
use apiserver_registry::{Call, Registry, Requester, ServiceRanges};

const NAMESPACE: &str = "team";
const GROUP: &str = "admissionregistration.k8s.io";

async fn create(registry: &Registry, group: &str, name: &str, object: Value) -> Result<Value, String> {
    let catalogue = registry.catalogue();
    let resource = catalogue.get(group, "v1", name).expect("a built-in resource");
    let mut object = object;
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    let requester = Requester { name: "jane", ..Requester::default() };
    let call = Call { requester, ..common::call(resource, NAMESPACE) };
    let written = registry.create(&call, object).await;
    let written =
        written.map_err(|status| format!("{} {} {}", status.code, status.reason, status.message))?;
    Ok(apiserver_json::from_slice(&written.bytes).expect("an object"))
}

/// What becomes of a ConfigMap where there is a policy with these mutations.
async fn made(mutations: &[(&str, &str)], extra: Value) -> Result<Value, String> {
    let registry = common::registry(ServiceRanges::default(), &["ServiceAccount"]);
    create(&registry, "", "namespaces", json!({"metadata": {"name": NAMESPACE}})).await.expect("a namespace");
    let mutations: Vec<Value> = mutations
        .iter()
        .map(|(kind, expression)| {
            let member = if *kind == "JSONPatch" { "jsonPatch" } else { "applyConfiguration" };
            json!({"patchType": kind, (member): {"expression": expression}})
        })
        .collect();
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "Never", "mutations": mutations,
    });
    if let (Some(spec), Value::Object(extra)) = (spec.as_object_mut(), extra) {
        spec.extend(extra);
    }
    let policy = json!({"metadata": {"name": "p"}, "spec": spec});
    create(&registry, GROUP, "mutatingadmissionpolicies", policy).await.expect("a policy");
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p"}});
    create(&registry, GROUP, "mutatingadmissionpolicybindings", binding).await.expect("a binding");
    create(&registry, "", "configmaps", json!({"metadata": {"name": "c"}, "data": {"k": "v"}})).await
}

#[tokio::test]
async fn an_object_is_what_the_policies_make_of_it() {
    const APPLY: &str = "ApplyConfiguration";
    const PATCH: &str = "JSONPatch";
    let ignore = json!({"failurePolicy": "Ignore"});
    let refused = |why: &str| Err(format!("403 Invalid policy 'p' with binding 'b' denied request: {why}"));
    let own = json!({"k": "v"});
    for (mutations, extra, want) in [
        (
            &[(APPLY, "Object{data: {'n': object.metadata.name}}")][..],
            json!({}),
            Ok(json!({"k": "v", "n": "c"})),
        ),
        (
            &[
                (APPLY, "Object{data: {'a': '1'}}"),
                (PATCH, "[JSONPatch{op: 'replace', path: '/data/a', value: object.data.a + '2'}]"),
            ],
            json!({}),
            Ok(json!({"a": "12", "k": "v"})),
        ),
        (
            &[(
                PATCH,
                "[JSONPatch{op: 'test', path: '/data/k', value: 'x'}, JSONPatch{op: 'remove', path: '/data/k'}]",
            )],
            json!({}),
            Ok(own.clone()),
        ),
        (
            &[(PATCH, "[JSONPatch{op: 'remove', path: '/data/nope'}]")],
            json!({}),
            refused(
                "JSON Patch: error in remove for path: '/data/nope': Unable to remove nonexistent key: nope: missing value",
            ),
        ),
        (&[(APPLY, "Object{data: {'x': object.data.nope}}")], ignore, Ok(own.clone())),
        (
            &[(APPLY, "Object{data: {'x': object.data.nope}}")],
            json!({}),
            refused(
                "expression 'Object{data: {'x': object.data.nope}}' resulted in error: no such key: nope",
            ),
        ),
        (
            &[(PATCH, "[JSONPatch{op: 'add', path: '/nope', value: 1}]")],
            json!({}),
            Err("500 InternalError Internal error occurred: strict decoding error: unknown field \"nope\""
                .to_owned()),
        ),
        (
            &[(APPLY, "Object{data: {'x': 'y'}}")],
            json!({"matchConditions": [{"name": "m", "expression": "object.metadata.name != 'c'"}]}),
            Ok(own),
        ),
    ] {
        assert_eq!(made(mutations, extra).await.map(|made| made["data"].clone()), want, "{mutations:?}");
    }
}

#[tokio::test]
async fn who_wants_to_is_asked_again_and_nobody_comes_to_own_anything() {
    // What a policy sees the second time is what it made the first.
    let count = "Object{data: {'n': string(size(object.data))}}";
    for (again, want) in [("Never", "1"), ("IfNeeded", "2")] {
        let made = made(&[("ApplyConfiguration", count)], json!({"reinvocationPolicy": again}))
            .await
            .expect("an object");
        assert_eq!(made["data"]["n"], want, "{again}");
        let owned = made.pointer("/metadata/managedFields/0/fieldsV1/f:data");
        assert!(owned.is_none_or(|owned| owned.get("f:n").is_none()), "{made}");
    }
}

#[tokio::test]
async fn a_namespace_is_in_none() {
    let registry = common::registry(ServiceRanges::default(), &["ServiceAccount"]);
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]});
    let validations = json!([{"expression": "namespaceObject == null"}]);
    let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": validations});
    let policy = json!({"metadata": {"name": "p"}, "spec": spec});
    create(&registry, GROUP, "validatingadmissionpolicies", policy).await.expect("a policy");
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    create(&registry, GROUP, "validatingadmissionpolicybindings", binding).await.expect("a binding");
    create(&registry, "", "namespaces", json!({"metadata": {"name": NAMESPACE}})).await.expect("allowed");
}
