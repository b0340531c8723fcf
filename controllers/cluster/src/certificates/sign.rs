//! A certificate from a request: the subject, its names and its key as they were asked for, the rest as the request's
//! object says.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::der::{self, BIT_STRING, OBJECT_IDENTIFIER, OCTET_STRING, sequence, value};

/// Certificates begin this much earlier than they are made: clocks differ.
const BACKDATED: i64 = 5 * 60;
/// Shorter ones last as long as was asked for, from now on.
const SHORT: i64 = 8 * 3600;
/// No certificate lasts shorter.
const SHORTEST: i64 = 10 * 60;

/// The names beside the subject's, counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub dns: usize,
    pub addresses: usize,
    pub emails: usize,
    pub uris: usize,
}

/// What a request asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub organizations: Vec<String>,
    pub common_name: String,
    pub names: Names,
    subject: Vec<u8>,
    key: Vec<u8>,
    /// The extension with the names, made of those that are counted: nothing else is signed.
    alternatives: Option<Vec<u8>>,
}

impl Wanted {
    /// Reads a request and checks that its key signed it.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("unable to parse the request: {error}");
        let (_, block) = parse_x509_pem(pem).map_err(|error| told(&error))?;
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| told(&error))?;
        request
            .verify_signature()
            .map_err(|error| format!("unable to verify certificate request signature: {error}"))?;
        let info = &request.certification_request_info;
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or("").to_owned();
        if info.subject.iter_common_name().count() > 1 {
            return Err("the subject of the request has more than one common name".to_owned());
        }
        let mut wanted = Self {
            organizations: info.subject.iter_organization().map(text).collect(),
            common_name: info.subject.iter_common_name().next().map(text).unwrap_or_default(),
            subject: info.subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
            ..Self::default()
        };
        for attribute in info.iter_attributes() {
            let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { continue };
            for found in asked.extensions.iter().filter(|one| one.oid == OID_X509_EXT_SUBJECT_ALT_NAME) {
                let (names, made) = alternatives(found.parsed_extension())
                    .map_err(|why| format!("unable to parse the request: subjectAltName: {why}"))?;
                if wanted.alternatives.replace(made).is_some() {
                    return Err("the request has more than one subjectAltName extension".to_owned());
                }
                wanted.names = names;
            }
        }
        Ok(wanted)
    }
}

/// The names of an extension, counted and written again.
fn alternatives(extension: &ParsedExtension<'_>) -> Result<(Names, Vec<u8>), String> {
    let found = match extension {
        ParsedExtension::SubjectAlternativeName(found) => found,
        ParsedExtension::ParseError { error } => return Err(error.to_string()),
        _ => return Err("the extension can't be read".to_owned()),
    };
    let mut names = Names::default();
    let mut made = Vec::new();
    for name in &found.general_names {
        let (count, tag, content) = match name {
            GeneralName::RFC822Name(name) => (&mut names.emails, 0x81, name.as_bytes()),
            GeneralName::DNSName(name) => (&mut names.dns, 0x82, name.as_bytes()),
            GeneralName::URI(name) => (&mut names.uris, 0x86, name.as_bytes()),
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 4 | 16) => {
                (&mut names.addresses, 0x87, *bytes)
            }
            GeneralName::IPAddress(bytes) => {
                return Err(format!("an IP address of {} bytes", bytes.len()));
            }
            _ => return Err("only DNS names, IP addresses, emails and URIs are signed".to_owned()),
        };
        *count += 1;
        made.extend(value(tag, content));
    }
    Ok((names, sequence(&[&made])))
}

/// Why there is no signing authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate is at fault.
    #[error("{0}")]
    Certificate(String),
    /// The key is.
    #[error("{0}")]
    Key(String),
    /// The key stands in a block of this name, which is not PKCS#8.
    #[error("{0} is not PKCS#8")]
    KeyForm(&'static str),
}

/// On which terms a certificate is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub usages: &'a [String],
    /// How long it was asked for.
    pub seconds: Option<i64>,
    pub now: i64,
    pub serial: [u8; 16],
}

/// Who signs: `--cluster-signing-cert-file` and `--cluster-signing-key-file`.
#[derive(Debug)]
pub struct SigningAuthority {
    key: KeyPair,
    /// The algorithm it signs with, in DER.
    algorithm: Vec<u8>,
    subject: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    not_after: i64,
    /// `--cluster-signing-duration`: no certificate lasts longer.
    longest: i64,
}

