//! The CustomResourceDefinitions of the objects: columns, short names and schemas as one table.
//!
//! The status subresource is off on purpose: one change of a resource is one write and one watch event.

use crate::crd_fields;
use crate::object::{GROUP, VERSION};
use serde_json::{Map, Value, json};

/// Names of zones, with or without the dot at the end.
const ZONE: &str =
    r"^([a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.?$";
/// Names in certificates: the first part may be a star.
const CERTIFIED: &str =
    r"^(\*\.)?([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$";

struct Kind {
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    /// Members of the spec without which it is none.
    required: &'static [&'static str],
    /// Heading, type, path, and 1 for wide only.
    columns: &'static [(&'static str, &'static str, &'static str, i32)],
}

const KINDS: &[Kind] = &[
    Kind {
        kind: "Vpc",
        plural: "vpcs",
        short: &[],
        required: &["cidrBlock"],
        columns: &[("CIDR", "string", ".spec.cidrBlock", 0), ("State", "string", ".status.state", 0)],
    },
    Kind {
        kind: "Subnet",
        plural: "subnets",
        short: &[],
        required: &["cidrBlock", "availabilityZone", "vpcId"],
        columns: &[
            ("Zone", "string", ".spec.availabilityZone", 0),
            ("CIDR", "string", ".spec.cidrBlock", 0),
            ("Role", "string", ".status.summary.role", 0),
            ("VPC", "string", ".spec.vpcId", 1),
        ],
    },
    Kind {
        kind: "RouteTable",
        plural: "routetables",
        short: &["rtb"],
        required: &["vpcId", "routes"],
        columns: &[
            ("Routes", "string", ".status.summary.routes", 0),
            ("Subnets", "string", ".status.summary.subnets", 0),
        ],
    },
    Kind {
        kind: "InternetGateway",
        plural: "internetgateways",
        short: &["igw"],
        required: &["attachments"],
        columns: &[("VPC", "string", ".spec.attachments[0].vpcId", 0)],
    },
    Kind {
        kind: "NatGateway",
        plural: "natgateways",
        short: &["ngw"],
        required: &["subnetId"],
        columns: &[
            ("Subnet", "string", ".spec.subnetId", 0),
            ("Public IP", "string", ".status.natGatewayAddresses[0].publicIp", 0),
            ("State", "string", ".status.state", 0),
        ],
    },
    Kind {
        kind: "NetworkInterface",
        plural: "networkinterfaces",
        short: &["eni"],
        required: &["subnetId", "privateIpAddress"],
        columns: &[
            ("Private IP", "string", ".spec.privateIpAddress", 0),
            ("Secondary", "string", ".status.summary.secondary", 0),
            ("Instance", "string", ".status.summary.instance", 0),
            ("Status", "string", ".status.status", 0),
            ("Description", "string", ".spec.description", 0),
            ("Public IP", "string", ".status.publicIp", 1),
            ("Subnet", "string", ".spec.subnetId", 1),
        ],
    },
    Kind {
        kind: "Instance",
        plural: "instances",
        short: &[],
        required: &["instanceType", "subnetId", "privateIpAddress"],
        columns: &[
            ("Node", "string", ".status.summary.name", 0),
            ("Type", "string", ".spec.instanceType", 0),
            ("Zone", "string", ".spec.availabilityZone", 0),
            ("Private IP", "string", ".spec.privateIpAddress", 0),
            ("State", "string", ".status.state", 0),
        ],
    },
    Kind {
        kind: "SecurityGroup",
        plural: "securitygroups",
        short: &["sg"],
        required: &["groupName", "vpcId"],
        columns: &[
            ("Group Name", "string", ".spec.groupName", 0),
            ("Ingress", "string", ".status.summary.ingress", 0),
            ("Description", "string", ".spec.description", 1),
        ],
    },
    Kind {
        kind: "LoadBalancer",
        plural: "loadbalancers",
        short: &["lb", "alb", "nlb"],
        required: &["loadBalancerName", "type", "scheme"],
        columns: &[
            ("Type", "string", ".spec.type", 0),
            ("Scheme", "string", ".spec.scheme", 0),
            ("State", "string", ".status.state", 0),
            ("DNS Name", "string", ".status.dnsName", 0),
            ("Addresses", "string", ".status.summary.addresses", 1),
            ("Zones", "string", ".status.summary.zones", 1),
            ("Moved To", "string", ".status.summary.moved", 1),
        ],
    },
    Kind {
        kind: "Listener",
        plural: "listeners",
        short: &["lsn"],
        required: &["loadBalancerArn", "port", "protocol"],
        columns: &[
            ("Protocol", "string", ".spec.protocol", 0),
            ("Port", "integer", ".spec.port", 0),
            ("Default Action", "string", ".status.summary.defaultAction", 0),
            ("Load Balancer", "string", ".status.summary.loadBalancer", 1),
            ("Certificates", "string", ".status.summary.certificates", 1),
        ],
    },
    Kind {
        kind: "ListenerRule",
        plural: "listenerrules",
        short: &["rule"],
        required: &["listenerArn", "priority"],
        columns: &[
            ("Priority", "string", ".spec.priority", 0),
            ("Conditions", "string", ".status.summary.conditions", 0),
            ("Actions", "string", ".status.summary.actions", 0),
            ("Listener", "string", ".status.summary.listener", 1),
        ],
    },
    Kind {
        kind: "TargetGroup",
        plural: "targetgroups",
        short: &["tg"],
        required: &["targetGroupName", "targetType"],
        columns: &[
            ("Protocol", "string", ".spec.protocol", 0),
            ("Port", "integer", ".spec.port", 0),
            ("Type", "string", ".spec.targetType", 0),
            ("Healthy", "string", ".status.summary.healthy", 0),
            ("Targets", "string", ".status.summary.targets", 0),
            ("Load Balancer", "string", ".status.summary.loadBalancers", 1),
            ("Health Check", "string", ".spec.healthCheck.path", 1),
        ],
    },
    Kind {
        kind: "HostedZone",
        plural: "hostedzones",
        short: &["hz"],
        required: &["name"],
        columns: &[
            ("Zone", "string", ".spec.name", 0),
            ("Private", "boolean", ".spec.privateZone", 0),
            ("Id", "string", ".status.id", 0),
            ("Records", "integer", ".status.summary.records", 0),
            ("Name Servers", "string", ".status.summary.nameServers", 1),
        ],
    },
    Kind {
        kind: "Certificate",
        plural: "certificates",
        short: &["acm"],
        required: &["domainName"],
        columns: &[
            ("Domain", "string", ".spec.domainName", 0),
            ("Status", "string", ".status.status", 0),
            ("Type", "string", ".status.type", 0),
            ("Not After", "string", ".status.notAfter", 0),
            ("ARN", "string", ".status.certificateArn", 1),
        ],
    },
];

