//! TLS to clients: the certificate is chosen by server name, and the choice can change while connections run.
//!
//! Client certificates are not asked for.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not PEM, or nothing in it.
    #[error("pem: {0}")]
    Pem(String),
    /// Key and certificate do not fit, or the key is of an unknown kind.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}

#[derive(Debug)]
struct Entry {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

/// The certificates of a listener; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    entries: Arc<RwLock<Vec<Entry>>>,
}

fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, tail)| tail.eq_ignore_ascii_case(rest)),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn certified(chain_pem: &str, key_pem: &str) -> Result<CertifiedKey, Error> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Pem(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| Error::Pem(e.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    Ok(CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?))
}

impl Certificates {
    /// Replace all: names, chain PEM and key PEM of each; the first one is the default.
    pub fn set(&self, certificates: &[(Vec<String>, String, String)]) -> Result<(), Error> {
        let load = |(names, chain, key): &(Vec<String>, String, String)| {
            Ok(Entry { names: names.clone(), key: Arc::new(certified(chain, key)?) })
        };
        let entries: Vec<Entry> = certificates.iter().map(load).collect::<Result<_, Error>>()?;
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let named = hello.server_name().and_then(|host| {
            let exact = entries.iter().find(|e| e.names.iter().any(|n| n.eq_ignore_ascii_case(host)));
            exact.or_else(|| entries.iter().find(|e| e.names.iter().any(|n| covers(n, host))))
        });
        named.or(entries.first()).map(|e| e.key.clone())
    }
}

/// An acceptor that offers HTTP/2 and HTTP/1.1.
pub fn acceptor(certificates: &Certificates) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates.clone()));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
