//! From a request to its handler: who, whether, what, and how long.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use apiserver_meta::Status;
use apiserver_registry::{Resource, Warnings};
use http::{Method, Request, Response, StatusCode};

use crate::access::admitted;
use crate::answer::{Answer, failure, method_not_allowed, not_found_here, page_not_found, respond};
use crate::authn::{self, User};
use crate::body::{RequestBody, ResponseBody, collect, full};
use crate::context::Context;
use crate::flow_control::Flow;
use crate::metrics::Counted;
use crate::negotiate::{self, Accepted, Place};
use crate::patience::{self, Work};
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::service::ApiServer;
use crate::{discovery, handlers, health};

/// Answers a request, whatever it is.
pub(crate) async fn answer(
    server: &ApiServer,
    request: Request<RequestBody>,
    certificate: Option<&User>,
) -> Response<ResponseBody> {
    let since = Instant::now();
    let (mut parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or(""));
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    if info.is_incomplete {
        let path = &info.path;
        let text = format!(
            "Internal Server Error: {path:?}: failed to create RequestInfo: unable to determine kind and namespace from url, {path}\n"
        );
        return respond(Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let parts = parts;
    let accepted = negotiate::for_errors(&parts.headers, negotiate::is_pretty(&query, &parts.headers));
    // The body is read before anything is refused: a client that still writes would see a broken connection.
    let body = match collect(body).await {
        Ok(bytes) => full(bytes),
        Err(status) => return respond(failure(accepted, &status)),
    };
    let passed_over = authn::passed_over(&parts.headers).map(str::to_owned);
    let moment = match patience::timeout(&info, &query) {
        Ok(asked) => asked.map(|asked| since + asked),
        Err(status) => return respond(failure(accepted, &status).warn(passed_over)),
    };
    let must_end = patience::must_end(&info);
    let (server, certificate) = (server.clone(), certificate.cloned());
    let work = Box::pin(async move {
        let _entered = server.inner.metrics.enter(&info, since);
        let warnings = Warnings::default();
        passed_over.into_iter().for_each(|text| warnings.add(text));
        let (counted, flow) = (OnceLock::new(), OnceLock::new());
        let asked = Asked {
            parts: &parts,
            info: &info,
            query: &query,
            warnings: &warnings,
            since,
            counted: &counted,
            flow: &flow,
        };
        let outcome = route(&server, asked, body, certificate.as_ref(), upgrade).await;
        let mut outcome = outcome.unwrap_or_else(|status| failure(accepted, &status));
        if let Some(counted) = counted.into_inner() {
            counted.answered(&mut outcome, warnings.waited());
        }
        flow.into_inner().into_iter().for_each(|flow: Flow| flow.tell(&mut outcome.headers));
        outcome.warn(warnings.take())
    });
    respond(patience::until(moment, Work::new(work, must_end)).await)
}

/// A request without its body.
struct Asked<'a, 's> {
    parts: &'a http::request::Parts,
    info: &'a RequestInfo,
    query: &'a Query,
    warnings: &'a Warnings,
    since: Instant,
    /// Set once it is known what is asked, of whom it may be asked.
    counted: &'a OnceLock<Counted<'s>>,
    /// Set once it is known who asks.
    flow: &'a OnceLock<Flow>,
}

async fn route<'s>(
    server: &'s ApiServer,
    asked: Asked<'_, 's>,
    body: RequestBody,
    certificate: Option<&User>,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    let Asked { parts, info, query, warnings, since, counted, flow } = asked;
    let metrics = &server.inner.metrics;
    let registry = server.registry();
    let user = match admitted(server, parts, info, certificate, flow, warnings) {
        // Another server may have made the account or the binding just now.
        Err(refusal) if registry.store().is_shared() => {
            registry.catch_up().await.map_err(|_| refusal)?;
            admitted(server, parts, info, certificate, flow, warnings)?
        }
        outcome => outcome?,
    };
    let pretty = negotiate::is_pretty(query, &parts.headers);
    let plain = Accepted::json(pretty);
    let mut context = Context {
        server,
        info,
        query,
        sent_query: parts.uri.query().unwrap_or(""),
        headers: &parts.headers,
        method: &parts.method,
        user: &user,
        accepted: plain,
        options: OnceLock::new(),
        warnings,
        under_way: OnceLock::new(),
    };
    if !info.is_resource {
        if let Some(path) = health::counted_path(&info.path) {
            drop(counted.set(metrics.health(path, query, since)));
        }
        return match health::answer(&context).await {
            Some(answer) => Ok(answer),
            None => discovery::answer(&mut context),
        };
    }
    if info.is_former_proxy {
        return Err(not_found_here());
    }
    let known = || registry.catalogue().get(&info.group, &info.version, &info.resource).cloned();
    let mut resource = known();
    if resource.is_none() && registry.store().is_shared() {
        // As may have been its definition.
        registry.catch_up().await?;
        registry.reload_custom();
        resource = known();
    }
    let Some(resource) = resource else { return Err(unknown_resource(server, info)) };
    // Only whole objects were ever watched that way.
    if info.is_former_watch && !info.subresource.is_empty() {
        return Err(not_found_here());
    }
    if info.is_former_watch && !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(method_not_allowed());
    }
    let request = (&parts.method, &parts.headers, query);
    if let Some(found) = metrics.resource(&resource, info, request, since) {
        drop(counted.set(found));
    }
    if resource.is_custom() {
        check_custom_place(info, &resource)?;
    }
    if !matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy") {
        let place = if resource.is_custom() {
            Place::Custom
        } else {
            Place::Builtin {
                streams: matches!(info.verb.as_str(), "list" | "watch"),
                tables: has_table(info, &resource),
            }
        };
        let accepted = negotiate::accept(&parts.headers, plain.pretty, place);
        context.accepted = context.told(&handlers::deprecations(&resource, info), accepted)?;
    }
    check_place(info, &resource)?;
    catch_up(server, info, query).await?;
    handlers::dispatch(context, &resource, body, upgrade).await
}

