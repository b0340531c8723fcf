//! Ingresses, their classes, network policies, EndpointSlices and Leases.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{
    at, at_mut, check_ip, check_one_of, check_optional, check_port, check_required, check_rule, has,
    has_leading_zeros, is_empty, items, keep_status, text,
};
use super::{PLAIN, Strategy};

pub(super) static INGRESS: Strategy = Strategy {
    update_checks: super::order::CHANGES_THEN_METADATA,
    default: |_| {},
    prepare_create: |ingress| ingress["status"] = json!({"loadBalancer": {}}),
    prepare_update: keep_status,
    validate_create: |ingress| [validate_ingress(ingress), check_classes(ingress)].concat(),
    validate_update: |ingress, _| validate_ingress(ingress),
    validate_status: |ingress, _| {
        load_balancer_errors(at(ingress, &["status", "loadBalancer"]), "status.loadBalancer", false)
    },
    warns_of_updates: false,
    warnings: |ingress| {
        let annotated = crate::object::metadata(ingress)
            .get("annotations")
            .is_some_and(|all| all.get("kubernetes.io/ingress.class").is_some());
        if annotated {
            vec!["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead".to_owned()]
        } else {
            Vec::new()
        }
    },
    status: true,
    generation: true,
    ..PLAIN
};

/// Where a new Ingress names its class both ways, they are the same.
fn check_classes(ingress: &Value) -> Vec<FieldError> {
    let annotated = at(ingress, &["metadata", "annotations", "kubernetes.io/ingress.class"]);
    let named = at(ingress, &["spec", "ingressClassName"]);
    if annotated.is_null() || named.is_null() || annotated == named {
        return Vec::new();
    }
    let why = "must match `ingressClassName` when both are specified";
    vec![FieldError::invalid("annotations.kubernetes.io/ingress.class", annotated, why)]
}

