//! The action that an `actions.NAME` annotation spells out, with upstream's sentences for what is wrong in it.
//!
//! Which values AWS takes is AWS's to say: redirect codes, content types and weights are not judged here.

use crate::annotations::{Annotations, about};
use crate::backend::{Target, service_target, unknown_port};
use crate::group::Group;
use crate::json::{Wrong, boolean, integer, integer_or_text, invalid, list, object, text};
use crate::rules::{Step, fixed};
use ccm_mock_aws_api::elbv2::{Action, RedirectConfig, TargetGroupStickinessConfig};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::Value;

/// What an annotation says before anything it names is looked up.
enum Spelled {
    Direct(Box<Action>),
    Forward { tuples: Vec<Tuple>, stickiness: Option<TargetGroupStickinessConfig> },
}

/// Where a part of the requests goes.
struct Tuple {
    to: Place,
    weight: u32,
}

enum Place {
    Arn(String),
    Name(String),
    Service { name: String, port: String },
}

/// What the annotation `actions.NAME` of an Ingress does.
pub(crate) fn annotated(group: &Group, ingress: &Ingress, name: &str) -> Result<Step, String> {
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    let name = format!("actions.{name}");
    let Some(value) = annotations.json(&name)? else {
        return Ok(fixed("503", Some("Backend action does not exist")));
    };
    let (tuples, stickiness) = match read(&value).map_err(|wrong| wrong.tell(annotations, &name))? {
        Spelled::Direct(action) => return Ok(Step::Direct(action)),
        Spelled::Forward { tuples, stickiness } => (tuples, stickiness),
    };
    let mut targets = Vec::new();
    for Tuple { to, weight } in tuples {
        let target = match to {
            Place::Arn(arn) => Target::Arn(arn),
            Place::Name(wanted) => {
                let arn = group.target_groups.get(&wanted).cloned();
                let missing = || about(format!("no target group found with name: {wanted}"), &name);
                Target::Arn(arn.ok_or_else(missing)?)
            }
            // What is wrong with a target group is wrong in another annotation, which is named there.
            Place::Service { name: service, port } => {
                if let Some(why) = unknown_port(group, ingress, &service, &port) {
                    return Err(about(why, &name));
                }
                match service_target(group, ingress, &service, &port)? {
                    Some(target) => target,
                    None => return Ok(fixed("503", Some("Backend service does not exist"))),
                }
            }
        };
        targets.push((target, Some(weight)));
    }
    Ok(Step::Forward { targets, stickiness })
}

fn read(value: &Value) -> Result<Spelled, Wrong> {
    let kind = text(value, "type")?.unwrap_or_default();
    let config = |name: &str| {
        let member = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
        object(value, &member)?.ok_or_else(|| invalid(format!("missing {name}")))
    };
    match kind.as_str() {
        "fixed-response" => {
            let config = config("FixedResponseConfig")?;
            let text = |member| text(config, member).map(|t| t.filter(|t| !t.is_empty()));
            let code = text("statusCode")?;
            let code = code.ok_or_else(|| invalid("statusCode is required").within("FixedResponseConfig"))?;
            let action = Action::fixed_response(code, text("contentType")?, text("messageBody")?);
            Ok(Spelled::Direct(Box::new(action)))
        }
        "redirect" => {
            let config = config("RedirectConfig")?;
            let code = text(config, "statusCode")?.filter(|code| !code.is_empty());
            let code = code.ok_or_else(|| invalid("statusCode is required").within("RedirectConfig"))?;
            let usual = RedirectConfig::default();
            let or = |member: &str, usual: String| Ok(text(config, member)?.unwrap_or(usual));
            let action = Action::redirect(RedirectConfig {
                protocol: or("protocol", usual.protocol)?,
                host: or("host", usual.host)?,
                port: or("port", usual.port)?,
                path: or("path", usual.path)?,
                query: or("query", usual.query)?,
                status_code: code,
            });
            Ok(Spelled::Direct(Box::new(action)))
        }
        "forward" => forward(value),
        other => Err(invalid(format!("unknown action type: {other}"))),
    }
}

