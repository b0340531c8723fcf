//! Upstream's default admission plugins, those that look at other objects: what they change and what they refuse.
//!
//! A plugin is a row of [`PLUGINS`], named as the flags name it. `plugin/pkg/admission` upstream.

mod certificate_subject;
mod claim_resize;
mod default_class;
mod limit_ranger;
mod node_features;
mod node_taint;
mod pod_resize;
mod pod_security;
mod priority;
mod runtime_class;
pub(crate) mod service_account;
mod storage_protection;
mod topology_labels;

use std::collections::BTreeSet;

use apiserver_json::Value;
use apiserver_meta::Status;

use crate::object;
use crate::registry::{Call, Registry};

/// Changes an object that is being created, or refuses it with upstream's sentence.
type Change = fn(&Registry, &Call<'_>, &mut Value) -> Result<(), Refusal>;
/// Refuses a valid object, given what it was before.
type Check = fn(&Registry, &Call<'_>, &Value, Option<&Value>) -> Result<(), Refusal>;

/// Why a plugin refuses an object.
enum Refusal {
    /// 403, with a sentence.
    Forbidden(String),
    /// 403, with a sentence and the kind of cause.
    Caused(String, &'static str),
    /// An answer of the plugin's own.
    Whole(Status),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Forbidden(why)
    }
}

impl Refusal {
    fn status(self, call: &Call<'_>, value: &Value) -> Status {
        match self {
            Self::Forbidden(why) => {
                Status::forbidden(&call.resource.group_resource(), object::name(value), &why)
            }
            Self::Caused(why, cause) => {
                let mut status =
                    Status::forbidden(&call.resource.group_resource(), object::name(value), &why);
                if let Some(Value::Object(details)) = &mut status.details {
                    details.insert("causes".into(), apiserver_json::json!([{"reason": cause}]));
                }
                status
            }
            Self::Whole(status) => status,
        }
    }
}

struct Plugin {
    name: &'static str,
    /// Group and resource it looks at.
    of: (&'static str, &'static str),
    change: Option<Change>,
    /// What it makes of an update, beside the object as it was.
    keep: Option<fn(&mut Value, &Value)>,
    check: Option<Check>,
}

const NOTHING: Plugin = Plugin { name: "", of: ("", ""), change: None, keep: None, check: None };

/// In the order they run.
const PLUGINS: &[Plugin] = &[
    Plugin {
        name: "LimitRanger",
        of: ("", "pods"),
        change: Some(limit_ranger::set_defaults),
        check: Some(limit_ranger::check_pod),
        ..NOTHING
    },
    Plugin {
        name: "LimitRanger",
        of: ("", "persistentvolumeclaims"),
        check: Some(limit_ranger::check_claim),
        ..NOTHING
    },
    Plugin { name: service_account::NAME, of: ("", "pods"), change: Some(service_account::mount), ..NOTHING },
    Plugin { name: "TaintNodesByCondition", of: ("", "nodes"), change: Some(node_taint::taint), ..NOTHING },
    pod_security(("", "pods"), pod_security::check_pod),
    pod_security(("", "namespaces"), pod_security::check_namespace),
    pod_security(("", "podtemplates"), pod_security::check_template),
    pod_security(("", "replicationcontrollers"), pod_security::check_template),
    pod_security(("apps", "replicasets"), pod_security::check_template),
    pod_security(("apps", "deployments"), pod_security::check_template),
    pod_security(("apps", "daemonsets"), pod_security::check_template),
    pod_security(("apps", "statefulsets"), pod_security::check_template),
    pod_security(("batch", "jobs"), pod_security::check_template),
    pod_security(("batch", "cronjobs"), pod_security::check_template),
    Plugin {
        name: "Priority",
        of: ("", "pods"),
        change: Some(priority::resolve),
        keep: Some(crate::strategy::pod::keep_priority),
        ..NOTHING
    },
    Plugin {
        name: "Priority",
        of: ("scheduling.k8s.io", "priorityclasses"),
        check: Some(priority::check_default),
        ..NOTHING
    },
    Plugin {
        name: "DefaultTolerationSeconds",
        of: ("", "pods"),
        change: Some(|_, _, pod| {
            crate::strategy::pod::tolerate_lost_nodes(pod);
            Ok(())
        }),
        keep: Some(|pod, _| crate::strategy::pod::tolerate_lost_nodes(pod)),
        ..NOTHING
    },
    Plugin {
        name: "PersistentVolumeClaimResize",
        of: ("", "persistentvolumeclaims"),
        check: Some(claim_resize::check),
        ..NOTHING
    },
    Plugin { name: pod_resize::NAME, of: ("", "pods"), check: Some(pod_resize::check), ..NOTHING },
    Plugin { name: node_features::NAME, of: ("", "pods"), check: Some(node_features::check), ..NOTHING },
    Plugin {
        name: "RuntimeClass",
        of: ("", "pods"),
        change: Some(runtime_class::resolve),
        check: Some(runtime_class::check),
        ..NOTHING
    },
    Plugin {
        name: "CertificateSubjectRestriction",
        of: ("certificates.k8s.io", "certificatesigningrequests"),
        check: Some(certificate_subject::check),
        ..NOTHING
    },
    Plugin {
        name: "DefaultIngressClass",
        of: ("networking.k8s.io", "ingresses"),
        change: Some(default_class::of_ingress),
        ..NOTHING
    },
    Plugin {
        name: "DefaultStorageClass",
        of: ("", "persistentvolumeclaims"),
        change: Some(default_class::of_claim),
        ..NOTHING
    },
    Plugin {
        name: storage_protection::NAME,
        of: ("", "persistentvolumeclaims"),
        change: Some(storage_protection::protect),
        ..NOTHING
    },
    Plugin {
        name: storage_protection::NAME,
        of: ("", "persistentvolumes"),
        change: Some(storage_protection::protect),
        ..NOTHING
    },
    Plugin {
        name: storage_protection::NAME,
        of: ("storage.k8s.io", "volumeattributesclasses"),
        change: Some(storage_protection::protect),
        ..NOTHING
    },
    Plugin { name: topology_labels::NAME, of: ("", "pods"), change: Some(topology_labels::label), ..NOTHING },
];

const fn pod_security(of: (&'static str, &'static str), check: Check) -> Plugin {
    Plugin { name: pod_security::NAME, of, check: Some(check), ..NOTHING }
}

/// Names of plugins that `--disable-admission-plugins` may turn off.
pub fn names() -> BTreeSet<&'static str> {
    let configured = [
        super::MUTATING_POLICY_PLUGIN,
        super::MUTATING_PLUGIN,
        super::POLICY_PLUGIN,
        super::VALIDATING_PLUGIN,
        super::quota::NAME,
        crate::registry::NAMESPACE_LIFECYCLE,
    ];
    PLUGINS.iter().map(|plugin| plugin.name).chain(configured).collect()
}

impl Registry {
    fn plugins_of<'a>(&'a self, call: &'a Call<'_>) -> impl Iterator<Item = &'static Plugin> + 'a {
        let of = (call.resource.group.as_str(), call.resource.name.as_str());
        PLUGINS.iter().filter(move |plugin| {
            let below: &[&str] = match plugin.name {
                pod_security::NAME => pod_security::BELOW,
                pod_resize::NAME | node_features::NAME => &["resize"],
                topology_labels::NAME => &["binding"],
                _ => &[],
            };
            plugin.of == of
                && (call.subresource.is_empty() || below.contains(&call.subresource))
                && !self.disabled_plugins().contains(plugin.name)
        })
    }

    /// What the plugins make of an object that is being created, before it is validated.
    ///
    /// # Errors
    /// 403 with the sentence of the plugin that refused.
    pub(crate) fn change_on_create(&self, call: &Call<'_>, value: &mut Value) -> Result<(), Status> {
        for change in self.plugins_of(call).filter_map(|plugin| plugin.change) {
            change(self, call, value).map_err(|why| why.status(call, value))?;
        }
        Ok(())
    }

    /// What the plugins make of an object that is being updated, before it is validated.
    pub(crate) fn change_on_update(&self, call: &Call<'_>, value: &mut Value, old: &Value) {
        self.plugins_of(call).filter_map(|plugin| plugin.keep).for_each(|keep| keep(value, old));
    }

    /// What the plugins say of a valid object.
    ///
    /// # Errors
    /// 403 with the sentence of the plugin that refused.
    pub(crate) fn check_by_plugins(
        &self,
        call: &Call<'_>,
        value: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for check in self.plugins_of(call).filter_map(|plugin| plugin.check) {
            check(self, call, value, old).map_err(|why| why.status(call, value))?;
        }
        Ok(())
    }
}