impl SigningAuthority {
    /// An authority from its certificate and its key.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(certificate_pem: &str, key_pem: &str, longest: Duration) -> Result<Self, AuthorityError> {
        let unread = |error: &dyn std::fmt::Display| AuthorityError::Certificate(error.to_string());
        let (_, block) = parse_x509_pem(certificate_pem.as_bytes()).map_err(|error| unread(&error))?;
        let (_, certificate) = parse_x509_certificate(&block.contents).map_err(|error| unread(&error))?;
        let key = KeyPair::from_pem(key_pem).map_err(|error| {
            let mut older = ["RSA PRIVATE KEY", "EC PRIVATE KEY"].into_iter();
            let form = older.find(|form| key_pem.contains(&format!("-----BEGIN {form}-----")));
            form.map_or_else(|| AuthorityError::Key(error.to_string()), AuthorityError::KeyForm)
        })?;
        if key.subject_public_key_info() != certificate.public_key().raw {
            return Err(AuthorityError::Key("the key is not the certificate's".to_owned()));
        }
        let identifier = certificate.iter_extensions().find_map(|one| match one.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            algorithm: algorithm(key.algorithm())
                .ok_or_else(|| AuthorityError::Key("keys of this kind sign nothing here".to_owned()))?,
            key,
            subject: certificate.subject().as_raw().to_vec(),
            key_identifier: identifier,
            not_after: certificate.validity().not_after.timestamp(),
            longest: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        })
    }

    /// The certificate, as PEM.
    pub(super) fn sign(&self, wanted: &Wanted, terms: &Terms<'_>) -> Result<String, String> {
        if terms.now >= self.not_after {
            let why = if terms.now - BACKDATED >= self.not_after {
                "the signer has expired"
            } else {
                "refusing to sign a certificate that expired in the past"
            };
            return Err(format!("{why}: NotAfter={}", in_words(self.not_after)));
        }
        let longest = self.longest.max(SHORTEST);
        let lasts = terms.seconds.map_or(self.longest, |asked| asked.clamp(SHORTEST, longest));
        let end = terms.now + if lasts < SHORT { lasts } else { lasts - BACKDATED };
        let validity = sequence(&[&der::time(terms.now - BACKDATED), &der::time(end.min(self.not_after))]);
        // Positive, and of no more octets than the standard allows.
        let mut serial = terms.serial;
        serial[0] &= 0x7f;
        let body = sequence(&[
            // Version 3.
            &value(0xa0, &der::unsigned(&[2])),
            &der::unsigned(&serial),
            &self.algorithm,
            &self.subject,
            &validity,
            &wanted.subject,
            &wanted.key,
            &value(0xa3, &sequence(&[&self.extensions(wanted, terms.usages)?.concat()])),
        ]);
        let signature =
            self.key.sign(&body).map_err(|error| format!("failed to sign certificate: {error}"))?;
        let signature = value(BIT_STRING, &[&[0][..], &signature].concat());
        let certificate = sequence(&[&body, &self.algorithm, &signature]);
        Ok(pem("CERTIFICATE", &certificate))
    }

    fn extensions(&self, wanted: &Wanted, usages: &[String]) -> Result<Vec<Vec<u8>>, String> {
        let unknown = usages.iter().find(|usage| {
            let known = |name: &str| name == usage.as_str();
            !KEY_USAGES.iter().any(|(name, _)| known(name)) && !PURPOSES.iter().any(|(name, _)| known(name))
        });
        if let Some(unknown) = unknown {
            return Err(format!("unrecognized usage values: [{unknown:?}]"));
        }
        let has = |name: &str| usages.iter().any(|usage| usage == name);
        let mut all = Vec::new();
        let bits =
            KEY_USAGES.iter().filter(|(name, _)| has(name)).fold(0u16, |all, (_, bit)| all | 0x8000 >> bit);
        if bits != 0 {
            all.push(extension(KEY_USAGE, true, &der::bits(bits)));
        }
        let mut purposes: Vec<&[u8]> =
            PURPOSES.iter().filter(|(name, _)| has(name)).map(|(_, identifier)| *identifier).collect();
        purposes.dedup();
        if !purposes.is_empty() {
            let list: Vec<u8> =
                purposes.into_iter().flat_map(|identifier| value(OBJECT_IDENTIFIER, identifier)).collect();
            all.push(extension(EXTENDED_KEY_USAGE, false, &sequence(&[&list])));
        }
        all.push(extension(BASIC_CONSTRAINTS, true, &sequence(&[])));
        if let Some(identifier) = &self.key_identifier {
            all.push(extension(AUTHORITY_KEY_IDENTIFIER, false, &sequence(&[&value(0x80, identifier)])));
        }
        if let Some(names) = &wanted.alternatives {
            // Where the subject is empty the names are who it is.
            all.push(extension(SUBJECT_ALTERNATIVE_NAME, wanted.subject == sequence(&[]), names));
        }
        Ok(all)
    }
}

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// Usages, and their bits.
const KEY_USAGES: &[(&str, u16)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// Usages that are purposes, and their identifiers.
const PURPOSES: &[(&str, &[u8])] = &[
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("server auth", &[0x2b, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[0x2b, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[0x2b, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[0x2b, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[0x2b, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[0x2b, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[0x2b, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[0x2b, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3]),
    ("netscape sgc", &[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1]),
];

fn extension(identifier: &[u8], is_critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if is_critical { der::TRUE } else { &[] };
    sequence(&[&value(OBJECT_IDENTIFIER, identifier), critical, &value(OCTET_STRING, content)])
}

/// The identifier of what a key signs with.
fn algorithm(of: &'static SignatureAlgorithm) -> Option<Vec<u8>> {
    const NULL: &[u8] = &[5, 0];
    let (identifier, parameters): (&[u8], &[u8]) = if *of == rcgen::PKCS_ECDSA_P256_SHA256 {
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], &[])
    } else if *of == rcgen::PKCS_ECDSA_P384_SHA384 {
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], &[])
    } else if *of == rcgen::PKCS_RSA_SHA256 {
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], NULL)
    } else if *of == rcgen::PKCS_ED25519 {
        (&[0x2b, 0x65, 0x70], &[])
    } else {
        return None;
    };
    Some(sequence(&[&value(OBJECT_IDENTIFIER, identifier), parameters]))
}

/// A time as Go prints it.
fn in_words(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// A block of PEM.
fn pem(kind: &str, content: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(content);
    let mut out = format!("-----BEGIN {kind}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {kind}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};

    #[test]
    fn a_certificate_is_what_was_asked_for_on_the_terms_of_the_authority() {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let ca = params.self_signed(&ca_key).unwrap();
        let year = Duration::from_secs(365 * 24 * 3600);
        let authority = SigningAuthority::new(&ca.pem(), &ca_key.serialize_pem(), year).unwrap();
        let other = KeyPair::generate().unwrap().serialize_pem();
        assert!(SigningAuthority::new(&ca.pem(), &other, year).is_err(), "another key");

        let mut asked = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        asked.distinguished_name = rcgen::DistinguishedName::new();
        asked.distinguished_name.push(DnType::OrganizationName, "group");
        asked.distinguished_name.push(DnType::CommonName, "user");
        let request = asked.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let wanted = Wanted::parse(request.as_bytes()).unwrap();
        assert_eq!((wanted.organizations.as_slice(), wanted.names.dns), (&["group".to_owned()][..], 1));

        let now = 1_800_000_000;
        let usages = ["client auth", "digital signature", "key encipherment"].map(str::to_owned);
        for (seconds, lasts) in [
            (None, 365 * 24 * 3600 - 300),
            (Some(3600), 3600),
            (Some(1), 600),
            (Some(i64::MAX), 365 * 24 * 3600 - 300),
        ] {
            let terms = Terms { usages: &usages, seconds, now, serial: [0xff; 16] };
            let made = authority.sign(&wanted, &terms).unwrap();
            let (_, block) = parse_x509_pem(made.as_bytes()).unwrap();
            let (_, made) = parse_x509_certificate(&block.contents).unwrap();
            let (_, ca) = parse_x509_certificate(ca.der()).unwrap();
            made.verify_signature(Some(ca.public_key())).expect("the authority signed it");
            assert_eq!(made.issuer(), ca.subject());
            assert_eq!(made.subject().to_string(), "O=group, CN=user");
            assert_eq!(made.validity().not_before.timestamp(), now - 300);
            assert_eq!(made.validity().not_after.timestamp(), now + lasts);
            let usage = made.key_usage().unwrap().unwrap().value;
            assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
            let purposes = made.extended_key_usage().unwrap().unwrap().value;
            assert!(purposes.client_auth && !purposes.server_auth);
            assert!(!made.is_ca());
            let names = made.subject_alternative_name().unwrap().unwrap();
            assert!(!names.critical && names.value.general_names.len() == 1);
        }
        let odd = ["flying".to_owned()];
        let terms = Terms { usages: &odd, seconds: None, now, serial: [1; 16] };
        assert!(authority.sign(&wanted, &terms).is_err());

        // Nothing is signed by whose own time is over.
        let (_, block) = parse_x509_pem(ca.pem().as_bytes()).unwrap();
        let (_, parsed) = parse_x509_certificate(&block.contents).unwrap();
        let end = parsed.validity().not_after.timestamp();
        for (now, want) in [
            (
                end,
                "refusing to sign a certificate that expired in the past: NotAfter=4096-01-01 00:00:00 +0000 UTC",
            ),
            (end + 300, "the signer has expired: NotAfter=4096-01-01 00:00:00 +0000 UTC"),
        ] {
            let terms = Terms { usages: &usages, seconds: None, now, serial: [1; 16] };
            assert_eq!(authority.sign(&wanted, &terms).unwrap_err(), want);
        }
    }

    #[test]
    fn a_key_that_is_not_read_is_at_fault_itself() {
        let key = KeyPair::generate().unwrap();
        let ca = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let in_form = |form: &str| format!("-----BEGIN {form}-----\nMAA=\n-----END {form}-----\n");
        let of = |key: &str| SigningAuthority::new(&ca.pem(), key, Duration::ZERO).unwrap_err();
        assert!(matches!(of(&in_form("RSA PRIVATE KEY")), AuthorityError::KeyForm("RSA PRIVATE KEY")));
        let with_curve = in_form("EC PARAMETERS") + &in_form("EC PRIVATE KEY");
        assert!(matches!(of(&with_curve), AuthorityError::KeyForm("EC PRIVATE KEY")));
        assert!(matches!(of("none"), AuthorityError::Key(_)));
        let other = KeyPair::generate().unwrap().serialize_pem();
        assert!(matches!(of(&other), AuthorityError::Key(_)));
        let why = SigningAuthority::new("none", &other, Duration::ZERO).unwrap_err();
        assert!(matches!(why, AuthorityError::Certificate(_)));
    }

    #[test]
    fn what_is_not_judged_is_not_signed() {
        // A request of names of the subject and of the extension's bytes.
        let request = |common: usize, extension: Option<Vec<u8>>| {
            let mut asked = CertificateParams::new(Vec::new()).unwrap();
            asked.distinguished_name = rcgen::DistinguishedName::new();
            for i in 0..common {
                // Keys of the same meaning that are told apart.
                let kind = if i == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
                asked.distinguished_name.push(kind, format!("user-{i}"));
            }
            if let Some(bytes) = extension {
                asked
                    .custom_extensions
                    .push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], bytes));
            }
            let made = asked.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
            Wanted::parse(made.as_bytes())
        };
        assert_eq!(request(1, None).unwrap().common_name, "user-0");
        assert_eq!(request(2, None).unwrap_err(), "the subject of the request has more than one common name");
        let dns = value(0x82, b"a.example");
        let mixed =
            sequence(&[&dns, &value(0x81, b"a@b"), &value(0x86, b"a:b"), &value(0x87, &[1, 2, 3, 4])]);
        for (bytes, refused) in [
            (mixed.clone(), ""),
            (sequence(&[&value(0x87, &[1, 2, 3])]), "an IP address of 3 bytes"),
            (sequence(&[&dns, &value(0xa0, &value(OBJECT_IDENTIFIER, &[42, 3]))]), "only DNS names"),
            (sequence(&[&value(0xa4, &sequence(&[]))]), "only DNS names"),
            (sequence(&[&value(0x82, &[0xff, 0xfe])]), "only DNS names"),
            (value(OCTET_STRING, b"x"), "subjectAltName: "),
        ] {
            match request(1, Some(bytes.clone())) {
                Ok(wanted) => {
                    assert!(refused.is_empty(), "{bytes:x?}");
                    assert_eq!(wanted.names, Names { dns: 1, addresses: 1, emails: 1, uris: 1 });
                    assert_eq!(wanted.alternatives, Some(bytes));
                }
                Err(why) => assert!(!refused.is_empty() && why.contains(refused), "{bytes:x?}: {why}"),
            }
        }
    }
}
