//! Listeners of a group: ports and certificates of its members, merged.
//!
//! Rules are not here.

use crate::annotations::{Annotations, PREFIX, about};
use crate::group::{Group, Refused, key};
use crate::origin::{self, Origin};
use ccm_mock_aws_api::Parameter;
use ccm_mock_aws_api::acm::{Certificate, CertificateStatus, name_covers};
use ccm_mock_aws_api::elbv2::{Attributes, Protocol};
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::{BTreeMap, BTreeSet};

const SSL_POLICY: &str = "ELBSecurityPolicy-2016-08";

/// What is known of a port after all members are merged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckedListener {
    pub protocol: Protocol,
    pub certificates: Vec<String>,
    pub ssl_policy: Option<String>,
    pub attributes: Attributes,
    /// Where its values were written.
    pub origins: Vec<Origin>,
}

fn ports(annotations: Annotations<'_>) -> Result<BTreeMap<u16, Protocol>, String> {
    let name = "listen-ports";
    let Some(value) = annotations.json(name)? else {
        let secure = annotations.list("certificate-arn").is_some_and(|arns| !arns.is_empty());
        let usual = if secure { (443, Protocol::Https) } else { (80, Protocol::Http) };
        return Ok([usual].into());
    };
    let wrong = |why: &str| annotations.not_json(name, why);
    let entries = value.as_array().ok_or_else(|| wrong("expected a list of {protocol: port}"))?;
    let mut out = BTreeMap::new();
    for entry in entries {
        let entry = entry.as_object().ok_or_else(|| wrong("expected a list of {protocol: port}"))?;
        for (protocol, port) in entry {
            let number = port.as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
            let number =
                number.ok_or_else(|| wrong(&format!("listen port must be within [1, 65535]: {port}")))?;
            let protocol = match protocol.as_str() {
                "http" => Protocol::Http,
                "https" => Protocol::Https,
                other => {
                    let other = other.to_ascii_uppercase();
                    return Err(wrong(&format!("listen protocol must be HTTP or HTTPS: {other}")));
                }
            };
            out.insert(number, protocol);
        }
    }
    if out.is_empty() {
        return Err(format!("empty {PREFIX}{name} configuration"));
    }
    Ok(out)
}

/// The ports an Ingress listens on, in order; none if they cannot be read.
pub fn listen_ports(ingress: &Ingress) -> Vec<u16> {
    let ports = ports(Annotations::of(ingress.metadata.annotations.as_ref()));
    ports.unwrap_or_default().into_keys().collect()
}

/// Hosts that need a certificate: those of rules and of tls.
fn hosts(ingress: &Ingress) -> BTreeSet<String> {
    let spec = ingress.spec.iter();
    let rules = spec.clone().flat_map(|s| s.rules.iter().flatten()).filter_map(|r| r.host.clone());
    let tls = spec.flat_map(|s| s.tls.iter().flatten()).flat_map(|t| t.hosts.iter().flatten().cloned());
    rules.chain(tls).filter(|host| !host.is_empty()).collect()
}

/// Exact names come before wildcards, then by ARN.
fn discover(all: &[Certificate], hosts: &BTreeSet<String>) -> Result<Vec<String>, Refused> {
    let mut out: Vec<String> = Vec::new();
    for host in hosts {
        let names = |c: &Certificate| {
            let mut names = c.subject_alternative_names.clone();
            names.push(c.domain_name.clone());
            names
        };
        let mut found: Vec<(bool, &String)> = all
            .iter()
            .filter(|c| c.status == CertificateStatus::Issued)
            .filter(|c| names(c).iter().any(|name| name_covers(name, host)))
            .map(|c| (!names(c).iter().any(|name| name.eq_ignore_ascii_case(host)), &c.certificate_arn))
            .collect();
        found.sort();
        if found.is_empty() {
            return Err(Refused { reason: format!("no certificate found for host: {host}"), outside: true });
        }
        for (_, arn) in found {
            if !out.contains(arn) {
                out.push(arn.clone());
            }
        }
    }
    Ok(out)
}

