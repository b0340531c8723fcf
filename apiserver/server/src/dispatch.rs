//! From a request to its handler: who, whether, what, and the shape of an error on the way.

use apiserver_json::Value;
use apiserver_meta::{GroupResource, Status};
use apiserver_registry::{Authority, Call, Check, Resource, UnderWay, Verdict, Warnings};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WARNING, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::authn::{self, User};
use crate::authz::{self, Attributes};
use crate::body::{RequestBody, ResponseBody, full};
use crate::metrics::Counted;
use crate::negotiate::{Accepted, Media, Place};
use crate::patience::{self, Work};
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::service::ApiServer;
use crate::{discovery, handlers, health, limits, negotiate, table};

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

/// An answer before it is bytes on the wire.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: ResponseBody,
    pub content_type: HeaderValue,
    pub warnings: Vec<String>,
    pub headers: Vec<(http::HeaderName, HeaderValue)>,
}

impl Answer {
    /// JSON as it is.
    pub(crate) fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Self {
        Self::of(status, "application/json", bytes)
    }

    pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::of(status, "text/plain; charset=utf-8", text.into())
    }

    /// No body, and so no type of one.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::of(status, "", Bytes::new())
    }

    pub(crate) fn of(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            status,
            body: full(bytes),
            content_type: HeaderValue::from_static(content_type),
            warnings: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// A value in the form that was asked for.
    pub(crate) fn value(status: StatusCode, accepted: Accepted, value: &Value) -> Self {
        let value = if accepted.beta { Cow::Owned(table::beta(value)) } else { Cow::Borrowed(value) };
        if accepted.media == Media::Protobuf {
            return Self::protobuf(status, &value);
        }
        Self::of(status, accepted.media.content_type(), render(accepted, &value))
    }

    fn protobuf(status: StatusCode, value: &Value) -> Self {
        let media = Media::Protobuf.content_type();
        if let Some(bytes) = apiserver_schema::to_protobuf(value) {
            return Self::of(status, media, bytes);
        }
        // Negotiation lets no kind without a message come this far; if one does, upstream's words are these.
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let refused = Status::new(
            406,
            "NotAcceptable",
            format!(
                "object *v1.{kind} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
            ),
        );
        let bytes = apiserver_schema::to_protobuf(&refused.to_json()).unwrap_or_default();
        Self::of(StatusCode::NOT_ACCEPTABLE, media, bytes)
    }

    pub(crate) fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        let mut warnings = warnings.into_iter().peekable();
        if warnings.peek().is_none() {
            return self;
        }
        // A set, because a body can have as many unknown fields as it has bytes.
        let mut known: HashSet<String> = self.warnings.iter().cloned().collect();
        for text in warnings {
            // Nobody is told the same twice, or what no header can hold.
            let fits = !text.is_empty() && !text.chars().any(char::is_control);
            if fits && known.insert(text.clone()) {
                self.warnings.push(text);
            }
        }
        self
    }
}

fn render(accepted: Accepted, value: &Value) -> Bytes {
    let text = match accepted.media {
        Media::Yaml => crate::yaml_writer::write(value),
        // As Go writes what is indented: without a newline at the end.
        _ if accepted.pretty => format!("{value:#}"),
        _ => value.to_string() + "\n",
    };
    text.into()
}

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
        let counted = OnceLock::new();
        let asked = Asked {
            parts: &parts,
            info: &info,
            query: &query,
            warnings: &warnings,
            since,
            counted: &counted,
        };
        let outcome = route(&server, asked, body, certificate.as_ref(), upgrade).await;
        let mut outcome = outcome.unwrap_or_else(|status| failure(accepted, &status));
        if let Some(counted) = counted.into_inner() {
            counted.answered(&mut outcome, warnings.waited());
        }
        outcome.warn(warnings.take())
    });
    respond(patience::until(moment, Work::new(work, must_end)).await)
}

/// The answer of a Status.
pub(crate) fn failure(accepted: Accepted, status: &Status) -> Answer {
    if status.reason == PAGE_NOT_FOUND {
        return no_page();
    }
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = Answer::value(code, accepted, &status.to_json());
    if let Some(seconds) = status.retry_after_s {
        answer.headers.push((http::header::RETRY_AFTER, seconds.into()));
    }
    answer
}

/// The plain 404 of Go's `http.NotFound`.
pub(crate) fn no_page() -> Answer {
    let mut answer = Answer::text(StatusCode::NOT_FOUND, NO_PAGE);
    answer.headers.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    answer
}

fn respond(answer: Answer) -> Response<ResponseBody> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if answer.status != StatusCode::SWITCHING_PROTOCOLS && !answer.content_type.is_empty() {
        headers.insert(CONTENT_TYPE, answer.content_type);
    }
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    }
    for warning in bounded(answer.warnings) {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(WARNING, value);
        }
    }
    response
}

