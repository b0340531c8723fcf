//! What expressions ask of who may do what: the `authorizer` of policies and match conditions.

use std::fmt::Debug;

/// What is asked for, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Namespace and name of the service account that is asked about instead of who makes the request.
    pub account: Option<(String, String)>,
    pub verb: String,
    /// A path that is no resource; the rest is empty then.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    /// Empty for the cluster.
    pub namespace: String,
    pub name: String,
}

/// Whether they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub reason: String,
}

/// Whoever decides.
pub trait Authority: Debug + Send + Sync {
    fn decide(&self, check: &Check) -> Verdict;
}
