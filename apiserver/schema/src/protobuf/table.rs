//! The messages of the API's Go types, from a table of facts.
//!
//! `protobuf.tsv` has a line `= group/version kind type` for each kind that has a message, and a line `type member
//! number kind` for each field, in order of number. The member `.` is an embedded struct. In a kind `*K` is a pointer,
//! `[]K` a list, `{}K` a map with strings for keys; `strings` is a list that is a message of its own.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Index of a message in the table.
pub(super) type Index = usize;

/// What a value is, on the wire and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Double,
    Text,
    Bytes,
    /// A message with one repeated string.
    Texts,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON, as text.
    Json,
    /// `fieldsV1`, which is text in a packed tree.
    Fields,
    SchemaOrList,
    SchemaOrBool,
    SchemaOrTexts,
    Message(Index),
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No pointer: written whatever it holds.
    Always,
    /// A pointer: written where it is set.
    Pointer,
    List,
    Map,
    /// An embedded struct: its members are its owner's in JSON.
    Inline,
}

#[derive(Debug)]
pub(super) struct Field {
    pub member: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub kind: Kind,
}

#[derive(Default)]
pub(super) struct Table {
    /// Message of a kind, by `group/version kind`.
    roots: HashMap<String, Index>,
    messages: Vec<Vec<Field>>,
    pub list_meta: Index,
    pub schema: Index,
}

impl Table {
    /// The message of a kind, as a body names it.
    pub(super) fn root(&self, api_version: &str, kind: &str) -> Option<Index> {
        let core = if api_version.contains('/') { "" } else { "/" };
        // The answers of discovery leave their version out.
        let version = if api_version.is_empty() { "v1" } else { api_version };
        // Metadata alone is the same message in both versions.
        let version = version.strip_prefix("meta.k8s.io/v1beta1").map_or(version, |_| "meta.k8s.io/v1");
        let found = self.roots.get(&format!("{core}{version} {kind}"));
        // The options of a deletion are a kind of every group.
        let options = || self.roots.get("/v1 DeleteOptions").filter(|_| kind == "DeleteOptions");
        found.or_else(options).copied()
    }

    /// The fields of a message, in order of number.
    pub(super) fn fields(&self, message: Index) -> &[Field] {
        self.messages.get(message).map_or(&[], Vec::as_slice)
    }

    pub(super) fn field(&self, message: Index, number: u64) -> Option<&Field> {
        let fields = self.fields(message);
        let at = fields.binary_search_by_key(&number, |field| u64::from(field.number)).ok()?;
        fields.get(at)
    }
}

pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(build)
}

fn build() -> Table {
    let mut table = Table::default();
    let mut indices = HashMap::new();
    for line in include_str!("../../data/protobuf.tsv").lines() {
        let mut columns = line.split('\t');
        let (Some(owner), Some(second), Some(third), Some(fourth)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let mut index = |name: &'static str| {
            *indices.entry(name).or_insert_with(|| {
                table.messages.push(Vec::new());
                table.messages.len() - 1
            })
        };
        if owner == "=" {
            let root = index(fourth);
            table.roots.insert(format!("{second} {third}"), root);
        } else if let Ok(number) = third.parse() {
            let at = index(owner);
            let (shape, name) = shape(second, fourth);
            let kind = leaf(name).unwrap_or_else(|| Kind::Message(index(name)));
            let member = if shape == Shape::Inline { "" } else { second };
            if let Some(fields) = table.messages.get_mut(at) {
                fields.push(Field { member, number, shape, kind });
            }
        }
    }
    table.list_meta = indices.get("apis/meta/v1.ListMeta").copied().unwrap_or_default();
    table.schema = indices.get("apiextensions/v1.JSONSchemaProps").copied().unwrap_or_default();
    add_lists(&mut table);
    table
}

fn shape(member: &str, kind: &'static str) -> (Shape, &'static str) {
    for (mark, shape) in [("*", Shape::Pointer), ("[]", Shape::List), ("{}", Shape::Map)] {
        if let Some(name) = kind.strip_prefix(mark) {
            return (shape, name);
        }
    }
    (if member == "." { Shape::Inline } else { Shape::Always }, kind)
}

fn leaf(name: &str) -> Option<Kind> {
    Some(match name {
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "double" => Kind::Double,
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        "strings" => Kind::Texts,
        "apis/meta/v1.Time" => Kind::Time,
        "apis/meta/v1.MicroTime" => Kind::MicroTime,
        "api/resource.Quantity" => Kind::Quantity,
        "util/intstr.IntOrString" => Kind::IntOrString,
        "runtime.RawExtension" | "apiextensions/v1.JSON" => Kind::Json,
        "apis/meta/v1.FieldsV1" => Kind::Fields,
        "apiextensions/v1.JSONSchemaPropsOrArray" => Kind::SchemaOrList,
        "apiextensions/v1.JSONSchemaPropsOrBool" => Kind::SchemaOrBool,
        "apiextensions/v1.JSONSchemaPropsOrStringArray" => Kind::SchemaOrTexts,
        _ => return None,
    })
}

/// The list of a kind is its metadata and its items, whatever the kind.
fn add_lists(table: &mut Table) {
    let kinds: Vec<(String, Index)> =
        table.roots.iter().map(|(kind, message)| (format!("{kind}List"), *message)).collect();
    for (list, item) in kinds {
        let index = table.messages.len();
        if let std::collections::hash_map::Entry::Vacant(entry) = table.roots.entry(list) {
            entry.insert(index);
            table.messages.push(vec![
                Field {
                    member: "metadata",
                    number: 1,
                    shape: Shape::Always,
                    kind: Kind::Message(table.list_meta),
                },
                Field { member: "items", number: 2, shape: Shape::List, kind: Kind::Message(item) },
            ]);
        }
    }
}
