//! From a request body's JSON to an object of a kind: the right kind, known fields, right types.

use std::borrow::Cow;

use apiserver_json::{Items, Value};
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_schema::json_kind;
use apiserver_schema::{Decode, Empties, Schema};

use crate::catalogue::Resource;
use crate::convert::annotations::convert_annotations;
use crate::first_error::first_error;
use crate::scheme::{mistaken_kind, said_kind};

/// The `fieldValidation` query parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    /// Unknown fields become `Warning` headers.
    #[default]
    Warn,
    /// Unknown fields are refused.
    Strict,
}

/// A body before it is an object: its tree, and its text where it came as JSON.
#[derive(Debug)]
pub struct Body<'a> {
    pub value: Value,
    /// Duplicate fields and the order of unknown ones can only be told from the text.
    pub raw: Option<&'a [u8]>,
    /// What was sent, in whatever form.
    pub sent: &'a [u8],
    /// A key of it may stand twice in an object.
    pub duplicates: bool,
    /// Strict errors found while the tree was made (YAML's duplicate keys).
    pub strict: Vec<String>,
}

/// Decodes a body as the resource's kind. Gives the object and the texts of its warnings.
///
/// # Errors
/// 400 in Go's words.
pub fn decode(
    resource: &Resource,
    body: Body<'_>,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let gvk = resource.gvk();
    let Body { mut value, raw, sent, duplicates, mut strict } = body;
    check_kind(resource, &gvk, &value, sent, validation)?;
    if value.is_null() {
        value = Value::Object(apiserver_json::Map::new());
    }
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), gvk.api_version().into());
        map.insert("kind".into(), gvk.kind.clone().into());
    }
    let schema = resource.schema();
    let unknown = read(resource, schema.as_deref(), &mut value, Decode::Json).map_err(|error| {
        let error = raw.and_then(|raw| first_of(resource, schema.as_deref(), raw)).unwrap_or(error);
        cannot_handle(&gvk, &number_as_sent(&error, raw))
    })?;
    if validation != FieldValidation::Ignore {
        // Few documents have anything to tell of, and the others are not read twice.
        match raw.filter(|_| duplicates || !unknown.is_empty()) {
            // Pruning reports in the order of paths, decoding in that of the document.
            Some(raw) if resource.is_custom() => {
                let found = apiserver_schema::strict_errors(None, raw);
                strict.extend(found.into_iter().filter(|text| text.starts_with("duplicate")).chain(unknown));
            }
            Some(raw) => strict.extend(apiserver_schema::strict_errors(schema.as_deref(), raw)),
            None => strict.extend(unknown),
        }
    }
    match validation {
        FieldValidation::Strict if !strict.is_empty() => {
            let why = format!("strict decoding error: {}", strict.join(", "));
            Err(cannot_handle(&gvk, &why))
        }
        FieldValidation::Ignore => Ok((value, Vec::new())),
        FieldValidation::Warn | FieldValidation::Strict => {
            Ok((value, strict.iter().flat_map(|text| told_apart(text)).collect()))
        }
    }
}

/// What go-yaml says of several keys at once, as one warning each.
pub fn told_apart(text: &str) -> Vec<String> {
    match text.strip_prefix("yaml: unmarshal errors:\n") {
        Some(lines) => lines.lines().map(|line| line.trim().to_owned()).collect(),
        None => vec![text.to_owned()],
    }
}

/// Brings a tree into the form of the resource's kind; gives the texts of what was unknown.
///
/// # Errors
/// The decoder's text.
pub fn read(
    resource: &Resource,
    schema: Option<&Schema>,
    value: &mut Value,
    mode: Decode,
) -> Result<Vec<String>, String> {
    let Some(schema) = schema else { return Ok(Vec::new()) };
    let forgets_owners = !resource.is_custom() && says_no_owners(value);
    let unknown = read_by(resource, schema, value, mode)?;
    if forgets_owners {
        crate::object::metadata_mut(value).insert("managedFields".into(), Value::Array(Items::new()));
    }
    Ok(unknown)
}

/// The lists and maps of an object that were sent empty.
pub(crate) fn empties(resource: &Resource, value: &Value) -> Empties {
    match resource.schema().filter(|_| !resource.is_custom()) {
        Some(schema) => apiserver_schema::empties(&schema, value),
        None => Empties::default(),
    }
}

