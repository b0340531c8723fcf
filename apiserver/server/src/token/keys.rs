//! The keys of service account tokens: one that signs, those that verify, and how they are published.
//!
//! Algorithms, key ids and the JWKS are upstream's (`pkg/serviceaccount/jwt.go`, `openidmetadata.go`). P-521 is not among
//! them: the cryptography at hand has no such curve.

use apiserver_json::{Value, json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A curve as its standards, `ring` and JOSE name it.
pub(super) struct Curve {
    oid: &'static str,
    /// The object identifier as DER.
    oid_der: &'static [u8],
    name: &'static str,
    algorithm: &'static str,
    /// Bytes of a coordinate.
    coordinate: usize,
    signs: &'static signature::EcdsaSigningAlgorithm,
    verifies: &'static signature::EcdsaVerificationAlgorithm,
}

static CURVES: [Curve; 2] = [
    Curve {
        oid: "1.2.840.10045.3.1.7",
        oid_der: &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        name: "P-256",
        algorithm: "ES256",
        coordinate: 32,
        signs: &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        verifies: &signature::ECDSA_P256_SHA256_FIXED,
    },
    Curve {
        oid: "1.3.132.0.34",
        oid_der: &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        name: "P-384",
        algorithm: "ES384",
        coordinate: 48,
        signs: &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        verifies: &signature::ECDSA_P384_SHA384_FIXED,
    },
];

const RSA: &str = "RS256";
/// `id-ecPublicKey` and `rsaEncryption` with its NULL, as DER.
const OF_CURVES: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OF_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

const INTEGER_ZERO: &[u8] = &[0x02, 0x01, 0x00];
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Why a key can't be used.
const UNKNOWN: &str = "not a key of RSA (2048 bits or more), P-256 or P-384";

/// What signs.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Curve(&'static Curve, Box<EcdsaKeyPair>),
}

/// A key that verifies, as it is published.
pub(super) struct Verifier {
    pub(super) id: String,
    pub(super) algorithm: &'static str,
    checks: &'static dyn signature::VerificationAlgorithm,
    /// As `ring` takes it: a PKCS#1 key, or an uncompressed point.
    key: Vec<u8>,
    /// The members of its JWK that tell of its value.
    value: Value,
}

impl Signer {
    /// A new key of P-256, as PKCS#8.
    pub(super) fn generate() -> Result<Vec<u8>, String> {
        EcdsaKeyPair::generate_pkcs8(CURVES[0].signs, &SystemRandom::new())
            .map(|document| document.as_ref().to_vec())
            .map_err(|_| "no randomness for a key".to_owned())
    }

    pub(super) fn new(key: &PrivateKeyDer<'_>) -> Result<Self, String> {
        let curves = |pkcs8: &dyn Fn(&Curve) -> Vec<u8>| {
            CURVES.iter().find_map(|curve| {
                let pair = EcdsaKeyPair::from_pkcs8(curve.signs, &pkcs8(curve), &SystemRandom::new());
                Some(Self::Curve(curve, Box::new(pair.ok()?)))
            })
        };
        let rsa = |pair: Result<RsaKeyPair, ring::error::KeyRejected>| {
            pair.ok().map(|pair| Self::Rsa(Box::new(pair)))
        };
        let found = match key {
            PrivateKeyDer::Pkcs1(der) => rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
            PrivateKeyDer::Sec1(der) => curves(&|curve| wrapped(curve, der.secret_sec1_der())),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                curves(&|_| der.to_vec()).or_else(|| rsa(RsaKeyPair::from_pkcs8(der)))
            }
            _ => None,
        };
        found.ok_or_else(|| UNKNOWN.to_owned())
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => RSA,
            Self::Curve(curve, _) => curve.algorithm,
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Curve(_, pair) => Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
        }
    }

    /// Its public key, as a `SubjectPublicKeyInfo`.
    pub(super) fn public(&self) -> Vec<u8> {
        let (algorithm, key) = match self {
            Self::Rsa(pair) => (der(SEQUENCE, &[OF_RSA]), pair.public().as_ref()),
            Self::Curve(curve, pair) => {
                (der(SEQUENCE, &[OF_CURVES, curve.oid_der]), pair.public_key().as_ref())
            }
        };
        der(SEQUENCE, &[&algorithm, &der(BITS, &[&[0], key])])
    }
}

impl Verifier {
    /// From a `SubjectPublicKeyInfo`.
    pub(super) fn new(spki: &[u8]) -> Result<Self, String> {
        let unknown = || UNKNOWN.to_owned();
        let (_, info) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| unknown())?;
        let id = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, spki));
        let bits = info.subject_public_key.as_ref();
        match info.parsed().map_err(|_| unknown())? {
            Parsed::RSA(key) if key.key_size() >= 2048 => Ok(Self {
                id,
                algorithm: RSA,
                checks: &signature::RSA_PKCS1_2048_8192_SHA256,
                key: bits.to_vec(),
                value: json!({
                    "kty": "RSA", "n": unsigned(key.modulus), "e": unsigned(key.exponent),
                }),
            }),
            Parsed::EC(point) => {
                let named = info.algorithm.parameters.as_ref().and_then(|named| named.as_oid().ok());
                let named = named.ok_or_else(unknown)?.to_id_string();
                let curve = CURVES.iter().find(|curve| curve.oid == named).ok_or_else(unknown)?;
                // 0x04, x, y
                let coordinates = point.data().get(1..).filter(|rest| rest.len() == 2 * curve.coordinate);
                let (x, y) = coordinates.ok_or_else(unknown)?.split_at(curve.coordinate);
                Ok(Self {
                    id,
                    algorithm: curve.algorithm,
                    checks: curve.verifies,
                    key: bits.to_vec(),
                    value: json!({
                        "kty": "EC", "crv": curve.name,
                        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
                    }),
                })
            }
            _ => Err(unknown()),
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.checks, &self.key).verify(message, signature).is_ok()
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = self.value.clone();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.into();
        jwk["kid"] = self.id.as_str().into();
        jwk
    }
}

