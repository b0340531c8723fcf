//! NetworkPolicies: `ValidateNetworkPolicySpec` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::addresses::{check_range, masked, parse_range};
use super::shared::{
    PORT_RANGE, at, at_mut, check_label_selector, check_rule, check_set_enum, default, has, items, items_mut,
    number, text,
};
use super::{PLAIN, Strategy};

pub(super) static NETWORK_POLICY: Strategy = Strategy {
    default: |policy| {
        for list in ["ingress", "egress"] {
            for rule in items_mut(policy.get_mut("spec").unwrap_or(&mut Value::Null), list) {
                for port in items_mut(rule, "ports").filter_map(Value::as_object_mut) {
                    default(port, "protocol", "TCP");
                }
            }
        }
        let has_egress = !items(at(policy, &["spec"]), "egress").is_empty();
        if let Some(spec) = at_mut(policy, &["spec"])
            && spec.get("policyTypes").and_then(Value::as_array).is_none_or(<[_]>::is_empty)
        {
            let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".into(), types);
        }
    },
    validate_create: validate,
    validate_update: |policy, _| validate(policy),
    generation: true,
    tells_empty: true,
    ..PLAIN
};

fn validate(policy: &Value) -> Vec<FieldError> {
    let spec = at(policy, &["spec"]);
    let mut errors = Vec::new();
    check_label_selector(at(spec, &["podSelector"]), "spec.podSelector", &mut errors);
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in items(spec, list).iter().enumerate() {
            let path = format!("spec.{list}[{i}]");
            for (j, port) in items(rule, "ports").iter().enumerate() {
                check_policy_port(port, &format!("{path}.ports[{j}]"), &mut errors);
            }
            for (j, peer) in items(rule, peers).iter().enumerate() {
                check_peer(peer, &format!("{path}.{peers}[{j}]"), &mut errors);
            }
        }
    }
    let types = items(spec, "policyTypes");
    if types.len() > 2 {
        let why = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid("spec.policyTypes", &json!(types), why));
    } else {
        for (i, kind) in types.iter().enumerate() {
            let known = ["Ingress", "Egress"];
            if !known.contains(&kind.as_str().unwrap_or("")) {
                let path = format!("spec.policyTypes[{i}]");
                errors.push(FieldError::not_supported_in_order(path, kind, &known));
            }
        }
    }
    errors
}

fn check_policy_port(port: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_set_enum(port, "protocol", path, &["TCP", "UDP", "SCTP"], errors);
    let end = number(port, "endPort");
    let place = format!("{path}.endPort");
    let in_range = |number: i64, member: &str, errors: &mut Vec<FieldError>| {
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(format!("{path}.{member}"), &number.into(), PORT_RANGE));
        }
    };
    match at(port, &["port"]) {
        Value::String(name) => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(place, &end.into(), why));
            }
            check_rule(name, names::port_name, format_args!("{path}.port"), errors);
        }
        Value::Null => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is not specified";
                errors.push(FieldError::invalid(place, &end.into(), why));
            }
        }
        first => {
            let first = first.as_i64().unwrap_or(0);
            in_range(first, "port", errors);
            if let Some(end) = end {
                if end < first {
                    let why = "must be greater than or equal to `port`";
                    errors.push(FieldError::invalid(place, &first.into(), why));
                }
                in_range(end, "endPort", errors);
            }
        }
    }
}

fn check_peer(peer: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for member in ["podSelector", "namespaceSelector"] {
        check_label_selector(at(peer, &[member]), &format!("{path}.{member}"), errors);
    }
    let block = at(peer, &["ipBlock"]);
    if !block.is_null() {
        check_block(block, &format!("{path}.ipBlock"), errors);
    }
    let selects = has(peer, "podSelector") || has(peer, "namespaceSelector");
    if !selects && block.is_null() {
        errors.push(FieldError::required(path, "must specify a peer"));
    } else if selects && !block.is_null() {
        let why = "may not specify both ipBlock and another peer";
        errors.push(FieldError::forbidden(path, why));
    }
}

fn check_block(block: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let range = text(block, "cidr");
    if range.is_empty() {
        errors.push(FieldError::required(format!("{path}.cidr"), ""));
        return;
    }
    check_range(range, &format!("{path}.cidr"), errors);
    let Some((base, length)) = parse_range(range) else { return };
    for (i, except) in items(block, "except").iter().enumerate() {
        let path = format!("{path}.except[{i}]");
        let value = except.as_str().unwrap_or("");
        check_range(value, &path, errors);
        let Some((inner, inner_length)) = parse_range(value) else { continue };
        let contains = base.is_ipv4() == inner.is_ipv4() && masked(inner, length) == masked(base, length);
        if !contains || length >= inner_length {
            errors.push(FieldError::invalid(path, except, "must be a strict subset of `cidr`"));
        }
    }
}