/// The objects of a built-in resource: all, or those of a namespace.
fn objects(registry: &Registry, group: &str, name: &str, namespace: Option<&str>) -> Vec<Value> {
    let catalogue = registry.catalogue();
    let Some(resource) = catalogue.get(group, "v1", name) else { return Vec::new() };
    let scope = resource.scope(namespace);
    registry.cache().snapshot(&resource.prefix).scope(&scope).map(|object| object.parse()).collect()
}

/// The objects of a built-in resource whose stored JSON has this piece in it; no others are parsed.
fn objects_with(registry: &Registry, group: &str, name: &str, piece: &str) -> Vec<Value> {
    let catalogue = registry.catalogue();
    let Some(resource) = catalogue.get(group, "v1", name) else { return Vec::new() };
    let has = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|json| json.contains(piece));
    let objects = registry.cache().snapshot(&resource.prefix);
    objects
        .scope(&resource.scope(None))
        .filter(|object| has(object.bytes()))
        .map(|object| object.parse())
        .collect()
}

/// An object of a built-in resource of the whole cluster.
fn object_named(registry: &Registry, group: &str, name: &str, of: &str) -> Option<Value> {
    let catalogue = registry.catalogue();
    let resource = catalogue.get(group, "v1", name)?;
    registry.cache().get(&resource.key(None, of)).map(|found| found.parse())
}
