//! Signing certificates with the fake's CA, and reading what a PEM certificate says.
//!
//! The CA is passed in; where keys are kept is `cloud`'s business.

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer as CaIssuer, KeyPair, KeyUsagePurpose,
};

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Names it is for.
    pub names: Vec<String>,
    /// Issuer.
    pub issuer: String,
    /// Serial number in hex.
    pub serial: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
}

/// A signed certificate. The key goes to a Secret and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Leaf and CA, PEM.
    pub chain_pem: String,
    /// What the leaf says.
    pub facts: Facts,
}

/// The CA that certificates come from.
pub struct Issuer {
    ca_pem: String,
    issuer: CaIssuer<'static, KeyPair>,
}

impl Issuer {
    /// From PEM.
    pub fn new(ca_certificate_pem: &str, ca_key_pem: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(ca_key_pem)?;
        Ok(Issuer {
            ca_pem: ca_certificate_pem.to_string(),
            issuer: CaIssuer::from_ca_cert_pem(ca_certificate_pem, key)?,
        })
    }

    /// Sign for these names; ECDSA P-256, 13 months as ACM. Answers the certificate and its key, PEM.
    pub fn issue(&self, names: &[String], now_ms: u64) -> Result<(Issued, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let day = i64::try_from(now_ms / 86_400_000).unwrap_or(0);
        let date = |day: i64| {
            let time = jiff::Timestamp::from_second(day * 86_400).unwrap_or_default().to_string();
            let number = |range: std::ops::Range<usize>| {
                time.get(range).and_then(|t| t.parse::<u16>().ok()).unwrap_or(1)
            };
            let small = |range| u8::try_from(number(range)).unwrap_or(1);
            rcgen::date_time_ymd(i32::from(number(0..4)), small(5..7), small(8..10))
        };
        params.not_before = date(day - 1);
        params.not_after = date(day + 395);
        let leaf = params.signed_by(&key, &self.issuer)?.pem();
        let facts = facts(&leaf).unwrap_or_default();
        Ok((Issued { chain_pem: format!("{leaf}{}", self.ca_pem), facts }, key.serialize_pem()))
    }
}

/// Read the first certificate of a PEM text.
pub(crate) fn facts(pem: &str) -> Result<Facts, String> {
    use x509_parser::prelude::*;
    let (_, block) =
        parse_x509_pem(pem.as_bytes()).map_err(|_| "The certificate is not PEM-encoded.".to_string())?;
    let certificate =
        block.parse_x509().map_err(|_| "The certificate is not a valid X.509 certificate.".to_string())?;
    let mut names: Vec<String> = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|n| match n {
            GeneralName::DNSName(name) => Some(name.to_string()),
            _ => None,
        }));
    }
    if names.is_empty() {
        names.extend(
            certificate.subject().iter_common_name().filter_map(|n| n.as_str().ok()).map(str::to_string),
        );
    }
    let time =
        |t: ASN1Time| jiff::Timestamp::from_second(t.timestamp()).map(|t| t.to_string()).unwrap_or_default();
    Ok(Facts {
        names,
        issuer: certificate.issuer().iter_common_name().filter_map(|n| n.as_str().ok()).collect(),
        serial: certificate.raw_serial_as_string(),
        not_before: time(certificate.validity().not_before),
        not_after: time(certificate.validity().not_after),
    })
}