/// Leaves of an object what is stored: nothing of the lists and maps that were sent empty, and what is read then.
pub fn settle(resource: &Resource, value: &mut Value) {
    let empties = empties(resource, value);
    if let (Some(schema), false) = (resource.schema(), empties.is_empty()) {
        empties.settle(&schema, value);
        (resource.strategy.default)(value);
    }
}

/// An empty list of owners means something else than none, unlike any other empty list and in built-in kinds only.
fn says_no_owners(value: &Value) -> bool {
    value
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields")?.as_array())
        .is_some_and(<[_]>::is_empty)
}

/// Numbers as Go holds and writes them: whole ones without a point, ones beyond 64 bits as floating point.
fn plain_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let Some(float) = number.as_f64() else { return };
            if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
                let whole = float as i64;
                *value = whole.into();
            } else if !number.is_f64() && number.as_i64().is_none() {
                *value = float.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        Value::Object(map) => map.values_mut().for_each(plain_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Raw(_) => {}
    }
}

fn read_by(
    resource: &Resource,
    schema: &Schema,
    value: &mut Value,
    mode: Decode,
) -> Result<Vec<String>, String> {
    if resource.is_custom() {
        plain_numbers(value);
        let of_metadata = apiserver_schema::decode_metadata(value).map_err(|error| error.message)?;
        let of_embedded = apiserver_schema::decode_embedded(schema, value, "", false);
        let mut of_embedded = of_embedded.map_err(|error| error.to_string())?;
        let mut unknown = apiserver_schema::prune(schema, value);
        unknown.sort();
        of_embedded.sort();
        unknown.extend(of_embedded);
        if mode == Decode::Unstructured {
            // An apply means the nulls it has, where something can be said of them.
            apiserver_schema::drop_untyped_nulls(schema, value);
        } else {
            apiserver_schema::drop_nulls(schema, value);
        }
        apiserver_schema::apply_defaults(schema, value);
        let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
        return Ok(of_metadata.iter().map(ToString::to_string).chain(unknown).collect());
    }
    let unknown = apiserver_schema::decode_sent(schema, value, mode).map_err(|error| error.message)?;
    convert_annotations(resource, value)?;
    Ok(unknown.iter().map(ToString::to_string).collect())
}

/// What a decoder says that met something it does not understand.
pub fn cannot_handle(gvk: &GroupVersionKind, why: &str) -> Status {
    let version = gvk.api_version();
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {why}",
        gvk.kind,
        last(&version),
        gvk.kind
    ))
}

fn last(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

/// What a body gets that does not say what it is; `raw` is shown shortened, and in hexadecimal if it is no object.
pub fn unrecognized(kind: &str, raw: &[u8], why: &str) -> Status {
    const SHOWN_BYTES: usize = 30;
    let head = raw.get(..SHOWN_BYTES).unwrap_or(raw);
    let mut shown = match raw.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if raw.len() > SHOWN_BYTES {
        shown.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
    ))
}

/// What is told of the several things that may be wrong with a document: see `DecodeError::ends_reading`.
fn first_of(resource: &Resource, schema: Option<&Schema>, raw: &[u8]) -> Option<String> {
    let schema = schema.filter(|_| !resource.is_custom())?;
    let text = match apiserver_meta::json::mended(raw) {
        Some(mended) => Cow::Owned(mended),
        None => Cow::Borrowed(std::str::from_utf8(raw).ok()?),
    };
    let read = |text: &str| {
        let mut value = apiserver_json::from_str(text).ok()?;
        apiserver_schema::decode_sent(schema, &mut value, Decode::Json).err()
    };
    let told = read(&text)?;
    let first = first_error(&text, |text| read(text).filter(|error| error.ends_reading == told.ends_reading));
    Some(first.unwrap_or(told).message)
}

/// Go tells of a number that does not fit in the words it was sent in.
fn number_as_sent(error: &str, raw: Option<&[u8]>) -> String {
    const BEFORE: &str = "cannot unmarshal number ";
    let sent = || {
        let (before, rest) = error.split_once(BEFORE)?;
        let (number, after) = rest.split_once(' ').filter(|(number, _)| *number != "into")?;
        let value = number.parse().ok()?;
        let number = match raw {
            Some(raw) => apiserver_meta::json::number_as_sent(raw, value)?.to_owned(),
            None => Value::from(value).to_string(),
        };
        Some(format!("{before}{BEFORE}{number} {after}"))
    };
    sent().unwrap_or_else(|| error.to_owned())
}

