//! What AWS refuses in the actions of a rule or a listener.
//!
//! What an action comes to for a request is `alb-routing`.

use crate::listeners::web;
use crate::state::State;
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::{Code, Error, limits};

const REDIRECT_CODES: &[&str] = &["HTTP_301", "HTTP_302"];
const REDIRECT_PROTOCOLS: &[&str] = &["HTTP", "HTTPS", "#{protocol}"];
const CONTENT_TYPES: &[&str] =
    &["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::ValidationError, message)
}

/// The sentence of the API's own model about a value that is none of those there are.
fn one_of(value: &str, at: &str, all: &[&str]) -> Result<(), Error> {
    if all.contains(&value) {
        return Ok(());
    }
    Err(invalid(format!(
        "1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
        all.join(", ")
    )))
}

fn check_redirect(config: &RedirectConfig, protocol: Protocol, port: u16) -> Result<(), Error> {
    one_of(&config.status_code, "actions.1.member.redirectConfig.statusCode", REDIRECT_CODES)?;
    one_of(&config.protocol, "actions.1.member.redirectConfig.protocol", REDIRECT_PROTOCOLS)?;
    let number = config.port.parse::<u16>().is_ok_and(|port| port > 0);
    if config.port != "#{port}" && !number {
        let message =
            format!("The redirect port '{}' must be in the range 1-65535 or #{{port}}", config.port);
        return Err(invalid(message));
    }
    if !config.path.starts_with('/') {
        return Err(invalid(format!("The redirect path '{}' must begin with a '/' character", config.path)));
    }
    if config.query.starts_with('?') {
        return Err(invalid(format!("The redirect query '{}' must not begin with '?'", config.query)));
    }
    if config.host.is_empty() {
        return Err(invalid("The redirect host must have at least 1 character"));
    }
    for (what, value) in [("host", &config.host), ("path", &config.path), ("query", &config.query)] {
        if value.chars().count() > limits::REDIRECT_LENGTH {
            let most = limits::REDIRECT_LENGTH;
            return Err(invalid(format!("The redirect {what} '{value}' must be at most {most} characters")));
        }
    }
    if protocol == Protocol::Https && config.protocol == "HTTP" {
        let message = "A redirect from HTTPS to HTTP is not supported";
        return Err(Error::new(Code::InvalidLoadBalancerAction, message));
    }
    let itself = config.host == "#{host}"
        && config.path == "/#{path}"
        && (config.protocol == "#{protocol}" || config.protocol == protocol.as_str())
        && (config.port == "#{port}" || config.port == port.to_string());
    if itself {
        let message = "The redirect configuration is not valid because it creates a loop";
        return Err(Error::new(Code::InvalidLoadBalancerAction, message));
    }
    Ok(())
}

