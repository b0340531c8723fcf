//! Objects of load balancers that a person edits: attributes are changed as if the API had been asked, and what AWS
//! refuses, or does not let anybody change, is written back as it was.
//!
//! HostedZones and Certificates are people's own and are adopted elsewhere; an object nobody knows is left alone.

use super::{Cloud, Error, now_ms};
use crate::state::{Map, State};
use ccm_mock_aws_api::elbv2::{Attributes, Listener, LoadBalancer, TargetGroup};
use ccm_mock_aws_api::object::{from_object, to_object};
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Operation, Resource};
use controllers_kit::Raw;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// Kinds whose objects are looked after, with their plurals.
pub(super) const EDITED: &[(&str, &str)] = &[
    (LoadBalancer::KIND, LoadBalancer::PLURAL),
    (Listener::KIND, Listener::PLURAL),
    (TargetGroup::KIND, TargetGroup::PLURAL),
];

/// What an object says beside what is so.
#[derive(Debug, Clone, PartialEq)]
struct Edit {
    /// What the editor wants of AWS, if it is something that can be wanted.
    wanted: Option<Operation>,
}

/// None if the object says what is so, or is of nothing that is known.
fn edit_of<T: Resource>(
    known: &Map<T>,
    object: &Value,
    attributes: fn(&T) -> &Attributes,
    modify: fn(String, Attributes) -> Operation,
) -> Option<Edit> {
    let present = find(known, object)?;
    // One that cannot be read any more is put right.
    let Ok(said) = from_object::<T>(object) else { return Some(Edit { wanted: None }) };
    if said == **present {
        return None;
    }
    let differs = |(key, value): &(&String, &String)| attributes(present).get(*key) != Some(*value);
    let changed: Attributes =
        attributes(&said).iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect();
    let wanted = (!changed.is_empty()).then(|| modify(present.id().to_string(), changed));
    Some(Edit { wanted })
}

fn find<'a, T: Resource>(known: &'a Map<T>, object: &Value) -> Option<&'a Arc<T>> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str)?;
    known.values().find(|resource| resource.object_name() == name)
}

fn edit(state: &State, kind: &str, object: &Value) -> Option<Edit> {
    match kind {
        LoadBalancer::KIND => edit_of(
            &state.load_balancers,
            object,
            |balancer| &balancer.attributes,
            |load_balancer_arn, attributes| {
                ModifyLoadBalancerAttributes { load_balancer_arn, attributes }.into()
            },
        ),
        Listener::KIND => edit_of(
            &state.listeners,
            object,
            |listener| &listener.attributes,
            |listener_arn, attributes| ModifyListenerAttributes { listener_arn, attributes }.into(),
        ),
        TargetGroup::KIND => edit_of(
            &state.target_groups,
            object,
            |group| &group.attributes,
            |target_group_arn, attributes| {
                ModifyTargetGroupAttributes { target_group_arn, attributes }.into()
            },
        ),
        _ => None,
    }
}

/// The object as it is to be.
fn object_of(state: &State, kind: &str, object: &Value) -> Option<Value> {
    match kind {
        LoadBalancer::KIND => find(&state.load_balancers, object).map(|found| to_object(&**found)),
        Listener::KIND => find(&state.listeners, object).map(|found| to_object(&**found)),
        TargetGroup::KIND => find(&state.target_groups, object).map(|found| to_object(&**found)),
        _ => None,
    }
}

impl Cloud {
    /// Take in what a person made of an object of the cloud.
    pub(super) async fn take_edit(&self, kind: &'static str, object: Raw) -> Result<(), Error> {
        // Most events tell what the cloud itself has written.
        if edit(&self.state(), kind, &object.tree).is_none() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if self.objects.is_outdated(kind, &object) {
            return Ok(());
        }
        let before = self.state();
        let seen = object.tree;
        let Some(edit) = edit(&before, kind, &seen) else { return Ok(()) };
        let began = Instant::now();
        let name = object.metadata.name.unwrap_or_default();
        let mut next = before.as_ref().clone();
        let change = match edit.wanted.map(|operation| before.apply(operation, now_ms())) {
            Some(Ok((after, _))) => {
                next = after;
                "changed the attributes".to_string()
            }
            Some(Err(error)) => format!("took the edit back: {error}"),
            None => "took the edit back: it is of no attribute".to_string(),
        };
        if let Some(wanted) = object_of(&next, kind, &seen) {
            self.objects.put_right(kind, &name, &seen, &wanted).await?;
        }
        self.state.send_replace(Arc::new(next));
        let cause = format!("{kind} {name} was edited");
        let elapsed_ms = began.elapsed().as_micros() as f64 / 1000.0;
        tracing::info!(controller = "cloud", object = %name, cause, change, elapsed_ms, "reconciled");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccm_mock_aws_api::elbv2::{LoadBalancerType, Scheme};
    use ccm_mock_aws_api::layout;
    use serde_json::json;

    #[test]
    fn attributes_are_asked_for_and_the_rest_is_put_right() {
        let create = CreateLoadBalancer {
            name: "web".into(),
            r#type: LoadBalancerType::Application,
            scheme: Scheme::Internal,
            subnets: (1..=2).map(layout::private_subnet_id).collect(),
            security_groups: vec![],
            ip_address_type: "ipv4".into(),
            tags: vec![],
        };
        let (state, _) = State::bootstrap(2).apply(create.into(), 0).expect("a load balancer");
        let arn = state.load_balancers.keys().next().expect("one").clone();
        let object = to_object(&**state.load_balancers.values().next().expect("one"));
        assert_eq!(object_of(&state, "LoadBalancer", &object), Some(object.clone()));
        let modify = |key: &str, value: &str| {
            let attributes = [(key.to_string(), value.to_string())].into();
            Some(ModifyLoadBalancerAttributes { load_balancer_arn: arn.clone(), attributes }.into())
        };
        // path, what stands there now, what is made of it
        let table = [
            ("/spec/attributes/deletion_protection.enabled", json!("false"), None),
            (
                "/spec/attributes/deletion_protection.enabled",
                json!("true"),
                Some(Edit { wanted: modify("deletion_protection.enabled", "true") }),
            ),
            (
                "/spec/attributes/idle_timeout.timeout_seconds",
                json!("x"),
                Some(Edit { wanted: modify("idle_timeout.timeout_seconds", "x") }),
            ),
            ("/spec/scheme", json!("internet-facing"), Some(Edit { wanted: None })),
            ("/spec/scheme", json!(7), Some(Edit { wanted: None })),
            ("/metadata/name", json!("mine"), None),
        ];
        for (path, value, expected) in table {
            let mut edited = object.clone();
            *edited.pointer_mut(path).expect(path) = value.clone();
            assert_eq!(edit(&state, "LoadBalancer", &edited), expected, "{path} {value}");
        }
        assert_eq!(edit(&state, "HostedZone", &object), None);
    }
}
