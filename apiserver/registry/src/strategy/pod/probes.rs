//! Probes and lifecycle hooks: `validateProbe`, `validateLifecycle` upstream.

use std::fmt::Arguments;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::super::shared::{
    NOT_NEGATIVE, at, check_port_or_name, check_set_enum, has, items, number, require, text,
};
use super::Spec;

/// Errors of a container's hooks and probes, where it may have them.
pub(super) fn check(container: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = at(container, &["lifecycle"]).get(hook).filter(|handler| !handler.is_null()) {
            let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
            check_handler(handler, &kinds, format_args!("{path}.lifecycle.{hook}"), pod, errors);
        }
    }
    for member in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(member).filter(|probe| !probe.is_null()) else { continue };
        let path = format_args!("{path}.{member}");
        check_probe(probe, path, pod, errors);
        if member == "readinessProbe" {
            if let Some(seconds) = number(probe, "terminationGracePeriodSeconds") {
                let why = "must not be set for readinessProbes";
                let path = format!("{path}.terminationGracePeriodSeconds");
                errors.push(FieldError::invalid(path, &seconds.into(), why));
            }
        } else if number(probe, "successThreshold") != Some(1) {
            let count = number(probe, "successThreshold").unwrap_or(0);
            errors.push(FieldError::invalid(format!("{path}.successThreshold"), &count.into(), "must be 1"));
        }
    }
}

/// Init containers that end have neither.
pub(super) fn forbid(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for member in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if has(container, member) {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
        }
    }
}

fn check_probe(probe: &Value, path: Arguments<'_>, pod: &Spec, errors: &mut Vec<FieldError>) {
    check_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], path, pod, errors);
    for member in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        let value = number(probe, member).unwrap_or(0);
        if value < 0 {
            errors.push(FieldError::invalid(format!("{path}.{member}"), &value.into(), NOT_NEGATIVE));
        }
    }
    let member = "terminationGracePeriodSeconds";
    if let Some(seconds) = number(probe, member).filter(|seconds| *seconds <= 0) {
        let why = "must be greater than 0";
        errors.push(FieldError::invalid(format!("{path}.{member}"), &seconds.into(), why));
    }
}

fn check_handler(
    holder: &Value,
    kinds: &[&str],
    path: Arguments<'_>,
    pod: &Spec,
    errors: &mut Vec<FieldError>,
) {
    let mut found = false;
    for kind in kinds {
        let Some(handler) = holder.get(*kind).filter(|handler| !handler.is_null()) else { continue };
        let path = format_args!("{path}.{kind}");
        if std::mem::replace(&mut found, true) {
            errors.push(FieldError::forbidden(path.to_string(), "may not specify more than 1 handler type"));
            continue;
        }
        match *kind {
            "exec" => drop(require(handler, "command", path, errors)),
            "httpGet" => check_http(handler, path, errors),
            "sleep" => check_sleep(handler, path, pod, errors),
            _ => check_port_or_name(at(handler, &["port"]), format_args!("{path}.port"), errors),
        }
    }
    if !found {
        errors.push(FieldError::required(path.to_string(), "must specify a handler type"));
    }
}

fn check_http(get: &Value, path: Arguments<'_>, errors: &mut Vec<FieldError>) {
    require(get, "path", path, errors);
    check_port_or_name(at(get, &["port"]), format_args!("{path}.port"), errors);
    check_set_enum(get, "scheme", path, &["HTTP", "HTTPS"], errors);
    for header in items(get, "httpHeaders") {
        let name = text(header, "name");
        for why in names::http_header_name(name) {
            errors.push(FieldError::invalid(format!("{path}.httpHeaders"), &name.into(), why));
        }
    }
}

fn check_sleep(sleep: &Value, path: Arguments<'_>, pod: &Spec, errors: &mut Vec<FieldError>) {
    let seconds = number(sleep, "seconds").unwrap_or(0);
    if let Some(grace) = pod.grace
        && !(0..=grace).contains(&seconds)
    {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(path.to_string(), &seconds.into(), why));
    }
}
