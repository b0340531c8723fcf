//! What external-dns does: an alias record for every host that a load balancer serves, with a TXT record of ownership.
//!
//! Records without that TXT record belong to somebody else and are never touched.

use crate::cloud;
use crate::objects;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::route53::*;
use ccm_mock_aws_api::{Aws, names};
use controllers_kit::meta::annotation;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, run as work};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const HOSTNAME: &str = "external-dns.alpha.kubernetes.io/hostname";
const OWNED: &str = "heritage=external-dns,external-dns/owner=hopyard,external-dns/resource=";
const ZONE_COMMENT: &str = "created by external-dns";
const TTL: u32 = 300;
/// Upstream's --interval: finds what was changed behind our back.
const INTERVAL: Duration = Duration::from_secs(60);

/// A name that is wanted: where it leads and for which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    host: String,
    target: String,
    resource: String,
}

struct Dns {
    ingresses: Cache<Ingress>,
    services: Cache<Service>,
    aws: Arc<dyn Aws>,
}

pub(crate) async fn run(caches: Caches, aws: Arc<dyn Aws>) {
    let (ingresses, services) = (caches.of::<Ingress>(), caches.of::<Service>());
    // Until everything is known, a missing source is no reason to delete a record.
    ingresses.synced().await;
    services.synced().await;
    let queue = Queue::new();
    let all = Key::new("", "records");
    queue.add(all.clone(), "start");
    let (waiting, item) = (queue.clone(), all.clone());
    ingresses.on_change(move |change| {
        let of = |i: &Option<Arc<Ingress>>| i.as_ref().map(|i| of_ingress(i)).unwrap_or_default();
        if of(&change.old) != of(&change.new) {
            waiting.add(item.clone(), change.story());
        }
    });
    let (waiting, item) = (queue.clone(), all.clone());
    caches.of::<objects::HostedZone>().on_change(move |change| {
        let id = |z: &Option<Arc<objects::HostedZone>>| z.as_ref().map(|z| z.text("id").map(str::to_string));
        if id(&change.old) != id(&change.new) {
            waiting.add(item.clone(), change.story());
        }
    });
    let waiting = queue.clone();
    services.on_change(move |change| {
        let of = |s: &Option<Arc<Service>>| s.as_ref().map(|s| of_service(s)).unwrap_or_default();
        if of(&change.old) != of(&change.new) {
            waiting.add(all.clone(), change.story());
        }
    });
    let dns = Arc::new(Dns { ingresses, services, aws });
    work("external-dns", queue, 1, move |_: Key| {
        let dns = dns.clone();
        async move { dns.reconcile().await }
    })
    .await;
}

fn hosts(text: &str) -> impl Iterator<Item = String> + '_ {
    let clean = |host: &str| host.trim().trim_end_matches('.').to_ascii_lowercase();
    text.split(',').map(clean).filter(|host| host.contains('.'))
}

fn of_ingress(ingress: &Ingress) -> Vec<Endpoint> {
    let balancer = ingress.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let balancer = balancer.and_then(|b| b.ingress.as_ref()).and_then(|all| all.first());
    let target = balancer.and_then(|b| b.hostname.clone().or_else(|| b.ip.clone()));
    let (Some(target), Some(spec), None) = (target, &ingress.spec, &ingress.metadata.deletion_timestamp)
    else {
        return Vec::new();
    };
    let rules = spec.rules.iter().flatten().filter_map(|r| r.host.as_deref());
    let tls = spec.tls.iter().flatten().flat_map(|t| t.hosts.iter().flatten()).map(String::as_str);
    let annotated = annotation(&ingress.metadata, HOSTNAME);
    let all: BTreeSet<String> = rules.chain(tls).chain(annotated).flat_map(hosts).collect();
    let resource = format!("ingress/{}", Key::of(&ingress.metadata));
    endpoints(all, &target, &resource)
}

fn of_service(service: &Service) -> Vec<Endpoint> {
    let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let balancer = balancer.and_then(|b| b.ingress.as_ref()).and_then(|all| all.first());
    let target = balancer.and_then(|b| b.hostname.clone().or_else(|| b.ip.clone()));
    let annotated = annotation(&service.metadata, HOSTNAME);
    let (Some(target), Some(annotated), None) = (target, annotated, &service.metadata.deletion_timestamp)
    else {
        return Vec::new();
    };
    let resource = format!("service/{}", Key::of(&service.metadata));
    endpoints(hosts(annotated).collect(), &target, &resource)
}

