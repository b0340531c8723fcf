//! Route 53's nouns: hosted zones and their record sets.
//!
//! Routing policies (weighted, latency, failover) are not modelled.

use crate::Tag;
use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    /// Type of a record set.
    RecordType {
        A = "A", Aaaa = "AAAA", Cname = "CNAME", Txt = "TXT", Ns = "NS", Soa = "SOA", Mx = "MX", Srv = "SRV", Caa = "CAA",
    }
}

/// A zone with its records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostedZone {
    /// `/hostedzone/Z…` without the prefix.
    pub id: String,
    /// With trailing dot.
    pub name: String,
    pub private_zone: bool,
    pub comment: String,
    pub resource_record_sets: Vec<ResourceRecordSet>,
    pub name_servers: Vec<String>,
    pub tags: Vec<Tag>,
    /// Name of the object that shows it.
    #[serde(skip)]
    pub object_name: String,
}

/// All records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRecordSet {
    /// With trailing dot.
    pub name: String,
    pub r#type: RecordType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// Values as in a zone file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_records: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_target: Option<AliasTarget>,
}

/// The name whose addresses an alias answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AliasTarget {
    pub dns_name: String,
    pub hosted_zone_id: String,
    pub evaluate_target_health: bool,
}

text_enum! {
    /// What a change does.
    ChangeAction { Create = "CREATE", Delete = "DELETE", Upsert = "UPSERT" }
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub action: ChangeAction,
    pub resource_record_set: ResourceRecordSet,
}
