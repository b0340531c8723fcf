//! Options that several verbs share: dry run, field manager, field validation, selectors, delete options.

use apiserver_json::{Map, Value};
use apiserver_meta::field::{FieldError, go_parse_int};
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Call, DeleteOptions, FieldValidation, Propagation, Resource};
use std::sync::Arc;

use crate::context::Context;
use crate::negotiate::{self, BodyMedia};

/// Options of create, update and patch.
pub(crate) struct WriteOptions {
    pub dry_run: bool,
    pub manager: String,
    pub validation: FieldValidation,
}

const MANAGER_BYTES_MAX: usize = 128;

/// Reads the options of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
///
/// # Errors
/// 422 naming the parameter.
pub(crate) fn write_options(context: &Context, kind: &str) -> Result<WriteOptions, Status> {
    write_options_after(context, kind, Vec::new())
}

/// As [`write_options`], with what is known to be wrong already.
pub(super) fn write_options_after(
    context: &Context,
    kind: &str,
    mut errors: Vec<FieldError>,
) -> Result<WriteOptions, Status> {
    let query = context.query;
    let given = query.text("fieldManager");
    if given.len() > MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long("fieldManager", MANAGER_BYTES_MAX));
    }
    if let Some((at, c)) = given.chars().enumerate().find(|(_, c)| c.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid("fieldManager", &given.into(), why));
    }
    let dry_run = dry_run(query.all("dryRun"), &mut errors);
    let validation = match query.text("fieldValidation") {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            errors.push(FieldError::not_supported(
                "fieldValidation",
                &other.into(),
                &["", "Ignore", "Strict", "Warn"],
            ));
            FieldValidation::Warn
        }
    };
    if !errors.is_empty() {
        return Err(Status::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", kind), "", &errors));
    }
    let mut known = Map::new();
    for member in ["fieldManager", "fieldValidation"] {
        if let Some(text) = query.get(member).filter(|text| !text.is_empty()) {
            known.insert(member.into(), text.into());
        }
    }
    remember(context, known, dry_run);
    Ok(WriteOptions { dry_run, manager: manager(context, given), validation })
}

/// Keeps the options that were given for admission, which shows them to webhooks.
fn remember(context: &Context, mut given: Map, dry_run: bool) {
    if dry_run {
        given.insert("dryRun".into(), apiserver_json::json!(["All"]));
    }
    drop(context.options.set(given.into()));
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported("dryRun", &apiserver_json::json!(values), &["All"]));
    }
    !values.is_empty()
}

/// The field manager: as given, or the first word of the user agent.
fn manager(context: &Context, given: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    let agent =
        context.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let name: String = agent
        .split('/')
        .next()
        .unwrap_or("")
        .chars()
        .filter(|c| !c.is_control())
        .take(MANAGER_BYTES_MAX)
        .collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// The call of a verb on the request's resource.
pub(crate) fn call<'a>(
    context: &'a Context,
    resource: &'a Arc<Resource>,
    options: &'a WriteOptions,
) -> Call<'a> {
    Call {
        resource,
        namespace: context.info.scope(),
        subresource: &context.info.subresource,
        manager: &options.manager,
        dry_run: options.dry_run,
        requester: context.requester(),
    }
}

/// Options of a deletion, from body and query.
///
/// # Errors
/// 400 and 422 in upstream's words.
pub(crate) fn delete_options(context: &Context, raw: &[u8]) -> Result<(DeleteOptions, bool), Status> {
    if !raw.is_empty() {
        // A body takes the place of the whole query.
        return delete_options_of(context, delete_body(context, raw)?);
    }
    let mut errors = Vec::new();
    let query = context.query;
    let grace = query.get("gracePeriodSeconds").map(go_parse_int).transpose().map_err(Status::bad_request)?;
    let dry = dry_run(query.all("dryRun"), &mut errors);
    let policy = query.get("propagationPolicy");
    let orphan = query.given_flag("orphanDependents");
    let propagation = propagation(policy, orphan, &mut errors);
    let options = DeleteOptions {
        grace_period_seconds: grace,
        propagation,
        orphan_dependents: orphan,
        ..DeleteOptions::default()
    };
    let members = [
        ("gracePeriodSeconds", grace.map(Value::from)),
        ("propagationPolicy", policy.map(Value::from)),
        ("orphanDependents", orphan.map(Value::from)),
    ];
    let given = members.into_iter().filter_map(|(member, value)| Some((member.to_owned(), value?)));
    checked(context, options, given.collect(), dry, &errors)
}

