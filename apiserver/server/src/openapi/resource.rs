//! The operations of one row of the catalogue: what it serves, under upstream's names.

use apiserver_registry::{Resource, Subresource};

use super::definition;
use super::parameters as given;
use super::paths::{BUILTIN, Body, META, Media, Operation, Path, Shape, capitals, group_words, root, tag};

const ANY: Media = &["*/*"];
const CUSTOM: Media = &["application/json", "application/yaml"];
const STREAMS: Media = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOG: Media =
    &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCHES: Media = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const CUSTOM_PATCHES: Media =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// All but connections can lay their answers out.
fn readable(query: &[&'static str]) -> Vec<&'static str> {
    query.iter().copied().chain(["pretty"]).collect()
}

/// What the operations of a row share.
struct Maker<'a> {
    row: &'a Resource,
    root: String,
    words: String,
}

impl<'a> Maker<'a> {
    fn new(row: &'a Resource) -> Self {
        let root = root(&row.group, &row.version);
        let words = format!("{}{}", group_words(&row.group), capitals(&row.version));
        Self { row, root, words }
    }

    fn produces(&self, media: Media) -> Media {
        if self.row.is_custom() { CUSTOM } else { media }
    }

    fn operation(&self, method: &'static str, action: &'static str) -> Operation {
        let row = self.row;
        Operation {
            method,
            id: String::new(),
            description: String::new(),
            tag: tag(&row.group, &row.version),
            action: Some((action, [row.group.clone(), row.version.clone(), row.kind.clone()])),
            body: None,
            consumes: self.produces(if row.is_custom() { CUSTOM } else { ANY }),
            produces: self.produces(BUILTIN),
            query: vec!["pretty"],
            answers: Vec::new(),
        }
    }

    fn scope(&self) -> &'static str {
        if self.row.namespaced { "Namespaced" } else { "" }
    }

    fn base(&self) -> String {
        let space = if self.row.namespaced { "/namespaces/{namespace}" } else { "" };
        format!("{}{space}/{}", self.root, self.row.name)
    }

    fn object(&self) -> Shape {
        Shape::Definition(definition(self.row, &self.row.kind))
    }

    fn list(&self, everywhere: bool) -> Operation {
        let Self { row, words, .. } = self;
        let (scope, end) = if everywhere { ("", "ForAllNamespaces") } else { (self.scope(), "") };
        let watches = if row.is_custom() || !row.has_verb("watch") { "list" } else { "list or watch" };
        Operation {
            id: format!("list{words}{scope}{}{end}", row.kind),
            description: format!("{watches} objects of kind {}", row.kind),
            produces: self.produces(STREAMS),
            query: readable(given::LIST),
            answers: vec![(200, Shape::Definition(definition(row, &row.list_kind)))],
            ..self.operation("get", "list")
        }
    }

    /// The older form of a watch.
    fn watch(&self, single: bool, everywhere: bool) -> Operation {
        let Self { row, words, .. } = self;
        let scope = if everywhere { "" } else { self.scope() };
        let end = match (single, everywhere) {
            (true, _) => "",
            (false, true) => "ListForAllNamespaces",
            (false, false) => "List",
        };
        let what = if single {
            format!("watch changes to an object of kind {}", row.kind)
        } else {
            format!("watch individual changes to a list of {}", row.kind)
        };
        Operation {
            id: format!("watch{words}{scope}{}{end}", row.kind),
            description: format!("{what}. deprecated: use the parameter 'watch' of a list"),
            produces: STREAMS,
            query: readable(given::LIST),
            answers: vec![(200, Shape::Definition(format!("{META}.WatchEvent")))],
            ..self.operation("get", if single { "watch" } else { "watchlist" })
        }
    }

    fn create(&self) -> Operation {
        let Self { row, words, .. } = self;
        Operation {
            id: format!("create{words}{}{}", self.scope(), row.kind),
            description: format!("create{}{}", article(&row.kind), row.kind),
            ..self.posted(&definition(row, &row.kind))
        }
    }

    fn posted(&self, definition: &str) -> Operation {
        let shape = Shape::Definition(definition.to_owned());
        Operation {
            body: Some(Body { definition: definition.to_owned(), required: true }),
            query: readable(given::WRITE),
            answers: [200, 201, 202].map(|code| (code, shape.clone())).to_vec(),
            ..self.operation("post", "post")
        }
    }

    fn delete_collection(&self) -> Operation {
        let Self { row, words, .. } = self;
        let custom = row.is_custom();
        let options = Body { definition: format!("{META}.DeleteOptions"), required: false };
        Operation {
            id: format!("delete{words}Collection{}{}", self.scope(), row.kind),
            description: format!("delete collection of {}", row.kind),
            body: Some(options).filter(|_| !custom),
            query: readable(if custom { given::LIST } else { given::DELETE_COLLECTION }),
            answers: vec![(200, Shape::Definition(format!("{META}.Status")))],
            ..self.operation("delete", "deletecollection")
        }
    }

    fn delete(&self) -> Operation {
        let Self { row, words, .. } = self;
        let shape = if row.strategy.delete_returns_object {
            self.object()
        } else {
            Shape::Definition(format!("{META}.Status"))
        };
        Operation {
            id: format!("delete{words}{}{}", self.scope(), row.kind),
            description: format!("delete{}{}", article(&row.kind), row.kind),
            body: Some(Body { definition: format!("{META}.DeleteOptions"), required: false }),
            query: readable(given::DELETE),
            answers: vec![(200, shape.clone()), (202, shape)],
            ..self.operation("delete", "delete")
        }
    }

    /// `get`, `update` or `patch` of an object, or of what a subresource shows of it.
    fn of_object(&self, verb: &str, sub: Option<&Subresource>) -> Option<Operation> {
        let Self { row, words, .. } = self;
        let (object, custom) =
            (sub.map_or_else(|| definition(row, &row.kind), |sub| shown(row, sub)), row.is_custom());
        let end = sub.map_or(String::new(), |sub| capitals(&sub.name));
        let part = sub.map_or(String::new(), |sub| format!("{} of ", sub.name));
        let shape = Shape::Definition(object.clone());
        let (method, action, word, text) = match verb {
            "get" => ("get", "get", "read", "read"),
            "update" => ("put", "put", "replace", "replace"),
            "patch" => ("patch", "patch", "patch", "partially update"),
            _ => return None,
        };
        let mut operation = Operation {
            id: format!("{word}{words}{}{}{end}", self.scope(), row.kind),
            description: format!("{text} {part}the specified {}", row.kind),
            answers: vec![(200, shape.clone())],
            ..self.operation(method, action)
        };
        match verb {
            "get" if custom => operation.query.push("resourceVersion"),
            "get" if sub.is_some_and(|sub| sub.name == "log") => {
                operation.query.extend(given::LOG);
                (operation.produces, operation.answers) = (LOG, vec![(200, Shape::Text)]);
            }
            "update" => {
                operation.body = Some(Body { definition: object, required: true });
                operation.query.extend(given::WRITE);
                operation.answers.push((201, shape));
            }
            "patch" => {
                operation.body = Some(Body { definition: format!("{META}.Patch"), required: true });
                operation.consumes = if custom { CUSTOM_PATCHES } else { PATCHES };
                operation.query.extend(given::PATCH);
                operation.answers.extend((!custom).then_some((201, shape)));
            }
            _ => {}
        }
        Some(self.kind_of(operation, sub))
    }

    /// A subresource may be of another kind.
    fn kind_of(&self, mut operation: Operation, sub: Option<&Subresource>) -> Operation {
        if let (Some(sub), Some((_, kind)), false) = (sub, &mut operation.action, self.row.is_custom()) {
            let own =
                |text: &str, other: &String| if text.is_empty() { other.clone() } else { text.to_owned() };
            if !sub.kind.is_empty() && sub.kind != self.row.kind {
                *kind = [
                    if sub.version.is_empty() { own(&sub.group, &self.row.group) } else { sub.group.clone() },
                    own(&sub.version, &self.row.version),
                    sub.kind.clone(),
                ];
            }
        }
        operation
    }

    fn connect(&self, sub: &Subresource, below: bool) -> Vec<Operation> {
        const METHODS: &[(&str, &str)] = &[
            ("get", "Get"),
            ("put", "Put"),
            ("post", "Post"),
            ("delete", "Delete"),
            ("options", "Options"),
            ("head", "Head"),
            ("patch", "Patch"),
        ];
        let Self { row, words, .. } = self;
        let all = sub.name == "proxy";
        let one = |(method, word): &(&'static str, &str)| {
            let end = if below { "WithPath" } else { "" };
            Operation {
                id: format!("connect{words}{word}{}{}{}{end}", self.scope(), row.kind, capitals(&sub.name)),
                description: format!(
                    "connect {} requests to {} of {}",
                    method.to_uppercase(),
                    sub.name,
                    row.kind
                ),
                consumes: ANY,
                produces: ANY,
                query: given::of_connection(&sub.name).to_vec(),
                answers: vec![(200, Shape::Text)],
                ..self.kind_of(self.operation(method, "connect"), Some(sub))
            }
        };
        METHODS.iter().filter(|(method, _)| all || matches!(*method, "get" | "post")).map(one).collect()
    }

    fn subresource(&self, sub: &Subresource) -> Vec<Path> {
        let Self { row, words, .. } = self;
        let path = format!("{}/{{name}}/{}", self.base(), sub.name);
        if matches!(&*sub.name, "exec" | "attach" | "portforward" | "proxy") {
            let mut paths = vec![self.path(path.clone(), self.connect(sub, false))];
            if sub.name == "proxy" {
                paths.push(self.path(format!("{path}/{{path}}"), self.connect(sub, true)));
            }
            return paths;
        }
        let mut operations: Vec<Operation> = ["get", "update", "patch"]
            .into_iter()
            .filter(|verb| sub.verbs.iter().any(|known| known == verb))
            .filter_map(|verb| self.of_object(verb, Some(sub)))
            .collect();
        if sub.verbs.iter().any(|verb| verb == "create") {
            let posted = Operation {
                id: format!("create{words}{}{}{}", self.scope(), row.kind, capitals(&sub.name)),
                description: format!("create {} of{}{}", sub.name, article(&row.kind), row.kind),
                ..self.posted(&shown(row, sub))
            };
            operations.push(self.kind_of(posted, Some(sub)));
        }
        vec![self.path(path, operations)]
    }

    fn path(&self, path: String, operations: Vec<Operation>) -> Path {
        let kind = operations.first().and_then(|operation| operation.action.as_ref());
        let kind = kind.map_or_else(|| self.row.kind.clone(), |(_, [_, _, kind])| kind.clone());
        Path { path, kind, operations }
    }

    fn paths(&self) -> Vec<Path> {
        let row = self.row;
        let (base, single) = (self.base(), format!("{}/{{name}}", self.base()));
        let mut collection = Vec::new();
        collection.extend(row.has_verb("list").then(|| self.list(false)));
        collection.extend(row.has_verb("create").then(|| self.create()));
        collection.extend(row.has_verb("deletecollection").then(|| self.delete_collection()));
        let verbs = ["get", "update", "patch"].into_iter().filter(|verb| row.has_verb(verb));
        let mut object: Vec<Operation> = verbs.filter_map(|verb| self.of_object(verb, None)).collect();
        object.extend(row.has_verb("delete").then(|| self.delete()));
        let mut paths = vec![self.path(base.clone(), collection), self.path(single.clone(), object)];
        if row.namespaced && row.has_verb("list") {
            paths.push(self.path(format!("{}/{}", self.root, row.name), vec![self.list(true)]));
        }
        if row.has_verb("watch") && !row.is_custom() {
            let old = |path: &str| path.replacen(&self.root, &format!("{}/watch", self.root), 1);
            paths.push(self.path(old(&base), vec![self.watch(false, false)]));
            paths.extend(row.has_verb("get").then(|| self.path(old(&single), vec![self.watch(true, false)])));
            if row.namespaced {
                paths.push(
                    self.path(format!("{}/watch/{}", self.root, row.name), vec![self.watch(false, true)]),
                );
            }
        }
        paths.extend(row.subresources.iter().flat_map(|sub| self.subresource(sub)));
        paths.retain(|path| !path.operations.is_empty());
        paths
    }
}