/// Is there a table of what is answered? Not of questions and other things of which nothing is kept.
fn has_table(info: &RequestInfo, resource: &Resource) -> bool {
    match info.subresource.as_str() {
        "" => resource.verbs != ["create"],
        "approval" | "binding" | "eviction" | "token" | "finalize" => false,
        _ => true,
    }
}

/// A request that does not say how old what it sees may be sees everything that was written before it, by whichever server.
/// One that names a version this server has not heard of finds out whether another one has.
async fn catch_up(server: &ApiServer, info: &RequestInfo, query: &Query) -> Result<(), Status> {
    let registry = server.registry();
    if !registry.store().is_shared() {
        return Ok(());
    }
    let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
    match query.text("resourceVersion").parse::<u64>() {
        Ok(version) if reads && version <= registry.cache().revision() => Ok(()),
        _ => registry.catch_up().await,
    }
}

/// What an unknown resource gets: a plain 404 where its group is unknown too.
fn unknown_resource(server: &ApiServer, info: &RequestInfo) -> Status {
    let catalogue = server.registry().catalogue();
    // A group that is built in is known in every version, served or not.
    let is_known = info.group.is_empty()
        || catalogue.group(&info.group).is_some_and(|group| !discovery::is_custom(&catalogue, group));
    if is_known { not_found_here() } else { page_not_found() }
}

/// A custom resource is served where its scope says, and lists of all namespaces; nobody knows of any other path.
fn check_custom_place(info: &RequestInfo, resource: &Resource) -> Result<(), Status> {
    let is_known = match (resource.namespaced, info.scope()) {
        (true, None) => matches!(info.verb.as_str(), "list" | "watch"),
        (namespaced, scope) => namespaced == scope.is_some(),
    };
    if is_known { Ok(()) } else { Err(page_not_found()) }
}

/// A namespaced resource without a namespace can only be listed and watched.
fn check_place(info: &RequestInfo, resource: &Arc<Resource>) -> Result<(), Status> {
    let namespace = info.scope();
    // Of what comes after a subresource only proxies have a path.
    if !resource.is_custom() && info.subresource != "proxy" && !info.rest.is_empty() {
        return Err(not_found_here());
    }
    if !resource.namespaced && namespace.is_some() {
        return Err(not_found_here());
    }
    if resource.namespaced && namespace.is_none() {
        if !info.name.is_empty() {
            return Err(not_found_here());
        }
        if !matches!(info.verb.as_str(), "list" | "watch") {
            // Nothing is served at the path of all namespaces but lists: of what has none there is no path.
            return Err(if resource.has_verb("list") { method_not_allowed() } else { not_found_here() });
        }
    }
    Ok(())
}
