//! CertificateSigningRequests: `pkg/apis/certificates/validation` upstream, and who may write which part.
//!
//! Signing is not done here.

use std::sync::OnceLock;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{base64, names};
use apiserver_schema::{FieldSet, internal_diff};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::pem;
use super::shared::{Rule, items, items_mut, keep_status, number, text};
use super::{PLAIN, Part, Strategy};
use crate::admission::Requester;
use crate::object;

pub(super) static REQUEST: Strategy = Strategy {
    update_checks: super::order::METADATA_THEN_CHANGES,
    requested: sign,
    prepare_create: |csr| csr["status"] = json!({}),
    prepare_update: |new, old| {
        keep(new, old, "spec");
        keep_status(new, old);
    },
    prepare_status: |new, old| {
        for kind in [APPROVED, DENIED] {
            keep_conditions(new, old, kind);
        }
        stamp(new, old);
    },
    part: |name| (name == "approval").then_some(&APPROVAL),
    resets,
    validate_create: |csr| validate(csr, None),
    validate_update: |new, old| validate_update(new, old, &[]),
    validate_status: |new, old| validate_update(new, old, &["certificate"]),
    name_rule: |_| Vec::new(),
    status: true,
    ..PLAIN
};

static APPROVAL: Part = Part {
    prepare: |new, old| {
        stamp(new, old);
        let conditions = new["status"].get("conditions").cloned();
        keep(new, old, "spec");
        keep_status(new, old);
        let status = object::member_mut(new, "status");
        match conditions {
            Some(conditions) => status.insert("conditions".into(), conditions),
            None => status.remove("conditions"),
        };
    },
    validate: |new, old| validate_update(new, old, &["approval"]),
};

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// What each way to write may not own.
fn resets(subresource: &str) -> Option<&'static FieldSet> {
    static ALL: OnceLock<[FieldSet; 3]> = OnceLock::new();
    let [whole, status, approval] = ALL.get_or_init(|| {
        [
            FieldSet::of(&[&["spec"], &["status"]]),
            FieldSet::of(&[&["spec"], &["status", "conditions"]]),
            FieldSet::of(&[&["spec"], &["status", "certificate"]]),
        ]
    });
    match subresource {
        "" => Some(whole),
        "status" => Some(status),
        "approval" => Some(approval),
        _ => None,
    }
}

/// Who asks is said by the server.
fn sign(csr: &mut Value, requester: &Requester<'_>) {
    let spec = object::member_mut(csr, "spec");
    for (member, value) in [
        ("username", json!(requester.name)),
        ("uid", json!(requester.uid)),
        ("groups", json!(requester.groups)),
        ("extra", json!(requester.extra)),
    ] {
        spec.remove(member);
        if !super::shared::is_empty(&value) {
            spec.insert(member.into(), value);
        }
    }
}

fn keep(new: &mut Value, old: &Value, member: &str) {
    if let (Some(new), Some(value)) = (new.as_object_mut(), old.get(member)) {
        new.insert(member.into(), value.clone());
    }
}

fn conditions<'a>(csr: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items(&csr["status"], "conditions").iter().filter(move |condition| text(condition, "type") == kind)
}

/// Conditions of a type are the old ones, unless one came or went, which is an error later.
fn keep_conditions(new: &mut Value, old: &Value, kind: &str) {
    let before: Vec<Value> = conditions(old, kind).cloned().collect();
    if before.len() != conditions(new, kind).count() {
        return;
    }
    let Some(status) = new.get_mut("status") else { return };
    let of_kind = items_mut(status, "conditions").filter(|condition| text(condition, "type") == kind);
    of_kind.zip(before).for_each(|(condition, before)| *condition = before);
}

/// Sets the times that are missing.
fn stamp(new: &mut Value, old: &Value) {
    let now = crate::registry::now();
    let Some(status) = new.get_mut("status") else { return };
    for condition in items_mut(status, "conditions") {
        let (kind, state) = (text(condition, "type").to_owned(), text(condition, "status").to_owned());
        let same = conditions(old, &kind)
            .find(|before| text(before, "status") == state)
            .map(|before| text(before, "lastTransitionTime"))
            .filter(|time| !time.is_empty());
        let times = [("lastUpdateTime", now.as_str()), ("lastTransitionTime", same.unwrap_or(&now))];
        for (member, time) in times {
            if text(condition, member).is_empty()
                && let Some(condition) = condition.as_object_mut()
            {
                condition.insert(member.into(), time.into());
            }
        }
    }
}

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The organizations in the subject of a request.
pub(crate) fn organizations_asked_for(csr: &Value) -> Vec<String> {
    let bytes = base64::decode(text(&csr["spec"], "request")).unwrap_or_default();
    let pem = String::from_utf8_lossy(&bytes).into_owned();
    let blocks = pem::blocks(&pem);
    let Some((_, request)) =
        blocks.first().and_then(|block| X509CertificationRequest::from_der(&block.bytes).ok())
    else {
        return Vec::new();
    };
    let names = request.certification_request_info.subject.iter_organization();
    names.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect()
}

