//! The cluster IPs of a Service.

use std::net::IpAddr;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_watchcache::Cache;

use super::pool::Allocator;
use super::{Claim, Owner};
use crate::strategy::service_ips::prefers_both_still;
use crate::strategy::shared::{items, text};
use crate::{ip_addresses, object};

/// Gives a Service an address of each of its families that it has none of: `updateClusterIPs`. What a Service has it keeps;
/// its rules say that it may not ask for another one.
pub(super) fn claim_ips(
    allocator: &mut Allocator,
    cache: &Cache,
    claim: &mut Claim,
    key: &Owner,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    let name = object::name(service).to_owned();
    let spec = &service["spec"];
    let is_headless = |spec: &Value| items(spec, "clusterIPs").first().is_some_and(|ip| ip == "None");
    let old = old.map(|old| &old["spec"]).filter(|old| text(old, "type") != "ExternalName");
    if text(spec, "type") == "ExternalName" || is_headless(old.unwrap_or(spec)) {
        return Ok(());
    }
    let families: Vec<String> =
        items(spec, "ipFamilies").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let first = match old {
        None => 0,
        Some(old) if prefers_both_still(spec, old) => return Ok(()),
        Some(old) if items(old, "ipFamilies").len() == 1 && families.len() == 2 => 1,
        Some(_) => return Ok(()),
    };
    let mut ips = items(spec, "clusterIPs").to_vec();
    ips.resize(ips.len().max(families.len()), "".into());
    for i in first..families.len() {
        let asked = ips[i].as_str().unwrap_or("").to_owned();
        if !asked.is_empty() {
            claim_ip(allocator, cache, claim, key, &asked, &ips)?;
            continue;
        }
        let found = match claim.dry_run {
            // Any address would be a guess: upstream says the range's own.
            true => allocator.open(&families[i]).next().map(super::Cidr::network),
            false => allocator.free_ip(cache, &families[i]),
        };
        let ip = found.ok_or_else(|| {
            FieldError::internal(
                "spec.clusterIPs",
                format!("failed to allocate a serviceIP for Service {name:?}: range is full"),
            )
        })?;
        if !claim.dry_run {
            allocator.ips.insert(ip, key.clone());
            claim.ips.push(ip);
        }
        ips[i] = ip.to_string().into();
    }
    let spec = object::member_mut(service, "spec");
    if let Some(ip) = ips.first() {
        spec.insert("clusterIP".into(), ip.clone());
    }
    spec.insert("clusterIPs".into(), ips.into());
    Ok(())
}

/// An address that a Service asks for.
fn claim_ip(
    allocator: &mut Allocator,
    cache: &Cache,
    claim: &mut Claim,
    key: &Owner,
    asked: &str,
    given: &[Value],
) -> Result<(), FieldError> {
    // Unparsable addresses were refused before.
    let Ok(ip) = asked.parse::<IpAddr>() else { return Ok(()) };
    let refuse = |why: &str| {
        let why = format!("failed to allocate IP {ip}: {why}");
        Err(FieldError::invalid("spec.clusterIPs", &json!(given), why))
    };
    let family = super::family_of(ip);
    if !allocator.open(family).any(|cidr| cidr.holds(ip)) {
        // A dry run asks one of the ranges, not for the range that the address is of.
        let range = allocator.open(family).next().filter(|_| claim.dry_run);
        return match range {
            Some(range) => refuse(&format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            )),
            None => refuse("the provided network does not match the current range"),
        };
    }
    // A dry run is not held against what is taken, and takes nothing.
    if claim.dry_run {
        return Ok(());
    }
    if allocator.ips.contains_key(&ip) || ip_addresses::is_taken(cache, ip) {
        return refuse("provided IP is already allocated");
    }
    allocator.ips.insert(ip, key.clone());
    claim.ips.push(ip);
    Ok(())
}
