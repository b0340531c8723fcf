//! One handler a verb, for every kind.

mod apply;
mod continue_token;
mod create;
mod delete;
mod eviction;
mod frames;
mod items;
mod list_options;
mod lists;
mod options;
mod patch;
mod pieces;
mod protobuf;
mod read;
mod review_checks;
mod reviews;
mod scaling;
mod subresources;
mod update;
mod watch;

use std::sync::Arc;

use apiserver_json::{Parsed, Value};
use apiserver_meta::field::go_quote;
use apiserver_meta::json::go_error as json_error;
use apiserver_meta::{GroupVersion, GroupVersionKind, Status, packed};
use apiserver_registry::{Body, Resource};
use bytes::Bytes;
use http::{Method, StatusCode};

pub(crate) use pieces::Pieces;

use crate::answer::{Answer, failure, method_not_allowed, not_found_here};
use crate::body::RequestBody;
use crate::body::collect;
use crate::compress;
use crate::context::Context;
use crate::negotiate::{self, BodyMedia, Form, Media};
use crate::request_info::{RequestInfo, path_segment_flaws};
use crate::table;

/// Runs the handler of a request.
pub(crate) async fn dispatch(
    context: Context<'_>,
    resource: &Arc<Resource>,
    body: RequestBody,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    let warnings = deprecations(resource, context.info);
    let errors = negotiate::for_errors(context.headers, context.accepted.pretty);
    let answer = match route(context, resource, body, upgrade).await {
        Ok(answer) => answer,
        Err(status) if warnings.is_empty() => return Err(status),
        // A warning is due whatever becomes of the request.
        Err(status) => failure(errors, &status),
    };
    let mut answer = answer;
    answer.warnings.retain(|text| !warnings.contains(text));
    answer.warnings.splice(0..0, warnings);
    Ok(answer)
}

/// What every request for a resource is warned of, whatever becomes of it.
pub(crate) fn deprecations(resource: &Resource, info: &RequestInfo) -> Vec<String> {
    if let Some(custom) = &resource.custom {
        return custom.deprecation.iter().cloned().collect();
    }
    let is_old = matches!(resource.kind.as_str(), "Endpoints" | "ComponentStatus");
    // Where there is no handler nothing is warned of.
    let is_handled = resource.has_verb(&info.verb) || info.verb == "watch";
    if is_old && is_handled && info.subresource.is_empty() {
        return (resource.strategy.warnings)(&Value::Null);
    }
    Vec::new()
}

/// Whether there is such a path below an object, and then whether it takes the method: HEAD reaches what is proxied only.
fn check_subresource(method: &Method, info: &RequestInfo, resource: &Resource) -> Result<(), Status> {
    let name = info.subresource.as_str();
    if !info.rest.is_empty() && name != "proxy" && !resource.is_custom() {
        return Err(not_found_here());
    }
    let subresource = resource.subresource(name).ok_or_else(|| {
        if resource.is_custom() {
            Status::not_found(&resource.group_resource(), &info.name)
        } else {
            not_found_here()
        }
    })?;
    let allowed = match name {
        "proxy" => true,
        "exec" | "attach" | "portforward" => matches!(method.as_str(), "GET" | "POST"),
        "log" => *method == Method::GET,
        _ => (*method != Method::HEAD || resource.is_custom()) && subresource.verbs.contains(&info.verb),
    };
    if allowed { Ok(()) } else { Err(unsupported(resource, info)) }
}

/// A verb for which there is no handler.
fn unsupported(resource: &Resource, info: &RequestInfo) -> Status {
    match resource.is_custom() {
        true => Status::method_not_supported(&resource.group_resource(), &info.verb),
        false => method_not_allowed(),
    }
}