/// What is wrong with a request; what was wrong before is let be.
fn validate(csr: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &csr["spec"];
    let bytes = base64::decode(text(spec, "request")).unwrap_or_default();
    if let Some(why) = request_problem(&bytes) {
        errors.push(FieldError::invalid("spec.request", super::shared::at(spec, &["request"]), why));
    }
    check_usages(spec, old, &mut errors);
    let signer = text(spec, "signerName");
    let was_legacy = old.is_some_and(|old| text(&old["spec"], "signerName") == LEGACY);
    if signer == LEGACY && !was_legacy {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid("spec.signerName", &signer.into(), why));
    } else {
        check_signer(signer, "spec.signerName", &mut errors);
    }
    if let Some(seconds) = number(spec, "expirationSeconds").filter(|seconds| *seconds < 600) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", &seconds.into(), why));
    }
    check_conditions(csr, old, &mut errors);
    let certificate = text(&csr["status"], "certificate");
    if old.is_none_or(|old| text(&old["status"], "certificate") != certificate)
        && let Some(why) = certificate_problem(certificate)
    {
        errors.push(FieldError::invalid("status.certificate", &"<certificate data>".into(), why));
    }
    errors
}

fn check_usages(spec: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let listed = |spec: &Value| {
        let usages = items(spec, "usages").iter();
        usages.map(|usage| usage.as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let usages = listed(spec);
    let before = old.map(|old| listed(&old["spec"])).unwrap_or_default();
    let repeats = |usages: &[String], i: usize| usages[..i].contains(&usages[i]);
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    if before.iter().all(|usage| USAGES.contains(&usage.as_str())) {
        for (i, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(&usage.as_str())) {
            let shown = usage.as_str().into();
            errors.push(FieldError::not_supported(format!("spec.usages[{i}]"), &shown, USAGES));
        }
    }
    if !(0..before.len()).any(|i| repeats(&before, i)) {
        for i in (0..usages.len()).filter(|i| repeats(&usages, *i)) {
            let shown = usages[i].as_str().into();
            errors.push(FieldError::duplicate(format!("spec.usages[{i}]"), &shown));
        }
    }
}

/// Errors of a signer's name: `ValidateSignerName`.
fn check_signer(signer: &str, path: &str, errors: &mut Vec<FieldError>) {
    if signer.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, &signer.into(), why));
        return;
    };
    if domain.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    check_labels(domain, names::dns1123_label, path, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, &domain.into(), why));
    }
    check_labels(rest, names::dns1123_subdomain, path, errors);
    if signer.len() > 253 + 1 + 253 + 1 + 63 {
        errors.push(FieldError::too_long(path, 253 + 1 + 253 + 1 + 63));
    }
}

/// Errors of the first label that is wrong: more would be the same again.
fn check_labels(part: &str, rule: Rule, path: &str, errors: &mut Vec<FieldError>) {
    let wrong = part.split('.').map(|label| (label, rule(label))).find(|(_, problems)| !problems.is_empty());
    for (label, why) in
        wrong.into_iter().flat_map(|(label, problems)| problems.into_iter().map(move |why| (label, why)))
    {
        let why = format!("validating label {label:?}: {}", why.replace(" bytes", " characters"));
        errors.push(FieldError::invalid(path, &part.into(), why));
    }
}

