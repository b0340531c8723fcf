//! Cells of everything that is not a Pod or a workload.

use std::collections::BTreeSet;

use apiserver_json::{Value, json};

use super::{Subject, devices, message_text, or_none, selector_text, storage};

/// Lists longer than this end in "+ N more...".
const MORE_AFTER: usize = 3;

pub(super) fn cell(subject: &Subject, column: &str) -> Value {
    match subject.kind {
        "Service" => service(subject, column),
        "Endpoints" => json!(endpoints(subject)),
        "EndpointSlice" => slice(subject, column),
        "Ingress" => ingress(subject, column),
        "Node" => node(subject, column),
        "Event" => event(subject, column),
        "ComponentStatus" => json!(component(subject, column)),
        "PersistentVolume" | "PersistentVolumeClaim" => storage::volume(subject, column),
        "StorageClass" | "CSIDriver" | "CSINode" | "VolumeAttachment" | "VolumeAttributesClass" => {
            storage::cell(subject, column)
        }
        "RoleBinding" | "ClusterRoleBinding" => binding(subject, column),
        "ResourceClaim" | "ResourceSlice" => devices::cell(subject, column),
        _ => simple(subject, column),
    }
}

fn component<'a>(subject: &Subject<'a>, column: &str) -> &'a str {
    let of = |condition: &'a Value, member: &str| condition.get(member).and_then(Value::as_str).unwrap_or("");
    let healthy = subject.items("/conditions").iter().find(|condition| of(condition, "type") == "Healthy");
    match (column, healthy.map(|condition| of(condition, "status"))) {
        ("Status", None) => "Unknown",
        ("Status", Some("True")) => "Healthy",
        ("Status", Some(_)) => "Unhealthy",
        _ => healthy
            .map_or("", |condition| of(condition, if column == "Message" { "message" } else { "error" })),
    }
}

