//! Answers, and those that say no.

use std::borrow::Cow;
use std::collections::HashSet;

use apiserver_json::Value;
use apiserver_meta::Status;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WARNING, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};

use crate::body::{ResponseBody, full};
use crate::negotiate::{Accepted, Media};
use crate::{own_documents, table};

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
    if accepted.media == Media::Json
        && let Some(mut document) = own_documents::write(value, accepted.pretty)
    {
        if !accepted.pretty {
            document.push(b'\n');
        }
        return document.into();
    }
    let text = match accepted.media {
        Media::Yaml => crate::yaml_writer::write(value),
        // As Go writes what is indented: without a newline at the end.
        _ if accepted.pretty => format!("{value:#}"),
        _ => value.to_string() + "\n",
    };
    text.into()
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

/// An answer as it goes out.
pub(crate) fn respond(answer: Answer) -> Response<ResponseBody> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
