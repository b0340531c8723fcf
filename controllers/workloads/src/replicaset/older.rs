//! A ReplicationController as a ReplicaSet, and a status back. What it selects is a plain map of labels.

use super::Replicates;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::borrow::Cow;
use std::sync::Arc;

impl Replicates for ReplicationController {
    const NAMES: (&'static str, &'static str) = ("replicationcontroller", "replication-controller");

    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        let labels = self.spec.as_ref()?.selector.clone();
        Some(Cow::Owned(LabelSelector { match_labels: labels, ..Default::default() }))
    }

    fn as_set(self: Arc<Self>) -> Arc<ReplicaSet> {
        let spec = self.spec.as_ref().map(|spec| ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: spec.replicas,
            selector: self.selector().map(Cow::into_owned).unwrap_or_default(),
            template: spec.template.clone(),
        });
        let condition = |of: &ReplicationControllerCondition| ReplicaSetCondition {
            type_: of.type_.clone(),
            status: of.status.clone(),
            reason: of.reason.clone(),
            message: of.message.clone(),
            last_transition_time: of.last_transition_time.clone(),
        };
        let status = self.status.as_ref().map(|status| ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.as_ref().map(|all| all.iter().map(condition).collect()),
            terminating_replicas: None,
        });
        Arc::new(ReplicaSet { metadata: self.metadata.clone(), spec, status })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let condition = |of: ReplicaSetCondition| ReplicationControllerCondition {
            type_: of.type_,
            status: of.status,
            reason: of.reason,
            message: of.message,
            last_transition_time: of.last_transition_time,
        };
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        };
        Self { status: Some(status), ..self.clone() }
    }
}
