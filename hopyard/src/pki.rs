//! The instance's own certificates: an authority, the server's certificate, an administrator's, all under the data
//! directory with mode 0600, made once and kept.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// Everything an instance needs to be trusted and to trust.
#[derive(Debug)]
pub(crate) struct Pki {
    pub ca_pem: String,
    pub ca_key_pem: String,
    pub server_chain_pem: String,
    pub server_key_pem: String,
    pub admin_pem: String,
    pub admin_key_pem: String,
    /// The key that signs service account tokens.
    pub token_key: PrivateKeyDer<'static>,
}

fn fail(error: impl std::fmt::Display) -> Error {
    Error::Certificates(error.to_string())
}

/// Writes a file that only its owner reads, whole or not at all: who reads it meanwhile, or after a crash or on a full
/// disk, finds what was there before.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
        .open(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|error| Error::path(path, error))
}

fn read_or_make(path: PathBuf, make: impl FnOnce() -> Result<String, Error>) -> Result<String, Error> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make()?;
            write_private(&path, text.as_bytes())?;
            Ok(text)
        }
        Err(error) => Err(Error::path(&path, error)),
    }
}

/// The private key in a PEM file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| Error::Certificates(format!("{}: {error}", path.display())))
}

impl Pki {
    /// Reads what is in `dir`, and makes what is missing. The server's certificate names `addresses`.
    ///
    /// # Errors
    /// When the directory can't be used or holds something else.
    pub(crate) fn open(dir: &Path, addresses: &[IpAddr]) -> Result<Self, Error> {
        crate::instance::make_private(dir).map_err(|error| Error::path(dir, error))?;
        let damaged = |name: &str, error: &dyn std::fmt::Display| {
            Error::Certificates(format!("{}: {error}", dir.join(name).display()))
        };
        let key = |name: &str| {
            let pem =
                read_or_make(dir.join(name), || Ok(KeyPair::generate().map_err(fail)?.serialize_pem()))?;
            KeyPair::from_pem(&pem).map_err(|error| damaged(name, &error))?;
            Ok(pem)
        };
        let ca_key_pem = key("ca.key")?;
        let ca_pem = read_or_make(dir.join("ca.crt"), || {
            let mut params = CertificateParams::new(Vec::new()).map_err(fail)?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![
                KeyUsagePurpose::KeyCertSign,
                KeyUsagePurpose::CrlSign,
                KeyUsagePurpose::DigitalSignature,
            ];
            params.distinguished_name.push(DnType::CommonName, "hopyard-ca");
            let key = KeyPair::from_pem(&ca_key_pem).map_err(fail)?;
            Ok(params.self_signed(&key).map_err(fail)?.pem())
        })?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&ca_key_pem).map_err(fail)?)
            .map_err(|error| damaged("ca.crt", &error))?;
        let server_key_pem = key("apiserver.key")?;
        // Made at every start: it is cheap, and the addresses may have changed.
        let server_pem = server_certificate(&issuer, &server_key_pem, addresses)?;
        let admin_key_pem = key("admin.key")?;
        let admin_pem = read_or_make(dir.join("admin.crt"), || {
            let mut params = CertificateParams::new(Vec::new()).map_err(fail)?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "system:masters");
            params.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::from_pem(&admin_key_pem).map_err(fail)?;
            Ok(params.signed_by(&key, &issuer).map_err(fail)?.pem())
        })?;
        let token_path = dir.join("sa.key");
        let token_text = read_or_make(token_path, || {
            let der = apiserver_server::ServiceAccountKeys::generate().map_err(fail)?;
            Ok(base64::engine::general_purpose::STANDARD.encode(der))
        })?;
        let token_key = base64::engine::general_purpose::STANDARD
            .decode(token_text.trim())
            .map_err(|error| damaged("sa.key", &error))?;
        let token_key = PrivateKeyDer::Pkcs8(token_key.into());
        Ok(Self {
            server_chain_pem: format!("{server_pem}{ca_pem}"),
            ca_pem,
            ca_key_pem,
            server_key_pem,
            admin_pem,
            admin_key_pem,
            token_key,
        })
    }

    /// The authority, as who signs approved requests for certificates: for a year, as upstream's.
    ///
    /// # Errors
    /// When the certificate and the key are not each other's.
    pub(crate) fn signer(&self) -> Result<controllers_cluster::SigningAuthority, Error> {
        const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
        controllers_cluster::SigningAuthority::new(&self.ca_pem, &self.ca_key_pem, YEAR).map_err(fail)
    }

    /// A kubeconfig for the administrator, pointing at `server`.
    pub(crate) fn kubeconfig(&self, server: &str) -> String {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: hopyard\n  cluster:\n    server: {server}\n    certificate-authority-data: {}\nusers:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\ncontexts:\n- name: hopyard\n  context:\n    cluster: hopyard\n    user: admin\ncurrent-context: hopyard\n",
            encode(&self.ca_pem),
            encode(&self.admin_pem),
            encode(&self.admin_key_pem),
        )
    }
}

/// TLS from PEM texts, the authorities of clients as many as there are, each with what it is called in an error.
pub(crate) fn tls_from(
    (chain_name, chain): (&str, &str),
    (key_name, key): (&str, &str),
    (ca_name, client_ca): (&str, &str),
) -> Result<apiserver_server::Tls, Error> {
    let of = |name: &str| {
        let name = name.to_owned();
        move |error: rustls::pki_types::pem::Error| fail(format!("{name}: {error}"))
    };
    let certificates = |name: &str, text: &str| -> Result<Vec<_>, Error> {
        let all: Vec<_> =
            CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(of(name))?;
        if all.is_empty() {
            return Err(of(name)(rustls::pki_types::pem::Error::NoItemsFound));
        }
        Ok(all)
    };
    Ok(apiserver_server::Tls {
        chain: certificates(chain_name, chain)?,
        key: PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(of(key_name))?,
        client_cas: certificates(ca_name, client_ca)?,
    })
}

fn server_certificate(
    issuer: &Issuer<'_, KeyPair>,
    key_pem: &str,
    addresses: &[IpAddr],
) -> Result<String, Error> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut params = CertificateParams::new(names.map(str::to_owned).to_vec()).map_err(fail)?;
    let fixed = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 96, 0, 1])];
    for address in fixed.iter().chain(addresses).filter(|address| !address.is_unspecified()) {
        params.subject_alt_names.push(rcgen::SanType::IpAddress(*address));
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::from_pem(key_pem).map_err(fail)?;
    Ok(params.signed_by(&key, issuer).map_err(fail)?.pem())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole() {
        let dir = std::env::temp_dir().join(format!("hopyard-private-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        write_private(&path, b"what was there").unwrap();
        let mut reader = std::fs::File::open(&path).unwrap();
        write_private(&path, b"new").unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "what was there", "who reads sees one file, never a part");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
