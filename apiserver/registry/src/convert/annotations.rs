//! Annotations that stand for fields of upstream's internal types: they are read as numbers, and written as such.

use apiserver_json::Value;
use apiserver_meta::field::go_parse_int;

use crate::catalogue::Resource;
use crate::object;

/// Counts the versions of a DaemonSet's template.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// The revision that a Deployment is to go back to.
pub(crate) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// Writes the number of such an annotation as upstream does. An empty one of a Deployment is none.
///
/// # Errors
/// What upstream's conversion says of one that is no number.
pub fn convert_annotations(resource: &Resource, value: &mut Value) -> Result<(), String> {
    let key = match (resource.group.as_str(), resource.kind.as_str()) {
        ("apps", "DaemonSet") => TEMPLATE_GENERATION,
        ("apps", "Deployment") => ROLLBACK_TO,
        _ => return Ok(()),
    };
    let found = value.pointer("/metadata/annotations").and_then(|annotations| annotations.get(key));
    let Some(text) = found.and_then(Value::as_str) else { return Ok(()) };
    let written = match go_parse_int(text) {
        Ok(number) => Some(number.to_string()),
        Err(_) if text.is_empty() && key == ROLLBACK_TO => None,
        Err(why) if key == ROLLBACK_TO => {
            return Err(format!("failed to parse annotation[{key}]={text} as int64: {why}"));
        }
        Err(why) => return Err(why),
    };
    if written.as_deref() == Some(text) {
        return Ok(());
    }
    let metadata = object::metadata_mut(value);
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    match written {
        Some(number) => {
            annotations.insert(key.into(), number.into());
        }
        None => {
            annotations.remove(key);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn numbers_in_annotations_are_read_and_written_as_numbers() {
        let catalogue = crate::Catalogue::builtin();
        let (set, deployment) = ((TEMPLATE_GENERATION, "daemonsets"), (ROLLBACK_TO, "deployments"));
        let syntax = |text: &str| format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
        let rollback = |text: &str, why: &str| {
            format!("failed to parse annotation[{ROLLBACK_TO}]={text} as int64: {why}")
        };
        let far = "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned();
        for ((key, name), text, want) in [
            (set, "5", Ok(Some("5"))),
            (set, "+5", Ok(Some("5"))),
            (set, "007", Ok(Some("7"))),
            (set, "-3", Ok(Some("-3"))),
            (set, "", Err(syntax(""))),
            (set, "0x10", Err(syntax("0x10"))),
            (set, "99999999999999999999", Err(far.clone())),
            (deployment, "+5", Ok(Some("5"))),
            (deployment, "", Ok(None)),
            (deployment, " 5", Err(rollback(" 5", &syntax(" 5")))),
            (deployment, "99999999999999999999", Err(rollback("99999999999999999999", &far))),
            ((ROLLBACK_TO, "replicasets"), "x", Ok(Some("x"))),
        ] {
            let resource = catalogue.get("apps", "v1", name).unwrap();
            let mut value = json!({"metadata": {"annotations": {"o": "p"}}});
            value["metadata"]["annotations"][key] = text.into();
            let outcome = convert_annotations(resource, &mut value);
            let found = value["metadata"]["annotations"].get(key).and_then(Value::as_str);
            assert_eq!(outcome.map(|()| found), want, "{name} {text:?}");
        }
    }
}