fn check_fixed_response(config: &FixedResponseConfig) -> Result<(), Error> {
    let code = config.status_code.as_bytes();
    if !matches!(code, [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9']) {
        let message = format!("The status code must be 2XX, 4XX or 5XX, not '{}'", config.status_code);
        return Err(invalid(message));
    }
    if let Some(content_type) = &config.content_type {
        one_of(content_type, "actions.1.member.fixedResponseConfig.contentType", CONTENT_TYPES)?;
    }
    if config.message_body.as_ref().is_some_and(|b| b.len() > limits::MESSAGE_BODY_LENGTH) {
        return Err(invalid("The message body must be at most 1024 bytes"));
    }
    Ok(())
}

fn check_stickiness(config: &TargetGroupStickinessConfig) -> Result<(), Error> {
    match config.duration_seconds {
        None if config.enabled => {
            Err(invalid("The target group stickiness duration must be specified when stickiness is enabled"))
        }
        Some(seconds) if !(1..=limits::MAX_STICKINESS_S).contains(&seconds) => Err(invalid(format!(
            "The target group stickiness duration '{seconds}' must be between '1' and '{}' seconds",
            limits::MAX_STICKINESS_S
        ))),
        _ => Ok(()),
    }
}

impl State {
    /// What AWS refuses in the actions of a rule or listener.
    pub(crate) fn check_actions(
        &self,
        actions: &[Action],
        protocol: Protocol,
        port: u16,
    ) -> Result<(), Error> {
        let [action] = actions else {
            let message = "You must specify exactly one terminal action";
            return Err(Error::new(Code::InvalidLoadBalancerAction, message));
        };
        match action.r#type {
            ActionType::Redirect => {
                check_redirect(&action.redirect_config.clone().unwrap_or_default(), protocol, port)
            }
            ActionType::FixedResponse => {
                check_fixed_response(&action.fixed_response_config.clone().unwrap_or_default())
            }
            ActionType::Forward => self.check_forward(action, protocol),
        }
    }

    fn check_forward(&self, action: &Action, protocol: Protocol) -> Result<(), Error> {
        let groups = action.target_groups();
        if groups.is_empty() {
            return Err(invalid("A target group ARN must be specified"));
        }
        if groups.len() > limits::TARGET_GROUPS_PER_ACTION {
            let message = "A maximum of 5 target groups can be specified";
            return Err(Error::new(Code::TooManyTargetGroups, message));
        }
        if let Some((_, weight)) = groups.iter().find(|(_, weight)| *weight > limits::MAX_WEIGHT) {
            return Err(invalid(format!(
                "The target group weight '{weight}' must be between '0' and '{}'",
                limits::MAX_WEIGHT
            )));
        }
        let mut found = Vec::new();
        for (arn, _) in &groups {
            let missing =
                || Error::new(Code::TargetGroupNotFound, format!("Target groups '{arn}' not found"));
            found.push(self.target_groups.get(*arn).ok_or_else(missing)?);
        }
        if found.iter().any(|group| web(group.protocol) != web(protocol)) {
            return Err(Error::new(
                Code::InvalidConfigurationRequest,
                "The protocol of the target group is not compatible with the listener protocol",
            ));
        }
        let stickiness =
            action.forward_config.as_ref().and_then(|c| c.target_group_stickiness_config.as_ref());
        stickiness.map_or(Ok(()), check_stickiness)?;
        let together = stickiness.is_some_and(|config| config.enabled);
        let sticky = |g: &&std::sync::Arc<TargetGroup>| {
            web(g.protocol) && g.attributes.get("stickiness.enabled").is_some_and(|v| v == "true")
        };
        if found.len() > 1 && !together && found.iter().any(sticky) {
            return Err(Error::new(
                Code::InvalidConfigurationRequest,
                "You must enable group stickiness on a rule if you enable target stickiness on one of its target groups",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_refused_by_their_members() {
        type Change = fn(&mut RedirectConfig);
        let table: [(Change, Option<&str>); 15] = [
            (|c| c.status_code = "HTTP_302".into(), None),
            (|c| c.status_code = "HTTP_307".into(), Some("Value 'HTTP_307' at")),
            (|c| c.status_code = "301".into(), Some("[HTTP_301, HTTP_302]")),
            (|c| c.protocol = "HTTPS".into(), None),
            (|c| c.protocol = "FTP".into(), Some("Value 'FTP' at")),
            (|c| c.protocol = "https".into(), Some("Value 'https' at")),
            (|c| c.port = "8443".into(), None),
            (|c| c.port = "0".into(), Some("redirect port '0'")),
            (|c| c.port = "65536".into(), Some("redirect port '65536'")),
            (|c| c.path = "nolead".into(), Some("redirect path 'nolead' must begin with a '/'")),
            (|c| c.path = format!("/{}", "x".repeat(128)), Some("at most 128 characters")),
            (|c| c.query = "?a=b".into(), Some("must not begin with '?'")),
            (|c| c.host = String::new(), Some("at least 1 character")),
            (
                |c| (c.host, c.query) = ("#{host}".into(), "a=b".into()),
                Some("creates a loop"), // what is asked for is no place
            ),
            (|c| c.host = "www.#{host}".into(), None),
        ];
        for (i, (change, why)) in table.into_iter().enumerate() {
            let mut config = RedirectConfig { host: "x.y".into(), ..Default::default() };
            change(&mut config);
            let said = check_redirect(&config, Protocol::Http, 80).err().map(|e| e.message);
            assert_eq!(said.is_some(), why.is_some(), "row {i}: {said:?}");
            assert!(said.unwrap_or_default().contains(why.unwrap_or_default()), "row {i}");
        }
        let down = RedirectConfig { protocol: "HTTP".into(), host: "x.y".into(), ..Default::default() };
        assert!(check_redirect(&down, Protocol::Https, 443).is_err());
    }

    #[test]
    fn fixed_responses_and_stickiness_have_their_ranges() {
        let fixed = |code: &str, kind: Option<&str>, length: usize| FixedResponseConfig {
            status_code: code.into(),
            content_type: kind.map(str::to_string),
            message_body: Some("x".repeat(length)),
        };
        let table = [
            (fixed("200", Some("text/html"), 1024), None),
            (fixed("503", None, 0), None),
            (fixed("302", None, 0), Some("must be 2XX, 4XX or 5XX")),
            (fixed("2xx", None, 0), Some("must be 2XX, 4XX or 5XX")),
            (fixed("2000", None, 0), Some("must be 2XX, 4XX or 5XX")),
            (fixed("200", Some("image/png"), 0), Some("Value 'image/png' at")),
            (fixed("200", None, 1025), Some("at most 1024 bytes")),
        ];
        for (config, why) in table {
            let said = check_fixed_response(&config).err().map(|e| e.message);
            assert_eq!(said.is_some(), why.is_some(), "{config:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(why.unwrap_or_default()), "{config:?}");
        }
        for (enabled, duration_seconds, fine) in [
            (true, Some(1), true),
            (true, Some(604_800), true),
            (true, Some(9_999_999), false),
            (true, Some(0), false),
            (true, None, false),
            (false, None, true),
        ] {
            let config = TargetGroupStickinessConfig { enabled, duration_seconds };
            assert_eq!(check_stickiness(&config).is_ok(), fine, "{config:?}");
        }
    }
}
