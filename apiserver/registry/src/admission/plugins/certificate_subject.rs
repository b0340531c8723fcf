//! CertificateSubjectRestriction: no client certificate makes its holder one of the administrators.

use apiserver_json::Value;

use super::Refusal;
use crate::registry::{Call, Registry};
use crate::strategy::organizations_asked_for;
use crate::strategy::shared::{at, text};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) fn check(_: &Registry, _: &Call<'_>, request: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    if old.is_some() || text(at(request, &["spec"]), "signerName") != SIGNER {
        return Ok(());
    }
    if organizations_asked_for(request).iter().any(|name| name == "system:masters") {
        let why = format!("use of {SIGNER} signer with system:masters group is not allowed");
        return Err(why.into());
    }
    Ok(())
}
