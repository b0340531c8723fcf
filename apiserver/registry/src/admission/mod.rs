//! Validating admission policies: which of them a write meets, and what they say of it.
//!
//! Where no binding exists a write pays one look at the cache for all of this.

mod matching;
pub(crate) mod plugins;
pub(crate) mod quota;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use apiserver_cel::{Decision, Input, Policy};
use apiserver_meta::selector::LabelSelector;
use apiserver_meta::{GroupVersionKind, Status};
use serde_json::{Value, json};

use crate::registry::{Call, Registry};
use crate::{object, strategy::shared};

const GROUP: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "/registry/admissionregistration.k8s.io/validatingadmissionpolicies/";
const BINDINGS: &str = "/registry/admissionregistration.k8s.io/validatingadmissionpolicybindings/";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    fn options(self) -> Value {
        let kind = match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Delete => "DeleteOptions",
        };
        json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"})
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requester<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

/// A write as policies see it.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub operation: Operation,
    pub name: &'a str,
    pub object: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

/// A policy with what binds it.
struct Hook {
    name: String,
    spec: Value,
    policy: Policy,
    bindings: Vec<(String, Value)>,
}

/// The policies of the revisions they were compiled at.
#[derive(Default)]
pub(crate) struct Compiled(Mutex<(u64, u64, Arc<Vec<Hook>>)>);

impl Registry {
    /// The policies that have bindings, compiled once for each change of either.
    fn hooks(&self) -> Arc<Vec<Hook>> {
        let bindings = self.cache().snapshot(BINDINGS);
        if bindings.objects.is_empty() {
            return Arc::default();
        }
        let at = (self.cache().last_change(POLICIES), self.cache().last_change(BINDINGS));
        let mut known = self.admission().0.lock().unwrap_or_else(PoisonError::into_inner);
        if (known.0, known.1) == at && !known.2.is_empty() {
            return known.2.clone();
        }
        let bindings: Vec<Value> = bindings.objects.values().map(|object| object.parse()).collect();
        let mut hooks = Vec::new();
        for stored in self.cache().snapshot(POLICIES).objects.values() {
            let policy = stored.parse();
            let name = object::name(&policy).to_owned();
            let bound: Vec<(String, Value)> = bindings
                .iter()
                .filter(|binding| shared::text(&binding["spec"], "policyName") == name)
                .map(|binding| (object::name(binding).to_owned(), binding["spec"].clone()))
                .collect();
            if !bound.is_empty() {
                let compiled = Policy::compile(&policy["spec"]);
                hooks.push(Hook { name, spec: policy["spec"].clone(), policy: compiled, bindings: bound });
            }
        }
        *known = (at.0, at.1, Arc::new(hooks));
        known.2.clone()
    }

