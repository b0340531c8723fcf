//! What AWS refuses in the health check of a target group.
//!
//! Checking is the proxy's business.

use crate::listeners::web;
use ccm_mock_aws_api::elbv2::{HealthCheck, Protocol, ProtocolVersion};
use ccm_mock_aws_api::{Code, Error, Parameter};

fn invalid(parameter: Parameter, message: String) -> Error {
    Error::new(Code::ValidationError, message).of(parameter)
}

fn check_numbers(check: &HealthCheck) -> Result<(), Error> {
    use Parameter::*;
    let table = [
        ("interval", HealthCheckIntervalSeconds, check.interval_seconds, 5, 300),
        ("timeout", HealthCheckTimeoutSeconds, check.timeout_seconds, 2, 120),
        ("healthy threshold count", HealthyThresholdCount, check.healthy_threshold_count, 2, 10),
        ("unhealthy threshold count", UnhealthyThresholdCount, check.unhealthy_threshold_count, 2, 10),
    ];
    for (name, parameter, value, low, high) in table {
        if !(low..=high).contains(&value) {
            let message = format!("Health check {name} '{value}' must be between '{low}' and '{high}'");
            return Err(invalid(parameter, message));
        }
    }
    if check.timeout_seconds > check.interval_seconds {
        let message = format!(
            "Health check timeout '{}' must be smaller than or equal to the interval '{}'",
            check.timeout_seconds, check.interval_seconds
        );
        return Err(invalid(HealthCheckTimeoutSeconds, message));
    }
    Ok(())
}

/// `200`, `200-299`, `200,301`, of web target groups.
fn check_matcher(version: Option<ProtocolVersion>, matcher: &str) -> Result<(), Error> {
    let (low, high, what) = match version {
        _ if matcher.is_empty() => return Ok(()),
        Some(ProtocolVersion::Grpc) => (0, 99, "GRPC"),
        _ => (200, 499, "HTTP"),
    };
    for text in matcher.split([',', '-']) {
        if !text.trim().parse::<u16>().is_ok_and(|code| (low..=high).contains(&code)) {
            let message =
                format!("Health check matcher {what} code '{text}' must be within '{low}-{high}' inclusive");
            return Err(invalid(Parameter::Matcher, message));
        }
    }
    Ok(())
}

/// What AWS refuses in the health check of a target group of this protocol.
pub(crate) fn check_health_check(
    protocol: Protocol,
    version: Option<ProtocolVersion>,
    check: &HealthCheck,
) -> Result<(), Error> {
    check_numbers(check)?;
    if !check.path.is_empty() && !check.path.starts_with('/') {
        let message = format!("Health check path '{}' must begin with a '/' character", check.path);
        return Err(invalid(Parameter::HealthCheckPath, message));
    }
    if check.port != "traffic-port" && check.port.parse::<u16>().map_or(true, |p| p == 0) {
        let message =
            format!("Health check port '{}' must be 'traffic-port' or in the range 1-65535", check.port);
        return Err(invalid(Parameter::HealthCheckPort, message));
    }
    if !web(protocol) {
        return Ok(());
    }
    if !web(check.protocol) {
        let message = format!(
            "Health check protocol '{}' is not supported for target groups with the protocol '{protocol}'",
            check.protocol
        );
        return Err(invalid(Parameter::HealthCheckProtocol, message));
    }
    check_matcher(version, &check.matcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_to_blame_is_told() {
        use Parameter as P;
        type Change = fn(&mut HealthCheck);
        let table: [(Change, Option<Parameter>); 11] = [
            (|_| {}, None),
            (|c| c.interval_seconds = 4, Some(P::HealthCheckIntervalSeconds)),
            (|c| c.timeout_seconds = 121, Some(P::HealthCheckTimeoutSeconds)),
            (|c| (c.interval_seconds, c.timeout_seconds) = (5, 6), Some(P::HealthCheckTimeoutSeconds)),
            (|c| c.healthy_threshold_count = 1, Some(P::HealthyThresholdCount)),
            (|c| c.unhealthy_threshold_count = 11, Some(P::UnhealthyThresholdCount)),
            (|c| c.path = "nolead".into(), Some(P::HealthCheckPath)),
            (|c| c.port = "0".into(), Some(P::HealthCheckPort)),
            (|c| c.protocol = Protocol::Tcp, Some(P::HealthCheckProtocol)),
            (|c| c.matcher = "200-299,301".into(), None),
            (|c| c.matcher = "500".into(), Some(P::Matcher)),
        ];
        for (i, (change, parameter)) in table.into_iter().enumerate() {
            let mut check = HealthCheck::default_for(Protocol::Http);
            change(&mut check);
            let said = check_health_check(Protocol::Http, None, &check).err().and_then(|e| e.parameter);
            assert_eq!(said, parameter, "row {i}");
        }
    }
}