/// Whether a document can say what it is: an object, or nothing, with texts as kind and version.
///
/// # Errors
/// What Go's decoder of these two says.
pub fn check_types(value: &Value) -> Result<(), String> {
    const UNREAD: &str = "couldn't get version/kind; json parse error: json: cannot unmarshal";
    if !value.is_object() && !value.is_null() {
        let found = json_kind(value);
        return Err(format!(
            "{UNREAD} {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        ));
    }
    let mistyped = |member: &str| {
        let other = value.get(member).filter(|other| !other.is_string() && !other.is_null())?;
        Some(format!("{UNREAD} {} into Go struct field .{member} of type string", json_kind(other)))
    };
    ["apiVersion", "kind"].into_iter().find_map(mistyped).map_or(Ok(()), Err)
}

fn check_readable(kind: &str, value: &Value, sent: &[u8]) -> Result<(), Status> {
    check_types(value).map_err(|why| unrecognized(kind, sent, &why))
}

fn check_kind(
    resource: &Resource,
    gvk: &GroupVersionKind,
    value: &Value,
    sent: &[u8],
    validation: FieldValidation,
) -> Result<(), Status> {
    check_readable(&gvk.kind, value, sent)?;
    if resource.is_custom() {
        check_custom_kind(gvk, value, sent, validation)?;
    }
    let refused = |said: &GroupVersionKind| other_version(&said.api_version(), gvk);
    if resource.is_custom() {
        let said = said_kind(value, gvk).map_err(|why| unrecognized(&gvk.kind, sent, &why))?;
        return if said == *gvk { Ok(()) } else { Err(refused(&said)) };
    }
    match check_sent_kind(gvk, value, sent)? {
        said if said == *gvk => Ok(()),
        said => Err(refused(&said)),
    }
}

/// A body is of a kind, or of one that can be made one; gives the kind it says it is.
///
/// # Errors
/// 400 in Go's words.
pub fn check_sent_kind(
    gvk: &GroupVersionKind,
    value: &Value,
    sent: &[u8],
) -> Result<GroupVersionKind, Status> {
    check_readable(&gvk.kind, value, sent)?;
    let said = said_kind(value, gvk).map_err(|why| unrecognized(&gvk.kind, sent, &why))?;
    match mistaken_document(&said, gvk, value, || String::from_utf8_lossy(sent).into_owned()) {
        None => Ok(said),
        Some(why) => Err(cannot_handle_as(&said, &gvk.kind, &why)),
    }
}

/// Why a document that says it is of the first kind cannot be taken for one of the second; `shown` is its text.
pub fn mistaken_document(
    said: &GroupVersionKind,
    wanted: &GroupVersionKind,
    value: &Value,
    shown: impl FnOnce() -> String,
) -> Option<String> {
    if said.version.is_empty() {
        return Some(format!("Object 'apiVersion' is missing in '{}'", shown()));
    }
    mistaken_kind(said, wanted, value)
}

/// 400 of a body that says what it is, and can't be read as the kind that is wanted.
pub fn cannot_handle_as(said: &GroupVersionKind, wanted: &str, why: &str) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {wanted}: {why}",
        said.kind, said.version
    ))
}

fn other_version(said: &str, gvk: &GroupVersionKind) -> Status {
    Status::bad_request(format!(
        "the API version in the data ({said}) does not match the expected API version ({})",
        gvk.api_version()
    ))
}

/// Nothing is taken for granted in objects of a kind that is defined.
fn check_custom_kind(
    gvk: &GroupVersionKind,
    value: &Value,
    sent: &[u8],
    validation: FieldValidation,
) -> Result<(), Status> {
    let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.is_empty() {
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(sent));
        // Who looks for nothing else reads another way.
        return Err(match validation {
            FieldValidation::Ignore => cannot_handle(gvk, &why),
            FieldValidation::Warn | FieldValidation::Strict => unrecognized(&gvk.kind, sent, &why),
        });
    }
    if kind != gvk.kind && api_version == gvk.api_version() {
        let error =
            apiserver_meta::field::FieldError::invalid("kind", &kind.into(), format!("must be {}", gvk.kind));
        let said = GroupVersionKind { kind: kind.to_owned(), ..gvk.clone() };
        return Err(Status::invalid(&said, crate::object::name(value), &[error]));
    }
    if api_version.is_empty() {
        return Err(other_version("", gvk));
    }
    Ok(())
}