/// Kind and plural of every object, in the order they depend on each other.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|k| (k.kind, k.plural))
}

/// Complete manifests, ready to be applied.
pub fn custom_resource_definitions() -> Vec<Value> {
    KINDS.iter().map(manifest).collect()
}

fn manifest(kind: &Kind) -> Value {
    let columns: Vec<Value> = kind
        .columns
        .iter()
        .map(|(name, r#type, path, priority)| json!({"name": name, "type": r#type, "jsonPath": path, "priority": priority}))
        .chain([json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 0})])
        .collect();
    let open = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut spec = crd_fields::schema(kind.kind, "spec").unwrap_or_else(open);
    let status = crd_fields::schema(kind.kind, "status").unwrap_or_else(open);
    if let Some(properties) = spec_properties(kind.kind) {
        spec["properties"] = properties;
    }
    spec["required"] = json!(kind.required);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", kind.plural)},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": kind.kind, "listKind": format!("{}List", kind.kind), "plural": kind.plural,
                "singular": kind.kind.to_ascii_lowercase(), "shortNames": kind.short, "categories": ["aws"],
            },
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": format!("{} is a resource of the fake AWS.", kind.kind),
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
                        "spec": spec, "status": status,
                    },
                }},
            }],
        },
    })
}

/// Schemas of the kinds that people write by hand.
fn spec_properties(kind: &str) -> Option<Value> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let domain = |description: &str, pattern: &str| json!({"type": "string", "description": description, "maxLength": 255, "pattern": pattern});
    let texts =
        |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
    let properties: Vec<(&str, Value)> = match kind {
        "HostedZone" => vec![
            ("name", domain("Domain of the zone, for example example.com.", ZONE)),
            ("privateZone", json!({"type": "boolean", "description": "Answer only inside the VPC."})),
            ("comment", text("Free text.")),
            (
                "resourceRecordSets",
                json!({
                    "type": "array", "description": "Records; NS and SOA of the zone are added.",
                    "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["name", "type"], "properties": {
                        "name": text("Name of the record."), "type": text("A, AAAA, CNAME, TXT, …"),
                        "ttl": {"type": "integer"}, "resourceRecords": texts("Values as in a zone file."),
                        "aliasTarget": {"type": "object", "properties": {
                            "dnsName": text("Name whose addresses are answered."), "hostedZoneId": text("Zone of that name."),
                            "evaluateTargetHealth": {"type": "boolean"}}},
                    }},
                }),
            ),
        ],
        "Certificate" => vec![
            ("domainName", domain("Name the certificate is for; may start with *.", CERTIFIED)),
            ("subjectAlternativeNames", texts("Further names.")),
        ],
        _ => return None,
    };
    Some(Value::Object(properties.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_complete() {
        let all = custom_resource_definitions();
        assert_eq!(all.len(), 14);
        for crd in all {
            let name = format!("{}.{GROUP}", crd["spec"]["names"]["plural"].as_str().expect("plural"));
            assert_eq!(crd["metadata"]["name"], name);
            assert!(crd["spec"]["versions"][0].get("subresources").is_none());
        }
    }
}
