//! Secrets of the type `kubernetes.io/service-account-token` hold a token of their ServiceAccount, and go with it.
//! `pkg/controller/serviceaccount/tokens_controller.go` upstream.

use controllers_kit::meta::annotation;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Preconditions};
use std::collections::BTreeMap;
use std::sync::Arc;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Whose token is to be signed, and where it will be held.
#[derive(Clone, Copy, Debug)]
pub struct TokenOf<'a> {
    pub namespace: &'a str,
    pub secret: &'a str,
    pub account: &'a str,
    pub account_uid: &'a str,
}

/// Signs tokens; `None` where that fails.
pub type TokenSigner = Arc<dyn Fn(TokenOf<'_>) -> Option<String> + Send + Sync>;

struct Loop {
    secrets: Cache<Secret>,
    accounts: Cache<ServiceAccount>,
    root_ca: String,
    sign: TokenSigner,
}

pub(crate) async fn run(caches: Caches, root_ca: String, sign: Option<TokenSigner>) {
    let Some(sign) = sign else { return std::future::pending().await };
    let (secrets, accounts) = (caches.of::<Secret>(), caches.of::<ServiceAccount>());
    let queue: Queue<Key> = Queue::new();
    let q = queue.clone();
    secrets.on_change(move |change| {
        if change.new.as_ref().is_some_and(|secret| holds_token(secret)) {
            q.add(change.key.clone(), change.story());
        }
    });
    let (q, all) = (queue.clone(), secrets.clone());
    accounts.on_change(move |change| {
        for secret in all.in_namespace(&change.key.namespace) {
            if holds_token(&secret) && annotation(&secret.metadata, NAME) == Some(&change.key.name) {
                q.add(Key::of(&secret.metadata), change.story());
            }
        }
    });
    secrets.synced().await;
    accounts.synced().await;
    let this = Arc::new(Loop { secrets, accounts, root_ca, sign });
    controllers_kit::run("serviceaccount-token", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

fn holds_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE)
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let found = self.secrets.get(&key).filter(|secret| holds_token(secret));
        let Some(secret) = found.filter(|secret| secret.metadata.deletion_timestamp.is_none()) else {
            return Ok(done);
        };
        let Some(name) = annotation(&secret.metadata, NAME) else { return Ok(done) };
        let Some(account) = self.account(&key.namespace, name, &secret).await? else {
            let only = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
            self.secrets.delete(&key, &DeleteParams::default().preconditions(only)).await?;
            done.note(format!("deleted, there is no ServiceAccount {name}"));
            return Ok(done);
        };
        let uid = account.metadata.uid.as_deref().unwrap_or_default();
        let mut data = secret.data.clone().unwrap_or_default();
        let own = TokenOf { namespace: &key.namespace, secret: &key.name, account: name, account_uid: uid };
        if !fill(&mut data, own, &self.root_ca, &self.sign)? && annotation(&secret.metadata, UID) == Some(uid)
        {
            return Ok(done);
        }
        let mut next = (*secret).clone();
        next.data = Some(data);
        next.metadata.annotations.get_or_insert_default().insert(UID.to_owned(), uid.to_owned());
        self.secrets.replace_object(&next).await?;
        done.note(format!("filled in for ServiceAccount {name}"));
        Ok(done)
    }

    /// The account that a Secret names; one that is not known here is asked for.
    async fn account(
        &self,
        namespace: &str,
        name: &str,
        secret: &Secret,
    ) -> Result<Option<Arc<ServiceAccount>>, Error> {
        let wanted = annotation(&secret.metadata, UID).filter(|uid| !uid.is_empty());
        let fits =
            |account: &ServiceAccount| wanted.is_none_or(|uid| account.metadata.uid.as_deref() == Some(uid));
        if let Some(known) = self.accounts.get(&Key::new(namespace, name)).filter(|known| fits(known)) {
            return Ok(Some(known));
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.accounts.client().clone(), namespace);
        Ok(api.get_opt(name).await?.filter(|found| fits(found)).map(Arc::new))
    }
}

/// Puts in what is missing or is another's now; true if that was anything.
fn fill(
    data: &mut BTreeMap<String, ByteString>,
    own: TokenOf<'_>,
    root_ca: &str,
    sign: &TokenSigner,
) -> Result<bool, Error> {
    let mut set = |member: &str, text: &str| {
        if data.get(member).is_some_and(|known| known.0 == text.as_bytes()) {
            return false;
        }
        data.insert(member.to_owned(), ByteString(text.as_bytes().to_vec()));
        true
    };
    let mut is_filled = !root_ca.is_empty() && set("ca.crt", root_ca);
    is_filled |= set("namespace", own.namespace);
    if data.get("token").is_none_or(|token| token.0.is_empty()) {
        let failed = || Error::Transient("the token could not be signed".to_owned());
        let token = sign(own).ok_or_else(failed)?;
        data.insert("token".to_owned(), ByteString(token.into_bytes()));
        is_filled = true;
    }
    Ok(is_filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_filled_in_once() {
        let sign: TokenSigner = Arc::new(|own| {
            Some(format!("{}/{} {}/{}", own.namespace, own.secret, own.account, own.account_uid))
        });
        let own = TokenOf { namespace: "n", secret: "s", account: "a", account_uid: "u" };
        let mut data = BTreeMap::new();
        assert!(fill(&mut data, own, "CA", &sign).unwrap());
        let text = |data: &BTreeMap<String, ByteString>, member: &str| {
            String::from_utf8(data[member].0.clone()).unwrap()
        };
        assert_eq!(text(&data, "token"), "n/s a/u");
        assert_eq!((text(&data, "ca.crt"), text(&data, "namespace")), ("CA".into(), "n".into()));
        assert!(!fill(&mut data, own, "CA", &sign).unwrap());
        data.insert("ca.crt".to_owned(), ByteString(b"old".to_vec()));
        assert!(fill(&mut data, own, "CA", &sign).unwrap());
        assert_eq!((text(&data, "ca.crt"), text(&data, "token")), ("CA".into(), "n/s a/u".into()));
        let broken: TokenSigner = Arc::new(|_| None);
        assert!(fill(&mut BTreeMap::new(), own, "CA", &broken).is_err());
    }
}
