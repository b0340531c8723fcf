//! IPAddresses and ServiceCIDRs: `pkg/apis/networking/validation` upstream.

use std::net::IpAddr;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{at, check_ip, check_optional, items, keep_status, require};
use super::{PLAIN, Strategy};

pub(super) static IP_ADDRESS: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    validate_create: validate_address,
    validate_fields: |new, _| validate_address(new),
    validate_update: |new, old| {
        let mut errors = Vec::new();
        let (parent, before) = (at(new, &["spec", "parentRef"]), at(old, &["spec", "parentRef"]));
        let go_type = "*networking.ParentReference";
        super::shared::check_immutable_as(go_type, parent, before, "spec.parentRef", &mut errors);
        errors
    },
    name_rule: canonical_problems,
    ..PLAIN
};

/// Why a text is no address in its canonical form: `IsValidIP`.
fn canonical_problems(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    check_ip(name, String::new(), &mut errors);
    if !errors.is_empty() {
        return errors.into_iter().map(|error| error.detail).collect();
    }
    match name.parse::<IpAddr>() {
        Ok(address) if address.to_string() != name => {
            vec![format!("must be in canonical form (\"{address}\")")]
        }
        _ => Vec::new(),
    }
}

fn validate_address(address: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let parent = at(address, &["spec", "parentRef"]);
    if parent.is_null() {
        return vec![FieldError::required("spec.parentRef", "")];
    }
    let path = "spec.parentRef";
    check_optional(parent, "group", names::dns1123_subdomain, path, &mut errors);
    for member in ["resource", "name", "namespace"] {
        check_optional(parent, member, names::path_segment, path, &mut errors);
        if member != "namespace" {
            require(parent, member, path, &mut errors);
        }
    }
    errors
}

pub(super) static SERVICE_CIDR: Strategy = Strategy {
    status_keeps: super::ALL_KEPT,
    prepare_create: |range| range["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: |range| {
        let mut errors = Vec::new();
        check_ranges(at(range, &["spec"]), &mut errors);
        errors
    },
    validate_update: validate_range_update,
    status: true,
    ..PLAIN
};

const NOT_A_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address range: its base and the length of its prefix.
pub(crate) fn parse_range(value: &str) -> Option<(IpAddr, u8)> {
    let (base, length) =
        value.split_once('/').filter(|(_, length)| *length == "0" || !length.starts_with('0'))?;
    let (base, length): (IpAddr, u8) = (base.parse().ok()?, length.parse().ok()?);
    (length <= if base.is_ipv4() { 32 } else { 128 }).then_some((base, length))
}

/// The address with what is beyond the prefix cleared.
pub(crate) fn masked(base: IpAddr, length: u8) -> IpAddr {
    match base {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// The network of a range as upstream's own parser reads it: numbers may begin with zeros.
pub(super) fn parse_sloppily(range: &str) -> Option<(IpAddr, u8)> {
    parse_range(&without_leading_zeros(range))
}

/// The range with its decimal numbers as they are usually written.
fn without_leading_zeros(range: &str) -> String {
    let (base, length) = range.split_once('/').unwrap_or((range, ""));
    let shorter = |number: &str| match number.trim_start_matches('0') {
        "" => number.get(..1).unwrap_or("").to_owned(),
        shorter => shorter.to_owned(),
    };
    // The last 32 bits of an IPv6 address may be written as an IPv4 address.
    let (before, last) = base.split_at(base.rfind(':').map_or(0, |colon| colon + 1));
    let last = match last.contains('.') {
        true => last.split('.').map(shorter).collect::<Vec<_>>().join("."),
        false => last.to_owned(),
    };
    format!("{before}{last}/{}", shorter(length))
}

/// Errors of a range: `IsValidCIDRForLegacyField`.
pub(super) fn check_range(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    let why = match parse_range(value) {
        None if parse_sloppily(value).is_some() => "must not have leading 0s in IP or prefix length",
        None => NOT_A_RANGE,
        Some((IpAddr::V6(v6), _)) if v6.to_ipv4_mapped().is_some() => {
            "must not have an IPv4-mapped IPv6 address"
        }
        Some((base, length)) if masked(base, length) != base => {
            "must not have bits set beyond the prefix length"
        }
        Some(_) => return,
    };
    errors.push(FieldError::invalid(path, &value.into(), why));
}

fn check_ranges(spec: &Value, errors: &mut Vec<FieldError>) {
    let ranges = items(spec, "cidrs");
    if ranges.is_empty() {
        errors.push(FieldError::required("spec.cidrs", "at least one CIDR required"));
        return;
    }
    if ranges.len() > 2 {
        errors.push(FieldError {
            value: format!("{{\"CIDRs\":{}}}", json!(ranges)),
            ..FieldError::invalid("spec.cidrs", spec, "may only hold up to 2 values")
        });
        return;
    }
    for (i, range) in ranges.iter().enumerate() {
        let path = format!("spec.cidrs[{i}]");
        let value = range.as_str().unwrap_or("");
        let before = errors.len();
        check_range(value, &path, errors);
        if let Some((base, length)) = parse_range(value).filter(|_| errors.len() == before) {
            let canonical = format!("{base}/{length}");
            if canonical != value {
                let why = format!("must be in canonical form ({canonical:?})");
                errors.push(FieldError::invalid(path, range, why));
            }
        }
    }
    let families: Vec<bool> = ranges
        .iter()
        .filter_map(|range| parse_range(range.as_str()?))
        .map(|(base, _)| base.is_ipv4())
        .collect();
    if let [a, b] = families.as_slice()
        && a == b
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid("spec.cidrs", &json!(ranges), why));
    }
}

fn validate_range_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (ranges, before) = (items(at(new, &["spec"]), "cidrs"), items(at(old, &["spec"]), "cidrs"));
    let grows = before.len() == 1 && ranges.len() == 2;
    if ranges.len() != before.len() && !grows {
        let shown = at(new, &["spec", "cidrs"]);
        errors.push(FieldError::invalid("spec.cidrs", shown, "field is immutable"));
        return errors;
    }
    for (i, (range, was)) in ranges.iter().zip(before).enumerate() {
        if range != was {
            errors.push(FieldError::invalid(format!("spec.cidrs[{i}]"), range, "field is immutable"));
        }
    }
    if grows {
        check_ranges(at(new, &["spec"]), &mut errors);
    }
    errors
}
