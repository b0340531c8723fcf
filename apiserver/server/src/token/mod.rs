//! Service account tokens: issued, bound, verified, and the keys published as JWKS.

mod claims;
mod keys;
mod legacy;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Registry, Warnings, object};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;

use crate::authn::User;
use keys::{Signer, Verifier};

/// The issuer and default audience where none is chosen.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// What a kubelet asks for of the tokens that it mounts: `WarnOnlyBoundTokenExpirationSeconds`.
const WARNED_SECONDS: i64 = 3607;
/// How long those live all the same: `ExpirationExtensionSeconds`.
const EXTENDED_HOURS: i64 = 365 * 24;

/// The keys of tokens, and in whose name they are issued and believed.
pub struct ServiceAccountKeys {
    signer: Signer,
    key_id: String,
    /// The first of them issues.
    issuers: Vec<String>,
    /// Who this server is for tokens; the issuers where nothing else is said.
    audiences: Vec<String>,
    verifiers: Vec<Verifier>,
}

impl std::fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKeys")
            .field("key_id", &self.key_id)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

/// A token and its end.
pub(crate) struct Issued {
    pub token: String,
    pub expires: String,
}

/// The `spec.audiences` of a TokenRequest or TokenReview.
pub(crate) fn audiences(request: &Value) -> Vec<String> {
    let listed = request.pointer("/spec/audiences").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What a token is bound to.
pub(crate) struct Bound {
    kind: String,
    name: String,
    uid: String,
    node: Option<(String, String)>,
}

impl Bound {
    /// Reads a `boundObjectRef`.
    ///
    /// # Errors
    /// 400 for a kind that nothing can be bound to, 404 and 409 for an object that is not there or another.
    pub(crate) fn find(
        registry: &Registry,
        namespace: &str,
        account: &str,
        reference: Option<&Value>,
    ) -> Result<Option<Self>, Status> {
        let Some(reference) = reference.filter(|reference| reference.is_object()) else { return Ok(None) };
        let text = |member: &str| reference.get(member).and_then(Value::as_str).unwrap_or("").to_owned();
        let (kind, name) = (text("kind"), text("name"));
        let version = text("apiVersion");
        // Of a core version only that it is one is looked at.
        let plural = match (version.contains('/'), kind.as_str()) {
            (false, "Pod") => "pods",
            (false, "Secret") => "secrets",
            (false, "Node") => "nodes",
            _ => {
                let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type {version}, Kind={kind}"
                )));
            }
        };
        if name.is_empty() {
            return Err(Status::bad_request("Name parameter required."));
        }
        let key = if plural == "nodes" {
            format!("/registry/core/nodes/{name}")
        } else {
            format!("/registry/core/{plural}/{namespace}/{name}")
        };
        let gr = apiserver_meta::GroupResource::new("", plural);
        let found = registry.cache().get(&key).ok_or_else(|| Status::not_found(&gr, &name))?.parse();
        let runs_as = found.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("");
        if kind == "Pod" && runs_as != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        let uid = text("uid");
        if !uid.is_empty() && uid != object::uid(&found) {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(&apiserver_meta::GroupResource::new("", &kind), &name, &why));
        }
        let node =
            found.pointer("/spec/nodeName").and_then(Value::as_str).filter(|_| kind == "Pod").map(|node| {
                let uid = registry
                    .cache()
                    .get(&format!("/registry/core/nodes/{node}"))
                    .map(|node| object::uid(&node.parse()).to_owned());
                (node.to_owned(), uid.unwrap_or_default())
            });
        Ok(Some(Self { kind, name, uid: object::uid(&found).to_owned(), node }))
    }
}

