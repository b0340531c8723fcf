//! Who asks, as whom, and whether they may.

use std::sync::OnceLock;

use apiserver_meta::{GroupResource, Status};
use apiserver_registry::Warnings;
use http::request::Parts;

use crate::answer::method_not_allowed;
use crate::authn::{self, RefusedCertificate, User};
use crate::authz::{self, Attributes};
use crate::context::Context;
use crate::flow_control::Flow;
use crate::impersonation::{self, Asker};
use crate::patience;
use crate::request_info::RequestInfo;
use crate::service::ApiServer;

/// Who asks, as whom, if they may. What the request falls under is known also where they may not.
pub(crate) fn admitted(
    server: &ApiServer,
    parts: &Parts,
    info: &RequestInfo,
    certificate: Option<&User>,
    flow: &OnceLock<Flow>,
    warnings: &Warnings,
) -> Result<User, Status> {
    let user = authenticate(server, parts, certificate, warnings)?;
    let user = match authn::impersonated(&parts.headers)? {
        Some(wanted) => {
            let asker = Asker { server, user: &user, wants: &attributes(info) };
            impersonation::become_user(&asker, &wanted)?
        }
        None => user,
    };
    // Streams are not counted upstream, but for the beginning of a watch.
    if info.verb == "watch" || !patience::is_stream(info) {
        let found = server.inner.flow_control.classify(server.registry(), &user, &attributes(info));
        found.into_iter().for_each(|found| drop(flow.set(found)));
    }
    authorize(server, info, &user)?;
    Ok(user)
}

fn authenticate(
    server: &ApiServer,
    parts: &Parts,
    certificate: Option<&User>,
    warnings: &Warnings,
) -> Result<User, Status> {
    let authentication = &server.inner.config.authentication;
    let is_refused = parts.extensions.get::<RefusedCertificate>().is_some();
    authentication.user(&parts.headers, certificate, is_refused, |token| {
        authentication.service_accounts.as_ref()?.verify(token, &[], server.registry(), warnings).ok()
    })
}

/// Asks for one more verb on what the request is about: streams need `create` whatever their method.
///
/// # Errors
/// 403 where the user lacks it, 405 where the method is none of a stream.
pub(crate) fn may_also(context: &Context, verb: &str) -> Result<(), Status> {
    if !matches!(context.info.verb.as_str(), "get" | "create") {
        return Err(method_not_allowed());
    }
    authorize(context.server, &RequestInfo { verb: verb.to_owned(), ..context.info.clone() }, context.user)
}

/// Who changes what is not there makes it, which is another permission.
///
/// # Errors
/// 403 where the user lacks it.
pub(crate) fn may_create(context: &Context) -> Result<(), Status> {
    authorize(
        context.server,
        &RequestInfo { verb: "create".to_owned(), ..context.info.clone() },
        context.user,
    )
}

/// What a request does, as it has to be allowed.
fn attributes(info: &RequestInfo) -> Attributes<'_> {
    if !info.is_resource {
        return Attributes { verb: &info.verb, path: Some(&info.path), ..Attributes::default() };
    }
    Attributes {
        verb: &info.verb,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        name: info.permitted_name(),
        namespace: info.namespace.as_deref(),
        path: None,
    }
}

fn authorize(server: &ApiServer, info: &RequestInfo, user: &User) -> Result<(), Status> {
    let wanted = attributes(info);
    if server.inner.rbac.allows(server.registry(), user, &wanted) {
        return Ok(());
    }
    let why = authz::refusal(user, &wanted);
    if !info.is_resource {
        let mut status = Status::forbidden(&GroupResource::new("", ""), "", &why);
        status.details = Some(apiserver_json::json!({}));
        return Err(status);
    }
    Err(Status::forbidden(
        &GroupResource::new(info.group.clone(), info.resource.clone()),
        info.permitted_name(),
        &why,
    ))
}
