//! Listener rules: priorities and quotas.
//!
//! Matching is `alb-routing`.

use crate::conditions::check_conditions;
use crate::listeners::{no_listener, ordered};
use crate::state::{State, fresh_id, get_mut, not_found, values};
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, Parameter, limits, names};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) fn no_rule(arn: &str) -> Error {
    not_found(Code::RuleNotFound, format!("One or more rules not found: {arn}"))
}

impl State {
    fn check_priority(
        &self,
        listener_arn: &str,
        priority: u32,
        except: &BTreeSet<&String>,
    ) -> Result<(), Error> {
        if !(1..=limits::MAX_PRIORITY).contains(&priority) {
            let message = format!("Priority '{priority}' must be between 1 and 50000");
            return Err(Error::new(Code::ValidationError, message));
        }
        let taken = self.rules.values().any(|r| {
            r.listener_arn == listener_arn && r.order() == priority && !except.contains(&r.rule_arn)
        });
        if taken {
            return Err(Error::new(
                Code::PriorityInUse,
                format!("Priority '{priority}' is currently in use"),
            ));
        }
        Ok(())
    }

    fn check_rule_actions(&self, actions: &[Action], listener: &Listener) -> Result<(), Error> {
        let checked = self.check_actions(actions, listener.protocol, listener.port);
        checked.map_err(|e| e.of(Parameter::Actions))
    }

    pub(crate) fn create_rule(&mut self, input: CreateRule) -> Result<Rule, Error> {
        let listener = self
            .listeners
            .get(&input.listener_arn)
            .cloned()
            .ok_or_else(|| no_listener(&input.listener_arn))?;
        let same = self.rules.values().find(|r| {
            r.listener_arn == input.listener_arn
                && r.order() == input.priority
                && r.conditions == input.conditions
                && r.actions == ordered(input.actions.clone())
                && r.tags == input.tags
        });
        if let Some(known) = same {
            return Ok(known.as_ref().clone());
        }
        self.check_priority(&input.listener_arn, input.priority, &BTreeSet::new())?;
        check_conditions(&input.conditions)?;
        self.check_rule_actions(&input.actions, &listener)?;
        let balancer = &listener.load_balancer_arn;
        let count = self
            .rules
            .values()
            .filter(|r| {
                !r.is_default
                    && self.listeners.get(&r.listener_arn).is_some_and(|l| l.load_balancer_arn == *balancer)
            })
            .count();
        if count >= limits::RULES {
            let message = "The maximum number of rules on the load balancer has been reached";
            return Err(Error::new(Code::TooManyRules, message));
        }
        let text = format!("rule/{}/{}", input.listener_arn, input.priority);
        let id = fresh_id(&text, 16, |id| self.rules.keys().any(|k| k.ends_with(id)));
        let rule = Rule {
            rule_arn: names::rule_arn(&input.listener_arn, &id),
            listener_arn: input.listener_arn,
            listener_port: listener.port,
            priority: input.priority.to_string(),
            conditions: input.conditions,
            actions: ordered(input.actions),
            is_default: false,
            tags: input.tags,
        };
        self.rules.insert(rule.rule_arn.clone(), Arc::new(rule.clone()));
        self.check_target_groups(balancer)?;
        Ok(rule)
    }

    pub(crate) fn describe_rules(&self, input: DescribeRules) -> Result<Vec<Rule>, Error> {
        if let Some(arn) = input.listener_arn.as_ref().filter(|a| !self.listeners.contains_key(*a)) {
            return Err(no_listener(arn));
        }
        if let Some(arn) = input.rule_arns.iter().find(|a| !self.rules.contains_key(*a)) {
            return Err(no_rule(arn));
        }
        let keep = |r: &Rule| {
            input.listener_arn.as_ref().is_none_or(|a| *a == r.listener_arn)
                && (input.rule_arns.is_empty() || input.rule_arns.contains(&r.rule_arn))
        };
        let mut rules: Vec<Rule> = values(&self.rules).into_iter().filter(keep).collect();
        rules.sort_by_key(Rule::order);
        Ok(rules)
    }

    pub(crate) fn modify_rule(&mut self, input: ModifyRule) -> Result<Rule, Error> {
        let arn = &input.rule_arn;
        let mut rule = self.rules.get(arn).ok_or_else(|| no_rule(arn))?.as_ref().clone();
        if rule.is_default {
            return Err(Error::new(Code::OperationNotPermitted, "Default rule cannot be modified"));
        }
        let listener =
            self.listeners.get(&rule.listener_arn).cloned().ok_or_else(|| no_listener(&rule.listener_arn))?;
        if let Some(conditions) = input.conditions {
            check_conditions(&conditions)?;
            rule.conditions = conditions;
        }
        if let Some(actions) = input.actions {
            self.check_rule_actions(&actions, &listener)?;
            rule.actions = ordered(actions);
        }
        self.rules.insert(arn.clone(), Arc::new(rule.clone()));
        self.check_target_groups(&listener.load_balancer_arn)?;
        Ok(rule)
    }

    pub(crate) fn delete_rule(&mut self, input: DeleteRule) -> Result<(), Error> {
        let rule = self.rules.get(&input.rule_arn).ok_or_else(|| no_rule(&input.rule_arn))?;
        if rule.is_default {
            let message = format!("Default rule '{}' cannot be deleted", input.rule_arn);
            return Err(Error::new(Code::OperationNotPermitted, message));
        }
        self.rules.remove(&input.rule_arn);
        Ok(())
    }

    pub(crate) fn set_rule_priorities(&mut self, input: SetRulePriorities) -> Result<Vec<Rule>, Error> {
        let moving: BTreeSet<&String> = input.rule_priorities.iter().map(|(arn, _)| arn).collect();
        let mut wanted: BTreeSet<(String, u32)> = BTreeSet::new();
        for (arn, priority) in &input.rule_priorities {
            let rule = self.rules.get(arn).ok_or_else(|| no_rule(arn))?;
            if rule.is_default {
                return Err(Error::new(
                    Code::OperationNotPermitted,
                    "The default rule has no priority to set",
                ));
            }
            self.check_priority(&rule.listener_arn, *priority, &moving)?;
            if !wanted.insert((rule.listener_arn.clone(), *priority)) {
                return Err(Error::new(
                    Code::PriorityInUse,
                    format!("Priority '{priority}' is currently in use"),
                ));
            }
        }
        let mut out = Vec::new();
        for (arn, priority) in &input.rule_priorities {
            let rule = get_mut(&mut self.rules, arn, || no_rule(arn))?;
            rule.priority = priority.to_string();
            out.push(rule.clone());
        }
        Ok(out)
    }
}
