//! How Go's `fmt` prints decoded JSON: `map[a:1 b:[x y]]` for `%v`, quoted and typed for `%#v`.
//!
//! Only the values JSON can hold, as upstream's error texts need them.

use std::fmt::Write as _;

use apiserver_json::Value;

/// `%v` of a decoded JSON value.
pub fn display(value: &Value) -> String {
    let mut out = String::new();
    write_plain(&mut out, value);
    out
}

fn write_plain(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Number(number) if number.is_f64() => {
            out.push_str(&apiserver_meta::field::go_float(number.as_f64().unwrap_or_default()));
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_plain(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_plain(out, item);
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// `%#v` of a decoded JSON value.
pub(crate) fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => apiserver_meta::field::go_quote(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map
                .iter()
                .map(|(key, item)| format!("{}:{}", apiserver_meta::field::go_quote(key), syntax(item)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// The Go type of a decoded JSON value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) | Value::Raw(_) => "map[string]interface {}",
    }
}

/// The Go kind of a decoded JSON value.
pub(crate) fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "slice",
        Value::Object(_) | Value::Raw(_) => "map",
        other => type_name(other),
    }
}

/// Equality as upstream compares decoded JSON: numbers by value, everything else by structure.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || x.as_f64() == y.as_f64() && (x.is_f64() || y.is_f64())
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((k, x), (l, y))| k == l && equal(x, y))
        }
        _ => a == b,
    }
}

/// Names of the structs that a struct embeds, by which Go's errors go to a member; `None` where it embeds none that matter.
pub(crate) fn embedded(owner: &str) -> Option<fn(&str) -> &'static [&'static str]> {
    Some(match owner {
        "Volume" => |member| if member == "name" { &[] } else { &["VolumeSource"] },
        "PersistentVolumeSpec" => |member| match member {
            "capacity"
            | "accessModes"
            | "claimRef"
            | "persistentVolumeReclaimPolicy"
            | "storageClassName"
            | "mountOptions"
            | "volumeMode"
            | "nodeAffinity"
            | "volumeAttributesClassName" => &[],
            _ => &["PersistentVolumeSource"],
        },
        "Probe" => |member| match member {
            "exec" | "httpGet" | "tcpSocket" | "grpc" => &["ProbeHandler"],
            _ => &[],
        },
        "EphemeralContainer" => {
            |member| if member == "targetContainerName" { &[] } else { &["EphemeralContainerCommon"] }
        }
        "ConfigMapKeySelector"
        | "SecretKeySelector"
        | "ConfigMapEnvSource"
        | "SecretEnvSource"
        | "ConfigMapVolumeSource"
        | "ConfigMapProjection"
        | "SecretProjection" => |member| if member == "name" { &["LocalObjectReference"] } else { &[] },
        "IngressRule" => |member| if member == "http" { &["IngressRuleValue"] } else { &[] },
        "RuleWithOperations" => |member| if member == "operations" { &[] } else { &["Rule"] },
        "NamedRuleWithOperations" => |member| match member {
            "resourceNames" => &[],
            "operations" => &["RuleWithOperations"],
            _ => &["RuleWithOperations", "Rule"],
        },
        "DeviceClaimConfiguration" | "DeviceClassConfiguration" | "DeviceAllocationConfiguration" => {
            |member| if member == "opaque" { &["DeviceConfiguration"] } else { &[] }
        }
        _ => return None,
    })
}
