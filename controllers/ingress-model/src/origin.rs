//! Where a value of the plan was written, so that whoever refuses it can say which annotation to change.
//!
//! Known by the one that reads the annotation; nothing is searched for in sentences.

use crate::annotations::PREFIX;
use ccm_mock_aws_api::{Error, Parameter};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An annotation or a field whose value goes into a parameter of the cloud's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The parameter.
    pub parameter: Parameter,
    /// `Ingress ns/name` or `Service ns/name`.
    pub object: String,
    /// Name of the annotation, or path of the field.
    pub field: String,
    /// Elements of the parameter that come from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.field, self.object)
    }
}

fn object(kind: &str, meta: &ObjectMeta) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{kind} {}/{}", text(&meta.namespace), text(&meta.name))
}

/// An annotation of an object; none if it has no such annotation.
pub(crate) fn annotation(
    kind: &str,
    meta: &ObjectMeta,
    name: &str,
    parameter: Parameter,
    elements: Vec<String>,
) -> Option<Origin> {
    let field = format!("{PREFIX}{name}");
    meta.annotations.as_ref()?.get(&field)?;
    Some(Origin { parameter, object: object(kind, meta), field, elements })
}

/// A field of an Ingress.
pub(crate) fn field(meta: &ObjectMeta, field: String, parameter: Parameter, elements: Vec<String>) -> Origin {
    Origin { parameter, object: object("Ingress", meta), field, elements }
}

/// What is to blame for a refusal: where the refused element was written; for a parameter as a whole the annotations it
/// comes from, before fields of the spec.
pub fn blamed<'a>(origins: &'a [Origin], error: &Error) -> Vec<&'a Origin> {
    let all = || origins.iter().filter(|origin| Some(origin.parameter) == error.parameter);
    let exact = all().filter(|o| error.element.as_ref().is_some_and(|e| o.elements.contains(e))).collect();
    let annotated = || all().filter(|o| o.field.starts_with(PREFIX)).collect();
    let first_with_any = |found: Vec<&'a Origin>, next: &dyn Fn() -> Vec<&'a Origin>| {
        if found.is_empty() { next() } else { found }
    };
    first_with_any(first_with_any(exact, &annotated), &|| all().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccm_mock_aws_api::Code;

    #[test]
    fn what_was_refused_is_blamed_and_nothing_else() {
        let origin = |parameter, field: &str, elements: &[&str]| Origin {
            parameter,
            object: "Ingress default/web".into(),
            field: field.into(),
            elements: elements.iter().map(|e| e.to_string()).collect(),
        };
        let conditions = format!("{PREFIX}conditions.x");
        let actions = format!("{PREFIX}actions.x");
        let origins = [
            origin(Parameter::Conditions, "spec.rules[0].host", &["nodots"]),
            origin(Parameter::Conditions, &conditions, &["/a", "/b"]),
            origin(Parameter::Actions, &actions, &[]),
        ];
        let error = || Error::new(Code::ValidationError, "'5' is quoted");
        let table = [
            (error(), vec![]),
            (error().of(Parameter::Actions), vec![actions.as_str()]),
            (error().of(Parameter::Conditions), vec![conditions.as_str()]),
            (error().of(Parameter::Conditions).element("nodots"), vec!["spec.rules[0].host"]),
            (error().of(Parameter::Conditions).element("/b"), vec![conditions.as_str()]),
            (error().of(Parameter::Certificates), vec![]),
        ];
        for (error, expected) in table {
            let fields: Vec<&str> = blamed(&origins, &error).iter().map(|o| o.field.as_str()).collect();
            assert_eq!(fields, expected, "{error:?}");
        }
        let only_fields = &origins[..1];
        let count = error().of(Parameter::Conditions);
        assert_eq!(blamed(only_fields, &count)[0].to_string(), "spec.rules[0].host of Ingress default/web");
    }
}