/// The definition of what a subresource shows.
fn shown(row: &Resource, sub: &Subresource) -> String {
    if sub.kind.is_empty() || sub.kind == row.kind {
        return definition(row, &row.kind);
    }
    let (group, version) =
        if sub.version.is_empty() { (&row.group, &row.version) } else { (&sub.group, &sub.version) };
    let known = apiserver_schema::definition_of(group, version, &sub.kind);
    known.map_or_else(|| definition(row, &row.kind), str::to_owned)
}

/// The paths of a row.
pub(super) fn paths(row: &Resource) -> Vec<Path> {
    Maker::new(row).paths()
}
/// What comes before a noun: nothing but a space before those of many (`GetArticleForNoun`).
fn article(noun: &str) -> &'static str {
    match noun.chars().next() {
        _ if noun.ends_with('s') && !noun.ends_with("ss") => " ",
        Some('a' | 'e' | 'i' | 'o' | 'u' | 'A' | 'E' | 'I' | 'O' | 'U') => " an ",
        _ => " a ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_have_their_articles() {
        for (noun, want) in [
            ("Pod", " a "),
            ("Event", " an "),
            ("Endpoints", " "),
            ("IngressClass", " an "),
            ("Ingress", " an "),
        ] {
            assert_eq!(article(noun), want, "{noun}");
        }
    }
}
