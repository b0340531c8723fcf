//! Hosted zones and atomic batches of record changes.
//!
//! Answering queries is `dataplane/dns`.

use crate::state::{State, fresh_id, get_mut, not_found};
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::route53::*;
use ccm_mock_aws_api::{Code, Error};
use std::sync::Arc;

fn no_zone(id: &str) -> Error {
    not_found(Code::NoSuchHostedZone, format!("No hosted zone found with ID: {id}"))
}

/// Lower case with one trailing dot.
pub(crate) fn dotted(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

/// The records every zone has.
pub(crate) fn with_apex(mut zone: HostedZone) -> HostedZone {
    let set = |r#type, ttl, values: Vec<String>| ResourceRecordSet {
        name: zone.name.clone(),
        r#type,
        ttl: Some(ttl),
        resource_records: values,
        alias_target: None,
    };
    let has = |t: RecordType| zone.resource_record_sets.iter().any(|r| r.r#type == t && r.name == zone.name);
    let mut apex = Vec::new();
    if !has(RecordType::Ns) {
        apex.push(set(RecordType::Ns, 172_800, zone.name_servers.clone()));
    }
    if !has(RecordType::Soa) {
        let first = zone.name_servers.first().cloned().unwrap_or_default();
        apex.push(set(
            RecordType::Soa,
            900,
            vec![format!("{first} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400")],
        ));
    }
    zone.resource_record_sets.splice(0..0, apex);
    zone
}

impl State {
    /// A zone's id and name servers, derived from its name.
    pub(crate) fn new_zone(&self, name: &str) -> HostedZone {
        let name = dotted(name);
        let hex = fresh_id(&format!("zone/{name}"), 19, |hex| {
            self.hosted_zones.contains_key(&format!("Z{}", hex.to_uppercase()))
        });
        let number = u32::from_str_radix(hex.get(..4).unwrap_or("0"), 16).unwrap_or(0) % 2000;
        let servers = ["com", "net", "org", "co.uk"].iter().enumerate();
        let name_servers = servers
            .map(|(i, tld)| {
                format!("ns-{}.awsdns-{:02}.{tld}.", (number as usize + i * 512) % 2048, number % 64)
            })
            .collect();
        let object_name = ccm_mock_aws_api::names::object_name(name.trim_end_matches('.'));
        HostedZone {
            id: format!("Z{}", hex.to_uppercase()),
            name,
            name_servers,
            object_name,
            ..Default::default()
        }
    }

    pub(crate) fn create_hosted_zone(&mut self, input: CreateHostedZone) -> Result<HostedZone, Error> {
        let valid = input.name.trim_end_matches('.').split('.').all(|l| !l.is_empty() && l.len() <= 63);
        if !valid {
            return Err(Error::new(
                Code::InvalidDomainName,
                format!("{} is not a valid domain name", input.name),
            ));
        }
        let zone = HostedZone {
            private_zone: input.private_zone,
            comment: input.comment,
            ..self.new_zone(&input.name)
        };
        let zone = with_apex(zone);
        self.hosted_zones.insert(zone.id.clone(), Arc::new(zone.clone()));
        Ok(zone)
    }

    pub(crate) fn delete_hosted_zone(&mut self, input: DeleteHostedZone) -> Result<(), Error> {
        let zone = self.hosted_zones.get(&input.id).ok_or_else(|| no_zone(&input.id))?;
        let apex = |r: &ResourceRecordSet| {
            r.name == zone.name && matches!(r.r#type, RecordType::Ns | RecordType::Soa)
        };
        if !zone.resource_record_sets.iter().all(apex) {
            let message = "The specified hosted zone contains non-required resource record sets and so cannot be deleted.";
            return Err(Error::new(Code::HostedZoneNotEmpty, message));
        }
        self.hosted_zones.remove(&input.id);
        Ok(())
    }

    pub(crate) fn list_resource_record_sets(
        &self,
        input: ListResourceRecordSets,
    ) -> Result<Vec<ResourceRecordSet>, Error> {
        let id = &input.hosted_zone_id;
        Ok(self.hosted_zones.get(id).ok_or_else(|| no_zone(id))?.resource_record_sets.clone())
    }

    pub(crate) fn change_resource_record_sets(
        &mut self,
        input: ChangeResourceRecordSets,
    ) -> Result<(), Error> {
        let id = &input.hosted_zone_id;
        let zone = get_mut(&mut self.hosted_zones, id, || no_zone(id))?;
        let mut problems = Vec::new();
        for change in input.changes {
            let mut set = change.resource_record_set;
            set.name = dotted(&set.name);
            let text = format!("[name='{}', type='{}']", set.name, set.r#type);
            if set.name != zone.name && !set.name.ends_with(&format!(".{}", zone.name)) {
                problems
                    .push(format!("RRSet with DNS name {} is not permitted in zone {}", set.name, zone.name));
                continue;
            }
            let sets = &mut zone.resource_record_sets;
            let known = sets.iter().position(|r| r.name == set.name && r.r#type == set.r#type);
            let clash = |r: &ResourceRecordSet| {
                r.name == set.name && (r.r#type == RecordType::Cname) != (set.r#type == RecordType::Cname)
            };
            if change.action != ChangeAction::Delete && sets.iter().any(clash) {
                problems.push(format!("RRSet of type {} with DNS name {} is not permitted as it conflicts with other records with the same DNS name in zone {}", set.r#type, set.name, zone.name));
                continue;
            }
            match (change.action, known) {
                (ChangeAction::Create, Some(_)) => {
                    problems.push(format!("Tried to create resource record set {text} but it already exists"))
                }
                (ChangeAction::Create, None) | (ChangeAction::Upsert, None) => sets.push(set),
                (ChangeAction::Upsert, Some(i)) => sets[i] = set,
                (ChangeAction::Delete, Some(i)) if sets[i] == set => {
                    sets.remove(i);
                }
                (ChangeAction::Delete, Some(_)) => {
                    problems.push(format!("Tried to delete resource record set {text} but the values provided do not match the current values"));
                }
                (ChangeAction::Delete, None) => {
                    problems.push(format!("Tried to delete resource record set {text} but it was not found"))
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::new(Code::InvalidChangeBatch, format!("[{}]", problems.join(", "))))
        }
    }
}