/// Warnings as upstream bounds them (`endpoints/filters/warning.go`): where all are longer than clients take headers, each
/// is cut, and those that do not fit any more are left out.
fn bounded(warnings: Vec<String>) -> Vec<String> {
    const CHARACTERS_MAX: usize = 4 << 10;
    const CHARACTERS_OF_ONE: usize = 256;
    let length = |text: &String| text.chars().count();
    if warnings.iter().map(length).sum::<usize>() <= CHARACTERS_MAX {
        return warnings;
    }
    let mut left = CHARACTERS_MAX;
    let cut = warnings.iter().map(|text| text.chars().take(CHARACTERS_OF_ONE).collect::<String>());
    cut.take_while(|text| {
        let fits = length(text) <= left;
        left = left.saturating_sub(length(text));
        fits
    })
    .collect()
}

/// The whole of a body.
///
/// # Errors
/// 413 past the limit, 400 where it breaks off.
pub(crate) async fn collect(mut body: RequestBody) -> Result<Bytes, Status> {
    let mut whole = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.len() + chunk.len() > limits::BODY_BYTES_MAX {
            drop_rest(body).await;
            return Err(Status::too_large(format!(
                "Request entity too large: limit is {}",
                limits::BODY_BYTES_MAX
            )));
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(chunk);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Reads what a client still sends, within bounds.
async fn drop_rest(mut body: RequestBody) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await
        && dropped < limits::BODY_BYTES_DROPPED_MAX
    {
        dropped += frame.data_ref().map_or(0, Bytes::len);
    }
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
}

async fn route<'s>(
    server: &'s ApiServer,
    asked: Asked<'_, 's>,
    body: RequestBody,
    certificate: Option<&User>,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    let Asked { parts, info, query, warnings, since, counted } = asked;
    let metrics = &server.inner.metrics;
    let registry = server.registry();
    let user = match admitted(server, &parts.headers, info, certificate) {
        // Another server may have made the account or the binding just now.
        Err(refusal) if registry.store().is_shared() => {
            registry.catch_up().await.map_err(|_| refusal)?;
            admitted(server, &parts.headers, info, certificate)?
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
        "binding" | "eviction" | "token" | "finalize" => false,
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

/// Who asks, as whom, if they may.
fn admitted(
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

/// What an unknown resource gets: a plain 404 where its group is unknown too.
fn unknown_resource(server: &ApiServer, info: &RequestInfo) -> Status {
    let catalogue = server.registry().catalogue();
    // A group that is built in is known in every version, served or not.
    let is_known = info.group.is_empty()
        || catalogue.group(&info.group).is_some_and(|group| !discovery::is_custom(&catalogue, group));
    if is_known { not_found_here() } else { page_not_found() }
}

/// Marks the plain-text 404; [`failure`] never sees it as JSON.
pub(crate) fn page_not_found() -> Status {
    Status::new(404, PAGE_NOT_FOUND, NO_PAGE)
}

const NO_PAGE: &str = "404 page not found\n";

pub(crate) const PAGE_NOT_FOUND: &str = "page not found";

pub(crate) fn not_found_here() -> Status {
    Status::new(404, "NotFound", "the server could not find the requested resource")
        .with_details(apiserver_json::json!({}))
}

pub(crate) fn method_not_allowed() -> Status {
    Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        .with_details(apiserver_json::json!({}))
}

/// A namespaced resource without a namespace can only be listed and watched.
/// A custom resource is served where its scope says, and lists of all namespaces; nobody knows of any other path.
fn check_custom_place(info: &RequestInfo, resource: &Resource) -> Result<(), Status> {
    let is_known = match (resource.namespaced, info.scope()) {
        (true, None) => matches!(info.verb.as_str(), "list" | "watch"),
        (namespaced, scope) => namespaced == scope.is_some(),
    };
    if is_known { Ok(()) } else { Err(page_not_found()) }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_before_it_is_refused() {
        for (megabytes, read) in [(3, 3), (5, 5), (40, 21)] {
            let count = Arc::new(AtomicUsize::new(0));
            let seen = count.clone();
            let frames = futures::stream::iter((0..megabytes).map(move |_| {
                seen.fetch_add(1, Ordering::Relaxed);
                Ok(http_body::Frame::data(Bytes::from(vec![0; 1 << 20])))
            }));
            let outcome = collect(StreamBody::new(frames).boxed_unsync()).await;
            assert_eq!(outcome.err().map(|status| status.code), (megabytes > 3).then_some(413));
            assert_eq!(count.load(Ordering::Relaxed), read, "of {megabytes}");
        }
    }

    #[test]
    fn warnings_are_told_once_and_in_one_line() {
        let answer =
            Answer::text(StatusCode::OK, "").warn(["a", "", "b\nc", "a", "d \"e\""].map(str::to_owned));
        let response = respond(answer);
        let told: Vec<_> = response.headers().get_all(WARNING).iter().collect();
        assert_eq!(told, [r#"299 - "a""#, r#"299 - "d \"e\"""#]);
    }

    #[test]
    fn warnings_are_cut_where_there_are_too_many() {
        let few = vec!["a".repeat(4096)];
        assert_eq!(bounded(few.clone()), few);
        let many = bounded(vec!["b".repeat(300); 100]);
        assert_eq!((many.len(), many[0].len()), (16, 256));
    }
}