fn simple(subject: &Subject, column: &str) -> Value {
    let count = |pointer: &str| match subject.at(pointer) {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    match (subject.kind, column) {
        ("ConfigMap", "Data") => json!(count("/data") + count("/binaryData")),
        ("Secret", "Type") => json!(subject.text("/type")),
        ("Secret", "Data") => json!(count("/data")),
        ("Namespace", "Status") => json!(subject.text("/status/phase")),
        ("IngressClass", "Controller") => json!(subject.text("/spec/controller")),
        ("IngressClass", "Parameters") => match subject.at("/spec/parameters") {
            Value::Null => json!("<none>"),
            parameters => {
                let kind = parameters["kind"].as_str().unwrap_or("");
                let group =
                    parameters["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
                json!(format!("{kind}{group}/{}", parameters["name"].as_str().unwrap_or("")))
            }
        },
        ("Lease", "Holder") => json!(subject.text("/spec/holderIdentity")),
        ("NetworkPolicy", "Pod-Selector") => json!(selector_text(subject.at("/spec/podSelector"))),
        ("ServiceCIDR", "CIDRs") => {
            let cidrs: Vec<&str> = subject.items("/spec/cidrs").iter().filter_map(Value::as_str).collect();
            json!(cidrs.join(","))
        }
        ("IPAddress", "ParentRef") => {
            let parent = subject.at("/spec/parentRef");
            let part = |member: &str| parent[member].as_str().unwrap_or("");
            let resource = [part("resource"), part("group")]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join(".");
            json!(
                [resource.as_str(), part("namespace"), part("name")]
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect::<Vec<_>>()
                    .join("/")
            )
        }
        ("PriorityClass", "Value") => json!(subject.number("/value")),
        ("PriorityClass", "Global-Default") => json!(subject.at("/globalDefault") == &json!(true)),
        ("PriorityClass", "PreemptionPolicy") => json!(subject.text("/preemptionPolicy")),
        ("RuntimeClass", "Handler") => json!(subject.text("/handler")),
        ("APIService", "Service") => match subject.at("/spec/service") {
            Value::Null => json!("Local"),
            service => json!(format!(
                "{}/{}",
                service["namespace"].as_str().unwrap_or(""),
                service["name"].as_str().unwrap_or("")
            )),
        },
        ("APIService", "Available") => {
            let available =
                subject.items("/status/conditions").iter().find(|condition| condition["type"] == "Available");
            let part =
                |member: &str| available.and_then(|condition| condition[member].as_str()).unwrap_or("");
            json!(match (part("status"), part("reason")) {
                _ if available.is_none() => "Unknown".to_owned(),
                (status, reason) if status == "True" || reason.is_empty() => status.to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            })
        }
        ("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration", "Webhooks") => {
            json!(count("/webhooks"))
        }
        ("ValidatingAdmissionPolicy", "Validations") => json!(count("/spec/validations")),
        ("MutatingAdmissionPolicy", "Mutations") => json!(count("/spec/mutations")),
        ("ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy", "ParamKind") => {
            match subject.at("/spec/paramKind") {
                Value::Null => json!("<unset>"),
                kind => json!(format!(
                    "{}/{}",
                    kind["apiVersion"].as_str().unwrap_or(""),
                    kind["kind"].as_str().unwrap_or("")
                )),
            }
        }
        ("ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding", "PolicyName") => {
            json!(subject.text("/spec/policyName"))
        }
        ("ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding", "ParamRef") => {
            json!(param_ref(subject))
        }
        ("FlowSchema", "PriorityLevel") => json!(subject.text("/spec/priorityLevelConfiguration/name")),
        ("FlowSchema", "MatchingPrecedence") => json!(subject.number("/spec/matchingPrecedence")),
        ("FlowSchema", "DistinguisherMethod") => or_none(subject.text("/spec/distinguisherMethod/type")),
        ("FlowSchema", "MissingPL") => {
            let dangling =
                subject.items("/status/conditions").iter().find(|condition| condition["type"] == "Dangling");
            json!(dangling.and_then(|condition| condition["status"].as_str()).unwrap_or("?"))
        }
        ("PriorityLevelConfiguration", "Type") => json!(subject.text("/spec/type")),
        ("PriorityLevelConfiguration", "NominalConcurrencyShares") => match subject.text("/spec/type") {
            "Limited" => json!(subject.number("/spec/limited/nominalConcurrencyShares")),
            _ => json!("<none>"),
        },
        ("PriorityLevelConfiguration", "Queues" | "HandSize" | "QueueLengthLimit") => {
            let member = match column {
                "Queues" => "queues",
                "HandSize" => "handSize",
                _ => "queueLengthLimit",
            };
            let value = subject.at(&format!("/spec/limited/limitResponse/queuing/{member}"));
            if value.is_null() { json!("<none>") } else { value.clone() }
        }
        ("ResourceQuota", "Request" | "Limit") => quota(subject, column),
        ("CertificateSigningRequest", _) => signing_request(subject, column),
        ("PodTemplate", _) => match column {
            "Pod Labels" => json!(selector_text(subject.at("/template/metadata/labels"))),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

/// Which parameters a policy is bound to; that a kind of them has no namespace is not known here.
fn param_ref(binding: &Subject) -> String {
    let namespace = Some(binding.text("/spec/paramRef/namespace")).filter(|text| !text.is_empty());
    match (binding.text("/spec/paramRef/name"), binding.at("/spec/paramRef/selector")) {
        ("", Value::Null) => "<unset>".to_owned(),
        ("", selector) => message_text(selector),
        (name, _) => format!("{}/{name}", namespace.unwrap_or("*")),
    }
}

fn quota(subject: &Subject, column: &str) -> Value {
    let hard = subject.at("/status/hard").as_object();
    let used = subject.at("/status/used");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("0").to_owned();
    let parts: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(name, _)| (name.starts_with("limits.")) == (column == "Limit"))
        .map(|(name, limit)| format!("{name}: {}/{}", text(used.get(name)), text(Some(limit))))
        .collect();
    json!(parts.join(", "))
}

fn signing_request(request: &Subject, column: &str) -> Value {
    match column {
        "SignerName" => or_none(request.text("/spec/signerName")),
        "Requestor" => json!(request.text("/spec/username")),
        "RequestedDuration" => {
            let seconds = request.at("/spec/expirationSeconds").as_i64();
            or_none(seconds.map(super::human_duration).unwrap_or_default())
        }
        "Condition" => json!(request_state(request)),
        _ => Value::Null,
    }
}

/// What became of a request to sign a certificate.
fn request_state(request: &Subject) -> String {
    let conditions = request.items("/status/conditions");
    let has = |kind: &str| conditions.iter().any(|condition| condition["type"] == kind);
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !request.text("/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}

fn service(service: &Subject, column: &str) -> Value {
    let kind = service.text("/spec/type");
    match column {
        "Type" => json!(kind),
        "Cluster-IP" => or_none(service.text("/spec/clusterIP")),
        "External-IP" => json!(external_ip(service, kind)),
        "Port(s)" => {
            let ports: Vec<String> = service
                .items("/spec/ports")
                .iter()
                .map(|port| match port["nodePort"].as_i64().unwrap_or(0) {
                    0 => format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("")),
                    node_port => {
                        format!("{}:{node_port}/{}", port["port"], port["protocol"].as_str().unwrap_or(""))
                    }
                })
                .collect();
            or_none(ports.join(","))
        }
        "Selector" => json!(selector_text(service.at("/spec/selector"))),
        _ => Value::Null,
    }
}

fn external_ip(service: &Subject, kind: &str) -> String {
    let external: Vec<&str> = service.items("/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match kind {
        "LoadBalancer" => {
            let mut addresses = Vec::from_iter(load_balancer_addresses(service));
            addresses.extend(&external);
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        "ExternalName" => service.text("/spec/externalName").to_owned(),
        _ if external.is_empty() => "<none>".to_owned(),
        _ => external.join(","),
    }
}

fn load_balancer_addresses<'a>(subject: &Subject<'a>) -> BTreeSet<&'a str> {
    subject
        .items("/status/loadBalancer/ingress")
        .iter()
        .filter_map(|ingress| {
            let text = |member: &str| ingress[member].as_str().filter(|text| !text.is_empty());
            text("ip").or_else(|| text("hostname"))
        })
        .collect()
}

fn endpoints(subject: &Subject) -> String {
    if subject.items("/subsets").is_empty() {
        return "<none>".to_owned();
    }
    let mut list = Vec::new();
    for subset in subject.items("/subsets") {
        let addresses = subset["addresses"].as_array().unwrap_or_default();
        let ips = addresses.iter().map(|address| address["ip"].as_str().unwrap_or(""));
        let ports = subset["ports"].as_array().unwrap_or_default();
        if ports.is_empty() {
            list.extend(ips.clone().map(str::to_owned));
        }
        for port in ports {
            list.extend(ips.clone().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{}", port["port"]),
                false => format!("{ip}:{}", port["port"]),
            }));
        }
    }
    shorten(list)
}

fn shorten(list: Vec<String>) -> String {
    match list.len() {
        n if n > MORE_AFTER => format!("{} + {} more...", list[..MORE_AFTER].join(","), n - MORE_AFTER),
        _ => list.join(","),
    }
}

fn slice(slice: &Subject, column: &str) -> Value {
    match column {
        "AddressType" => json!(slice.text("/addressType")),
        "Ports" => {
            let ports: Vec<String> = slice
                .items("/ports")
                .iter()
                .map(|port| match port["port"].as_i64() {
                    Some(number) => number.to_string(),
                    None => port["name"].as_str().unwrap_or("*").to_owned(),
                })
                .collect();
            if ports.is_empty() { json!("<unset>") } else { json!(shorten(ports)) }
        }
        "Endpoints" => {
            let addresses: Vec<String> = slice
                .items("/endpoints")
                .iter()
                .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            if addresses.is_empty() { json!("<unset>") } else { json!(shorten(addresses)) }
        }
        _ => Value::Null,
    }
}

fn ingress(ingress: &Subject, column: &str) -> Value {
    match column {
        "Class" => or_none(ingress.text("/spec/ingressClassName")),
        "Hosts" => {
            json!(hosts(ingress.items("/spec/rules")))
        }
        "Address" => {
            json!(Vec::from_iter(load_balancer_addresses(ingress)).join(","))
        }
        "Ports" => json!(if ingress.items("/spec/tls").is_empty() { "80" } else { "80, 443" }),
        _ => Value::Null,
    }
}

/// What comes after three hosts is counted by rules, whether these have a host or not.
fn hosts(rules: &[Value]) -> String {
    let (mut hosts, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= hosts.len() == MORE_AFTER;
        hosts.extend(rule["host"].as_str().filter(|host| !more && !host.is_empty()));
    }
    match hosts.len() {
        0 => "*".to_owned(),
        _ if more => format!("{} + {} more...", hosts.join(","), rules.len() - MORE_AFTER),
        _ => hosts.join(","),
    }
}

fn node(node: &Subject, column: &str) -> Value {
    let address = |kind: &str| {
        let found = node.items("/status/addresses").iter().find(|address| address["type"] == kind);
        json!(found.map_or("<none>", |address| address["address"].as_str().unwrap_or("")))
    };
    match column {
        "Status" => {
            let ready =
                node.items("/status/conditions").iter().rfind(|condition| condition["type"] == "Ready");
            let mut text = match ready.and_then(|condition| condition["status"].as_str()) {
                Some("True") => "Ready",
                Some(_) => "NotReady",
                None => "Unknown",
            }
            .to_owned();
            if node.at("/spec/unschedulable") == &json!(true) {
                text.push_str(",SchedulingDisabled");
            }
            json!(text)
        }
        "Roles" => {
            let labels = node.at("/metadata/labels").as_object();
            let mut roles: Vec<&str> = labels
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                    Some(role) if !role.is_empty() => Some(role),
                    _ if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
                    _ => None,
                })
                .collect();
            roles.sort_unstable();
            or_none(roles.join(","))
        }
        "Version" => json!(node.text("/status/nodeInfo/kubeletVersion")),
        "Internal-IP" => address("InternalIP"),
        "External-IP" => address("ExternalIP"),
        "OS-Image" => unknown(node.text("/status/nodeInfo/osImage")),
        "Kernel-Version" => match node.text("/status/nodeInfo/architecture") {
            "" => unknown(node.text("/status/nodeInfo/kernelVersion")),
            architecture => {
                let kernel = unknown(node.text("/status/nodeInfo/kernelVersion"));
                json!(format!("{} ({architecture})", kernel.as_str().unwrap_or("")))
            }
        },
        "Container-Runtime" => unknown(node.text("/status/nodeInfo/containerRuntimeVersion")),
        _ => Value::Null,
    }
}

