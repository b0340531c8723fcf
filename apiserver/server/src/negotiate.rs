//! Content negotiation: which form an answer takes, and in which form a body came.

use apiserver_meta::Status;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

use crate::content_type;
use crate::query::Query;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

/// What an object is turned into before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Table,
    Partial,
    PartialList,
    /// Discovery of all groups in one document.
    Aggregated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub media: Media,
    pub form: Form,
    /// Tables and metadata are those of `meta.k8s.io/v1beta1`.
    pub beta: bool,
    pub pretty: bool,
}

impl Accepted {
    /// An object as it is, in JSON.
    pub(crate) fn json(pretty: bool) -> Self {
        Self { media: Media::Json, form: Form::Object, beta: false, pretty }
    }

    /// The bytes of a stored object are an answer as they are.
    pub(crate) fn is_plain(self) -> bool {
        self.media == Media::Json && self.form == Form::Object && !self.pretty
    }
}

impl Media {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The type of a stream of watch events.
    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// What can be asked for at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Objects of a built-in kind; `streams` where a watch may be asked for, `tables` where there are columns.
    Builtin { streams: bool, tables: bool },
    /// Objects of a custom kind, which have no protobuf; their metadata has.
    Custom,
    /// Discovery at a route that names what it produces.
    Discovery,
    /// Discovery of groups, which is at no route.
    Groups,
    /// Discovery of all groups in one document, which nothing else may stand for.
    Aggregated,
    /// An error: an answer that is never transformed.
    Error,
}

const MEDIA: &[(&str, Media)] = &[
    ("application/json", Media::Json),
    ("application/yaml", Media::Yaml),
    ("application/vnd.kubernetes.protobuf", Media::Protobuf),
];
const OBJECT_TYPES: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const EVENT_TYPES: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// One clause of an Accept header.
#[derive(Clone, Debug)]
struct Clause<'a> {
    media: (&'a str, &'a str),
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().rev().find(|(known, _)| *known == name).map_or("", |(_, value)| *value)
    }

    /// Whether this clause stands before another one.
    fn before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.media.0 != "*" && other.media.0 == "*")
            || (self.media.1 != "*" && other.media.1 == "*")
    }
}

/// The clauses of a header in the order in which they are tried.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut sorted: Vec<Clause> = Vec::new();
    for clause in header.split(',').filter_map(clause) {
        // Upstream's order is none that a sort could keep: insertion is what its sort does with a dozen clauses.
        let behind = sorted.iter().rev().take_while(|known| clause.before(known)).count();
        sorted.insert(sorted.len() - behind, clause);
    }
    sorted
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut pieces = text.split(';');
    let media = pieces.next().unwrap_or("");
    let media = match media.split_once('/') {
        Some((_, rest)) if rest.contains('/') => return None,
        Some((kind, rest)) if !rest.is_empty() => (kind.trim_matches(' '), rest.trim_matches(' ')),
        _ if media.trim_matches([' ', '/']) == "*" => ("*", "*"),
        _ => return None,
    };
    let mut clause = Clause { media, parameters: Vec::new(), quality: 1.0 };
    for (name, value) in pieces.filter_map(|piece| piece.split_once('=')) {
        if value.is_empty() || value.contains('=') {
            continue;
        }
        match name.trim_matches(' ') {
            "q" => clause.quality = value.parse().unwrap_or(0.0),
            name => clause.parameters.push((name, value.trim_matches(' '))),
        }
    }
    Some(clause)
}

/// Is an answer laid out for people? The parameter `pretty` says, else who asks: curl, wget and browsers, as upstream's
/// `isPrettyPrint` has it.
pub(crate) fn is_pretty(query: &Query, headers: &HeaderMap) -> bool {
    match query.get("pretty").filter(|said| !said.is_empty()) {
        Some(said) => matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => {
            let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|reader| agent.starts_with(reader))
        }
    }
}

/// The form of an answer.
///
/// # Errors
/// 406 where none of the accepted ones can be made.
pub(crate) fn accept(headers: &HeaderMap, pretty: bool, place: Place) -> Result<Accepted, Status> {
    let header = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if header.is_empty() && place != Place::Aggregated {
        return Ok(Accepted::json(pretty));
    }
    check_route(header, place)?;
    for clause in clauses(header) {
        for (name, media) in MEDIA {
            let fits = match clause.media {
                ("*", "*") => true,
                (kind, "*") => kind == "application",
                (kind, rest) => name.split_once('/') == Some((kind, rest)),
            };
            if !fits {
                continue;
            }
            if let Some(form) = form(&clause, *media, place) {
                return Ok(Accepted {
                    media: *media,
                    form,
                    beta: clause.parameter("v") == "v1beta1",
                    pretty: pretty || clause.parameter("pretty") == "1",
                });
            }
        }
    }
    Err(Status::not_acceptable(OBJECT_TYPES))
}