/// The keys of a PEM text that verify: public keys, those of certificates, and the public side of private keys.
pub(super) fn verifiers(pem: &str) -> Result<Vec<Verifier>, String> {
    let mut found = Vec::new();
    for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()) {
        found.push(Verifier::new(&key.map_err(|error| error.to_string())?)?);
    }
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&certificate)
            .map_err(|error| error.to_string())?;
        found.push(Verifier::new(parsed.public_key().raw)?);
    }
    for key in PrivateKeyDer::pem_slice_iter(pem.as_bytes()) {
        found.push(Verifier::new(&Signer::new(&key.map_err(|error| error.to_string())?)?.public())?);
    }
    if found.is_empty() {
        return Err("no key in PEM".to_owned());
    }
    Ok(found)
}

/// A big-endian number as JOSE writes it: without leading zeros.
fn unsigned(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    URL_SAFE_NO_PAD.encode(&bytes[zeros..])
}

/// A key of SEC 1 as PKCS#8.
fn wrapped(curve: &Curve, sec1: &[u8]) -> Vec<u8> {
    let algorithm = der(SEQUENCE, &[OF_CURVES, curve.oid_der]);
    der(SEQUENCE, &[INTEGER_ZERO, &algorithm, &der(OCTETS, &[sec1])])
}

/// A DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        element.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        element.push(0x80 | (bytes.len() - zeros) as u8);
        element.extend_from_slice(&bytes[zeros..]);
    }
    parts.iter().for_each(|part| element.extend_from_slice(part));
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `testdata`, made by OpenSSL.
    fn file(name: &str) -> String {
        let path = format!("{}/src/token/testdata/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    fn signer(name: &str) -> Result<Signer, String> {
        Signer::new(&PrivateKeyDer::from_pem_slice(file(name).as_bytes()).unwrap())
    }

    #[test]
    fn keys_of_every_form_sign_what_their_public_sides_verify() {
        let rsa = "EUlzsA9azGbzGOEjwa3t5YqJnoQnJqGCV6rVlZeapH4";
        let p256 = "shGmhLMLVkE5pBUsQB_uNws0c_s0hT_IITJhb3IuIkU";
        // (signs, verifies, algorithm, id: the digest of the public key that `openssl pkey -pubout` writes)
        for (signs, verifies, algorithm, id) in [
            ("rsa-pkcs1", "rsa-public", "RS256", rsa),
            ("rsa-pkcs8", "rsa-pkcs1", "RS256", rsa),
            ("p256-sec1", "p256-certificate", "ES256", p256),
            ("p384-pkcs8", "p384-pkcs8", "ES384", "IxDGCkm9Gypwi-OiBfiB5pUcJcU3DkITeycoLHG6zKQ"),
        ] {
            let signature = signer(signs).unwrap().sign(b"what is signed").unwrap();
            let found = verifiers(&file(verifies)).unwrap();
            let [verifier] = &found[..] else { panic!("{verifies}: {} keys", found.len()) };
            assert_eq!((verifier.algorithm, verifier.id.as_str()), (algorithm, id), "{signs}");
            assert!(verifier.verifies(b"what is signed", &signature), "{signs}");
            assert!(!verifier.verifies(b"what is not", &signature), "{signs}");
        }
    }

    #[test]
    fn a_text_may_hold_several_keys_and_must_hold_one() {
        let all = ["p256-sec1", "rsa-public", "p384-pkcs8"].map(file).concat();
        let mut algorithms: Vec<_> =
            verifiers(&all).unwrap().iter().map(|verifier| verifier.algorithm).collect();
        algorithms.sort_unstable();
        assert_eq!(algorithms, ["ES256", "ES384", "RS256"]);
        assert!(verifiers("no PEM at all").is_err());
        for unusable in ["p521-sec1", "rsa-1024"] {
            assert_eq!(signer(unusable).err().as_deref(), Some(UNKNOWN), "{unusable}");
        }
    }

    #[test]
    fn published_are_the_numbers_of_a_key() {
        let jwk = |name: &str| verifiers(&file(name)).unwrap().remove(0).jwk();
        let length = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap().len();
        let rsa = jwk("rsa-public");
        assert_eq!(
            (&rsa["kty"], &rsa["alg"], &rsa["use"], &rsa["e"]),
            (&json!("RSA"), &json!("RS256"), &json!("sig"), &json!("AQAB"))
        );
        assert_eq!(length(&rsa["n"]), 256);
        let p384 = jwk("p384-pkcs8");
        assert_eq!((&p384["kty"], &p384["crv"]), (&json!("EC"), &json!("P-384")));
        assert_eq!((length(&p384["x"]), length(&p384["y"])), (48, 48));
    }
}
