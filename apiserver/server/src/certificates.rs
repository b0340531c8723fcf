//! Certificates: the server's own, and those that clients show. As upstream's (`request/x509` of k8s.io/apiserver), a
//! certificate that nobody vouches for is no reason to refuse the connection: requests over it are answered 401.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::der_parser::{Oid, oid};
use x509_parser::prelude::FromDer;

use crate::authn::{CREDENTIAL_ID, User};

/// Where a subject says the uid of its user: `util/asn1` of k8s.io/apimachinery.
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);

/// Certificates of the server and of the authorities that vouch for clients.
#[derive(Debug)]
pub struct Tls {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub client_cas: Vec<CertificateDer<'static>>,
}

/// Makes connections of sockets, and knows whose they are.
#[derive(Clone)]
pub struct Acceptor {
    pub(crate) tls: tokio_rustls::TlsAcceptor,
    clients: Arc<dyn ClientCertVerifier>,
}

/// What a client's certificate makes of it.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// None was shown, or one that names nobody.
    Nobody,
    User(Arc<User>),
    /// Whoever shows this may only be known by something else.
    Refused,
}

impl Tls {
    /// The TLS side of the server.
    ///
    /// # Errors
    /// When certificate and key do not fit.
    pub fn acceptor(self) -> Result<Acceptor, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        for authority in self.client_cas {
            roots.add(authority)?;
        }
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient(clients.clone())))
            .with_single_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Acceptor { tls: tokio_rustls::TlsAcceptor::from(Arc::new(config)), clients })
    }
}

impl Acceptor {
    /// Whose the certificate is that was shown in a handshake.
    pub(crate) fn shown(&self, chain: Option<&[CertificateDer<'_>]>) -> Shown {
        let Some([own, between @ ..]) = chain else { return Shown::Nobody };
        if let Err(error) = self.clients.verify_client_cert(own, between, UnixTime::now()) {
            tracing::debug!(error = %error, "a client's certificate is refused");
            return Shown::Refused;
        }
        match user_of(own) {
            Ok(Some(user)) => Shown::User(Arc::new(user)),
            Ok(None) => Shown::Nobody,
            Err(why) => {
                tracing::debug!(error = why, "a client's certificate is refused");
                Shown::Refused
            }
        }
    }
}

/// The user of a certificate: common name, organisations and uid. Of several common names the last counts, as it does for
/// whoever signed it.
fn user_of(der: &[u8]) -> Result<Option<User>, &'static str> {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(der) else {
        return Ok(None);
    };
    let subject = certificate.subject();
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let groups =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    let mut uids = subject.iter_by_oid(&UID).map(|uid| uid.as_str());
    let uid = match (uids.next(), uids.next()) {
        (None, _) => "",
        (Some(Ok("")), _) => return Err("UID cannot be an empty string"),
        (Some(Ok(uid)), None) => uid,
        (Some(Err(_)), _) => return Err("unable to parse UID into a string"),
        (Some(_), Some(_)) => return Err("expected 1 UID, but found multiple"),
    };
    let mut id = "X509SHA256=".to_owned();
    for byte in ring::digest::digest(&ring::digest::SHA256, der).as_ref() {
        let _ = write!(id, "{byte:02x}");
    }
    let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])]);
    Ok(Some(User { name: name.to_owned(), uid: uid.to_owned(), groups, extra }))
}

/// Lets a client show whatever it has, if it holds the key to it.
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the subject `O=g, CN=first, CN=last`.
    const TWO_NAMES: &str = "-----BEGIN CERTIFICATE-----
MIIBbTCCAR+gAwIBAgIUW7b864IKnMW3mqXptnMKEP5X74cwBQYDK2VwMCsxCjAI
BgNVBAoMAWcxDjAMBgNVBAMMBWZpcnN0MQ0wCwYDVQQDDARsYXN0MCAXDTI2MTEy
MjIyNDE1NVoYDzIxMjYxMDI5MjI0MTU1WjArMQowCAYDVQQKDAFnMQ4wDAYDVQQD
DAVmaXJzdDENMAsGA1UEAwwEbGFzdDAqMAUGAytlcAMhAC58dbJcwBT6giRBxSey
WpEoSLJ7AEqL1Kg0AU8XB5n7o1MwUTAdBgNVHQ4EFgQUoGD8X7uhGdu9aXSKcDR+
1bWa0UMwHwYDVR0jBBgwFoAUoGD8X7uhGdu9aXSKcDR+1bWa0UMwDwYDVR0TAQH/
BAUwAwEB/zAFBgMrZXADQQDM2uytpyCNnawQ+jBvOJgyWLDUd/n/fl+/RFw7qFbv
VYtUchF8jRvjGIBj0In6cXysfhVn7rdb/z3ouYk6Y0kF
-----END CERTIFICATE-----
";

    #[test]
    fn the_last_common_name_of_a_certificate_is_its_user() {
        let (_, block) = x509_parser::pem::parse_x509_pem(TWO_NAMES.as_bytes()).unwrap();
        let user = user_of(&block.contents).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("last", &["g".to_owned()][..]));
        let id = &user.extra[CREDENTIAL_ID][0];
        let (scheme, digest) = id.split_once('=').unwrap();
        assert_eq!((scheme, digest.len()), ("X509SHA256", 64));
    }
}
