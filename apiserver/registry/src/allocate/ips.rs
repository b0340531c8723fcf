//! The cluster IPs of a Service.

use std::net::Ipv4Addr;

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_watchcache::Cache;

use super::pool::Allocator;
use super::{Claim, Owner, cluster_ips};
use crate::{ip_addresses, object};

pub(super) fn claim_ips(
    allocator: &mut Allocator,
    cache: &Cache,
    claim: &mut Claim,
    key: &Owner,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    let name = object::name(service).to_owned();
    let spec = object::member_mut(service, "spec");
    let is_name = |spec: Option<&Value>| spec.is_some_and(|spec| spec["type"] == "ExternalName");
    // What a Service has it keeps; its rules say that it may not ask for another one.
    let has =
        |old: &Value| old.pointer("/spec/clusterIP").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty());
    let keeps = old.is_some_and(|old| !is_name(old.get("spec")) && has(old));
    if keeps || spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return Ok(());
    }
    let wanted = spec.get("clusterIP").and_then(Value::as_str).filter(|ip| !ip.is_empty());
    let wanted = wanted.or_else(|| spec.get("clusterIPs")?.get(0)?.as_str()).map(str::to_owned);
    match wanted.as_deref() {
        Some("None") => {
            spec.insert("clusterIP".into(), "None".into());
            spec.insert("clusterIPs".into(), json!(["None"]));
        }
        Some(text) => {
            let given: Vec<Value> = spec
                .get("clusterIPs")
                .and_then(Value::as_array)
                .filter(|ips| !ips.is_empty())
                .map(<[_]>::to_vec)
                .unwrap_or_else(|| vec![text.into()]);
            // Unparsable addresses were refused before.
            let Ok(ip) = text.parse::<Ipv4Addr>() else { return Ok(()) };
            let refuse = |why: String| FieldError::invalid("spec.clusterIPs", &json!(given), why);
            let held = allocator.ips.get(&ip);
            // What is entered for a Service that is created is one's that is there, or another creation's of the same name.
            let is_own = held == Some(key) && old.is_some();
            let is_kept = old.is_some_and(|old| cluster_ips(old).contains(&ip));
            if is_kept && held.is_none() {
                allocator.ips.insert(ip, key.clone());
            } else if !is_own && !is_kept {
                if !allocator.ranges.contains(ip) {
                    // A dry run asks the one range, not for the range that the address is of.
                    let why = if claim.dry_run {
                        let range = allocator.ranges.cidr();
                        format!(
                            "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                        )
                    } else {
                        "the provided network does not match the current range".to_owned()
                    };
                    return Err(refuse(format!("failed to allocate IP {ip}: {why}")));
                }
                // A dry run is not held against what is taken, and takes nothing.
                if !claim.dry_run {
                    if held.is_some() || ip_addresses::is_taken(cache, ip) {
                        return Err(refuse(format!(
                            "failed to allocate IP {ip}: provided IP is already allocated"
                        )));
                    }
                    allocator.ips.insert(ip, key.clone());
                    claim.ips.push(ip);
                }
            }
            spec.insert("clusterIP".into(), text.into());
            spec.insert("clusterIPs".into(), json!(given));
        }
        None if claim.dry_run => {
            let ip = allocator.ranges.network.to_string();
            spec.insert("clusterIPs".into(), json!([ip]));
            spec.insert("clusterIP".into(), ip.into());
        }
        None => {
            let ip = allocator.free_ip(cache).ok_or_else(|| FieldError {
                problem: Problem::Internal,
                field: "spec.clusterIPs".into(),
                value: String::new(),
                detail: format!("failed to allocate a serviceIP for Service {name:?}: range is full"),
            })?;
            allocator.ips.insert(ip, key.clone());
            claim.ips.push(ip);
            spec.insert("clusterIP".into(), ip.to_string().into());
            spec.insert("clusterIPs".into(), json!([ip.to_string()]));
        }
    }
    Ok(())
}
