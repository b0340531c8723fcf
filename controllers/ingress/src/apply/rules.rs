//! Rules of a listener: equal ones are moved, the rest is changed in place, created or deleted.
//!
//! A rule keeps its identity while it moves, so a rule added in front does not rewrite those behind it.

use super::{Refusal, Session, send, tag_list};
use ccm_mock_aws_api::Tag;
use ccm_mock_aws_api::elbv2::{Action, Rule};
use ccm_mock_aws_api::limits::MAX_PRIORITY;
use ccm_mock_aws_api::operation::*;
use controllers_ingress_model::{ListenerPlan, RulePlan};
use std::collections::BTreeMap;

/// Which present rule becomes which wanted one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pairing {
    /// Indices of wanted and present rules.
    equal: Vec<(usize, usize)>,
    changed: Vec<(usize, usize)>,
    new: Vec<usize>,
    gone: Vec<usize>,
}

fn pair(wanted: &[(RulePlan, Vec<Action>)], present: &[Rule]) -> Pairing {
    let mut out = Pairing::default();
    let mut free: Vec<usize> = (0..present.len()).collect();
    let mut open = Vec::new();
    for (w, (rule, actions)) in wanted.iter().enumerate() {
        let same = |p: &usize| present[*p].conditions == rule.conditions && present[*p].actions == *actions;
        match free.iter().position(same) {
            Some(at) => out.equal.push((w, free.remove(at))),
            None => open.push(w),
        }
    }
    for w in open {
        match free.iter().position(|p| present[*p].order() == wanted[w].0.priority) {
            Some(at) => out.changed.push((w, free.remove(at))),
            None => out.new.push(w),
        }
    }
    out.gone = free;
    out
}

/// New priorities of rules that stay, leftovers parked at the end where they are in nobody's way.
fn moves(wanted: &[(RulePlan, Vec<Action>)], present: &[Rule], pairing: &Pairing) -> Vec<(String, u32)> {
    let moved = pairing.equal.iter().map(|(w, p)| (&present[*p], wanted[*w].0.priority));
    let mut out: Vec<(String, u32)> = moved
        .filter(|(rule, priority)| rule.order() != *priority)
        .map(|(rule, priority)| (rule.rule_arn.clone(), priority))
        .collect();
    let taken: Vec<u32> = wanted.iter().map(|(rule, _)| rule.priority).collect();
    let in_the_way = pairing.gone.iter().filter(|p| taken.contains(&present[**p].order()));
    let parked = in_the_way.zip((1..=MAX_PRIORITY).rev());
    out.extend(parked.map(|(p, priority)| (present[*p].rule_arn.clone(), priority)));
    out
}

impl Session<'_> {
    pub(super) async fn ensure_rules(&mut self, listener: &ListenerPlan, arn: &str) -> Result<(), Refusal> {
        let describe = DescribeRules { listener_arn: Some(arn.to_string()), rule_arns: Vec::new() };
        let present = self.aws.send(describe).await?;
        let present: Vec<Rule> = present.into_iter().filter(|rule| !rule.is_default).collect();
        let wanted: Vec<(RulePlan, Vec<Action>)> =
            listener.rules.iter().map(|rule| (rule.clone(), self.actions(&rule.actions))).collect();
        let pairing = pair(&wanted, &present);
        let rule_priorities = moves(&wanted, &present, &pairing);
        if !rule_priorities.is_empty() {
            self.note(format!("moved {} rules of listener {}", rule_priorities.len(), listener.port));
            self.aws.send(SetRulePriorities { rule_priorities }).await?;
        }
        for (w, p) in &pairing.changed {
            let ((rule, actions), rule_arn) = (&wanted[*w], present[*p].rule_arn.clone());
            self.note(format!("changed rule {}:{}", listener.port, rule.priority));
            let (conditions, actions) = (Some(rule.conditions.clone()), Some(actions.clone()));
            send(&self.aws, ModifyRule { rule_arn, conditions, actions }, &rule.origins).await?;
        }
        for w in &pairing.new {
            let (rule, actions) = &wanted[*w];
            let create = CreateRule {
                listener_arn: arn.to_string(),
                priority: rule.priority,
                conditions: rule.conditions.clone(),
                actions: actions.clone(),
                tags: tag_list(&rule.tags),
            };
            send(&self.aws, create, &rule.origins).await?;
            self.note(format!("created rule {}:{}", listener.port, rule.priority));
        }
        for p in &pairing.gone {
            self.note(format!("deleted rule {}:{}", listener.port, present[*p].priority));
            self.aws.send(DeleteRule { rule_arn: present[*p].rule_arn.clone() }).await?;
        }
        let kept: BTreeMap<usize, usize> = pairing.equal.into_iter().chain(pairing.changed).collect();
        for (w, p) in kept {
            let tags: Vec<Tag> = present[p].tags.clone();
            self.ensure_tags(&present[p].rule_arn, &tags, &wanted[w].0.tags).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccm_mock_aws_api::elbv2::RuleCondition;

    fn wanted(paths: &[&str]) -> Vec<(RulePlan, Vec<Action>)> {
        let rule = |(i, path): (usize, &&str)| RulePlan {
            priority: u32::try_from(i + 1).unwrap_or(0),
            conditions: vec![RuleCondition::path_pattern(vec![path.to_string()])],
            actions: Vec::new(),
            tags: Default::default(),
            origins: Vec::new(),
        };
        paths.iter().enumerate().map(rule).map(|rule| (rule, vec![Action::forward("tg")])).collect()
    }

    fn present(paths: &[&str]) -> Vec<Rule> {
        let rule = |(plan, actions): (RulePlan, Vec<Action>)| Rule {
            rule_arn: format!("arn{}", plan.priority),
            priority: plan.priority.to_string(),
            conditions: plan.conditions,
            actions,
            ..Default::default()
        };
        wanted(paths).into_iter().map(rule).collect()
    }

    #[test]
    fn a_rule_in_front_moves_the_others() {
        let (wanted, present) = (wanted(&["/new", "/a", "/b"]), present(&["/a", "/b"]));
        let pairing = pair(&wanted, &present);
        assert_eq!(pairing, Pairing { equal: vec![(1, 0), (2, 1)], new: vec![0], ..Default::default() });
        assert_eq!(moves(&wanted, &present, &pairing), [("arn1".to_string(), 2), ("arn2".to_string(), 3)]);
    }

    #[test]
    fn a_changed_rule_is_changed_in_place_and_leftovers_are_parked() {
        let (wanted, present) = (wanted(&["/x", "/c"]), present(&["/a", "/b", "/c"]));
        let pairing = pair(&wanted, &present);
        assert_eq!(pairing.changed, [(0, 0)]);
        assert_eq!((pairing.equal.clone(), pairing.gone.clone()), (vec![(1, 2)], vec![1]));
        let expected = [("arn3".to_string(), 2), ("arn2".to_string(), MAX_PRIORITY)];
        assert_eq!(moves(&wanted, &present, &pairing), expected);
    }

    #[test]
    fn the_same_rules_need_nothing() {
        let (wanted, present) = (wanted(&["/a", "/b"]), present(&["/a", "/b"]));
        let pairing = pair(&wanted, &present);
        assert!(moves(&wanted, &present, &pairing).is_empty());
        assert!(pairing.new.is_empty() && pairing.gone.is_empty() && pairing.changed.is_empty());
    }
}
