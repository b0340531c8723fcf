//! What keeps a cluster tidy: namespaces end with their content, dependents with their owners, lost nodes are marked,
//! quotas say what is used, approved requests for certificates are signed.
//!
//! It makes no workload and no routing state.

mod aggregation;
mod certificates;
mod discovery;
mod garbagecollector;
mod namespace;
mod nodelifecycle;
mod resourcequota;
mod serviceaccount;
mod servicecidr;
mod storageprotection;
mod tokens;

pub use certificates::{AuthorityError, SigningAuthority};
use controllers_kit::{Caches, Running, spawn};
use futures::FutureExt;
pub use tokens::{TokenOf, TokenSigner};

/// Run the loops until the future is dropped. `root_ca_pem` is what `kube-root-ca.crt` holds; without an authority nobody
/// signs certificates, without a signer no Secret gets a token.
pub fn run(
    caches: Caches,
    root_ca_pem: String,
    authority: Option<SigningAuthority>,
    tokens: Option<TokenSigner>,
) -> Running {
    async move {
        controllers_kit::all(vec![
            spawn("namespace", namespace::run(caches.clone())),
            spawn("certificatesigningrequest", certificates::run(caches.clone(), authority)),
            spawn("garbagecollector", garbagecollector::run(caches.clone())),
            spawn("clusterroleaggregation", aggregation::run(caches.clone())),
            spawn("nodelifecycle", nodelifecycle::run(caches.clone())),
            spawn("storageprotection", storageprotection::run(caches.clone())),
            spawn("servicecidr", servicecidr::run(caches.clone())),
            spawn("resourcequota", resourcequota::run(caches.clone())),
            spawn("serviceaccount-token", tokens::run(caches.clone(), root_ca_pem.clone(), tokens)),
            spawn("serviceaccount", serviceaccount::run(caches, root_ca_pem)),
        ])
        .await
    }
    .boxed()
}
