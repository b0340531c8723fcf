//! A Service port as a target group: its port, protocol, health check and attributes.
//!
//! Targets themselves are not here: they change more often than the plan.

use crate::annotations::{Annotations, about};
use crate::group::{Group, key};
use crate::names::{self, TargetGroupName};
use crate::origin::{self, Origin};
use crate::plan::TargetGroupPlan;
use ccm_mock_aws_api::Parameter;
use ccm_mock_aws_api::elbv2::{HealthCheck, Protocol, ProtocolVersion, TargetType};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where a forward goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A target group of the plan.
    Planned(Box<TargetGroupPlan>),
    /// One that was made elsewhere.
    Arn(String),
}

/// The port of a Service by name or number.
pub fn find_port<'a>(service: &'a Service, port: &str) -> Option<&'a ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    match port.parse::<i32>() {
        Ok(number) => ports.iter().find(|p| p.port == number),
        Err(_) => ports.iter().find(|p| p.name.as_deref() == Some(port)),
    }
}

fn group_port(port: &ServicePort, target_type: TargetType) -> Result<u16, String> {
    let number = |n: i32| u16::try_from(n).unwrap_or(0);
    match target_type {
        TargetType::Instance => match port.node_port.map(number) {
            Some(port) if port != 0 => Ok(port),
            _ => Err("TargetGroup port is empty. When using Instance targets, your service must be of type 'NodePort' or 'LoadBalancer'".into()),
        },
        // Targets of a named port carry their own numbers.
        TargetType::Ip => Ok(match &port.target_port {
            Some(IntOrString::Int(n)) if *n != 0 => number(*n),
            Some(IntOrString::String(_)) => 1,
            _ => number(port.port),
        }),
    }
}

fn word<T: std::str::FromStr>(
    annotations: Annotations<'_>,
    name: &str,
    what: &str,
    usual: T,
) -> Result<T, String> {
    match annotations.text(name) {
        Some(text) => text.parse().map_err(|_| about(format!("unknown {what}: {text}"), name)),
        None => Ok(usual),
    }
}

fn health_check(
    annotations: Annotations<'_>,
    service: &Service,
    target_type: TargetType,
    (protocol, version): (Protocol, ProtocolVersion),
) -> Result<HealthCheck, String> {
    let grpc = version == ProtocolVersion::Grpc;
    let port = match annotations.text("healthcheck-port") {
        None | Some("traffic-port") => "traffic-port".to_string(),
        Some(text) if text.parse::<u16>().is_ok() => text.to_string(),
        Some(name) => {
            let port = find_port(service, name).ok_or_else(|| {
                let (namespace, service) = service_key(service);
                let why = format!("failed to resolve healthCheckPort: unable to find port {name} on service {namespace}/{service}");
                about(why, "healthcheck-port")
            })?;
            match group_port(port, target_type)? {
                1 => {
                    return Err(about(
                        "cannot use named healthCheckPort for IP TargetType when service's targetPort is a named port",
                        "healthcheck-port",
                    ));
                }
                number => number.to_string(),
            }
        }
    };
    let protocol = word(annotations, "healthcheck-protocol", "healthCheckProtocol", protocol)?;
    if !matches!(protocol, Protocol::Http | Protocol::Https) {
        let why = format!("healthCheckProtocol must be within [HTTP, HTTPS]: {protocol}");
        return Err(about(why, "healthcheck-protocol"));
    }
    let text = |name: &str, usual: &str| annotations.text(name).unwrap_or(usual).to_string();
    Ok(HealthCheck {
        enabled: true,
        protocol,
        port,
        path: text("healthcheck-path", if grpc { "/AWS.ALB/healthcheck" } else { "/" }),
        interval_seconds: annotations.number("healthcheck-interval-seconds")?.unwrap_or(15),
        timeout_seconds: annotations.number("healthcheck-timeout-seconds")?.unwrap_or(5),
        healthy_threshold_count: annotations.number("healthy-threshold-count")?.unwrap_or(2),
        unhealthy_threshold_count: annotations.number("unhealthy-threshold-count")?.unwrap_or(2),
        matcher: text("success-codes", if grpc { "12" } else { "200" }),
    })
}

