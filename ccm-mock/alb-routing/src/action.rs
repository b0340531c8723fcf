//! What an action comes to for a request.
//!
//! Choosing among weighted target groups takes a number from outside.

use crate::RequestHead;
use ccm_mock_aws_api::elbv2::{Action, ActionType, Listener, RedirectConfig, TargetGroupStickinessConfig};

/// The result of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send it to one of these target groups, by weight.
    Forward {
        /// ARN and weight.
        target_groups: Vec<(String, u32)>,
        /// Whether a client stays with the one it was sent to.
        stickiness: Option<TargetGroupStickinessConfig>,
    },
    /// Tell the client to go elsewhere.
    Redirect {
        /// 301 or 302.
        status: u16,
        /// Location header.
        location: String,
    },
    /// Answer at once.
    FixedResponse {
        /// Status.
        status: u16,
        /// Content-Type.
        content_type: String,
        /// Body.
        body: String,
    },
}

impl Outcome {
    /// A fixed answer; the content type is text/plain if none is given.
    pub fn fixed(status: u16, content_type: Option<&str>, body: Option<&str>) -> Self {
        Outcome::FixedResponse {
            status,
            content_type: content_type.unwrap_or("text/plain").into(),
            body: body.unwrap_or_default().into(),
        }
    }
}

pub(crate) fn outcome(action: &Action, listener: &Listener, head: &RequestHead) -> Outcome {
    match action.r#type {
        ActionType::Forward => Outcome::Forward {
            target_groups: action.target_groups().into_iter().map(|(arn, w)| (arn.to_string(), w)).collect(),
            stickiness: action.forward_config.as_ref().and_then(|c| c.target_group_stickiness_config.clone()),
        },
        ActionType::Redirect => {
            let config = action.redirect_config.clone().unwrap_or_default();
            let status = if config.status_code == "HTTP_302" { 302 } else { 301 };
            Outcome::Redirect { status, location: location(&config, listener.port, head) }
        }
        ActionType::FixedResponse => match &action.fixed_response_config {
            Some(c) => Outcome::fixed(
                c.status_code.parse().unwrap_or(503),
                c.content_type.as_deref(),
                c.message_body.as_deref(),
            ),
            None => Outcome::fixed(503, None, None),
        },
    }
}

/// The Location of a redirect: placeholders filled from the request.
pub fn location(config: &RedirectConfig, port: u16, head: &RequestHead) -> String {
    let fill = |template: &str| {
        template
            .replace("#{protocol}", &head.scheme)
            .replace("#{host}", head.hostname())
            .replace("#{port}", &port.to_string())
            .replace("#{path}", head.path.trim_start_matches('/'))
            .replace("#{query}", head.query.as_deref().unwrap_or_default())
    };
    let protocol = fill(&config.protocol).to_ascii_lowercase();
    let query = fill(&config.query);
    let query = if query.is_empty() { query } else { format!("?{query}") };
    format!("{protocol}://{}:{}{}{query}", fill(&config.host), fill(&config.port), fill(&config.path))
}

/// The target group that `random` falls on; None if all weights are 0 (the client gets 503).
pub fn choose_target_group(target_groups: &[(String, u32)], random: u64) -> Option<&str> {
    let total: u64 = target_groups.iter().map(|(_, w)| u64::from(*w)).sum();
    let mut point = random.checked_rem(total)?;
    for (arn, weight) in target_groups {
        match point.checked_sub(u64::from(*weight)) {
            Some(rest) => point = rest,
            None => return Some(arn),
        }
    }
    None
}
