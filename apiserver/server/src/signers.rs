//! Who may approve a request for a certificate, and who may sign it: permissions on the signer it names.
//!
//! The admission plugins CertificateApproval and CertificateSigning upstream.

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_registry::{Resource, object};

use crate::authz::Attributes;
use crate::context::Context;

const GROUP: &str = "certificates.k8s.io";

/// Refuses an approval, or a signature, of a user who may give none for the signer.
///
/// # Errors
/// 403.
pub(crate) fn check(
    context: &Context<'_>,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let Some(old) = old.filter(|_| resource.group == GROUP && resource.kind == "CertificateSigningRequest")
    else {
        return Ok(());
    };
    let verb = match context.info.subresource.as_str() {
        "approval" => "approve",
        "status" if changes(new, old) => "sign",
        _ => return Ok(()),
    };
    let signer = old["spec"]["signerName"].as_str().unwrap_or("");
    let all = format!("{}/*", signer.split('/').next().unwrap_or(""));
    if context.user.is_in("system:masters") || [signer, &all].into_iter().any(|name| may(context, verb, name))
    {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(&resource.group_resource(), object::name(old), &why))
}

fn changes(new: &Value, old: &Value) -> bool {
    ["certificate", "conditions"]
        .iter()
        .any(|member| new["status"].get(*member) != old["status"].get(*member))
}

fn may(context: &Context<'_>, verb: &str, name: &str) -> bool {
    let wanted = Attributes { verb, group: GROUP, resource: "signers", name, ..Attributes::default() };
    context.server.inner.rbac.allows(context.server.registry(), context.user, &wanted)
}
