//! Certificate Manager's nouns. The private key is not part of them: it lives in a Secret.

use crate::Tag;
use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    /// Status of a certificate.
    CertificateStatus { PendingValidation = "PENDING_VALIDATION", Issued = "ISSUED", Failed = "FAILED" }
}
text_enum! {
    /// Where a certificate came from.
    CertificateType { AmazonIssued = "AMAZON_ISSUED", Imported = "IMPORTED" }
}

/// A certificate that listeners can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub certificate_arn: String,
    pub domain_name: String,
    #[serde(default)]
    pub subject_alternative_names: Vec<String>,
    pub status: CertificateStatus,
    pub r#type: CertificateType,
    #[serde(default)]
    pub key_algorithm: String,
    #[serde(default)]
    pub issuer: String,
    #[serde(default)]
    pub serial: String,
    #[serde(default)]
    pub not_before: String,
    #[serde(default)]
    pub not_after: String,
    /// PEM, leaf first.
    #[serde(default)]
    pub certificate_chain: String,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Name of the object that shows it.
    #[serde(skip)]
    pub object_name: String,
}

impl Certificate {
    /// The id at the end of the ARN.
    pub fn id(&self) -> &str {
        self.certificate_arn.rsplit('/').next().unwrap_or_default()
    }
}

/// True if `name` (which may start with `*.`) covers `host`: exact, or one label for the star.
pub fn name_covers(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(label, tail)| !label.is_empty() && tail == rest),
        None => name == host,
    }
}
