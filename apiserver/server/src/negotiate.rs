//! Content negotiation: which form an answer takes, and in which form a body came.

use apiserver_meta::Status;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
}

/// What an object is turned into before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Table,
    Partial,
    PartialList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub media: Media,
    pub form: Form,
    pub pretty: bool,
}

impl Media {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

const OBJECT_TYPES: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAM_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// One entry of an Accept header.
#[derive(Clone, Debug)]
struct Entry<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn entries(header: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry> = header
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let media = pieces.next().unwrap_or("");
            let parameters: Vec<(&str, &str)> = pieces.filter_map(|piece| piece.split_once('=')).collect();
            let quality = parameters
                .iter()
                .find(|(name, _)| *name == "q")
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(1.0);
            Entry { media, parameters, quality }
        })
        .collect();
    entries.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    entries
}

/// The form of an answer.
///
/// # Errors
/// 406 where none of the accepted ones can be made.
pub(crate) fn accept(
    headers: &HeaderMap,
    pretty: bool,
    watch: bool,
    streams: bool,
) -> Result<Accepted, Status> {
    let header = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let plain = Accepted { media: Media::Json, form: Form::Object, pretty };
    if header.trim().is_empty() {
        return Ok(plain);
    }
    for entry in entries(header) {
        let media = match entry.media {
            "application/json" | "*/*" => Media::Json,
            "application/yaml" => Media::Yaml,
            _ => continue,
        };
        let parameter = |name: &str| {
            entry.parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value)
        };
        let form = match (parameter("as"), parameter("v"), parameter("g")) {
            ("", _, _) => Form::Object,
            ("Table", "v1", "meta.k8s.io") => Form::Table,
            ("PartialObjectMetadata", "v1", "meta.k8s.io") => Form::Partial,
            ("PartialObjectMetadataList", "v1", "meta.k8s.io") => Form::PartialList,
            _ => continue,
        };
        if watch && media == Media::Yaml {
            continue;
        }
        return Ok(Accepted { media, form, pretty });
    }
    let transformed = header.contains("as=");
    Err(if transformed {
        Status::not_acceptable(OBJECT_TYPES)
    } else {
        not_acceptable_text(if streams { STREAM_TYPES } else { OBJECT_TYPES })
    })
}

/// The 406 of a request without a known type at all.
fn not_acceptable_text(types: &[&str]) -> Status {
    Status::new(
        406,
        "NotAcceptable",
        format!("406: Not Acceptable\n\nAvailable representations: {}", types.join(", ")),
    )
    .with_details(serde_json::json!({}))
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyMedia {
    Json,
    Yaml,
    Protobuf,
}

/// The form a body came in.
///
/// # Errors
/// 415.
pub(crate) fn body_media(headers: &HeaderMap) -> Result<BodyMedia, Status> {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match header.split(';').next().unwrap_or("").trim() {
        "" | "application/json" => Ok(BodyMedia::Json),
        "application/yaml" => Ok(BodyMedia::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(BodyMedia::Protobuf),
        _ => Err(Status::unsupported_media_type(OBJECT_TYPES)),
    }
}

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchMedia {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// The kind of a patch body.
///
/// # Errors
/// 415.
pub(crate) fn patch_media(headers: &HeaderMap, custom: bool) -> Result<PatchMedia, Status> {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media = match header.split(';').next().unwrap_or("").trim() {
        "application/json-patch+json" => PatchMedia::Json,
        "application/merge-patch+json" => PatchMedia::Merge,
        "application/strategic-merge-patch+json" if !custom => PatchMedia::Strategic,
        "application/apply-patch+yaml" => PatchMedia::Apply,
        _ => {
            let status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            return Err(status.with_details(serde_json::json!({})));
        }
    };
    Ok(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(header: &str) -> Result<Accepted, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        accept(&headers, false, false, false)
    }

    #[test]
    fn the_first_known_form_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accepted(kubectl).unwrap().form, Form::Table);
        assert_eq!(
            accepted("application/vnd.kubernetes.protobuf,application/json").unwrap().form,
            Form::Object
        );
        assert_eq!(accepted("application/yaml").unwrap().media, Media::Yaml);
        assert_eq!(accepted("text/html;q=0.9, */*;q=0.1").unwrap().media, Media::Json);
        assert_eq!(accepted("text/html").unwrap_err().code, 406);
        assert_eq!(accepted("application/json;as=Nope;v=v1;g=meta.k8s.io").unwrap_err().code, 406);
    }
}
