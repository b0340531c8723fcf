//! Reading a group: everything that can be wrong is refused here, with upstream's sentence.
//!
//! No names, priorities or tags are chosen yet.

use crate::annotations::{Annotations, about};
use crate::group::{Group, GroupId, Refused, key, membership};
use crate::listeners::{CheckedListener, merge};
use crate::origin::{self, Origin};
use crate::rules::{CheckedRule, Step, action_origins, backend_step, fixed, rules_of};
use crate::values;
use ccm_mock_aws_api::ec2::{self, Subnet};
use ccm_mock_aws_api::elbv2::{Attributes, Protocol, Scheme};
use ccm_mock_aws_api::{Parameter, limits, tag};
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::{BTreeMap, BTreeSet};

/// A group in which nothing is wrong.
#[derive(Debug, Clone)]
pub struct Checked {
    pub(crate) cluster: String,
    pub(crate) id: GroupId,
    pub(crate) scheme: Scheme,
    pub(crate) name: Option<String>,
    pub(crate) ip_address_type: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) cidrs: Vec<String>,
    pub(crate) attributes: Attributes,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) listeners: BTreeMap<u16, CheckedListener>,
    pub(crate) ssl_redirect: Option<u16>,
    pub(crate) rules: Vec<CheckedRule>,
    pub(crate) default: Step,
    /// Where the values of the load balancer were written.
    pub(crate) origins: Vec<Origin>,
    /// Where the default action was written, and the redirect to HTTPS.
    pub(crate) default_origins: Vec<Origin>,
    pub(crate) redirect_origins: Vec<Origin>,
}

/// Annotations of a load balancer by the parameter that their value goes into.
const PARAMETERS: &[(Parameter, &str)] = &[
    (Parameter::Name, "load-balancer-name"),
    (Parameter::Subnets, "subnets"),
    (Parameter::SecurityGroups, "security-groups"),
];

fn origins(members: &[&Ingress]) -> Result<Vec<Origin>, String> {
    let mut out = Vec::new();
    for ingress in members {
        let meta = &ingress.metadata;
        let own = |(parameter, name): &(Parameter, &str)| {
            origin::annotation("Ingress", meta, name, *parameter, Vec::new())
        };
        out.extend(PARAMETERS.iter().filter_map(own));
        let name = "load-balancer-attributes";
        let keys = Annotations::of(meta.annotations.as_ref()).map(name)?.into_keys().collect();
        out.extend(origin::annotation("Ingress", meta, name, Parameter::Attributes, keys));
    }
    Ok(out)
}

/// The one value that members agree on.
fn agreed(members: &[&Ingress], name: &str, what: &str) -> Result<Option<String>, String> {
    let values: BTreeSet<&str> =
        members.iter().filter_map(|i| Annotations::of(i.metadata.annotations.as_ref()).text(name)).collect();
    if values.len() > 1 {
        let shown: Vec<String> = values.iter().map(|value| format!("{value}:{{}}")).collect();
        return Err(about(format!("conflicting {what}: map[{}]", shown.join(" ")), name));
    }
    Ok(values.first().map(|value| value.to_string()))
}

fn merged(members: &[&Ingress], name: &str, what: &str) -> Result<BTreeMap<String, String>, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for ingress in members {
        for (key, value) in Annotations::of(ingress.metadata.annotations.as_ref()).map(name)? {
            if let Some(other) = out.get(&key).filter(|other| **other != value) {
                return Err(about(format!("conflicting {what} {key}: {other} | {value}"), name));
            }
            out.insert(key, value);
        }
    }
    Ok(out)
}

fn listed(members: &[&Ingress], name: &str, what: &str) -> Result<Vec<String>, String> {
    let text = agreed(members, name, what)?.unwrap_or_default();
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_string).collect())
}

fn choose_subnets(all: &[Subnet], scheme: Scheme, wanted: &[String]) -> Result<Vec<String>, Refused> {
    if !wanted.is_empty() {
        let find = |name: &String| {
            let found = all.iter().find(|s| s.subnet_id == *name || tag(&s.tags, "Name") == Some(name));
            found.map(|s| s.subnet_id.clone()).ok_or_else(|| Refused {
                reason: about(
                    format!("couldn't find all subnets, nameOrIDs: {wanted:?}, found: {}", all.len()),
                    "subnets",
                ),
                outside: true,
            })
        };
        return wanted.iter().map(find).collect();
    }
    let chosen = ec2::subnets_for(all, scheme);
    if chosen.is_empty() {
        let reason = format!(
            "couldn't auto-discover subnets: unable to resolve at least one subnet. Evaluated {} subnets: 0 are tagged for other clusters, and 0 have insufficient available IP addresses",
            all.len()
        );
        return Err(Refused { reason, outside: true });
    }
    Ok(chosen)
}

