//! What handlers know of their request.

use std::sync::{Arc, OnceLock};

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_registry::{Authority, Call, Check, Resource, UnderWay, Verdict, Warnings};
use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::authn::User;
use crate::authz::Attributes;
use crate::body::{RequestBody, collect};
use crate::negotiate::Accepted;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::service::ApiServer;

/// Everything a handler knows of its request.
pub(crate) struct Context<'a> {
    pub server: &'a ApiServer,
    pub info: &'a RequestInfo,
    pub query: &'a Query,
    /// As it was sent, for who passes it on.
    pub sent_query: &'a str,
    pub headers: &'a HeaderMap,
    pub method: &'a Method,
    pub user: &'a User,
    pub accepted: Accepted,
    /// The members of the options that were given, once they have been read.
    pub options: OnceLock<Value>,
    /// What admission warns of; it is told whatever becomes of the request.
    pub warnings: &'a Warnings,
    /// Says to the store that this request is likely to write.
    pub under_way: OnceLock<UnderWay>,
}

impl Context<'_> {
    /// The body of a request that writes, whole. Who sends it may, so the store counts on a write from here on.
    ///
    /// # Errors
    /// As [`collect`].
    pub(crate) async fn body_of_write(&self, body: RequestBody) -> Result<Bytes, Status> {
        let body = collect(body).await?;
        if *self.method != Method::GET
            && self.query.get("dryRun").is_none()
            && let Some(under_way) = self.server.registry().under_way()
        {
            let _ = self.under_way.set(under_way);
        }
        Ok(body)
    }

    /// A call that reads or deletes, and so owns no field.
    pub(crate) fn plain_call<'a>(&'a self, resource: &'a Arc<Resource>) -> Call<'a> {
        Call {
            resource,
            namespace: self.info.scope(),
            subresource: "",
            manager: "",
            dry_run: false,
            requester: self.requester(),
        }
    }

    /// What decoding warns of is due even where the request fails after it.
    pub(crate) fn told<T>(&self, warnings: &[String], outcome: Result<T, Status>) -> Result<T, Status> {
        if outcome.is_err() {
            self.warnings.add_first(warnings);
        }
        outcome
    }

    /// Who asks, as admission sees them.
    pub(crate) fn requester(&self) -> apiserver_registry::Requester<'_> {
        let user = self.user;
        apiserver_registry::Requester {
            name: &user.name,
            uid: &user.uid,
            groups: &user.groups,
            extra: Some(&user.extra),
            options: self.options.get(),
            warnings: Some(self.warnings),
            authority: Some(self),
        }
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("info", self.info).field("user", self.user).finish_non_exhaustive()
    }
}

impl Authority for Context<'_> {
    fn decide(&self, check: &Check) -> Verdict {
        let account = check.account.as_ref().map(|(namespace, name)| User::of_account(namespace, name));
        let wanted = Attributes {
            verb: &check.verb,
            group: &check.group,
            resource: &check.resource,
            subresource: &check.subresource,
            name: &check.name,
            namespace: Some(check.namespace.as_str()).filter(|namespace| !namespace.is_empty()),
            path: check.path.as_deref(),
        };
        let user = account.as_ref().unwrap_or(self.user);
        let reason = self.server.inner.rbac.reason(self.server.registry(), user, &wanted);
        Verdict { allowed: reason.is_some(), reason: reason.unwrap_or_default() }
    }
}
