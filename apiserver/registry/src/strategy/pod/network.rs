//! A Pod's names, its resolver and the network of its host.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::super::shared::{at, below, check_ip, check_rule, is_true, items, number, text};
use super::Spec;

/// What the resolver of Linux can hold.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// Errors of the resolver's settings: `validatePodDNSConfig`.
pub(super) fn check_dns(pod: &Spec, errors: &mut Vec<FieldError>) {
    let config = at(pod.spec, &["dnsConfig"]);
    let path = below(&pod.path, "dnsConfig");
    let servers = items(config, "nameservers");
    if text(pod.spec, "dnsPolicy") == "None" {
        if config.is_null() {
            errors.push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(format!("{path}.nameservers"), why));
            return;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let why = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(format!("{path}.nameservers"), at(config, &["nameservers"]), why));
    }
    for (i, server) in servers.iter().enumerate() {
        check_ip(server.as_str().unwrap_or(""), format!("{path}.nameservers[{i}]"), errors);
    }
    let searches = items(config, "searches");
    let bytes: usize = searches.iter().filter_map(Value::as_str).map(|search| search.len() + 1).sum();
    for (wrong, why) in [
        (searches.len() > SEARCHES_MAX, "must not have more than 32 search paths"),
        (
            bytes > SEARCH_BYTES_MAX + 1,
            "must not have more than 2048 characters (including spaces) in the search list",
        ),
    ] {
        if wrong {
            errors.push(FieldError::invalid(format!("{path}.searches"), at(config, &["searches"]), why));
        }
    }
    for (i, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or("");
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            let place = format!("{path}.searches[{i}]");
            check_rule(search, names::dns1123_subdomain_with_underscore, &place, errors);
        }
    }
    for (i, option) in items(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.options[{i}]"), "must not be empty"));
        }
    }
}

/// Errors of ports on the host's own network: `validatePodHostNetworkDeps`.
pub(super) fn check_host_network(pod: &Spec, errors: &mut Vec<FieldError>) {
    if !is_true(pod.spec, "hostNetwork") {
        return;
    }
    for (i, container) in items(pod.spec, "containers").iter().enumerate() {
        for (j, port) in items(container, "ports").iter().enumerate() {
            let of_host = number(port, "hostPort").unwrap_or(0);
            let matches = of_host == number(port, "containerPort").unwrap_or(0);
            // A template may leave it open: the Pod made of it gets it by default.
            if !matches && (pod.is_pod || of_host != 0) {
                let path = format!("{}.containers[{i}].ports[{j}].hostPort", pod.path);
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(path, &of_host.into(), why));
            }
        }
    }
}

/// Length of a host's name.
const HOSTNAME_BYTES_MAX: usize = 64;

/// Errors of `hostnameOverride`: `validatePodHostName`.
pub(super) fn check_hostname_override(pod: &Spec, errors: &mut Vec<FieldError>) {
    let Some(name) = pod.spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let path = below(&pod.path, "hostnameOverride");
    for member in ["setHostnameAsFQDN", "hostNetwork"] {
        if is_true(pod.spec, member) {
            let why = format!("may not be specified when {member} is true");
            errors.push(FieldError::forbidden(&path, why));
        }
    }
    if name.len() > HOSTNAME_BYTES_MAX {
        errors.push(FieldError::too_long(&path, HOSTNAME_BYTES_MAX));
    }
    check_rule(name, names::dns1123_subdomain, &path, errors);
}

/// Errors of lines for `/etc/hosts`: `ValidateHostAliases`.
pub(super) fn check_host_aliases(pod: &Spec, errors: &mut Vec<FieldError>) {
    for (i, alias) in items(pod.spec, "hostAliases").iter().enumerate() {
        let path = format!("{}.hostAliases[{i}]", pod.path);
        check_ip(text(alias, "ip"), below(&path, "ip"), errors);
        for (j, name) in items(alias, "hostnames").iter().enumerate() {
            let name = name.as_str().unwrap_or("");
            check_rule(name, names::dns1123_subdomain, format_args!("{path}.hostnames[{j}]"), errors);
        }
    }
}