/// Is there any of these media types among those that are accepted?
pub(crate) fn takes(headers: &HeaderMap, known: &[&str]) -> bool {
    let header = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let fits = |(kind, rest): (&str, &str)| {
        let of = |name: &&str| {
            name.split_once('/')
                .is_some_and(|media| (kind == "*" || kind == media.0) && (rest == "*" || rest == media.1))
        };
        known.iter().any(of)
    };
    header.is_empty() || clauses(header).iter().any(|clause| fits(clause.media))
}

/// What a clause turns the answer into; `None` where that cannot be had here.
fn form(clause: &Clause, media: Media, place: Place) -> Option<Form> {
    let (stream, version) = (clause.parameter("stream"), clause.parameter("sv"));
    let objects = matches!(place, Place::Builtin { .. } | Place::Custom);
    if !(stream.is_empty() || stream == "watch" && media != Media::Yaml)
        || !(version.is_empty() || version == "v1" && objects)
    {
        return None;
    }
    let target = (clause.parameter("as"), clause.parameter("v"), clause.parameter("g"));
    match (target, place) {
        ((kind, version @ ("v1" | "v1beta1"), "meta.k8s.io"), _) if objects => {
            transformed(kind, version, media, place)
        }
        (("", "", ""), Place::Custom) => (media != Media::Protobuf).then_some(Form::Object),
        (("", "", ""), Place::Aggregated) => None,
        (("", "", ""), _) => Some(Form::Object),
        (("APIGroupDiscoveryList", "v2", "apidiscovery.k8s.io"), Place::Aggregated) => Some(Form::Aggregated),
        _ => None,
    }
}

/// What objects can be turned into; of a question that is only answered there is no table.
fn transformed(kind: &str, version: &str, media: Media, place: Place) -> Option<Form> {
    let tables = !matches!(place, Place::Builtin { tables: false, .. });
    match kind {
        "Table" if tables && media != Media::Protobuf => Some(Form::Table),
        "PartialObjectMetadata" => Some(Form::Partial),
        // Of the lists of v1beta1 the protobuf is another one: who asks for it gets what comes next.
        "PartialObjectMetadataList" if media != Media::Protobuf || version == "v1" => Some(Form::PartialList),
        _ => None,
    }
}

/// Upstream's router refuses what none of its routes produces, in words of its own; only then is there a look at
/// what the clauses say further.
fn check_route(header: &str, place: Place) -> Result<(), Status> {
    let streams = match place {
        Place::Builtin { streams, .. } => streams,
        Place::Discovery => false,
        Place::Custom | Place::Groups | Place::Aggregated | Place::Error => return Ok(()),
    };
    let produced = header
        .split(',')
        .map(|part| part.split(';').next().unwrap_or("").trim_matches(' '))
        .any(|media| media == "*/*" || OBJECT_TYPES.contains(&media));
    if produced {
        return Ok(());
    }
    let types = [OBJECT_TYPES, if streams { EVENT_TYPES } else { &[] }].concat().join(", ");
    let text = format!("406: Not Acceptable\n\nAvailable representations: {types}");
    Err(Status::new(406, "NotAcceptable", text).with_details(apiserver_json::json!({})))
}

/// The form of an error: as the client wants, and readable JSON where that cannot be.
pub(crate) fn for_errors(headers: &HeaderMap, pretty: bool) -> Accepted {
    accept(headers, pretty, Place::Error).unwrap_or(Accepted::json(true))
}