fn unknown(text: &str) -> Value {
    if text.is_empty() { json!("<unknown>") } else { json!(text) }
}

/// Where an Event says when it was seen first: as the core has it, as events.k8s.io has it, and as both do.
const FIRST_SEEN: [&str; 3] = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"];

fn event(event: &Subject, column: &str) -> Value {
    let first = |names: [&str; 3]| {
        names.into_iter().map(|name| event.text(name)).find(|text| !text.is_empty()).unwrap_or("")
    };
    // The same members under their core name, and as events.k8s.io has them.
    let either = |core: &'static str, new: &'static str| first([core, new, new]);
    match column {
        "Last Seen" => {
            let last = match event.at("/series") {
                Value::Null => first(["/lastTimestamp", "/deprecatedLastTimestamp", ""]),
                series => series["lastObservedTime"].as_str().unwrap_or("<unknown>"),
            };
            json!(super::age(if last.is_empty() { first(FIRST_SEEN) } else { last }, event.now))
        }
        "First Seen" => json!(super::age(first(FIRST_SEEN), event.now)),
        "Type" => json!(event.text("/type")),
        "Reason" => json!(event.text("/reason")),
        "Object" => {
            let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
            let name = either("/involvedObject/name", "/regarding/name");
            json!(if name.is_empty() { kind } else { format!("{kind}/{name}") })
        }
        "Subobject" => json!(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        "Source" => {
            let component = either("/source/component", "/deprecatedSource/component");
            let component = if component.is_empty() {
                either("/reportingComponent", "/reportingController")
            } else {
                component
            };
            let host = first(["/source/host", "/deprecatedSource/host", "/reportingInstance"]);
            json!(if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") })
        }
        "Message" => json!(either("/message", "/note").trim()),
        "Count" => {
            let count = event.number("/count") + event.number("/deprecatedCount");
            match event.at("/series") {
                Value::Null => json!(if count == 0 { 1 } else { count }),
                _ => json!(event.number("/series/count")),
            }
        }
        _ => Value::Null,
    }
}

fn binding(binding: &Subject, column: &str) -> Value {
    let subjects = |kind: &str| {
        let names: Vec<String> = binding
            .items("/subjects")
            .iter()
            .filter(|subject| subject["kind"] == kind)
            .map(|subject| {
                let part = |member: &str| subject[member].as_str().unwrap_or("");
                match kind {
                    "ServiceAccount" => format!("{}/{}", part("namespace"), part("name")),
                    _ => part("name").to_owned(),
                }
            })
            .collect();
        json!(names.join(", "))
    };
    match column {
        "Role" => json!(format!("{}/{}", binding.text("/roleRef/kind"), binding.text("/roleRef/name"))),
        "Users" => subjects("User"),
        "Groups" => subjects("Group"),
        "ServiceAccounts" => subjects("ServiceAccount"),
        _ => Value::Null,
    }
}
