//! The `authorizer`: checks are put together member by member, and decided by `check` (`library/authz.go`).

use apiserver_meta::names;

use super::object::Opaque;
use super::{mistyped, opaque};
use crate::authority::{Authority, Check};
use crate::value::{Outcome, Val, fail, text};

/// How much of a check is said: each has members of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let Some(Val::Opaque(first)) = args.first() else { return mistyped(function, args) };
    if let Opaque::Verdict(verdict) = &**first {
        return match function {
            "allowed" => Ok(Val::Bool(verdict.allowed)),
            "reason" => Ok(text(&verdict.reason)),
            // Roles are looked up in memory: that does not fail.
            "errored" => Ok(Val::Bool(false)),
            "error" => Ok(text("")),
            _ => mistyped(function, args),
        };
    }
    let (Opaque::Check(stage, check), [_, Val::Text(given), rest @ ..]) = (&**first, args) else {
        return mistyped(function, args);
    };
    let (mut check, given) = (check.clone(), given.to_string());
    let next = match (stage, function, rest) {
        (Stage::Authorizer, "path", []) => {
            check.path = Some(given);
            Stage::Path
        }
        (Stage::Authorizer, "group", []) => {
            check.group = given;
            Stage::Group
        }
        (Stage::Authorizer, "serviceAccount", [Val::Text(name)]) => {
            if !names::dns1123_subdomain(name).is_empty() {
                return fail("Invalid service account name");
            }
            if !names::dns1123_label(&given).is_empty() {
                return fail("Invalid service account namespace");
            }
            check.account = Some((given, name.to_string()));
            Stage::Authorizer
        }
        (Stage::Group, "resource", []) => {
            check.resource = given;
            Stage::Resource
        }
        (Stage::Resource, "subresource", []) => {
            check.subresource = given;
            Stage::Resource
        }
        (Stage::Resource, "namespace", []) => {
            check.namespace = given;
            Stage::Resource
        }
        (Stage::Resource, "name", []) => {
            check.name = given;
            Stage::Resource
        }
        // Roles know of no selectors.
        (Stage::Resource, "fieldSelector" | "labelSelector", []) => Stage::Resource,
        _ => return mistyped(function, args),
    };
    opaque(Opaque::Check(next, check))
}

/// Decides a check.
pub(crate) fn check<'a>(args: &[Val<'a>], authority: Option<&dyn Authority>) -> Outcome<'a> {
    match (args, authority) {
        ([Val::Opaque(asked), Val::Text(verb)], Some(authority)) => match &**asked {
            Opaque::Check(Stage::Path | Stage::Resource, check) => {
                opaque(Opaque::Verdict(authority.decide(&Check { verb: verb.to_string(), ..check.clone() })))
            }
            _ => mistyped("check", args),
        },
        _ => mistyped("check", args),
    }
}