fn validate_ingress(ingress: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = at(ingress, &["spec"]);
    if items(spec, "rules").is_empty() && at(spec, &["defaultBackend"]).is_null() {
        errors.push(FieldError::invalid(
            "spec",
            at(spec, &["rules"]),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if let Some(backend) = spec.get("defaultBackend") {
        validate_backend(backend, "spec.defaultBackend", &mut errors);
    }
    for (i, rule) in items(spec, "rules").iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        let host = text(rule, "host");
        if !host.is_empty() {
            validate_host(host, &format!("{path}.host"), &mut errors);
        }
        if let Some(http) = rule.get("http") {
            let paths = items(http, "paths");
            if paths.is_empty() {
                errors.push(FieldError::required(format!("{path}.http.paths"), ""));
            }
            for (j, http_path) in paths.iter().enumerate() {
                validate_path(http_path, &format!("{path}.http.paths[{j}]"), &mut errors);
            }
        }
    }
    for (i, tls) in items(spec, "tls").iter().enumerate() {
        for (j, host) in items(tls, "hosts").iter().enumerate() {
            validate_tls_host(host.as_str().unwrap_or(""), &format!("spec.tls[{i}].hosts[{j}]"), &mut errors);
        }
        check_optional(
            tls,
            "secretName",
            names::dns1123_subdomain,
            format_args!("spec.tls[{i}]"),
            &mut errors,
        );
    }
    let class = text(spec, "ingressClassName");
    if has(spec, "ingressClassName") {
        errors.extend(
            names::dns1123_subdomain(class)
                .into_iter()
                .map(|problem| FieldError::invalid("spec.ingressClassName", &class.into(), problem)),
        );
    }
    errors
}

const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn host_problems(host: &str) -> Vec<String> {
    if host.contains('*') {
        match host.strip_prefix("*.") {
            Some(rest) if names::dns1123_subdomain(rest).is_empty() => Vec::new(),
            _ => vec![WILDCARD.to_owned()],
        }
    } else {
        names::dns1123_subdomain(host)
    }
}

fn validate_host(host: &str, path: &str, errors: &mut Vec<FieldError>) {
    check_no_address(host, path, errors);
    validate_tls_host(host, path, errors);
}

fn check_no_address(host: &str, path: &str, errors: &mut Vec<FieldError>) {
    if host.parse::<std::net::IpAddr>().is_ok() || has_leading_zeros(host) {
        errors.push(FieldError::invalid(path, &host.into(), "must be a DNS name, not an IP address"));
    }
}

fn validate_tls_host(host: &str, path: &str, errors: &mut Vec<FieldError>) {
    errors.extend(
        host_problems(host).into_iter().map(|problem| FieldError::invalid(path, &host.into(), problem)),
    );
}

fn validate_path(http_path: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let place = format!("{path}.path");
    let value = text(http_path, "path");
    let absolute = value.starts_with('/');
    match text(http_path, "pathType") {
        "" if !has(http_path, "pathType") => {
            errors.push(FieldError::required(format!("{path}.pathType"), "pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            let mut wrong = |why: String| errors.push(FieldError::invalid(&place, &value.into(), why));
            if !absolute {
                wrong("must be an absolute path".to_owned());
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|bad| value.contains(*bad)) {
                wrong(format!("must not contain '{bad}'"));
            }
            for bad in ["/..", "/."].into_iter().filter(|bad| value.ends_with(*bad)) {
                wrong(format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !absolute {
                errors.push(FieldError::invalid(&place, &value.into(), "must be an absolute path"));
            }
        }
        other => errors.push(FieldError::not_supported(
            format!("{path}.pathType"),
            &other.into(),
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    validate_backend(http_path.get("backend").unwrap_or(&Value::Null), &format!("{path}.backend"), errors);
}

fn validate_backend(backend: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service, resource) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(
                path,
                &"".into(),
                "cannot set both resource and service backends",
            ));
        }
        (None, None) => {
            errors.push(FieldError::invalid(path, &"".into(), "resource or service backend is required"));
        }
        (None, Some(resource)) => {
            let path = format!("{path}.resource");
            if let Some(group) = resource.get("apiGroup").and_then(Value::as_str) {
                check_rule(group, names::dns1123_subdomain, format_args!("{path}.apiGroup"), errors);
            }
            for member in ["kind", "name"] {
                check_required(resource, member, names::path_segment, &path, errors);
            }
        }
        (Some(service), None) => validate_service_backend(service, path, errors),
    }
}

fn validate_service_backend(service: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let name = text(service, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.service.name"), ""));
    } else {
        errors.extend(
            names::dns1123_label(name)
                .into_iter()
                .map(|problem| FieldError::invalid(format!("{path}.service.name"), &name.into(), problem)),
        );
    }
    let port_name = text(at(service, &["port"]), "name");
    let number = at(service, &["port", "number"]);
    match (port_name.is_empty(), number.as_i64().unwrap_or(0) == 0) {
        (false, false) => {
            errors.push(FieldError::invalid(path, &"".into(), "cannot set both port name & port number"))
        }
        (true, true) => errors.push(FieldError::required(path, "port name or number is required")),
        (false, true) => {
            errors.extend(names::port_name(port_name).into_iter().map(|problem| {
                FieldError::invalid(format!("{path}.service.port.name"), &port_name.into(), problem)
            }));
        }
        (true, false) => check_port(number, format!("{path}.service.port.number"), errors),
    }
}

/// Errors of a `LoadBalancerStatus`; `has_ip_mode` where it is a Service's.
pub(super) fn load_balancer_errors(status: &Value, path: &str, has_ip_mode: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, ingress) in items(status, "ingress").iter().enumerate() {
        let path = format!("{path}.ingress[{i}]");
        let ip = text(ingress, "ip");
        if !ip.is_empty() {
            check_ip(ip, format!("{path}.ip"), &mut errors);
        }
        let mode = text(ingress, "ipMode");
        if has_ip_mode && !mode.is_empty() {
            if ip.is_empty() {
                errors.push(FieldError::forbidden(
                    format!("{path}.ipMode"),
                    "may not be specified when `ip` is not set",
                ));
            } else {
                check_one_of(
                    ingress,
                    "ipMode",
                    format_args!("{path}.ipMode"),
                    &["VIP", "Proxy"],
                    &mut errors,
                );
            }
        }
        let hostname = text(ingress, "hostname");
        if !hostname.is_empty() {
            let path = format!("{path}.hostname");
            check_rule(hostname, names::dns1123_subdomain, &path, &mut errors);
            check_no_address(hostname, &path, &mut errors);
        }
    }
    errors
}

/// What only coordinated leader election would have is off.
fn drop_coordination(lease: &mut Value) {
    if let Some(spec) = at_mut(lease, &["spec"]) {
        spec.remove("strategy");
        spec.remove("preferredHolder");
    }
}

pub(super) static LEASE: Strategy = Strategy {
    prepare_create: drop_coordination,
    prepare_update: |lease, _| drop_coordination(lease),
    standard_finalizers: false,
    validate_create: validate_lease,
    validate_update: |lease, _| validate_lease(lease),
    create_on_update: true,
    unconditional_update: false,
    ..PLAIN
};

fn validate_lease(lease: &Value) -> Vec<FieldError> {
    let spec = at(lease, &["spec"]);
    let mut errors = Vec::new();
    if is_empty(spec) {
        return errors;
    }
    if let Some(seconds) = spec.get("leaseDurationSeconds").and_then(Value::as_i64)
        && seconds <= 0
    {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            &seconds.into(),
            "must be greater than 0",
        ));
    }
    super::shared::check_not_negative(spec, "leaseTransitions", "spec.leaseTransitions", &mut errors);
    errors
}