fn endpoints(hosts: BTreeSet<String>, target: &str, resource: &str) -> Vec<Endpoint> {
    let endpoint = |host| Endpoint { host, target: target.to_string(), resource: resource.to_string() };
    hosts.into_iter().map(endpoint).collect()
}

impl Dns {
    fn wanted(&self) -> Vec<Endpoint> {
        let ingresses = self.ingresses.all();
        let services = self.services.all();
        let mut all: Vec<Endpoint> = ingresses.iter().flat_map(|i| of_ingress(i)).collect();
        all.extend(services.iter().flat_map(|s| of_service(s)));
        all.sort();
        all
    }

    async fn reconcile(&self) -> Result<Done, Error> {
        let wanted = self.wanted();
        let mut done = Done::nothing();
        let mut zones = self.aws.send(ListHostedZones::default()).await.map_err(cloud)?;
        for endpoint in &wanted {
            if zone_of(&zones, &endpoint.host).is_none() {
                let name = registrable(&endpoint.host);
                let create = CreateHostedZone { name, private_zone: false, comment: ZONE_COMMENT.into() };
                let zone = self.aws.send(create).await.map_err(cloud)?;
                done.note(format!("created hosted zone {}", zone.name));
                zones.push(zone);
            }
        }
        for zone in &zones {
            let id = zone.id.clone();
            let list = ListResourceRecordSets { hosted_zone_id: id.clone() };
            let records = self.aws.send(list).await.map_err(cloud)?;
            let own = wanted.iter().filter(|e| zone_of(&zones, &e.host).is_some_and(|z| z.id == id));
            let own: Vec<&Endpoint> = own.collect();
            let changes = changes(&records, &own);
            if !changes.is_empty() {
                changes.iter().for_each(|change| done.note(story(change)));
                let batch = ChangeResourceRecordSets { hosted_zone_id: id.clone(), changes };
                self.aws.send(batch).await.map_err(cloud)?;
            }
            let bare = records.iter().all(|r| {
                matches!(r.r#type, RecordType::Ns | RecordType::Soa) || owner(&records, &r.name).is_some()
            });
            if own.is_empty() && bare && zone.comment == ZONE_COMMENT {
                self.aws.send(DeleteHostedZone { id }).await.map_err(cloud)?;
                done.note(format!("deleted hosted zone {}", zone.name));
            }
        }
        done.again_after(INTERVAL);
        Ok(done)
    }
}

/// The public zone with the longest name that the host is in; of equal ones, the one somebody made on purpose.
fn zone_of<'a>(zones: &'a [HostedZone], host: &str) -> Option<&'a HostedZone> {
    let inside = |zone: &&HostedZone| {
        let name = zone.name.trim_end_matches('.');
        host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    };
    zones
        .iter()
        .filter(|z| !z.private_zone)
        .filter(inside)
        .max_by_key(|z| (z.name.len(), z.comment != ZONE_COMMENT))
}

/// The last two labels.
fn registrable(host: &str) -> String {
    let labels: Vec<&str> = host.rsplit('.').take(2).collect();
    labels.into_iter().rev().collect::<Vec<_>>().join(".")
}

/// The object that the TXT record at a name says it is for, if the record is ours.
fn owner<'a>(records: &'a [ResourceRecordSet], name: &str) -> Option<&'a str> {
    let texts = records.iter().filter(|r| r.name == name && r.r#type == RecordType::Txt);
    texts.flat_map(|r| &r.resource_records).find_map(|text| text.trim_matches('"').strip_prefix(OWNED))
}

