//! What expressions of policies may name.

use crate::check::Env;
use crate::types::Type;

const REQUEST: &str = "kubernetes.AdmissionRequest";
const NAMESPACE: &str = "kubernetes.Namespace";
/// The object that holds a policy's variables.
/// An operation of a JSON patch.
pub(super) const PATCH: &str = "JSONPatch";
const VARIABLES: &str = "kubernetes.variables";

const OBJECTS: &[(&str, &[(&str, &str)])] = &[
    ("kubernetes.GroupVersionKind", &[("group", "string"), ("version", "string"), ("kind", "string")]),
    (
        "kubernetes.GroupVersionResource",
        &[("group", "string"), ("version", "string"), ("resource", "string")],
    ),
    (
        "kubernetes.UserInfo",
        &[
            ("username", "string"),
            ("uid", "string"),
            ("groups", "list(string)"),
            ("extra", "map(string, list(string))"),
        ],
    ),
    (
        REQUEST,
        &[
            ("kind", "kubernetes.GroupVersionKind"),
            ("resource", "kubernetes.GroupVersionResource"),
            ("subResource", "string"),
            ("requestKind", "kubernetes.GroupVersionKind"),
            ("requestResource", "kubernetes.GroupVersionResource"),
            ("requestSubResource", "string"),
            ("name", "string"),
            ("namespace", "string"),
            ("operation", "string"),
            ("userInfo", "kubernetes.UserInfo"),
            ("dryRun", "bool"),
            ("options", "dyn"),
        ],
    ),
    (
        "kubernetes.NamespaceMetadata",
        &[
            ("name", "string"),
            ("generateName", "string"),
            ("namespace", "string"),
            ("labels", "map(string, string)"),
            ("annotations", "map(string, string)"),
            ("UID", "string"),
            ("creationTimestamp", "google.protobuf.Timestamp"),
            ("deletionGracePeriodSeconds", "int"),
            ("deletionTimestamp", "google.protobuf.Timestamp"),
            ("generation", "int"),
            ("resourceVersion", "string"),
            ("finalizers", "list(string)"),
        ],
    ),
    ("kubernetes.NamespaceSpec", &[("finalizers", "list(string)")]),
    ("kubernetes.NamespaceStatus", &[("phase", "string")]),
    (
        NAMESPACE,
        &[
            ("metadata", "kubernetes.NamespaceMetadata"),
            ("spec", "kubernetes.NamespaceSpec"),
            ("status", "kubernetes.NamespaceStatus"),
        ],
    ),
];

/// The environment of a policy's expressions.
pub(super) fn environment(params: bool, authorizer: bool) -> Env {
    let mut env = Env::default();
    for (name, fields) in OBJECTS {
        let known = fields.iter().map(|(field, of)| ((*field).to_owned(), Type::parse(of)));
        env.objects.insert((*name).into(), known.collect());
    }
    let mut declare = |name: &str, of: Type| env.variables.insert(name.to_owned(), of);
    declare("object", Type::Dyn);
    declare("oldObject", Type::Dyn);
    declare("namespaceObject", Type::object(NAMESPACE));
    declare("request", Type::object(REQUEST));
    if params {
        declare("params", Type::Dyn);
    }
    if authorizer {
        declare("authorizer", Type::object("kubernetes.authorization.Authorizer"));
        declare("authorizer.requestResource", Type::object("kubernetes.authorization.ResourceCheck"));
    }
    env
}

/// Makes known what mutations are made of.
pub(super) fn declare_patches(env: &mut Env) {
    env.patches = true;
    let fields = [("op", "string"), ("path", "string"), ("from", "string"), ("value", "dyn")];
    let known = fields.iter().map(|(field, of)| ((*field).to_owned(), Type::parse(of)));
    env.objects.insert(PATCH.into(), known.collect());
}

/// Makes the object known that variables are fields of.
pub(super) fn declare_variables(env: &mut Env) {
    env.variables.insert("variables".to_owned(), Type::object(VARIABLES));
    env.objects.entry(VARIABLES.into()).or_default();
}

/// Makes a variable of the policy known. Its dotted name is a variable too, so that it is evaluated when it is used.
pub(super) fn declare_variable(env: &mut Env, name: &str, of: Type) {
    env.objects.entry(VARIABLES.into()).or_default().insert(name.to_owned(), of.clone());
    env.variables.insert(format!("variables.{name}"), of);
}