async fn route(
    context: Context<'_>,
    resource: &Arc<Resource>,
    body: RequestBody,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    let info = context.info;
    if !info.subresource.is_empty() {
        check_subresource(context.method, info, resource)?;
    } else if context.method == Method::HEAD && !resource.is_custom() {
        return Err(method_not_allowed());
    }
    if !matches!(info.verb.as_str(), "get" | "list" | "watch") {
        let wait = context.server.registry().cache().wait_for_watchers(&resource.scope(None));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    check_name(&info.name)?;
    if !info.subresource.is_empty() {
        return Box::pin(subresources::dispatch(context, resource, body, upgrade)).await;
    }
    let collection = info.name.is_empty();
    if info.verb == "watch"
        && resource.has_verb("list")
        && !resource.has_verb("watch")
        && *context.method == Method::GET
    {
        list_options::read(&context, resource)?;
        return Err(Status::method_not_supported(&resource.group_resource(), "watch"));
    }
    if resource.is_custom() && collection && matches!(info.verb.as_str(), "update" | "patch") {
        return Err(Status::bad_request("name must be provided"));
    }
    let known = match info.verb.as_str() {
        // Custom resources have one handler for all paths; it looks at no name.
        "create" if resource.is_custom() => true,
        "create" => collection,
        "update" | "patch" => !collection,
        _ => true,
    };
    if !known || !resource.has_verb(&info.verb) {
        // Nothing is kept of a review, hence there is no path with a name.
        let unknown = resource.verbs == ["create"] && !collection;
        return Err(if unknown { not_found_here() } else { unsupported(resource, info) });
    }
    if let Some(handler) = reviews::answer(&context, resource) {
        return handler(context, collect(body).await?).await;
    }
    if resource.kind == "Binding" && resource.group.is_empty() {
        let raw = collect(body).await?;
        return Box::pin(subresources::bind_from_collection(&context, &raw)).await;
    }
    match info.verb.as_str() {
        "get" => read::get(&context, resource).await,
        "list" => lists::list(&context, resource).await,
        "watch" => watch::watch(&context, resource, upgrade).await,
        "create" => create::create(&context, resource, context.body_of_write(body).await?).await,
        "update" => update::update(&context, resource, context.body_of_write(body).await?).await,
        "patch" => patch::patch(&context, resource, context.body_of_write(body).await?).await,
        "delete" => delete::delete(&context, resource, context.body_of_write(body).await?).await,
        "deletecollection" => {
            delete::delete_collection(&context, resource, context.body_of_write(body).await?).await
        }
        _ => Err(method_not_allowed()),
    }
}

/// A name in the path can be one of a segment.
fn check_name(name: &str) -> Result<(), Status> {
    let flaws = path_segment_flaws(name);
    if flaws.is_empty() {
        return Ok(());
    }
    let text = format!("Name parameter invalid: {}: {}", go_quote(name), flaws.join(";"));
    Err(Status::bad_request(text))
}

/// The stored bytes of an object as the client of this version and form sees them.
pub(crate) fn object_answer(
    context: &Context,
    resource: &Resource,
    status: StatusCode,
    bytes: Bytes,
) -> Result<Answer, Status> {
    let accepted = context.accepted;
    let same_version = resource.is_stored_as_served() && !resource.is_custom();
    if accepted.is_plain() && same_version {
        return Ok(compress::whole(context, status, Media::Json, bytes));
    }
    read::check_form(context, || read::go_type(resource, false))?;
    if accepted.media == Media::Protobuf && !accepted.beta {
        let tree = protobuf::tree(resource, &bytes, accepted.form);
        return Ok(match apiserver_schema::to_protobuf(&tree) {
            Some(body) => compress::whole(context, status, Media::Protobuf, body.into()),
            None => Answer::value(status, accepted, &tree),
        });
    }
    let value: Value = apiserver_json::from_slice(&bytes).unwrap_or_default();
    Ok(value_answer(context, resource, status, value))
}

fn value_answer(context: &Context, resource: &Resource, status: StatusCode, value: Value) -> Answer {
    match context.accepted.form {
        Form::Object | Form::PartialList | Form::Aggregated => {
            Answer::value(status, context.accepted, &served(resource, value))
        }
        Form::Partial => Answer::value(status, context.accepted, &table::partial(&served(resource, value))),
        Form::Table => {
            let include = table::Include::parse(context.query.text("includeObject")).unwrap_or_default();
            let revision = apiserver_registry::object::text(&value, "resourceVersion").to_owned();
            let rows = vec![table::row(resource, value, include)];
            let table = table::table(resource, rows, &revision, true);
            Answer::value(status, context.accepted, &table)
        }
    }
}

/// What is answered to a question of which nothing is kept: as it is, or its metadata.
pub(crate) fn unkept_answer(context: &Context, go_type: &str, value: &Value) -> Result<Answer, Status> {
    read::check_form(context, || go_type.to_owned())?;
    let partial = (context.accepted.form == Form::Partial).then(|| table::partial(value));
    Ok(Answer::value(StatusCode::CREATED, context.accepted, partial.as_ref().unwrap_or(value)))
}

/// An object in the version of the request.
pub(crate) fn served(resource: &Resource, value: Value) -> Value {
    apiserver_registry::from_stored(resource, value)
}

/// An object as an item of a list: built-in kinds leave `apiVersion` and `kind` to the list.
pub(crate) fn item(resource: &Resource, mut value: Value) -> Value {
    if !resource.is_custom()
        && let Some(map) = value.as_object_mut()
    {
        map.remove("apiVersion");
        map.remove("kind");
    }
    value
}

/// A body's tree, whatever it was written in. `what` names the expected kind in an error.
///
/// # Errors
/// 400 in upstream's words.
pub(crate) fn parse_body<'a>(
    media: BodyMedia,
    raw: &'a [u8],
    (group, version, kind): (&str, &str, &str),
) -> Result<Body<'a>, Status> {
    let unread = |why: String| apiserver_registry::unrecognized(kind, raw, &why);
    let unrecognized = |why: String| {
        let why = format!("couldn't get version/kind; json parse error: {why}");
        unread(why)
    };
    match media {
        BodyMedia::Json => {
            let Parsed { value, duplicates } = match packed::parse_document(raw) {
                Ok(parsed) => parsed,
                Err(error) => {
                    let mended = apiserver_meta::json::mended(raw);
                    let value = mended.and_then(|text| apiserver_json::from_str(&text).ok());
                    let value = value.ok_or_else(|| unrecognized(json_error(raw, &error)))?;
                    Parsed { value, duplicates: true }
                }
            };
            Ok(Body { value, raw: Some(raw), sent: raw, duplicates, strict: Vec::new() })
        }
        BodyMedia::Protobuf => {
            let wanted = GroupVersionKind::new(group, version, kind);
            let otherwise = (&*wanted.api_version(), kind);
            let value = apiserver_schema::from_protobuf_as(raw, otherwise).map_err(|error| {
                let Some((version, said)) = error.said else { return unread(error.why) };
                let version = GroupVersion::parse(&version);
                let said = GroupVersionKind::new(version.group, version.version, said);
                apiserver_registry::cannot_handle_as(&said, kind, &error.why)
            })?;
            Ok(Body { value, raw: None, sent: raw, duplicates: false, strict: Vec::new() })
        }
        BodyMedia::Yaml => {
            let (value, strict) = crate::yaml::parse(raw).map_err(unread)?;
            Ok(Body { value, raw: None, sent: raw, duplicates: false, strict })
        }
    }
}

#[cfg(test)]
mod tests {
    use apiserver_registry::Catalogue;

    use super::*;
    use crate::query::Query;

    #[test]
    fn a_path_is_looked_for_before_its_method() {
        let catalogue = Catalogue::builtin();
        for (method, path, want) in [
            ("HEAD", "pods/a/unknown", 404),
            ("HEAD", "pods/a/status/more", 404),
            ("HEAD", "configmaps/a/status", 404),
            ("HEAD", "pods/a/status", 405),
            ("HEAD", "pods/a/log", 405),
            ("HEAD", "pods/a/proxy/more", 200),
            ("GET", "pods/a/status", 200),
            ("POST", "pods/a/status", 405),
            ("POST", "pods/a/exec", 200),
        ] {
            let path = format!("/api/v1/namespaces/n/{path}");
            let method: Method = method.parse().unwrap();
            let info = RequestInfo::parse(&method, &path, &Query::parse(""));
            let resource = catalogue.get("", "v1", &info.resource).unwrap();
            let code =
                check_subresource(&method, &info, resource).map_or_else(|status| status.code, |()| 200);
            assert_eq!(code, want, "{method} {path}");
        }
    }
}