fn service_key(service: &Service) -> (&str, &str) {
    let meta = &service.metadata;
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Why a Service that exists has no such port.
pub(crate) fn unknown_port(group: &Group, ingress: &Ingress, name: &str, port: &str) -> Option<String> {
    let (namespace, _) = key(ingress);
    let service = group.services.get(&(namespace.clone(), name.to_string()))?;
    let missing = find_port(service, port).is_none();
    missing.then(|| format!("unable to find port {port} on service {namespace}/{name}"))
}

/// Annotations of a target group by the parameter that their value goes into.
const PARAMETERS: &[(Parameter, &str)] = &[
    (Parameter::HealthCheckPort, "healthcheck-port"),
    (Parameter::HealthCheckProtocol, "healthcheck-protocol"),
    (Parameter::HealthCheckPath, "healthcheck-path"),
    (Parameter::HealthCheckIntervalSeconds, "healthcheck-interval-seconds"),
    (Parameter::HealthCheckTimeoutSeconds, "healthcheck-timeout-seconds"),
    (Parameter::HealthyThresholdCount, "healthy-threshold-count"),
    (Parameter::UnhealthyThresholdCount, "unhealthy-threshold-count"),
    (Parameter::Matcher, "success-codes"),
    (Parameter::Attributes, "target-group-attributes"),
];

/// Where the values of a target group were written: at the Service, else at the Ingress.
fn origins(service: &Service, ingress: &Ingress) -> Vec<Origin> {
    let of = |kind: &str, meta: &ObjectMeta, (parameter, name): (Parameter, &str)| {
        origin::annotation(kind, meta, name, parameter, Vec::new())
    };
    let written = PARAMETERS.iter().filter_map(|row| {
        of("Service", &service.metadata, *row).or_else(|| of("Ingress", &ingress.metadata, *row))
    });
    written.collect()
}

/// The target group of a Service port; none if the Service does not exist.
pub(crate) fn service_target(
    group: &Group,
    ingress: &Ingress,
    name: &str,
    port: &str,
) -> Result<Option<Target>, String> {
    let (namespace, ingress_name) = key(ingress);
    let Some(service) = group.services.get(&(namespace.clone(), name.to_string())) else { return Ok(None) };
    let service_port = find_port(service, port)
        .ok_or_else(|| unknown_port(group, ingress, name, port).unwrap_or_default())?;
    let annotations =
        Annotations::over(service.metadata.annotations.as_ref(), ingress.metadata.annotations.as_ref());
    let target_type = word(annotations, "target-type", "targetType", TargetType::Instance)?;
    let protocol = word(annotations, "backend-protocol", "backend protocol", Protocol::Http)?;
    if !matches!(protocol, Protocol::Http | Protocol::Https) {
        let why = format!("backend protocol must be within [HTTP, HTTPS]: {protocol}");
        return Err(about(why, "backend-protocol"));
    }
    let version =
        word(annotations, "backend-protocol-version", "backend protocol version", ProtocolVersion::Http1)?;
    let number = group_port(service_port, target_type)?;
    let mut tags = Annotations::of(ingress.metadata.annotations.as_ref()).map("tags")?;
    tags.extend(Annotations::of(service.metadata.annotations.as_ref()).map("tags")?);
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    let group_name = names::target_group(TargetGroupName {
        cluster: &group.cluster,
        group: &group.id,
        ingress: (&namespace, &ingress_name),
        service: (&namespace, name, uid),
        service_port: port,
        port: number,
        target_type: target_type.as_str(),
        protocol: protocol.as_str(),
        protocol_version: version.as_str(),
    });
    Ok(Some(Target::Planned(Box::new(TargetGroupPlan {
        resource: format!("{namespace}/{ingress_name}-{name}:{port}"),
        name: group_name,
        namespace,
        service: name.to_string(),
        service_port: port.to_string(),
        target_type,
        protocol,
        protocol_version: version,
        port: number,
        health_check: health_check(annotations, service, target_type, (protocol, version))?,
        attributes: annotations.map("target-group-attributes")?,
        tags,
        origins: origins(service, ingress),
    }))))
}
