//! Actions of rules and listeners, and their one-line summaries.
//!
//! Authentication actions are not modelled.

use crate::elbv2::ActionType;
use serde::{Deserialize, Serialize};

/// What a rule does with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    pub r#type: ActionType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// Set with a forward to a single target group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_config: Option<ForwardConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_config: Option<RedirectConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_response_config: Option<FixedResponseConfig>,
}

impl Action {
    fn empty(r#type: ActionType) -> Self {
        Action {
            r#type,
            order: None,
            target_group_arn: None,
            forward_config: None,
            redirect_config: None,
            fixed_response_config: None,
        }
    }
    /// Forward to one target group.
    pub fn forward(target_group_arn: impl Into<String>) -> Self {
        Self::forward_weighted(vec![TargetGroupTuple {
            target_group_arn: target_group_arn.into(),
            weight: Some(1),
        }])
    }
    /// Forward to several target groups by weight.
    pub fn forward_weighted(target_groups: Vec<TargetGroupTuple>) -> Self {
        let single =
            if let [one] = target_groups.as_slice() { Some(one.target_group_arn.clone()) } else { None };
        Action {
            target_group_arn: single,
            forward_config: Some(ForwardConfig { target_groups, ..Default::default() }),
            ..Self::empty(ActionType::Forward)
        }
    }
    /// Answer from the load balancer itself.
    pub fn fixed_response(
        status_code: impl Into<String>,
        content_type: Option<String>,
        body: Option<String>,
    ) -> Self {
        Action {
            fixed_response_config: Some(FixedResponseConfig {
                status_code: status_code.into(),
                content_type,
                message_body: body,
            }),
            ..Self::empty(ActionType::FixedResponse)
        }
    }
    /// Send the client elsewhere.
    pub fn redirect(config: RedirectConfig) -> Self {
        Action { redirect_config: Some(config), ..Self::empty(ActionType::Redirect) }
    }

    /// Target groups this action may forward to, with weights (a missing weight counts 1).
    pub fn target_groups(&self) -> Vec<(&str, u32)> {
        if let Some(config) = &self.forward_config
            && !config.target_groups.is_empty()
        {
            return config
                .target_groups
                .iter()
                .map(|t| (t.target_group_arn.as_str(), t.weight.unwrap_or(1)))
                .collect();
        }
        self.target_group_arn.iter().map(|arn| (arn.as_str(), 1)).collect()
    }

    /// `forward k8s-…`, `redirect 301 https`, `fixed 404`, for tables and traces.
    pub fn summary(&self) -> String {
        match self.r#type {
            ActionType::Forward => {
                let groups = self.target_groups();
                let many = groups.len() > 1;
                let names: Vec<String> = groups
                    .iter()
                    .map(|(arn, weight)| {
                        let name = crate::names::target_group_name(arn);
                        if many { format!("{name}:{weight}") } else { name.to_string() }
                    })
                    .collect();
                format!("forward {}", names.join(", "))
            }
            ActionType::Redirect => {
                let config = self.redirect_config.clone().unwrap_or_default();
                let code = config.status_code.trim_start_matches("HTTP_").to_string();
                format!("redirect {code} {}", config.location())
            }
            ActionType::FixedResponse => {
                let config = self.fixed_response_config.clone().unwrap_or_default();
                match &config.message_body {
                    Some(body) if !body.is_empty() => format!("fixed {} \"{body}\"", config.status_code),
                    _ => format!("fixed {}", config.status_code),
                }
            }
        }
    }
}

/// Where a forward goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardConfig {
    pub target_groups: Vec<TargetGroupTuple>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_stickiness_config: Option<TargetGroupStickinessConfig>,
}

/// A target group and its weight, 0-999.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetGroupTuple {
    pub target_group_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Stickiness between target groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetGroupStickinessConfig {
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
}

/// A redirect; members that are not set keep the request's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RedirectConfig {
    pub protocol: String,
    pub host: String,
    pub port: String,
    pub path: String,
    pub query: String,
    /// `HTTP_301` or `HTTP_302`.
    pub status_code: String,
}

impl Default for RedirectConfig {
    fn default() -> Self {
        RedirectConfig {
            protocol: "#{protocol}".into(),
            host: "#{host}".into(),
            port: "#{port}".into(),
            path: "/#{path}".into(),
            query: "#{query}".into(),
            status_code: "HTTP_301".into(),
        }
    }
}

impl RedirectConfig {
    /// The template of the Location header.
    pub fn location(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        format!("{}://{}:{}{}{}", self.protocol, self.host, self.port, self.path, query)
    }
}

/// An answer the load balancer makes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FixedResponseConfig {
    pub status_code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_body: Option<String>,
}
