//! Listeners with their certificates and default actions.
//!
//! The default rule of a listener is a rule like any other, kept in step with the default actions.

use crate::attributes::set_attributes;
use crate::load_balancers::no_load_balancer;
use crate::state::{State, fresh_id, get_mut, keep, not_found, values};
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, Parameter, limits, names};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) fn no_listener(arn: &str) -> Error {
    not_found(Code::ListenerNotFound, format!("One or more listeners not found: {arn}"))
}

fn certificates(arns: &[String]) -> Vec<Certificate> {
    arns.iter()
        .enumerate()
        .map(|(i, arn)| Certificate { certificate_arn: arn.clone(), is_default: i == 0 })
        .collect()
}

fn secure(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Https | Protocol::Tls)
}

/// Orders filled in, as AWS gives actions back.
pub(crate) fn ordered(mut actions: Vec<Action>) -> Vec<Action> {
    for (i, action) in actions.iter_mut().enumerate() {
        action.order.get_or_insert(u32::try_from(i + 1).unwrap_or(u32::MAX));
    }
    actions.sort_by_key(|a| a.order);
    actions
}

impl State {
    fn check_certificates(&self, protocol: Protocol, arns: &[String]) -> Result<(), Error> {
        if secure(protocol) && arns.is_empty() {
            let message = format!("A certificate must be specified for {protocol} listeners");
            return Err(Error::new(Code::CertificateNotFound, message).of(Parameter::Certificates));
        }
        match arns.iter().find(|a| !self.certificates.contains_key(*a)) {
            Some(arn) => {
                let error =
                    Error::new(Code::CertificateNotFound, format!("Certificate ARN '{arn}' is not valid"));
                Err(error.of(Parameter::Certificates).element(arn))
            }
            None => Ok(()),
        }
    }

    fn check_default_actions(&self, actions: &[Action], protocol: Protocol, port: u16) -> Result<(), Error> {
        self.check_actions(actions, protocol, port).map_err(|e| e.of(Parameter::DefaultActions))
    }

    fn check_port(&self, load_balancer: &str, port: u16, except: Option<&str>) -> Result<(), Error> {
        let taken = self.listeners.values().any(|l| {
            l.load_balancer_arn == load_balancer && l.port == port && Some(l.listener_arn.as_str()) != except
        });
        if taken {
            let message = "A listener already exists on this port for this load balancer";
            return Err(Error::new(Code::DuplicateListener, message).of(Parameter::Port));
        }
        Ok(())
    }

