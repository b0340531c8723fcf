//! The schema graph: what a value of a kind looks like, and how its parts merge.
//!
//! Nodes are immutable and shared. A field refers to its type through a `Slot`, which resolves named built-in
//! types on first use, so recursive types cost nothing and nothing is built before it is needed. This module
//! decides nothing about values; decoding, pruning, merging and validation live beside it.

use std::sync::{Arc, OnceLock};

use apiserver_json::Value;
use regex::Regex;

use crate::fields::Fields;

/// One node of a structural schema. Cheap to share: children are behind `Arc`.
#[derive(Clone, Debug)]
pub struct Schema {
    /// What kind of value this is.
    pub shape: Shape,
    /// The Go type that upstream's decode errors name (`v1.ServicePort`, `int32`, `[]string`).
    pub go_type: Box<str>,
    /// The OpenAPI definition name of a built-in struct (`io.k8s.api.core.v1.PodSpec`).
    pub definition: Option<&'static str>,
    /// Whether `null` is a value of its own (custom resources).
    pub nullable: bool,
    /// Unknown fields of this object are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// The object is a whole API object (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
    /// What defaulting puts where the field is missing (custom resources).
    pub default: Option<Value>,
    /// Value rules of a custom resource's schema; built-ins are validated by their strategies.
    pub rules: Option<Box<Rules>>,
}

/// The kinds of value a node can describe.
#[derive(Clone, Debug)]
pub enum Shape {
    Object(Object),
    List(List),
    String,
    /// A Go integer of 8, 32 or 64 bits; custom resources use 64.
    Integer(u8),
    Number,
    Boolean,
    /// Base64 text, `[]byte` in Go.
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    /// `runtime.RawExtension`: kept as it was sent.
    Raw,
    /// `JSONSchemaPropsOrArray` and its siblings: a schema, a list of them, or a plain value.
    SchemaOr,
    /// Anything. `deduced` maps merge field by field, other maps are replaced as one.
    Any {
        deduced: bool,
    },
}

/// An object: named fields, and the type of all other keys if there may be any.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub fields: Fields,
    pub additional: Option<Slot>,
    /// Owned and replaced as one (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Names of fields that must be present (custom resources).
    pub required: Vec<Box<str>>,
    /// What nobody declares merges as anything, though it is not kept (custom resources).
    pub lenient: bool,
    /// A Go struct, whose zero fields are written out again; maps and custom resources are not.
    pub go_struct: bool,
    pub(crate) skeleton: OnceLock<Vec<(Box<str>, Value)>>,
}

/// A list and how its items are told apart.
#[derive(Clone, Debug)]
pub struct List {
    pub items: Slot,
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// Items are told apart by these keys.
    Map(Vec<Box<str>>),
}

/// A named field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    pub schema: Slot,
    /// A pointer in Go: absence and the zero value differ.
    pub pointer: bool,
    /// `omitempty`: empty scalars, lists and maps are not written.
    pub omit_empty: bool,
    /// `omitzero`: a zero struct is not written.
    pub omit_zero: bool,
    /// How strategic merge patches treat the field.
    pub patch: Patch,
    /// The value a missing list-map key counts as.
    pub key_default: Option<Value>,
    /// Which of its struct's fields it is in Go's order.
    pub place: usize,
}

/// Strategic merge facts of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    pub merge_key: Option<&'static str>,
}

/// Value rules of a custom resource's schema node.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub format: Option<String>,
    pub enumeration: Option<Vec<Value>>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<(String, Option<Regex>)>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<Arc<Schema>>,
    pub any_of: Vec<Arc<Schema>>,
    pub one_of: Vec<Arc<Schema>>,
    pub not: Option<Arc<Schema>>,
    /// The node states a `type`; value rules nested in `allOf` and friends do not.
    pub typed: bool,
}

/// A reference to a node, resolved on first use when it names a built-in type.
#[derive(Clone, Debug)]
pub struct Slot(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Node(Arc<Schema>),
    Named(&'static str, OnceLock<Arc<Schema>>),
}

impl Slot {
    /// A slot that holds its node.
    pub fn node(schema: Schema) -> Self {
        Self(Inner::Node(Arc::new(schema)))
    }

    /// A slot that shares a node.
    pub fn shared(schema: Arc<Schema>) -> Self {
        Self(Inner::Node(schema))
    }

    pub(crate) fn named(name: &'static str) -> Self {
        Self(Inner::Named(name, OnceLock::new()))
    }

    /// The node.
    pub fn get(&self) -> &Arc<Schema> {
        match &self.0 {
            Inner::Node(node) => node,
            Inner::Named(name, cell) => cell.get_or_init(|| crate::types::named(name)),
        }
    }
}

impl Field {
    /// A field without Go or patch facts, as custom resources have them.
    pub fn plain(schema: Slot) -> Self {
        Self {
            schema,
            pointer: false,
            omit_empty: true,
            omit_zero: false,
            patch: Patch::default(),
            key_default: None,
            place: 0,
        }
    }
}

impl Schema {
    /// A node of a shape with nothing else said about it.
    pub fn new(shape: Shape) -> Self {
        let go_type = match &shape {
            Shape::Object(_) => "map[string]interface {}",
            Shape::List(_) => "[]interface {}",
            Shape::String | Shape::Bytes => "string",
            Shape::Integer(_) => "int64",
            Shape::Number => "float64",
            Shape::Boolean => "bool",
            _ => "interface {}",
        };
        Self {
            shape,
            go_type: go_type.into(),
            definition: None,
            nullable: false,
            preserve_unknown: false,
            embedded: false,
            default: None,
            rules: None,
        }
    }

    /// A schema that accepts anything and merges maps field by field: for kinds nobody described.
    pub fn any() -> Arc<Self> {
        static ANY: OnceLock<Arc<Schema>> = OnceLock::new();
        ANY.get_or_init(|| Arc::new(Self::new(Shape::Any { deduced: true }))).clone()
    }

    /// The object part of this node, if it is one.
    pub fn object(&self) -> Option<&Object> {
        match &self.shape {
            Shape::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The list part of this node, if it is one.
    pub fn list(&self) -> Option<&List> {
        match &self.shape {
            Shape::List(list) => Some(list),
            _ => None,
        }
    }

    /// The node of a key of this object: its field, or what other keys hold.
    pub fn child(&self, key: &str) -> Option<&Schema> {
        let object = self.object()?;
        match object.fields.get(key) {
            Some(field) => Some(field.schema.get()),
            None => object.additional.as_ref().map(|slot| &**slot.get()),
        }
    }

    /// The node at a path of field names, list items being looked through.
    pub fn at(&self, path: &[&str]) -> Option<&Schema> {
        let mut node = self;
        for name in path {
            while let Shape::List(list) = &node.shape {
                node = list.items.get();
            }
            node = node.child(name)?;
        }
        Some(node)
    }
}
