//! When a request for a certificate is of no use any more.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::parse_x509_pem;

const HOUR: i64 = 3600;
/// How long nobody may look at a request.
const PENDING: i64 = 24 * HOUR;
/// How long who asked may take to read an answer.
const ANSWERED: i64 = HOUR;

/// The seconds until a request is deleted; none or fewer, and it is due now.
pub(super) fn seconds_left(request: &CertificateSigningRequest, now: i64) -> Option<i64> {
    let status = request.status.as_ref();
    let certificate = status.and_then(|status| status.certificate.as_ref()).map(|bytes| bytes.0.as_slice());
    let certificate = certificate.filter(|bytes| !bytes.is_empty());
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut ends = Vec::new();
    if conditions.is_empty() {
        ends.extend(request.metadata.creation_timestamp.as_ref().map(|made| made.0.as_second() + PENDING));
    }
    for condition in conditions {
        let after = match condition.type_.as_str() {
            "Denied" | "Failed" => ANSWERED,
            "Approved" if certificate.is_some() => ANSWERED,
            "Approved" => PENDING,
            _ => continue,
        };
        ends.extend(condition.last_update_time.as_ref().map(|told| told.0.as_second() + after));
    }
    ends.extend(certificate.and_then(expiry));
    ends.into_iter().min().map(|end| end - now)
}

/// When a certificate ends.
fn expiry(pem: &[u8]) -> Option<i64> {
    let (_, block) = parse_x509_pem(pem).ok()?;
    let (_, certificate) = parse_x509_certificate(&block.contents).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_go_when_nobody_asks_any_more() {
        let at = |kind: &str, time: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": time}]);
        let now = "2026-01-02T00:00:00Z".parse::<k8s_openapi::jiff::Timestamp>().unwrap().as_second();
        for (status, want) in [
            (json!({}), Some(6 * HOUR)),
            (json!({"conditions": at("Denied", "2026-01-01T23:30:00Z")}), Some(HOUR / 2)),
            (json!({"conditions": at("Failed", "2026-01-01T22:30:00Z")}), Some(-HOUR / 2)),
            (json!({"conditions": at("Approved", "2026-01-01T23:00:00Z")}), Some(23 * HOUR)),
            (json!({"conditions": at("Approved", "2026-01-01T23:00:00Z"), "certificate": "eA=="}), Some(0)),
            (json!({"conditions": [{"type": "Approved", "status": "True"}]}), None),
        ] {
            let request = serde_json::from_value(json!({
                "metadata": {"creationTimestamp": "2026-01-01T06:00:00Z"},
                "spec": {"request": "", "signerName": "a/b"}, "status": status,
            }));
            assert_eq!(seconds_left(&request.unwrap(), now), want, "{status}");
        }
    }
}