    pub(crate) fn create_listener(&mut self, input: CreateListener) -> Result<Listener, Error> {
        let arn = &input.load_balancer_arn;
        let balancer = self.load_balancers.get(arn).cloned().ok_or_else(|| no_load_balancer(arn))?;
        let application = balancer.r#type == LoadBalancerType::Application;
        if application != web(input.protocol) {
            let message = format!(
                "Listener protocol '{}' is not supported by a load balancer of type '{}'",
                input.protocol, balancer.r#type
            );
            return Err(Error::new(Code::UnsupportedProtocol, message).of(Parameter::Protocol));
        }
        let same = self.listeners.values().find(|l| {
            l.load_balancer_arn == *arn
                && l.port == input.port
                && l.protocol == input.protocol
                && l.default_actions == ordered(input.default_actions.clone())
                && l.tags == input.tags
        });
        if let Some(known) = same {
            return Ok(known.as_ref().clone());
        }
        self.check_port(arn, input.port, None)?;
        if self.listeners.values().filter(|l| l.load_balancer_arn == *arn).count() >= limits::LISTENERS {
            let message = "The maximum number of listeners has been reached";
            return Err(Error::new(Code::TooManyListeners, message).of(Parameter::Port));
        }
        self.check_certificates(input.protocol, &input.certificates)?;
        self.check_default_actions(&input.default_actions, input.protocol, input.port)?;
        let id = fresh_id(&format!("listener/{arn}/{}", input.port), 16, |id| {
            self.listeners.keys().any(|k| k.ends_with(id))
        });
        let listener = Listener {
            listener_arn: names::listener_arn(arn, &id),
            load_balancer_arn: arn.clone(),
            port: input.port,
            protocol: input.protocol,
            ssl_policy: secure(input.protocol)
                .then(|| input.ssl_policy.unwrap_or_else(|| "ELBSecurityPolicy-2016-08".into())),
            certificates: certificates(&input.certificates),
            default_actions: ordered(input.default_actions),
            attributes: limits::listener_attributes(balancer.r#type),
            tags: input.tags,
        };
        self.listeners.insert(listener.listener_arn.clone(), Arc::new(listener.clone()));
        if application {
            self.put_default_rule(&listener);
        }
        self.check_target_groups(arn)?;
        Ok(listener)
    }

    fn put_default_rule(&mut self, listener: &Listener) {
        let known =
            self.rules.values().find(|r| r.listener_arn == listener.listener_arn && r.is_default).cloned();
        let rule_arn = known.map_or_else(
            || {
                names::rule_arn(
                    &listener.listener_arn,
                    &fresh_id(&format!("default/{}", listener.listener_arn), 16, |_| false),
                )
            },
            |r| r.rule_arn.clone(),
        );
        let rule = Rule {
            rule_arn: rule_arn.clone(),
            listener_arn: listener.listener_arn.clone(),
            listener_port: listener.port,
            priority: "default".into(),
            actions: listener.default_actions.clone(),
            is_default: true,
            ..Default::default()
        };
        self.rules.insert(rule_arn, Arc::new(rule));
    }

    /// Quotas on the target groups that a load balancer uses.
    pub(crate) fn check_target_groups(&self, load_balancer_arn: &str) -> Result<(), Error> {
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for listener in self.listeners.values().filter(|l| l.load_balancer_arn == load_balancer_arn) {
            let rules = self
                .rules
                .values()
                .filter(|r| r.listener_arn == listener.listener_arn)
                .flat_map(|r| &r.actions);
            used.extend(
                listener
                    .default_actions
                    .iter()
                    .chain(rules)
                    .flat_map(|a| a.target_groups())
                    .map(|(arn, _)| arn),
            );
        }
        if used.len() > limits::TARGET_GROUPS_PER_LOAD_BALANCER {
            let message = "You have reached the maximum number of unique target groups that you can associate with a load balancer";
            return Err(Error::new(Code::TooManyUniqueTargetGroupsPerLoadBalancer, message));
        }
        let other = |arn: &str| {
            self.target_groups
                .get(arn)
                .is_some_and(|t| t.load_balancer_arns.iter().any(|l| l != load_balancer_arn))
        };
        match used.iter().find(|arn| other(arn)) {
            Some(arn) => {
                let message = format!(
                    "The following target groups cannot be associated with more than one load balancer: {arn}"
                );
                Err(Error::new(Code::TargetGroupAssociationLimit, message))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn describe_listeners(&self, input: DescribeListeners) -> Result<Vec<Listener>, Error> {
        if let Some(arn) = input.load_balancer_arn.as_ref().filter(|a| !self.load_balancers.contains_key(*a))
        {
            return Err(no_load_balancer(arn));
        }
        if let Some(arn) = input.listener_arns.iter().find(|a| !self.listeners.contains_key(*a)) {
            return Err(no_listener(arn));
        }
        let keep = |l: &Listener| {
            input.load_balancer_arn.as_ref().is_none_or(|a| *a == l.load_balancer_arn)
                && (input.listener_arns.is_empty() || input.listener_arns.contains(&l.listener_arn))
        };
        Ok(values(&self.listeners).into_iter().filter(keep).collect())
    }

    pub(crate) fn modify_listener(&mut self, input: ModifyListener) -> Result<Listener, Error> {
        let arn = &input.listener_arn;
        let mut listener = self.listeners.get(arn).ok_or_else(|| no_listener(arn))?.as_ref().clone();
        if let Some(port) = input.port {
            self.check_port(&listener.load_balancer_arn, port, Some(arn))?;
            listener.port = port;
        }
        listener.protocol = input.protocol.unwrap_or(listener.protocol);
        if let Some(arns) = input.certificates {
            let default = arns.first().cloned();
            let extra = listener
                .certificates
                .iter()
                .filter(|c| !c.is_default && Some(&c.certificate_arn) != default.as_ref());
            let all: Vec<String> =
                default.iter().cloned().chain(extra.map(|c| c.certificate_arn.clone())).collect();
            listener.certificates = certificates(&all);
        }
        let arns: Vec<String> = listener.certificates.iter().map(|c| c.certificate_arn.clone()).collect();
        self.check_certificates(listener.protocol, &arns)?;
        if secure(listener.protocol) {
            listener.ssl_policy =
                input.ssl_policy.or(listener.ssl_policy).or(Some("ELBSecurityPolicy-2016-08".into()));
        } else {
            listener.ssl_policy = None;
            listener.certificates.clear();
        }
        if let Some(actions) = input.default_actions {
            self.check_default_actions(&actions, listener.protocol, listener.port)?;
            listener.default_actions = ordered(actions);
        }
        let balancer = listener.load_balancer_arn.clone();
        self.listeners.insert(arn.clone(), Arc::new(listener.clone()));
        if web(listener.protocol) {
            self.put_default_rule(&listener);
        }
        let moved: Vec<String> = self
            .rules
            .values()
            .filter(|r| r.listener_arn == *arn && r.listener_port != listener.port)
            .map(|r| r.rule_arn.clone())
            .collect();
        for id in moved {
            get_mut(&mut self.rules, &id, || crate::rules::no_rule(&id))?.listener_port = listener.port;
        }
        self.check_target_groups(&balancer)?;
        Ok(listener)
    }

    pub(crate) fn modify_listener_attributes(
        &mut self,
        input: ModifyListenerAttributes,
    ) -> Result<Attributes, Error> {
        let arn = &input.listener_arn;
        let listener = get_mut(&mut self.listeners, arn, || no_listener(arn))?;
        set_attributes(&mut listener.attributes, input.attributes, "Listener")?;
        Ok(listener.attributes.clone())
    }

    pub(crate) fn remove_listener(&mut self, arn: &str) {
        self.listeners.remove(arn);
        keep(&mut self.rules, |r| r.listener_arn != arn);
    }

    pub(crate) fn delete_listener(&mut self, input: DeleteListener) -> Result<(), Error> {
        if !self.listeners.contains_key(&input.listener_arn) {
            return Err(no_listener(&input.listener_arn));
        }
        self.remove_listener(&input.listener_arn);
        Ok(())
    }

    pub(crate) fn add_listener_certificates(
        &mut self,
        input: AddListenerCertificates,
    ) -> Result<Vec<Certificate>, Error> {
        let arn = &input.listener_arn;
        self.check_certificates(Protocol::Http, &input.certificates)?;
        let listener = get_mut(&mut self.listeners, arn, || no_listener(arn))?;
        for certificate_arn in input.certificates {
            if !listener.certificates.iter().any(|c| c.certificate_arn == certificate_arn) {
                listener.certificates.push(Certificate { certificate_arn, is_default: false });
            }
        }
        if listener.certificates.iter().filter(|c| !c.is_default).count() > limits::CERTIFICATES {
            let message = "The maximum number of certificates has been reached";
            return Err(Error::new(Code::TooManyCertificates, message).of(Parameter::Certificates));
        }
        Ok(listener.certificates.clone())
    }

    pub(crate) fn remove_listener_certificates(
        &mut self,
        input: RemoveListenerCertificates,
    ) -> Result<(), Error> {
        let arn = &input.listener_arn;
        let listener = get_mut(&mut self.listeners, arn, || no_listener(arn))?;
        if listener
            .certificates
            .iter()
            .any(|c| c.is_default && input.certificates.contains(&c.certificate_arn))
        {
            return Err(Error::new(Code::OperationNotPermitted, "The default certificate cannot be removed"));
        }
        listener.certificates.retain(|c| !input.certificates.contains(&c.certificate_arn));
        Ok(())
    }
}

/// HTTP and HTTPS go with ALBs, everything else with NLBs.
pub(crate) fn web(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Http | Protocol::Https)
}
