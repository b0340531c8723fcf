//! The operations of the API, as OpenAPI names them: what a row of the catalogue serves, under upstream's names.
//! Plain values; `render` writes them for either version of OpenAPI.

use apiserver_registry::{Catalogue, Group};

use super::resource;

/// Media types of a body or an answer.
pub(super) type Media = &'static [&'static str];

pub(super) const BUILTIN: Media =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The definition of a body.
pub(super) struct Body {
    pub definition: String,
    pub required: bool,
}

/// What an answer holds.
#[derive(Clone)]
pub(super) enum Shape {
    Definition(String),
    Text,
}

/// One method of a path.
pub(super) struct Operation {
    pub method: &'static str,
    pub id: String,
    pub description: String,
    pub tag: String,
    /// `x-kubernetes-action`, with the kind; none for discovery.
    pub action: Option<(&'static str, [String; 3])>,
    pub body: Option<Body>,
    pub consumes: Media,
    pub produces: Media,
    pub query: Vec<&'static str>,
    /// Besides 401.
    pub answers: Vec<(u16, Shape)>,
}

/// A path with its operations; never none.
pub(super) struct Path {
    pub path: String,
    /// What the object in the path is called in the description of its name.
    pub kind: String,
    pub operations: Vec<Operation>,
}

/// Words with capital first letters, joined: what upstream makes of a group or a subresource in an operation's id.
pub(super) fn capitals(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

pub(super) fn group_words(group: &str) -> String {
    if group.is_empty() {
        "Core".to_owned()
    } else {
        capitals(group.strip_suffix(".k8s.io").unwrap_or(group))
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// The tag of a group version: `flowcontrolApiserver_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", lower_first(&group_words(group)))
}

/// Where the paths of a group version begin.
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn discovery(path: &str, id: String, text: &str, tag: String, kind: &str) -> Path {
    let operation = Operation {
        method: "get",
        id,
        description: text.to_owned(),
        tag,
        action: None,
        body: None,
        consumes: BUILTIN,
        produces: BUILTIN,
        query: Vec::new(),
        answers: vec![(200, Shape::Definition(format!("{META}.{kind}")))],
    };
    Path { path: path.to_owned(), kind: String::new(), operations: vec![operation] }
}

/// True if definitions alone serve a group: upstream names none of its discovery.
pub(super) fn is_custom(catalogue: &Catalogue, group: &Group) -> bool {
    let mut rows = group.versions.iter().flat_map(|version| catalogue.resources(&group.name, version));
    rows.all(|row| row.is_custom())
}

/// The paths of a group version.
pub(super) fn of_version(catalogue: &Catalogue, group: &str, version: &str) -> Vec<Path> {
    let id = format!("get{}{}APIResources", group_words(group), capitals(version));
    let path = format!("{}/", root(group, version));
    let resources = discovery(&path, id, "get available resources", tag(group, version), "APIResourceList");
    let rows = catalogue.resources(group, version);
    let resources = Some(resources).filter(|_| rows.iter().any(|row| !row.is_custom()));
    resources.into_iter().chain(rows.iter().flat_map(|row| resource::paths(row))).collect()
}

/// The path that lists the versions of a group.
pub(super) fn of_group(group: &str) -> Path {
    let words = group_words(group);
    let tag = lower_first(&words);
    if group.is_empty() {
        return discovery(
            "/api/",
            "getCoreAPIVersions".to_owned(),
            "get available API versions",
            tag,
            "APIVersions",
        );
    }
    discovery(
        &format!("/apis/{group}/"),
        format!("get{words}APIGroup"),
        "get information of a group",
        tag,
        "APIGroup",
    )
}

/// The path that lists all groups.
pub(super) fn of_groups() -> Path {
    let (id, tag) = ("getAPIVersions".to_owned(), "apis".to_owned());
    discovery("/apis/", id, "get available API versions", tag, "APIGroupList")
}

/// `/version/` and where the issuer of tokens describes itself.
pub(super) fn of_server() -> [Path; 3] {
    let text = |path: &str, id: &str, about: &str, tag: &str, media: Media| {
        let mut found = discovery(path, id.to_owned(), about, tag.to_owned(), "");
        for operation in &mut found.operations {
            (operation.consumes, operation.produces) = (&[], media);
            operation.answers = vec![(200, Shape::Text)];
        }
        found
    };
    let issuer = text(
        "/.well-known/openid-configuration/",
        "getServiceAccountIssuerOpenIDConfiguration",
        "get the OpenID configuration of the issuer of service account tokens",
        "WellKnown",
        &["application/json"],
    );
    let keys = text(
        "/openid/v1/jwks/",
        "getServiceAccountIssuerOpenIDKeyset",
        "get the public keys that verify service account tokens",
        "openid",
        &["application/jwk-set+json"],
    );
    let mut version = discovery(
        "/version/",
        "getCodeVersion".to_owned(),
        "get the version information for this server",
        "version".to_owned(),
        "",
    );
    for operation in &mut version.operations {
        (operation.consumes, operation.produces) = (&["application/json"], &["application/json"]);
        operation.answers = vec![(200, Shape::Definition("io.k8s.apimachinery.pkg.version.Info".to_owned()))];
    }
    [issuer, keys, version]
}
