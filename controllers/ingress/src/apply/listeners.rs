//! Listeners by port: leftovers go first, then each is made or changed, then its rules.
//!
//! Rules are the business of `rules`.

use super::{Refusal, Session, differing, send, tag_list};
use ccm_mock_aws_api::elbv2::Listener;
use ccm_mock_aws_api::operation::*;
use controllers_ingress_model::ListenerPlan;

impl Session<'_> {
    pub(super) async fn ensure_listeners(&mut self, load_balancer_arn: &str) -> Result<(), Refusal> {
        let describe = DescribeListeners {
            load_balancer_arn: Some(load_balancer_arn.to_string()),
            listener_arns: Vec::new(),
        };
        let present = self.aws.send(describe).await?;
        let plan = self.plan;
        for listener in &present {
            if !plan.listeners.iter().any(|wanted| wanted.port == listener.port) {
                self.note(format!("deleted listener {}", listener.port));
                self.aws.send(DeleteListener { listener_arn: listener.listener_arn.clone() }).await?;
            }
        }
        for wanted in &plan.listeners {
            let listener = match present.iter().find(|l| l.port == wanted.port) {
                Some(listener) => {
                    self.change_listener(wanted, listener).await?;
                    listener.clone()
                }
                None => self.create_listener(wanted, load_balancer_arn).await?,
            };
            let attributes = differing(&listener.attributes, &wanted.attributes);
            if !attributes.is_empty() {
                self.note(format!("set attributes of listener {}", wanted.port));
                let listener_arn = listener.listener_arn.clone();
                let modify = ModifyListenerAttributes { listener_arn, attributes };
                send(&self.aws, modify, &wanted.origins).await?;
            }
            self.ensure_rules(wanted, &listener.listener_arn).await?;
        }
        Ok(())
    }

    async fn create_listener(
        &mut self,
        wanted: &ListenerPlan,
        load_balancer_arn: &str,
    ) -> Result<Listener, Refusal> {
        let create = CreateListener {
            load_balancer_arn: load_balancer_arn.to_string(),
            port: wanted.port,
            protocol: wanted.protocol,
            ssl_policy: wanted.ssl_policy.clone(),
            certificates: wanted.certificates.iter().take(1).cloned().collect(),
            default_actions: self.actions(&wanted.default_actions),
            tags: tag_list(&wanted.tags),
        };
        let listener = send(&self.aws, create, &wanted.origins).await?;
        self.note(format!("created listener {} {}", wanted.protocol, wanted.port));
        self.ensure_extra_certificates(wanted, &listener, wanted.certificates.first()).await?;
        Ok(listener)
    }

    async fn change_listener(&mut self, wanted: &ListenerPlan, listener: &Listener) -> Result<(), Refusal> {
        let actions = self.actions(&wanted.default_actions);
        let default = listener.certificates.iter().find(|c| c.is_default).map(|c| &c.certificate_arn);
        let other_certificate = default != wanted.certificates.first();
        let other_policy = wanted.ssl_policy.is_some() && listener.ssl_policy != wanted.ssl_policy;
        let differs = listener.protocol != wanted.protocol
            || listener.default_actions != actions
            || other_certificate
            || other_policy;
        if differs {
            self.note(format!("changed listener {} {}", wanted.protocol, wanted.port));
            let certificates = (!wanted.certificates.is_empty())
                .then(|| wanted.certificates.iter().take(1).cloned().collect());
            let modify = ModifyListener {
                listener_arn: listener.listener_arn.clone(),
                port: None,
                protocol: Some(wanted.protocol),
                ssl_policy: wanted.ssl_policy.clone(),
                certificates,
                default_actions: Some(actions),
            };
            send(&self.aws, modify, &wanted.origins).await?;
        }
        self.ensure_extra_certificates(wanted, listener, wanted.certificates.first()).await?;
        Ok(self.ensure_tags(&listener.listener_arn, &listener.tags, &wanted.tags).await?)
    }

    /// Certificates beside the default one, chosen by server name.
    async fn ensure_extra_certificates(
        &mut self,
        wanted: &ListenerPlan,
        listener: &Listener,
        default: Option<&String>,
    ) -> Result<(), Refusal> {
        let known: Vec<&String> = listener
            .certificates
            .iter()
            .map(|c| &c.certificate_arn)
            .filter(|arn| Some(*arn) != default)
            .collect();
        let extra = wanted.certificates.iter().skip(1);
        let new: Vec<String> = extra.filter(|arn| !known.contains(arn)).cloned().collect();
        let demoted = listener.certificates.iter().filter(|c| !c.is_default).map(|c| &c.certificate_arn);
        let gone: Vec<String> = demoted.filter(|arn| !wanted.certificates.contains(arn)).cloned().collect();
        let listener_arn = listener.listener_arn.clone();
        if !new.is_empty() {
            self.note(format!("added certificates to listener {}", wanted.port));
            let add = AddListenerCertificates { listener_arn: listener_arn.clone(), certificates: new };
            send(&self.aws, add, &wanted.origins).await?;
        }
        if !gone.is_empty() {
            self.note(format!("removed certificates from listener {}", wanted.port));
            self.aws.send(RemoveListenerCertificates { listener_arn, certificates: gone }).await?;
        }
        Ok(())
    }
}