/// Refuses a watch in a form that has no frames.
///
/// # Errors
/// 406.
pub(crate) fn check_stream(accepted: Accepted) -> Result<(), Status> {
    if accepted.media == Media::Yaml { Err(Status::not_acceptable(EVENT_TYPES)) } else { Ok(()) }
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
    let refused = || Status::unsupported_media_type(OBJECT_TYPES);
    match content_type::media_type(header).ok_or_else(refused)?.as_str() {
        "" | "application/json" => Ok(BodyMedia::Json),
        "application/yaml" => Ok(BodyMedia::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(BodyMedia::Protobuf),
        _ => Err(refused()),
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
        _ if custom => {
            let why = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Status::new(415, "UnsupportedMediaType", why));
        }
        _ => {
            let status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            return Err(status.with_details(apiserver_json::json!({})));
        }
    };
    Ok(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILTIN: Place = Place::Builtin { streams: false, tables: true };
    const REVIEW: Place = Place::Builtin { streams: false, tables: false };
    const PARTIAL: &str = "as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

    fn accepted(header: &str, place: Place) -> Result<(Media, Form), String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        accept(&headers, false, place)
            .map(|accepted| (accepted.media, accepted.form))
            .map_err(|status| status.message)
    }

    #[test]
    fn the_first_form_that_can_be_made_wins() {
        let partial = format!(
            "application/vnd.kubernetes.protobuf;{PARTIAL},application/json;{PARTIAL},application/json"
        );
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io";
        let discovery = "application/json,application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let protobuf = "application/vnd.kubernetes.protobuf";
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        for (header, place, want) in [
            ("", BUILTIN, (Media::Json, Form::Object)),
            (client_go, BUILTIN, (Media::Protobuf, Form::Object)),
            (client_go, Place::Custom, (Media::Json, Form::Object)),
            (client_go, Place::Error, (Media::Protobuf, Form::Object)),
            ("application/vnd.kubernetes.protobuf, */*", Place::Custom, (Media::Json, Form::Object)),
            (
                "application/json;q=0.5, application/vnd.kubernetes.protobuf",
                BUILTIN,
                (Media::Protobuf, Form::Object),
            ),
            (
                "application/vnd.kubernetes.protobuf;q=0.5, application/json",
                BUILTIN,
                (Media::Json, Form::Object),
            ),
            ("*/*, application/vnd.kubernetes.protobuf;q=0.1", BUILTIN, (Media::Protobuf, Form::Object)),
            ("application/vnd.kubernetes.protobuf;stream=watch", BUILTIN, (Media::Protobuf, Form::Object)),
            ("application/yaml;stream=watch,application/json", BUILTIN, (Media::Json, Form::Object)),
            ("application/yaml", BUILTIN, (Media::Yaml, Form::Object)),
            ("text/html;q=0.9, */*;q=0.1", BUILTIN, (Media::Json, Form::Object)),
            ("application/*", Place::Custom, (Media::Json, Form::Object)),
            (&partial, BUILTIN, (Media::Protobuf, Form::Partial)),
            (&partial, Place::Custom, (Media::Protobuf, Form::Partial)),
            (&partial, Place::Error, (Media::Json, Form::Object)),
            (&partial, REVIEW, (Media::Protobuf, Form::Partial)),
            (table, BUILTIN, (Media::Json, Form::Table)),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", BUILTIN, (Media::Json, Form::Table)),
            (discovery, Place::Discovery, (Media::Json, Form::Object)),
            (discovery, Place::Aggregated, (Media::Protobuf, Form::Aggregated)),
            (protobuf, Place::Discovery, (Media::Protobuf, Form::Object)),
        ] {
            assert_eq!(accepted(header, place), Ok(want), "{header} at {place:?}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_in_two_ways() {
        let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let negotiated = format!("only the following media types are accepted: {known}");
        let routed = format!("406: Not Acceptable\n\nAvailable representations: {known}");
        let streams = format!(
            "{routed}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
        for (header, place, want) in [
            ("text/html", BUILTIN, &routed),
            ("application/*", BUILTIN, &routed),
            ("text/html", Place::Builtin { streams: true, tables: true }, &streams),
            ("text/html", Place::Custom, &negotiated),
            ("application/vnd.kubernetes.protobuf", Place::Custom, &negotiated),
            ("application/json;as=Nope;v=v1;g=meta.k8s.io", BUILTIN, &negotiated),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", BUILTIN, &negotiated),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", REVIEW, &negotiated),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", BUILTIN, &negotiated),
            ("application/json;stream=other", BUILTIN, &negotiated),
            ("application/json", Place::Aggregated, &negotiated),
        ] {
            assert_eq!(accepted(header, place).as_ref(), Err(want), "{header} at {place:?}");
        }
    }

    #[test]
    fn documents_are_negotiated_by_their_media_alone() {
        for (header, want) in [
            ("", true),
            ("*/*", true),
            ("application/*", true),
            ("text/html, application/json;q=0.1", true),
            ("application/yaml", false),
            ("text/*", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, header.parse().unwrap())]);
            assert_eq!(takes(&headers, &["application/json"]), want, "{header}");
        }
    }

    #[test]
    fn people_get_lines() {
        for (query, agent, want) in [
            ("", "curl/8.5.0", true),
            ("", "Wget/1.21", true),
            ("", "Mozilla/5.0 (X11)", true),
            ("", "kubectl/v1.36.0", false),
            ("pretty=false", "curl/8.5.0", false),
            ("pretty=0&limit=1", "curl/8.5.0", false),
            ("pretty=", "curl/8.5.0", true),
            ("pretty=true", "kubectl/v1.36.0", true),
            ("pretty=yes", "kubectl/v1.36.0", false),
        ] {
            let headers = HeaderMap::from_iter([(USER_AGENT, agent.parse().unwrap())]);
            assert_eq!(is_pretty(&Query::parse(query), &headers), want, "{query} of {agent}");
        }
    }

    #[test]
    fn odd_headers_are_no_clauses() {
        assert_eq!(clauses("a, /, a/b/c, ,;q=1, x/;y=1").len(), 0);
        let star = clauses("*; q=x ;=;a=;b=c=d; e = f");
        assert_eq!(star[0].media, ("*", "*"));
        assert_eq!(star[0].parameters, [("e", "f")]);
    }
}
