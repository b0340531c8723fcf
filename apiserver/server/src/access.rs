//! Who asks, as whom, and whether they may.

use apiserver_meta::{GroupResource, Status};
use http::HeaderMap;

use crate::answer::method_not_allowed;
use crate::authn::{self, User};
use crate::authz::{self, Attributes};
use crate::context::Context;
use crate::request_info::RequestInfo;
use crate::service::ApiServer;

/// Who asks, as whom, if they may.
pub(crate) fn admitted(
    server: &ApiServer,
    headers: &HeaderMap,
    info: &RequestInfo,
    certificate: Option<&User>,
) -> Result<User, Status> {
    let user = authenticate(server, headers, certificate)?;
    let user = impersonate(server, headers, user)?;
    authorize(server, info, &user)?;
    Ok(user)
}

fn authenticate(server: &ApiServer, headers: &HeaderMap, certificate: Option<&User>) -> Result<User, Status> {
    let authentication = &server.inner.config.authentication;
    authentication.user(headers, certificate, |token| {
        authentication.service_accounts.as_ref()?.verify(token, &[], server.registry()).ok()
    })
}

fn impersonate(server: &ApiServer, headers: &HeaderMap, user: User) -> Result<User, Status> {
    let Some((next, needs)) = authn::impersonated(headers)? else { return Ok(user) };
    for (resource, group, name) in needs {
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) if resource == "serviceaccounts" => (Some(namespace), name),
            _ => (None, name.as_str()),
        };
        let wanted =
            Attributes { verb: "impersonate", group, resource, name, namespace, ..Attributes::default() };
        if !server.inner.rbac.allows(server.registry(), &user, &wanted) {
            let gr = GroupResource::new(group, resource);
            return Err(Status::forbidden(&gr, name, &authz::refusal(&user, &wanted)));
        }
    }
    Ok(next)
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

fn authorize(server: &ApiServer, info: &RequestInfo, user: &User) -> Result<(), Status> {
    let wanted = if info.is_resource {
        Attributes {
            verb: &info.verb,
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            name: info.permitted_name(),
            namespace: info.namespace.as_deref(),
            path: None,
        }
    } else {
        Attributes { verb: &info.verb, path: Some(&info.path), ..Attributes::default() }
    };
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