fn forward(value: &Value) -> Result<Spelled, Wrong> {
    let config = object(value, "forwardConfig")?;
    let short =
        [text(value, "targetGroupARN")?.map(Place::Arn), text(value, "targetGroupName")?.map(Place::Name)];
    let mut short = short.into_iter().flatten();
    let config = match (short.next(), config) {
        (Some(to), None) if short.next().is_none() => {
            return Ok(Spelled::Forward { tuples: vec![Tuple { to, weight: 1 }], stickiness: None });
        }
        (None, Some(config)) => config,
        _ => return Err(invalid("precisely one of TargetGroupArn and ForwardConfig can be specified")),
    };
    let entries = list(config, "targetGroups")?;
    let tuples: Result<Vec<Tuple>, Wrong> =
        entries.iter().map(|entry| tuple(entry, entries.len() > 1)).collect();
    let tuples = tuples.map_err(|wrong| wrong.within("ForwardConfig"))?;
    let stickiness = match object(config, "targetGroupStickinessConfig")? {
        None => None,
        Some(config) => {
            let seconds = integer(config, "durationSeconds")?;
            Some(TargetGroupStickinessConfig {
                enabled: boolean(config, "enabled")?.unwrap_or(false),
                // What is out of AWS's range stays so.
                duration_seconds: seconds
                    .map(|s| u32::try_from(s).unwrap_or(if s < 0 { 0 } else { u32::MAX })),
            })
        }
    };
    Ok(Spelled::Forward { tuples, stickiness })
}

fn tuple(entry: &Value, many: bool) -> Result<Tuple, Wrong> {
    let port = integer_or_text(entry, "servicePort")?;
    let named = [
        text(entry, "targetGroupARN")?.map(Place::Arn),
        text(entry, "targetGroupName")?.map(Place::Name),
        text(entry, "serviceName")?
            .map(|name| Place::Service { name, port: port.clone().unwrap_or_default() }),
    ];
    let mut named = named.into_iter().flatten();
    let (Some(to), None) = (named.next(), named.next()) else {
        let why = "precisely one of targetGroupARN, targetGroupName and serviceName can be specified";
        return Err(invalid(why).within("TargetGroupTuple"));
    };
    if matches!(to, Place::Service { .. }) && port.is_none() {
        return Err(invalid("missing servicePort").within("TargetGroupTuple"));
    }
    let weight = match integer(entry, "weight")? {
        None if many => return Err(invalid("weight must be set when route to multiple target groups")),
        None => 1,
        Some(weight) => u32::try_from(weight).map_err(|_| {
            invalid(format!("weight must be within [0, 999]: {weight}")).within("TargetGroupTuple")
        })?,
    };
    Ok(Tuple { to, weight })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_as_upstream_says_it() {
        let forward = |config: Value| json!({"type": "forward", "forwardconfig": config});
        let tuples = |all: Value| forward(json!({"targetgroups": all}));
        let web = || json!({"servicename": "web", "serviceport": 80});
        // the annotation with members in lower case, whether it is of the right types, the sentence
        let table = [
            (json!({"type": "teleport"}), true, "unknown action type: teleport"),
            (json!({"type": "redirect"}), true, "missing RedirectConfig"),
            (
                json!({"type": "redirect", "redirectconfig": {}}),
                true,
                "invalid RedirectConfig: statusCode is required",
            ),
            (
                json!({"type": "fixed-response", "fixedresponseconfig": {"statuscode": 200}}),
                false,
                "json: cannot unmarshal number into Go struct field statusCode of type string",
            ),
            (
                json!({"type": "fixed-response", "fixedresponseconfig": {"statuscode": ""}}),
                true,
                "invalid FixedResponseConfig: statusCode is required",
            ),
            (
                json!({"type": "forward"}),
                true,
                "precisely one of TargetGroupArn and ForwardConfig can be specified",
            ),
            (
                tuples(json!([{"weight": 1}])),
                true,
                "invalid ForwardConfig: invalid TargetGroupTuple: precisely one of targetGroupARN, targetGroupName and serviceName can be specified",
            ),
            (
                tuples(json!([{"servicename": "web"}])),
                true,
                "invalid ForwardConfig: invalid TargetGroupTuple: missing servicePort",
            ),
            (
                tuples(json!([web(), web()])),
                true,
                "invalid ForwardConfig: weight must be set when route to multiple target groups",
            ),
            (
                tuples(json!([{"servicename": "web", "serviceport": 80, "weight": "1"}])),
                false,
                "json: cannot unmarshal string into Go struct field weight of type int64",
            ),
            (
                forward(json!({"targetgroups": [web()], "targetgroupstickinessconfig": {"enabled": "yes"}})),
                false,
                "json: cannot unmarshal string into Go struct field enabled of type bool",
            ),
        ];
        for (value, typed, why) in table {
            let Err(wrong) = read(&value) else { panic!("{value}") };
            let expected = if typed { Wrong::Invalid(why.into()) } else { Wrong::Type(why.into()) };
            assert_eq!(wrong, expected, "{value}");
        }
    }
}