fn record(name: String, r#type: RecordType) -> ResourceRecordSet {
    ResourceRecordSet { name, r#type, ttl: None, resource_records: Vec::new(), alias_target: None }
}

fn address_record(name: String, target: &str) -> ResourceRecordSet {
    let plain = |r#type| ResourceRecordSet {
        ttl: Some(TTL),
        resource_records: vec![target.to_string()],
        ..record(name.clone(), r#type)
    };
    if target.parse::<std::net::Ipv4Addr>().is_ok() {
        return plain(RecordType::A);
    }
    if !target.ends_with(".amazonaws.com") {
        return plain(RecordType::Cname);
    }
    let network = target.contains(".elb.") && !target.ends_with(".elb.amazonaws.com");
    let zone = if network { names::NLB_HOSTED_ZONE_ID } else { names::ALB_HOSTED_ZONE_ID };
    let alias = AliasTarget {
        dns_name: format!("{target}."),
        hosted_zone_id: zone.into(),
        evaluate_target_health: true,
    };
    ResourceRecordSet { alias_target: Some(alias), ..record(name, RecordType::A) }
}

/// What has to change in a zone. Of several objects that want a name, the present owner keeps it, else the first
/// gets it.
fn changes(records: &[ResourceRecordSet], wanted: &[&Endpoint]) -> Vec<Change> {
    let mut by_name: BTreeMap<String, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in wanted {
        by_name.entry(format!("{}.", endpoint.host)).or_default().push(endpoint);
    }
    let address = |r: &&ResourceRecordSet| {
        matches!(r.r#type, RecordType::A | RecordType::Aaaa | RecordType::Cname | RecordType::Txt)
    };
    let mut out = Vec::new();
    let ours: BTreeSet<&String> =
        records.iter().map(|r| &r.name).filter(|name| owner(records, name).is_some()).collect();
    for name in ours.iter().filter(|name| !by_name.contains_key(**name)) {
        let gone = records.iter().filter(|r| r.name == ***name).filter(address);
        out.extend(gone.map(|r| Change { action: ChangeAction::Delete, resource_record_set: r.clone() }));
    }
    for (name, endpoints) in by_name {
        let present = owner(records, &name);
        let foreign = records.iter().filter(|r| r.name == name).filter(address).any(|_| present.is_none());
        let keeper = endpoints.iter().find(|e| Some(e.resource.as_str()) == present).or(endpoints.first());
        let Some(endpoint) = keeper.filter(|_| !foreign) else { continue };
        let text = ResourceRecordSet {
            ttl: Some(TTL),
            resource_records: vec![format!("\"{OWNED}{}\"", endpoint.resource)],
            ..record(name.clone(), RecordType::Txt)
        };
        let new = [address_record(name.clone(), &endpoint.target), text];
        let stale = records.iter().filter(|r| r.name == name).filter(address);
        let stale = stale.filter(|r| !new.iter().any(|n| n.r#type == r.r#type));
        out.extend(stale.map(|r| Change { action: ChangeAction::Delete, resource_record_set: r.clone() }));
        let differs = new.into_iter().filter(|n| !records.contains(n));
        out.extend(differs.map(|r| Change { action: ChangeAction::Upsert, resource_record_set: r }));
    }
    out
}

fn story(change: &Change) -> String {
    let record = &change.resource_record_set;
    let to = record.alias_target.as_ref().map(|alias| format!(" → {}", alias.dns_name)).unwrap_or_default();
    format!("{} {} {}{to}", change.action, record.r#type, record.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, resource: &str) -> Endpoint {
        let target = "k8s-1.us-east-1.elb.amazonaws.com".to_string();
        Endpoint { host: host.into(), target, resource: resource.into() }
    }

    #[test]
    fn a_name_gets_alias_and_owner_and_nothing_the_second_time() {
        let wanted = endpoint("a.example.com", "ingress/default/web");
        let first = changes(&[], &[&wanted]);
        let records: Vec<ResourceRecordSet> = first.into_iter().map(|c| c.resource_record_set).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(
            records[0].alias_target.as_ref().map(|a| a.hosted_zone_id.as_str()),
            Some(names::ALB_HOSTED_ZONE_ID)
        );
        assert_eq!(changes(&records, &[&wanted]), []);
        let gone = changes(&records, &[]);
        assert!(gone.iter().all(|c| c.action == ChangeAction::Delete) && gone.len() == 2);
    }

    #[test]
    fn records_of_others_stay_and_an_owner_keeps_its_name() {
        let wanted = endpoint("a.example.com", "ingress/default/web");
        let foreign = vec![address_record("a.example.com.".into(), "1.2.3.4")];
        assert_eq!(changes(&foreign, &[&wanted]), []);
        assert_eq!(changes(&foreign, &[]), []);
        let second = endpoint("a.example.com", "ingress/default/a-second");
        let records: Vec<_> = changes(&[], &[&wanted]).into_iter().map(|c| c.resource_record_set).collect();
        assert_eq!(changes(&records, &[&second, &wanted]), []);
    }

    #[test]
    fn the_longest_zone_wins() {
        let zone = |name: &str| HostedZone { name: name.into(), ..Default::default() };
        let zones = [zone("example.com."), zone("shop.example.com.")];
        let found = |host| zone_of(&zones, host).map(|z| z.name.as_str());
        assert_eq!(found("a.shop.example.com"), Some("shop.example.com."));
        assert_eq!(found("example.com"), Some("example.com."));
        assert_eq!(found("myexample.com"), None);
        assert_eq!(registrable("a.b.example.com"), "example.com");
    }
}
