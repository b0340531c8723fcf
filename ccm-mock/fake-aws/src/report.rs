//! What reaches the state from outside the API: health, bound sockets, issued certificates, the clock, users' objects.
//!
//! A report about a thing that is gone is ignored.

use crate::certificates::Issued;
use crate::route53::{dotted, with_apex};
use crate::state::{State, keep};
use crate::target_groups::set_reason;
use ccm_mock_aws_api::acm::{CertificateStatus, CertificateType};
use ccm_mock_aws_api::elbv2::{Endpoint, HealthState};
use ccm_mock_aws_api::health::Reason;
use ccm_mock_aws_api::route53::{HostedZone, ResourceRecordSet};
use std::sync::Arc;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Results of health checks.
    Health(Vec<HealthReport>),
    /// Where a load balancer's listeners really are.
    Endpoints {
        /// The load balancer.
        load_balancer_arn: String,
        /// Virtual and bound addresses.
        endpoints: Vec<Endpoint>,
    },
    /// A certificate has been signed.
    Issued {
        /// The certificate.
        certificate_arn: String,
        /// Chain and facts.
        issued: Issued,
    },
    /// Time has passed: drained targets go.
    Tick,
    /// A user applied a HostedZone.
    AdoptHostedZone {
        /// Name of the object.
        object_name: String,
        /// Its spec.
        zone: HostedZone,
    },
    /// A user applied a Certificate.
    AdoptCertificate {
        /// Name of the object.
        object_name: String,
        /// `spec.domainName`.
        domain_name: String,
        /// `spec.subjectAlternativeNames`.
        subject_alternative_names: Vec<String>,
    },
    /// A user deleted one of those objects.
    Forget {
        /// `HostedZone` or `Certificate`.
        kind: &'static str,
        /// Name of the object.
        object_name: String,
    },
}

/// The health of one target as its checker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// Target group.
    pub target_group_arn: String,
    /// Target.
    pub id: String,
    /// Port.
    pub port: u16,
    /// New state.
    pub state: HealthState,
    /// Reason unless healthy.
    pub reason: Option<Reason>,
    /// Sentence; the reason's own if None.
    pub description: Option<String>,
}

impl State {
    pub(crate) fn take(&mut self, report: Report, now_ms: u64) {
        match report {
            Report::Health(reports) => reports.into_iter().for_each(|r| self.health(r)),
            Report::Endpoints { load_balancer_arn, endpoints } => {
                if let Some(balancer) =
                    self.load_balancers.get_mut(&load_balancer_arn).filter(|b| b.endpoints != endpoints)
                {
                    Arc::make_mut(balancer).endpoints = endpoints;
                }
            }
            Report::Issued { certificate_arn, issued } => {
                let Some(certificate) = self.certificates.get_mut(&certificate_arn).map(Arc::make_mut) else {
                    return;
                };
                certificate.status = CertificateStatus::Issued;
                certificate.certificate_chain = issued.chain_pem;
                certificate.issuer = issued.facts.issuer;
                certificate.serial = issued.facts.serial;
                certificate.not_before = issued.facts.not_before;
                certificate.not_after = issued.facts.not_after;
            }
            Report::Tick => {
                let over = |until: Option<u64>| until.is_some_and(|t| t <= now_ms);
                let mut drained = Vec::new();
                for (arn, group) in &self.target_groups {
                    if group.targets.iter().any(|t| over(t.draining_until_ms)) {
                        let mut group = (**group).clone();
                        group.targets.retain(|t| !over(t.draining_until_ms));
                        drained.push((arn.clone(), Arc::new(group)));
                    }
                }
                self.target_groups.extend(drained);
            }
            Report::AdoptHostedZone { object_name, zone } => self.adopt_zone(object_name, zone),
            Report::AdoptCertificate { object_name, domain_name, subject_alternative_names } => {
                let kind = CertificateType::AmazonIssued;
                let mut certificate =
                    self.new_certificate(&domain_name.to_ascii_lowercase(), &subject_alternative_names, kind);
                certificate.object_name = object_name;
                self.certificates.insert(certificate.certificate_arn.clone(), Arc::new(certificate));
            }
            Report::Forget { kind, object_name } => {
                use ccm_mock_aws_api::Resource;
                match kind {
                    "HostedZone" => keep(&mut self.hosted_zones, |z| z.object_name() != object_name),
                    _ => keep(&mut self.certificates, |c| c.object_name() != object_name),
                }
            }
        }
    }

    fn health(&mut self, report: HealthReport) {
        let Some(group) = self.target_groups.get_mut(&report.target_group_arn) else { return };
        let differs = |t: &ccm_mock_aws_api::elbv2::TargetHealthDescription| {
            t.is(&report.id, report.port)
                && !matches!(t.state, HealthState::Draining | HealthState::Unused)
                && (t.state != report.state || t.reason.as_deref() != report.reason.map(Reason::as_str))
        };
        let Some(index) = group.targets.iter().position(differs) else { return };
        let target = &mut Arc::make_mut(group).targets[index];
        match report.reason {
            Some(reason) => set_reason(target, reason),
            None => (target.reason, target.description) = (None, None),
        }
        target.state = report.state;
        if report.description.is_some() {
            target.description = report.description;
        }
    }

    fn adopt_zone(&mut self, object_name: String, spec: HostedZone) {
        let known = self.hosted_zones.values().find(|z| z.object_name == object_name).cloned();
        let base = known.map_or_else(|| self.new_zone(&spec.name), |z| z.as_ref().clone());
        let records: Vec<ResourceRecordSet> = spec
            .resource_record_sets
            .into_iter()
            .map(|mut r| {
                r.name = dotted(&r.name);
                r
            })
            .collect();
        let zone = with_apex(HostedZone {
            object_name,
            name: dotted(&spec.name),
            private_zone: spec.private_zone,
            comment: spec.comment,
            resource_record_sets: records,
            tags: spec.tags,
            ..base
        });
        self.hosted_zones.insert(zone.id.clone(), Arc::new(zone));
    }

    /// When the next draining target is done, if one is draining.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.target_groups.values().flat_map(|g| &g.targets).filter_map(|t| t.draining_until_ms).min()
    }
}
