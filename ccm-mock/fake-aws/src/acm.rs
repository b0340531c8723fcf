//! Certificates as records. Keys and signatures are made by `certificates` and reported in.
//!
//! Validation always succeeds: whoever can ask the fake owns every name.

use crate::state::{State, fresh_id, not_found};
use ccm_mock_aws_api::acm::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, names};
use std::sync::Arc;

fn no_certificate(arn: &str) -> Error {
    not_found(Code::ResourceNotFound, format!("Could not find certificate {arn}."))
}

impl State {
    /// A record without keys, under a free ARN.
    pub(crate) fn new_certificate(
        &self,
        domain: &str,
        alternatives: &[String],
        kind: CertificateType,
    ) -> Certificate {
        let taken = |id: &str| self.certificates.contains_key(&names::certificate_arn(&uuid(id)));
        let id = uuid(&fresh_id(&format!("acm/{domain}"), 32, taken));
        let mut all = vec![domain.to_string()];
        all.extend(alternatives.iter().filter(|n| *n != domain).cloned());
        let mut certificate = Certificate {
            certificate_arn: names::certificate_arn(&id),
            domain_name: domain.into(),
            subject_alternative_names: all,
            status: CertificateStatus::PendingValidation,
            r#type: kind,
            key_algorithm: "EC_prime256v1".into(),
            issuer: String::new(),
            serial: String::new(),
            not_before: String::new(),
            not_after: String::new(),
            certificate_chain: String::new(),
            tags: Vec::new(),
            object_name: String::new(),
        };
        certificate.object_name = ccm_mock_aws_api::Resource::object_name(&certificate);
        certificate
    }

    pub(crate) fn request_certificate(&mut self, input: RequestCertificate) -> Result<Certificate, Error> {
        let domain = input.domain_name.to_ascii_lowercase();
        if domain.is_empty() || domain.len() > 253 || !domain.contains('.') {
            return Err(Error::new(Code::ValidationError, format!("'{domain}' is not a valid domain name")));
        }
        let mut certificate =
            self.new_certificate(&domain, &input.subject_alternative_names, CertificateType::AmazonIssued);
        certificate.tags = input.tags;
        self.certificates.insert(certificate.certificate_arn.clone(), Arc::new(certificate.clone()));
        Ok(certificate)
    }

    pub(crate) fn import_certificate(&mut self, input: ImportCertificate) -> Result<Certificate, Error> {
        let facts = crate::certificates::facts(&input.certificate)
            .map_err(|m| Error::new(Code::ValidationError, m))?;
        if !input.private_key.contains("PRIVATE KEY") {
            return Err(Error::new(Code::ValidationError, "The private key is not PEM-encoded."));
        }
        let domain = facts.names.first().cloned().unwrap_or_default();
        let certificate = Certificate {
            status: CertificateStatus::Issued,
            issuer: facts.issuer,
            serial: facts.serial,
            not_before: facts.not_before,
            not_after: facts.not_after,
            certificate_chain: format!("{}\n{}", input.certificate.trim_end(), input.certificate_chain),
            tags: input.tags,
            ..self.new_certificate(&domain, &facts.names, CertificateType::Imported)
        };
        self.certificates.insert(certificate.certificate_arn.clone(), Arc::new(certificate.clone()));
        Ok(certificate)
    }

    pub(crate) fn describe_certificate(&self, input: DescribeCertificate) -> Result<Certificate, Error> {
        let arn = &input.certificate_arn;
        self.certificates.get(arn).map(|c| c.as_ref().clone()).ok_or_else(|| no_certificate(arn))
    }

    pub(crate) fn delete_certificate(&mut self, input: DeleteCertificate) -> Result<(), Error> {
        let arn = &input.certificate_arn;
        if !self.certificates.contains_key(arn) {
            return Err(no_certificate(arn));
        }
        if self.listeners.values().any(|l| l.certificates.iter().any(|c| c.certificate_arn == *arn)) {
            return Err(Error::new(Code::ResourceInUseException, format!("Certificate {arn} is in use.")));
        }
        self.certificates.remove(arn);
        Ok(())
    }
}

fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