fn check_conditions(csr: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    const PATH: &str = "status.conditions";
    let all = items(&csr["status"], "conditions");
    let before = old.map_or(&[][..], |old| items(&old["status"], "conditions"));
    let kind = |condition: &Value| text(condition, "type").to_owned();
    let repeats = |list: &[Value], i: usize| list[..i].iter().any(|one| kind(one) == kind(&list[i]));
    let named = |list: &[Value], name: &str| list.iter().any(|one| kind(one) == name);
    let had_both = named(before, APPROVED) && named(before, DENIED);
    let had_nameless = named(before, "");
    let had_twins = (0..before.len()).any(|i| repeats(before, i));
    for (i, condition) in all.iter().enumerate() {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() && !had_nameless {
            errors.push(FieldError::required(format!("{PATH}[{i}].type"), ""));
        }
        let allowed: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        if status.is_empty() {
            errors.push(FieldError::required(format!("{PATH}[{i}].status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(FieldError::not_supported(format!("{PATH}[{i}].status"), &status.into(), allowed));
        }
        let other = match kind {
            APPROVED => DENIED,
            DENIED => APPROVED,
            _ => "",
        };
        if !other.is_empty() && !had_both && named(&all[..i], other) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(PATH, &kind.into(), why));
        }
        if !had_twins && repeats(all, i) {
            errors.push(FieldError::duplicate(format!("{PATH}[{i}].type"), &kind.into()));
        }
    }
}

/// What is wrong with an update that may set the parts named: the approval, the certificate.
fn validate_update(new: &Value, old: &Value, may_set: &[&str]) -> Vec<FieldError> {
    let mut errors = validate(new, Some(old));
    let counts = |kind| (conditions(old, kind).count(), conditions(new, kind).count());
    let mut forbid = |path: &str, why: String| errors.push(FieldError::forbidden(path, why));
    for kind in [APPROVED, DENIED, FAILED] {
        let (before, after) = counts(kind);
        if after < before {
            forbid("status.conditions", format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for kind in [APPROVED, DENIED].into_iter().filter(|_| !may_set.contains(&"approval")) {
        let (before, after) = counts(kind);
        if after > before {
            forbid("status.conditions", format!("updates may not add a condition of type {kind:?}"));
        } else if after == before && !conditions(old, kind).eq(conditions(new, kind)) {
            let all = |csr| Value::from(conditions(csr, kind).cloned().collect::<Vec<_>>());
            let changes =
                internal_diff("[certificates.CertificateSigningRequestCondition", &all(old), &all(new));
            let why = format!("updates may not modify a condition of type {kind:?}\n{changes}");
            forbid("status.conditions", why);
        }
    }
    let certificate = |csr: &Value| text(&csr["status"], "certificate").to_owned();
    if certificate(new) != certificate(old) {
        if !may_set.contains(&"certificate") {
            forbid("status.certificate", "updates may not set certificate content".to_owned());
        } else if !certificate(old).is_empty() {
            forbid("status.certificate", "updates may not modify existing certificate content".to_owned());
        }
    }
    errors
}

/// Why this is no request that was signed with the key it is about.
fn request_problem(bytes: &[u8]) -> Option<&'static str> {
    const TYPE: &str = "PEM block type must be CERTIFICATE REQUEST";
    let text = String::from_utf8_lossy(bytes);
    let blocks = pem::blocks(&text);
    let Some(block) = blocks.first().filter(|block| block.kind == "CERTIFICATE REQUEST") else {
        return Some(TYPE);
    };
    let Ok((_, request)) = X509CertificationRequest::from_der(&block.bytes) else {
        return Some("x509: malformed certificate request");
    };
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    // What ring cannot check is taken: an odd curve is no reason to refuse.
    let why = match algorithm.as_str() {
        "1.2.840.113549.1.1.11" | "1.2.840.113549.1.1.12" | "1.2.840.113549.1.1.13" => {
            "crypto/rsa: verification error"
        }
        "1.2.840.10045.4.3.2" | "1.2.840.10045.4.3.3" => "x509: ECDSA verification failure",
        "1.3.101.112" => "x509: Ed25519 verification failure",
        _ => return None,
    };
    match request.verify_signature() {
        Err(x509_parser::error::X509Error::SignatureVerificationError) => Some(why),
        _ => None,
    }
}

/// Why this is no list of certificates; nothing is fine.
fn certificate_problem(encoded: &str) -> Option<String> {
    if encoded.is_empty() {
        return None;
    }
    let bytes = base64::decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let blocks = pem::blocks(&text);
    if blocks.is_empty() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    blocks.iter().find_map(|block| {
        if block.kind != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.kind));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        let parsed = x509_parser::parse_x509_certificate(&block.bytes);
        parsed.err().map(|_| "x509: malformed certificate".to_owned())
    })
}