/// As [`delete_options`], of a `DeleteOptions`.
fn delete_options_of(context: &Context, value: Value) -> Result<(DeleteOptions, bool), Status> {
    check_options_kind(&value)?;
    inner_delete_options(context, value)
}

/// As [`delete_options`], of a `DeleteOptions` within something else: nobody asks what kind it says it is of.
pub(super) fn inner_delete_options(
    context: &Context,
    mut value: Value,
) -> Result<(DeleteOptions, bool), Status> {
    if let Some(schema) = apiserver_schema::builtin("", "v1", "DeleteOptions") {
        apiserver_schema::decode(&schema, &mut value, apiserver_schema::Decode::Json)
            .map_err(|error| Status::bad_request(error.message))?;
    }
    let mut errors = Vec::new();
    let values =
        value.get("dryRun").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let dry = dry_run(values, &mut errors);
    let precondition = |name: &str| {
        value.pointer(&format!("/preconditions/{name}")).and_then(Value::as_str).map(str::to_owned)
    };
    let policy = value.get("propagationPolicy").and_then(Value::as_str);
    let orphan = value.get("orphanDependents").and_then(Value::as_bool);
    let options = DeleteOptions {
        grace_period_seconds: value.get("gracePeriodSeconds").and_then(Value::as_i64),
        propagation: propagation(policy, orphan, &mut errors),
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        orphan_dependents: orphan,
    };
    let mut given = value.as_object().cloned().unwrap_or_default();
    given.retain(|member, value| !matches!(member.as_str(), "kind" | "apiVersion") && !value.is_null());
    checked(context, options, given, dry, &errors)
}

/// Options may leave out what they are, and may be of any group's version.
fn check_options_kind(value: &Value) -> Result<(), Status> {
    let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or("");
    let (kind, version) = (text("kind"), text("apiVersion"));
    if version.matches('/').count() > 1 {
        return Err(Status::bad_request(format!("unexpected GroupVersion string: {version}")));
    }
    if matches!(kind, "" | "DeleteOptions") {
        return Ok(());
    }
    if kind == "Status" {
        let version = if version.is_empty() { "v1" } else { version.rsplit('/').next().unwrap_or("") };
        let why = format!("converting ({version}.{kind}) to (v1.DeleteOptions): unknown conversion");
        return Err(Status::bad_request(why));
    }
    let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
    Err(Status::bad_request(format!(
        "no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
    )))
}

fn checked(
    context: &Context,
    mut options: DeleteOptions,
    given: Map,
    dry: bool,
    errors: &[FieldError],
) -> Result<(DeleteOptions, bool), Status> {
    // A negative period is taken as one second by Pods; it is no error.
    options.grace_period_seconds = options.grace_period_seconds.map(|grace| grace.max(-1));
    if !errors.is_empty() {
        let kind = GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions");
        return Err(Status::invalid(&kind, "", errors));
    }
    remember(context, given, dry);
    Ok((options, dry))
}

/// The tree of a body that says how something is deleted.
fn delete_body(context: &Context, raw: &[u8]) -> Result<Value, Status> {
    let unread =
        |why: String| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    let value = match negotiate::body_media(context.headers)? {
        BodyMedia::Protobuf => apiserver_schema::from_protobuf_as(raw, ("v1", "DeleteOptions"))
            .map_err(|error| Status::bad_request(error.why))?,
        BodyMedia::Yaml => crate::yaml::parse(raw).map_err(Status::bad_request)?.0,
        BodyMedia::Json => {
            apiserver_json::from_slice(raw).map_err(|error| unread(super::json_error(raw, &error)))?
        }
    };
    apiserver_registry::check_types(&value).map_err(Status::bad_request)?;
    Ok(if value.is_null() { Map::new().into() } else { value })
}

fn propagation(
    policy: Option<&str>,
    orphan: Option<bool>,
    errors: &mut Vec<FieldError>,
) -> Option<Propagation> {
    if let Some(policy) = policy
        && orphan.is_some()
    {
        errors.push(FieldError::invalid(
            "propagationPolicy",
            &policy.into(),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    match policy {
        None => orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background }),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(other) => {
            errors.push(FieldError::not_supported_in_order(
                "propagationPolicy",
                &other.into(),
                &["Foreground", "Background", "Orphan", "nil"],
            ));
            None
        }
    }
}