fn attributes_of(protocol: Protocol, port: u16) -> String {
    format!("listener-attributes.{protocol}-{port}")
}

/// Where a member wrote what it wants of a listener.
fn origins(
    ingress: &Ingress,
    (protocol, port): (Protocol, u16),
    certificates: &[String],
    attributes: &Attributes,
) -> Vec<Origin> {
    let table = [
        (Parameter::Port, "listen-ports".to_string(), Vec::new()),
        (Parameter::Protocol, "listen-ports".to_string(), Vec::new()),
        (Parameter::Certificates, "certificate-arn".to_string(), certificates.to_vec()),
        (Parameter::Attributes, attributes_of(protocol, port), attributes.keys().cloned().collect()),
    ];
    let written = table.into_iter().filter_map(|(parameter, name, elements)| {
        origin::annotation("Ingress", &ingress.metadata, &name, parameter, elements)
    });
    written.collect()
}

fn of_member(group: &Group, ingress: &Ingress) -> Result<BTreeMap<u16, CheckedListener>, Refused> {
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    let ports = ports(annotations)?;
    let secure = ports.values().any(|protocol| *protocol == Protocol::Https);
    let certificates = match annotations.list("certificate-arn").filter(|arns| !arns.is_empty()) {
        Some(arns) => arns,
        None if secure => discover(&group.certificates, &hosts(ingress))?,
        None => Vec::new(),
    };
    let mut out = BTreeMap::new();
    for (port, protocol) in ports {
        let secure = protocol == Protocol::Https;
        let certificates = if secure { certificates.clone() } else { Vec::new() };
        let attributes = annotations.map(&attributes_of(protocol, port))?;
        let listener = CheckedListener {
            protocol,
            origins: origins(ingress, (protocol, port), &certificates, &attributes),
            certificates,
            ssl_policy: annotations.text("ssl-policy").filter(|_| secure).map(str::to_string),
            attributes,
        };
        out.insert(port, listener);
    }
    Ok(out)
}

/// The listeners of all members, and the ports of each member.
pub(crate) type Merged = (BTreeMap<u16, CheckedListener>, Vec<BTreeSet<u16>>);

/// Merge the listeners of members that are in order.
pub(crate) fn merge(group: &Group, members: &[&Ingress]) -> Result<Merged, Refused> {
    let mut listeners: BTreeMap<u16, CheckedListener> = BTreeMap::new();
    let mut ports = Vec::new();
    for ingress in members {
        let (namespace, name) = key(ingress);
        let own = of_member(group, ingress).map_err(|refused| Refused {
            reason: format!("ingress: {namespace}/{name}: {}", refused.reason),
            ..refused
        })?;
        ports.push(own.keys().copied().collect());
        for (port, listener) in own {
            let Some(known) = listeners.get_mut(&port) else {
                listeners.insert(port, listener);
                continue;
            };
            let conflict = |what: &str, annotation: &str| {
                let why = format!("failed to merge listenPort config for port: {port}: conflicting {what}");
                Err(Refused::from(about(why, annotation)))
            };
            if known.protocol != listener.protocol {
                return conflict("protocol", "listen-ports");
            }
            if known.ssl_policy.is_some()
                && listener.ssl_policy.is_some()
                && known.ssl_policy != listener.ssl_policy
            {
                return conflict("sslPolicy", "ssl-policy");
            }
            known.ssl_policy = known.ssl_policy.take().or(listener.ssl_policy);
            for arn in listener.certificates {
                if !known.certificates.contains(&arn) {
                    known.certificates.push(arn);
                }
            }
            for (name, value) in listener.attributes {
                if known.attributes.get(&name).is_some_and(|other| *other != value) {
                    return conflict(&format!("attribute {name}"), &attributes_of(known.protocol, port));
                }
                known.attributes.insert(name, value);
            }
            known.origins.extend(listener.origins);
        }
    }
    for listener in listeners.values_mut().filter(|l| l.protocol == Protocol::Https) {
        listener.ssl_policy.get_or_insert_with(|| SSL_POLICY.to_string());
    }
    Ok((listeners, ports))
}
