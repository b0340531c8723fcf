//! The conditions of a definition beside those of its names: whether its group is approved of, and how far its deletion
//! has come.

use apiserver_json::{Value, json};

use super::{Approval, SEE, approval, approval_annotation, invalid_approval, is_protected, missing_approval};
use crate::strategy::shared::text;

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: &'static str,
    pub status: &'static str,
    pub reason: &'static str,
    pub message: String,
}

impl Condition {
    pub fn new(
        kind: &'static str,
        status: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    fn is_said_by(&self, known: &Value) -> bool {
        let said = (text(known, "status"), text(known, "reason"), text(known, "message"));
        said == (self.status, self.reason, self.message.as_str())
    }
}

/// A condition of a definition.
pub fn find<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|known| known["type"] == kind)
}

/// Sets a condition where it stands, or after all others. Its time is when its status changed.
pub fn set(definition: &mut Value, condition: &Condition, time: &str) {
    let status = crate::object::member_mut(definition, "status");
    let known = status.entry("conditions").or_insert(Value::Null);
    if !known.is_array() {
        *known = json!([]);
    }
    let Some(known) = known.as_array_mut() else { return };
    let mut next = json!({
        "type": condition.kind, "status": condition.status, "reason": condition.reason,
        "message": condition.message, "lastTransitionTime": time,
    });
    match known.iter_mut().find(|known| known["type"] == condition.kind) {
        Some(known) => {
            if known["status"] == condition.status && !text(known, "lastTransitionTime").is_empty() {
                next["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = next;
        }
        None => known.push(next),
    }
}

/// A definition with what is said of the approval of its group; `None` where nothing is, or it says so already.
pub fn approved(definition: &Value, time: &str) -> Option<Value> {
    const KIND: &str = "KubernetesAPIApprovalPolicyConformant";
    if !is_protected(definition) {
        return None;
    }
    let annotation = approval_annotation(definition);
    let condition = match approval(annotation) {
        Approval::Given => {
            Condition::new(KIND, "True", "ApprovedAnnotation", format!("approved in {annotation}"))
        }
        Approval::Bypassed => {
            Condition::new(KIND, "False", "UnapprovedAnnotation", format!("not approved: {annotation:?}"))
        }
        Approval::Missing => {
            let why = format!("{}, {SEE}", missing_approval());
            Condition::new(KIND, "False", "MissingAnnotation", why)
        }
        Approval::Invalid => {
            let why = format!("{}, {SEE}", invalid_approval());
            Condition::new(KIND, "False", "InvalidAnnotation", why)
        }
    };
    if find(definition, KIND).is_some_and(|known| condition.is_said_by(known)) {
        return None;
    }
    let mut next = definition.clone();
    set(&mut next, &condition, time);
    Some(next)
}

/// How far the deletion of a definition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminating {
    /// It has been asked for.
    Pending,
    /// Its objects are being deleted.
    InProgress,
    /// What its objects are could not be read.
    Unlisted(String),
    /// Some of its objects could not be deleted.
    Undeleted(Vec<String>),
    /// Some of its objects wait for their finalizers.
    Unconfirmed,
    /// Its objects are gone.
    Completed,
    /// It never had objects.
    NeverEstablished,
    /// What is stored under its name is not its own.
    Overlapping,
}

impl Terminating {
    fn condition(&self) -> Condition {
        let (status, reason, message) = match self {
            Self::Pending => (
                "True",
                "InstanceDeletionPending",
                "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
                    .to_owned(),
            ),
            Self::InProgress => {
                ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress".to_owned())
            }
            Self::Unlisted(why) => {
                ("True", "InstanceDeletionFailed", format!("could not list instances: {why}"))
            }
            Self::Undeleted(errors) => {
                let mut told: Vec<&str> = Vec::new();
                for error in errors {
                    if !told.contains(&error.as_str()) {
                        told.push(error);
                    }
                }
                let why = match told.as_slice() {
                    [one] => (*one).to_owned(),
                    many => format!("[{}]", many.join(", ")),
                };
                ("True", "InstanceDeletionFailed", format!("could not issue all deletes: {why}"))
            }
            Self::Unconfirmed => (
                "True",
                "InstanceDeletionCheck",
                "could not confirm zero CustomResources remaining: context deadline exceeded".to_owned(),
            ),
            Self::Completed => ("False", "InstanceDeletionCompleted", "removed all instances".to_owned()),
            Self::NeverEstablished => {
                ("False", "NeverEstablished", "resource was never established".to_owned())
            }
            Self::Overlapping => (
                "False",
                "OverlappingBuiltInResource",
                "instances overlap with built-in resources in storage".to_owned(),
            ),
        };
        Condition::new("Terminating", status, reason, message)
    }

    /// Does a definition say so?
    pub fn is_said_by(&self, definition: &Value) -> bool {
        find(definition, "Terminating").is_some_and(|known| self.condition().is_said_by(known))
    }
}

/// Says in a definition's conditions how far its deletion has come.
pub fn terminates(definition: &mut Value, how_far: &Terminating, time: &str) {
    set(definition, &how_far.condition(), time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_deletion_has_come_is_told_once() {
        let mut definition = json!({"status": {"conditions": [{"type": "Established"}]}});
        for (how_far, status, reason, message, since) in [
            (Terminating::Pending, "True", "InstanceDeletionPending", "marked for deletion", "t0"),
            (Terminating::InProgress, "True", "InstanceDeletionInProgress", "in progress", "t0"),
            (
                Terminating::Undeleted(vec!["a".into(), "b".into(), "a".into()]),
                "True",
                "InstanceDeletionFailed",
                "could not issue all deletes: [a, b]",
                "t0",
            ),
            (Terminating::Completed, "False", "InstanceDeletionCompleted", "removed all", "t3"),
        ]
        .into_iter()
        {
            let time = format!(
                "t{}",
                ["Pending", "Progress", "Failed", "Completed"]
                    .iter()
                    .position(|end| reason.ends_with(end))
                    .unwrap_or(9)
            );
            terminates(&mut definition, &how_far, &time);
            let told = &definition["status"]["conditions"];
            assert_eq!(told.as_array().map(<[_]>::len), Some(2), "{reason}");
            assert_eq!((text(&told[1], "status"), text(&told[1], "reason")), (status, reason));
            assert!(text(&told[1], "message").contains(message), "{told}");
            assert_eq!(told[1]["lastTransitionTime"], since, "{reason}");
        }
    }

    #[test]
    fn what_is_said_of_the_approval_of_a_group() {
        for (group, annotation, want) in [
            ("a.io", "", None),
            ("a.k8s.io", "https://a/1", Some(("True", "ApprovedAnnotation", "approved in https://a/1"))),
            (
                "kubernetes.io",
                "unapproved, new",
                Some(("False", "UnapprovedAnnotation", "not approved: \"unapproved, new\"")),
            ),
        ] {
            let definition = json!({
                "metadata": {"annotations": {"api-approved.kubernetes.io": annotation}},
                "spec": {"group": group},
            });
            let next = approved(&definition, "t");
            let told = next.as_ref().map(|next| &next["status"]["conditions"][0]);
            let told = told.map(|told| (text(told, "status"), text(told, "reason"), text(told, "message")));
            assert_eq!(told, want, "{group}");
            assert_eq!(next.and_then(|next| approved(&next, "u")), None, "it says so already");
        }
    }
}