    /// Asks the policies; gives the warnings of those that only warn.
    ///
    /// # Errors
    /// The first denial.
    pub(crate) fn admit(&self, call: &Call<'_>, attempt: Attempt<'_>) -> Result<Vec<String>, Status> {
        let hooks = self.hooks();
        if hooks.is_empty() || (call.resource.group == GROUP && call.resource.name.contains("admission")) {
            return Ok(Vec::new());
        }
        let namespace = self.namespace_of(call, attempt);
        let request = request(call, attempt);
        let (mut warnings, mut denial) = (Vec::new(), None);
        for hook in hooks.iter() {
            if !matching::matches(&hook.spec["matchConstraints"], call, attempt, namespace.as_ref(), true) {
                continue;
            }
            for (binding, spec) in &hook.bindings {
                if !matching::matches(&spec["matchResources"], call, attempt, namespace.as_ref(), false) {
                    continue;
                }
                let decisions = match self.params(&hook.spec["paramKind"], &spec["paramRef"], call) {
                    Ok(params) => params
                        .iter()
                        .flat_map(|params| {
                            hook.policy.evaluate(Input {
                                object: attempt.object,
                                old_object: attempt.old,
                                request: &request,
                                params: params.as_ref(),
                                namespace: namespace.as_ref(),
                            })
                        })
                        .collect(),
                    Err(_) if shared::text(&hook.spec, "failurePolicy") == "Ignore" => Vec::new(),
                    Err(why) => {
                        let message = format!("failed to configure binding: {why}");
                        denial.get_or_insert(denied(call, attempt, hook, binding, &message, ""));
                        continue;
                    }
                };
                let actions = shared::items(spec, "validationActions");
                for Decision { message, reason } in decisions {
                    if actions.contains(&json!("Deny")) && denial.is_none() {
                        denial = Some(denied(call, attempt, hook, binding, &message, &reason));
                    }
                    if actions.contains(&json!("Warn")) {
                        warnings.push(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{binding}': {message}",
                            hook.name
                        ));
                    }
                    if actions.contains(&json!("Audit")) {
                        tracing::info!(policy = %hook.name, %binding, %message, "a policy's validation failed");
                    }
                }
            }
        }
        denial.map_or(Ok(warnings), Err)
    }

    fn namespace_of(&self, call: &Call<'_>, attempt: Attempt<'_>) -> Option<Value> {
        if call.resource.group.is_empty() && call.resource.kind == "Namespace" {
            return attempt.object.or(attempt.old).cloned();
        }
        let namespace = call.namespace.filter(|_| call.resource.namespaced)?;
        self.cache().get(&format!("/registry/core/namespaces/{namespace}")).map(|found| found.parse())
    }

    /// The parameters a binding names; one `None` where the policy takes none.
    fn params(&self, kind: &Value, reference: &Value, call: &Call<'_>) -> Result<Vec<Option<Value>>, String> {
        if !kind.is_object() || !reference.is_object() {
            return Ok(vec![None]);
        }
        let (api_version, name) = (shared::text(kind, "apiVersion"), shared::text(kind, "kind"));
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let catalogue = self.catalogue();
        let Some(resource) = catalogue.by_kind(&GroupVersionKind::new(group, version, name)) else {
            return Err(format!(
                "failed to find resource referenced by paramKind: '{api_version}, Kind={name}'"
            ));
        };
        let own = Some(shared::text(reference, "namespace")).filter(|namespace| !namespace.is_empty());
        if own.is_some() && !resource.namespaced {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        let namespace = own.or(call.namespace.filter(|_| call.resource.namespaced));
        if resource.namespaced && namespace.is_none() {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        let namespace = namespace.filter(|_| resource.namespaced);
        let mut found = Vec::new();
        match shared::text(reference, "name") {
            "" => {
                let selector = LabelSelector::from_json(&reference["selector"]).unwrap_or_default();
                let scope = resource.scope(namespace);
                for object in self.cache().snapshot(&resource.prefix).scope(&scope) {
                    if selector.matches(|label| object.label(label)) {
                        found.push(Some(crate::convert::from_stored(resource, object.parse())));
                    }
                }
            }
            name => {
                let object = self.cache().get(&resource.key(namespace, name));
                found
                    .extend(object.map(|object| Some(crate::convert::from_stored(resource, object.parse()))));
            }
        }
        if found.is_empty() && shared::text(reference, "parameterNotFoundAction") != "Allow" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(found)
    }
}

fn request(call: &Call<'_>, attempt: Attempt<'_>) -> Value {
    let resource = call.resource;
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let place = json!({"group": resource.group, "version": resource.version, "resource": resource.name});
    let mut request = json!({
        "kind": kind,
        "resource": place,
        "requestKind": kind,
        "requestResource": place,
        "operation": attempt.operation.name(),
        "userInfo": {"username": call.requester.name, "groups": call.requester.groups},
        "dryRun": call.dry_run,
        "options": attempt.operation.options(),
    });
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            request[name] = value.into();
        }
    };
    put("name", attempt.name);
    put("namespace", call.namespace.unwrap_or(""));
    put("subResource", call.subresource);
    put("requestSubResource", call.subresource);
    if !call.requester.uid.is_empty() {
        request["userInfo"]["uid"] = call.requester.uid.into();
    }
    request
}

fn denied(
    call: &Call<'_>,
    attempt: Attempt<'_>,
    hook: &Hook,
    binding: &str,
    message: &str,
    reason: &str,
) -> Status {
    let why = format!(
        "ValidatingAdmissionPolicy '{}' with binding '{binding}' denied request: {message}",
        hook.name
    );
    let mut status = Status::forbidden(&call.resource.group_resource(), attempt.name, &why);
    (status.code, status.reason) = match reason {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    if let Some(details) = status.details.as_mut().and_then(Value::as_object_mut) {
        details.insert("causes".into(), json!([{"message": why}]));
    }
    status
}