fn ssl_redirect(
    members: &[&Ingress],
    listeners: &BTreeMap<u16, CheckedListener>,
) -> Result<Option<u16>, String> {
    let mut found = None;
    for ingress in members {
        let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
        let Some(port) = annotations.number::<u16>("ssl-redirect")? else { continue };
        if found.is_some_and(|other| other != port) {
            let why = format!("conflicting sslRedirect port: {} | {port}", found.unwrap_or_default());
            return Err(about(why, "ssl-redirect"));
        }
        found = Some(port);
    }
    let Some(port) = found else { return Ok(None) };
    let refuse = |why: &str| Err(about(format!("{why} for SSLRedirect port: {port}"), "ssl-redirect"));
    match listeners.get(&port) {
        None => refuse("listener does not exist"),
        Some(listener) if listener.protocol != Protocol::Https => refuse("listener protocol non-SSL"),
        Some(_) => Ok(Some(port)),
    }
}

fn default_step(group: &Group, members: &[&Ingress]) -> Result<(Step, Vec<Origin>), String> {
    let with: Vec<&&Ingress> = members
        .iter()
        .filter(|i| i.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some()))
        .collect();
    if with.len() > 1 {
        let names: Vec<String> =
            with.iter().map(|i| key(i)).map(|(ns, name)| format!("{ns}/{name}")).collect();
        return Err(format!("multiple ingress defined default backend: {names:?}"));
    }
    let backend = with.first().and_then(|i| Some((i, i.spec.as_ref()?.default_backend.as_ref()?)));
    match backend {
        Some((ingress, backend)) => {
            let origins = action_origins(ingress, backend, Parameter::DefaultActions);
            Ok((backend_step(group, ingress, backend)?, origins))
        }
        None => Ok((fixed("404", None), Vec::new())),
    }
}

/// Read a group that has members.
///
/// # Errors
/// Upstream's sentence about the first thing that is wrong.
pub fn check(group: &Group) -> Result<Checked, Refused> {
    let mut ordered = Vec::new();
    for ingress in &group.members {
        let (_, order) = membership(ingress)?;
        ordered.push((order, key(ingress), ingress.as_ref()));
    }
    ordered.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let members: Vec<&Ingress> = ordered.into_iter().map(|(_, _, ingress)| ingress).collect();
    let scheme = match agreed(&members, "scheme", "scheme")? {
        Some(text) => text.parse().map_err(|text| about(format!("unknown scheme: {text}"), "scheme"))?,
        None => Scheme::Internal,
    };
    let name = agreed(&members, "load-balancer-name", "load balancer name")?;
    if name.as_ref().is_some_and(|name| name.len() > limits::NAME_LENGTH) {
        let why = "load balancer name cannot be longer than 32 characters";
        return Err(about(why, "load-balancer-name").into());
    }
    let (listeners, ports) = merge(group, &members)?;
    let mut rules = Vec::new();
    for (ingress, ports) in members.iter().zip(&ports) {
        let (namespace, name) = key(ingress);
        values::check(ingress).map_err(|why| format!("ingress: {namespace}/{name}: {why}"))?;
        let own =
            rules_of(group, ingress, ports).map_err(|why| format!("ingress: {namespace}/{name}: {why}"))?;
        rules.extend(own);
    }
    let mut cidrs = listed(&members, "inbound-cidrs", "inbound-cidrs")?;
    if cidrs.is_empty() {
        cidrs.push("0.0.0.0/0".into());
    }
    let (default, default_origins) = default_step(group, &members)?;
    let redirect = |ingress: &&Ingress| {
        origin::annotation(
            "Ingress",
            &ingress.metadata,
            "ssl-redirect",
            Parameter::DefaultActions,
            Vec::new(),
        )
    };
    Ok(Checked {
        cluster: group.cluster.clone(),
        id: group.id.clone(),
        scheme,
        name,
        ip_address_type: agreed(&members, "ip-address-type", "IPAddressType")?.unwrap_or("ipv4".into()),
        subnets: choose_subnets(&group.subnets, scheme, &listed(&members, "subnets", "subnets")?)?,
        security_groups: listed(&members, "security-groups", "securityGroups")?,
        cidrs,
        attributes: merged(&members, "load-balancer-attributes", "loadBalancerAttribute")?,
        tags: merged(&members, "tags", "tag")?,
        ssl_redirect: ssl_redirect(&members, &listeners)?,
        origins: origins(&members)?,
        default,
        default_origins,
        redirect_origins: members.iter().filter_map(redirect).collect(),
        listeners,
        rules,
    })
}