impl ServiceAccountKeys {
    /// A new key of P-256, as PKCS#8.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Vec<u8>, String> {
        Signer::generate()
    }

    /// Tokens are signed with a new key, which nobody else has.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generated() -> Result<Self, String> {
        Self::new(&PrivateKeyDer::Pkcs8(Signer::generate()?.into()))
    }

    /// Tokens are signed with this key of RSA, P-256 or P-384, and believed if they are.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn new(key: &PrivateKeyDer<'_>) -> Result<Self, String> {
        let signer = Signer::new(key)?;
        let verifier = Verifier::new(&signer.public())?;
        Ok(Self {
            key_id: verifier.id.clone(),
            signer,
            issuers: vec![ISSUER.to_owned()],
            audiences: vec![ISSUER.to_owned()],
            verifiers: vec![verifier],
        })
    }

    /// Believed is what one of the keys of these PEM texts signed, as `--service-account-key-file` says: those that signed
    /// before, that sign elsewhere, or will.
    ///
    /// # Errors
    /// Which of the texts, by its place, holds something else, and why.
    pub fn verified_by(mut self, pems: &[String]) -> Result<Self, (usize, String)> {
        if pems.is_empty() {
            return Ok(self);
        }
        self.verifiers.clear();
        for (place, pem) in pems.iter().enumerate() {
            self.verifiers.extend(keys::verifiers(pem).map_err(|why| (place, why))?);
        }
        Ok(self)
    }

    /// The first issues, all are believed. Without other `audiences` tokens are for the issuers.
    pub fn issued_by(mut self, issuers: Vec<String>, audiences: Vec<String>) -> Self {
        if !issuers.is_empty() {
            self.issuers = issuers;
        }
        self.audiences = if audiences.is_empty() { self.issuers.clone() } else { audiences };
        self
    }

    pub(crate) fn issuers(&self) -> &[String] {
        &self.issuers
    }

    /// Who this server is for tokens.
    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The public keys as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": self.verifiers.iter().map(Verifier::jwk).collect::<Vec<_>>()})
    }

    /// What the keys sign with, in order.
    pub(crate) fn algorithms(&self) -> std::collections::BTreeSet<&'static str> {
        self.verifiers.iter().map(|verifier| verifier.algorithm).collect()
    }

    pub(crate) fn issue(
        &self,
        account: &Value,
        audiences: &[String],
        seconds: i64,
        bound: Option<&Bound>,
    ) -> Result<Issued, Status> {
        let now = jiff::Timestamp::now();
        let expires = now + jiff::SignedDuration::from_secs(seconds);
        // A kubelet asks for this time, and the Pod may be one that never reads its token again: it is told of, not cut off.
        let extends = seconds == WARNED_SECONDS
            && bound.is_some_and(|bound| bound.kind == "Pod")
            && audiences.iter().all(|audience| self.audiences.contains(audience));
        let end = if extends { now + jiff::SignedDuration::from_hours(EXTENDED_HOURS) } else { expires };
        let (namespace, name) = (object::namespace(account), object::name(account));
        let mut kubernetes =
            json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": object::uid(account)}});
        if let Some(bound) = bound {
            kubernetes[bound.kind.to_lowercase()] = json!({"name": bound.name, "uid": bound.uid});
            if let Some((node, uid)) = &bound.node {
                kubernetes["node"] = json!({"name": node, "uid": uid});
            }
        }
        if extends {
            kubernetes["warnafter"] = expires.as_second().into();
        }
        let claims = json!({
            "aud": audiences, "exp": end.as_second(), "iat": now.as_second(), "nbf": now.as_second(), "iss": self.issuers.first(),
            "jti": uuid::Uuid::new_v4().to_string(), "kubernetes.io": kubernetes,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let token = self.signed(&claims).ok_or_else(|| Status::internal("the token could not be signed"))?;
        Ok(Issued { token, expires: expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() })
    }

    fn signed(&self, claims: &Value) -> Option<String> {
        let header = json!({"alg": self.signer.algorithm(), "kid": self.key_id});
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signer.sign(signed.as_bytes())?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The token that a Secret holds for a ServiceAccount; it lives as long as the Secret. `None` where it can't be signed.
    pub fn issue_for_secret(
        &self,
        (namespace, secret): (&str, &str),
        (account, uid): (&str, &str),
    ) -> Option<String> {
        self.signed(&legacy::claims((namespace, secret), (account, uid)))
    }

    /// The user of a token, if it is ours, alive, for one of the audiences, and what it is bound to still exists.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(crate) fn verify(
        &self,
        token: &str,
        audiences: &[String],
        registry: &Registry,
        warnings: &Warnings,
    ) -> Result<User, String> {
        let refuse = || "invalid bearer token".to_owned();
        let (signed, signature) = token.rsplit_once('.').ok_or_else(refuse)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| refuse())?;
        if !self.verifiers.iter().any(|verifier| verifier.verifies(signed.as_bytes(), &signature)) {
            return Err(refuse());
        }
        let claims =
            signed.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).ok_or_else(refuse)?;
        let claims: Value = apiserver_json::from_slice(&claims).map_err(|_| refuse())?;
        let is_legacy = claims["iss"] == *legacy::ISSUER;
        let is_ours = |issuer: &str| self.issuers.iter().any(|known| known == issuer);
        if !is_legacy && !claims["iss"].as_str().is_some_and(is_ours) {
            return Err(refuse());
        }
        if !is_legacy {
            claims::check_times(&claims, jiff::Timestamp::now().as_second())?;
        }
        let mut known: Vec<&str> =
            claims["aud"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if is_legacy && known.is_empty() {
            known = self.audiences.iter().map(String::as_str).collect();
        }
        let wanted: Vec<&str> = if audiences.is_empty() { &self.audiences } else { audiences }
            .iter()
            .map(String::as_str)
            .collect();
        if !wanted.iter().any(|audience| known.contains(audience)) {
            return Err(format!(
                "token audiences [{}] is invalid for the target audiences [{}]",
                join(&known),
                join(&wanted)
            ));
        }
        if is_legacy {
            return legacy::user(token, &claims, registry, warnings);
        }
        claims::user(&claims, registry)
    }
}

fn join(list: &[&str]) -> String {
    list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" ")
}
