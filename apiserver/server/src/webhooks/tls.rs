//! TLS to a webhook: whose certificates are believed, and what is said of those that are not.
//!
//! Go believes a certificate that is itself in the bundle, whatever it may be used for; people make such ones for
//! their webhooks, so [`Verifier`] does too.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::dial::go_error;
use crate::node_proxy::Connection;

/// How connections are made that trust this bundle; the machine's authorities where it is empty.
///
/// # Errors
/// The sentence of Go's client for a bundle without certificates.
pub(super) fn config(ca_bundle: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let mut anchors = Vec::new();
    if ca_bundle.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        anchors.extend(CertificateDer::pem_slice_iter(ca_bundle).flatten());
        let (added, _) = roots.add_parsable_certificates(anchors.iter().cloned());
        if added == 0 {
            return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
        }
    }
    let usual = if roots.is_empty() {
        None
    } else {
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Some(built.map_err(|error| error.to_string())?)
    };
    let schemes = provider.signature_verification_algorithms;
    let verifier = Verifier { usual, anchors, schemes };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Requests to one webhook are to reach all of its Pods: a connection each, as upstream does it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// How connections are made to who need not show who it is.
///
/// # Errors
/// Where there is no version of TLS.
pub(super) fn unverified() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified { schemes }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Shakes hands.
///
/// # Errors
/// The sentence of Go's client.
pub(super) async fn connect(
    config: &Arc<ClientConfig>,
    host: &str,
    socket: Box<dyn Connection>,
) -> Result<TlsStream<Box<dyn Connection>>, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("tls: failed to verify certificate: x509: {host} is no name of a server"))?;
    let stream = TlsConnector::from(config.clone()).connect(name, socket).await;
    stream.map_err(|error| why(&error).unwrap_or_else(|| go_error(&error)))
}

/// What TLS says of an error that a socket gave.
pub(super) fn why(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::General(text) => Some(text.clone()),
        Error::InvalidMessage(_) => Some("http: server gave HTTP response to HTTPS client".to_owned()),
        Error::AlertReceived(alert) => Some(format!("remote error: tls: {}", spaced(&format!("{alert:?}")))),
        other => Some(format!("tls: {other}")),
    }
}

/// `BadCertificate` as Go writes it: `bad certificate`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// Verifies as webpki does, and believes what is in the bundle itself.
#[derive(Debug)]
struct Verifier {
    usual: Option<Arc<WebPkiServerVerifier>>,
    anchors: Vec<CertificateDer<'static>>,
    schemes: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let outcome = match &self.usual {
            Some(usual) => usual.verify_server_cert(leaf, between, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let outcome = match outcome {
            Err(_) if self.anchors.iter().any(|anchor| anchor == leaf) => verify_itself(leaf, name, now),
            outcome => outcome,
        };
        outcome.map_err(|error| Error::General(refusal(&error, leaf, name, now)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}

/// Believes every certificate, of which the server must have the key.
#[derive(Debug)]
struct Unverified {
    schemes: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}

/// A certificate of the bundle: of it only the name and the dates are looked at.
fn verify_itself(
    leaf: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    rustls::client::verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if parsed.validity().not_before.timestamp() > seconds {
        return Err(CertificateError::NotValidYet.into());
    }
    if parsed.validity().not_after.timestamp() < seconds {
        return Err(CertificateError::Expired.into());
    }
    Ok(ServerCertVerified::assertion())
}

/// Why a certificate is not believed, in the words of `crypto/x509`.
fn refusal(error: &Error, leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> String {
    let parsed = X509Certificate::from_der(leaf).ok().map(|(_, parsed)| parsed);
    let at = |seconds: i64| {
        let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.as_ref().map(|parsed| parsed.validity());
    let dates = |order: &str, limit: i64| {
        format!(
            "certificate has expired or is not yet valid: current time {} is {order} {}",
            at(seconds),
            at(limit)
        )
    };
    // An authority's own, which is none that the bundle knows.
    let is_authority = parsed.as_ref().is_some_and(|parsed| parsed.is_ca());
    let why = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "certificate signed by unknown authority".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Other(_)) if is_authority => {
            "certificate signed by unknown authority".to_owned()
        }
        // An authority of that name is in the bundle, but it is another one.
        Error::InvalidCertificate(CertificateError::BadSignature) => other_authority(parsed.as_ref()),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            dates("after", validity.map_or(0, |validity| validity.not_after.timestamp()))
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => dates("before", validity.map_or(0, |validity| validity.not_before.timestamp())),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => wrong_name(parsed.as_ref(), name),
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

fn other_authority(parsed: Option<&X509Certificate<'_>>) -> String {
    let issuer = parsed.and_then(|parsed| parsed.issuer().iter_common_name().next()?.as_str().ok());
    let algorithm = parsed.map(|parsed| parsed.signature_algorithm.algorithm.to_id_string());
    let why = match algorithm {
        Some(id) if id.starts_with("1.2.840.10045.") => "x509: ECDSA verification failure",
        Some(id) if id.starts_with("1.3.101.") => "x509: Ed25519 verification failure",
        _ => "crypto/rsa: verification error",
    };
    format!(
        "certificate signed by unknown authority (possibly because of {why:?} while trying to verify candidate authority certificate {:?})",
        issuer.unwrap_or("")
    )
}

fn wrong_name(parsed: Option<&X509Certificate<'_>>, name: &ServerName<'_>) -> String {
    let wanted = name.to_str();
    let extension = parsed.and_then(|parsed| parsed.subject_alternative_name().ok().flatten());
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    if matches!(name, ServerName::IpAddress(_)) {
        let ips: Vec<String> = names.iter().filter_map(ip_name).collect();
        if ips.is_empty() {
            return format!(
                "cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
            );
        }
        return format!("certificate is valid for {}, not {wanted}", ips.join(", "));
    }
    let valid: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect();
    if valid.is_empty() {
        return format!("certificate is not valid for any names, but wanted to match {wanted}");
    }
    format!("certificate is valid for {}, not {wanted}", valid.join(", "))
}

fn ip_name(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::IPAddress(bytes) = name else { return None };
    let four = <[u8; 4]>::try_from(*bytes).map(|ip| std::net::IpAddr::from(ip).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|ip| std::net::IpAddr::from(ip).to_string())).ok()
}
