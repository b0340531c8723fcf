//! The model loop: dereference → check → build → apply → status, for one group of Ingresses at a time.
//!
//! A group that cannot be built or applied gets a Warning and keeps what it has; other groups go on.

use crate::apply::Session;
use crate::objects::Certificate;
use crate::targets::Bindings;
use crate::{class, wake};
use ccm_mock_aws_api::Aws;
use controllers_ingress_model::{GroupId, Plan, Refused, build, check, deletable, listen_ports, membership};
use controllers_kit::error::gone_is_fine;
use controllers_kit::meta::has_finalizer;
use controllers_kit::{Cache, Done, Error, Key, Queue, Recorder, run as work};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    Ingress, IngressClass, IngressLoadBalancerIngress, IngressPortStatus,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Groups worked on at the same time.
const WORKERS: usize = 4;

pub(crate) struct Model {
    pub classes: Cache<IngressClass>,
    pub ingresses: Cache<Ingress>,
    pub services: Cache<Service>,
    pub certificates: Cache<Certificate>,
    pub events: Recorder,
    pub aws: Arc<dyn Aws>,
    pub cluster: String,
    pub bindings: Bindings,
}

/// A group as an item of the queue.
pub(crate) fn group_key(group: &GroupId) -> Key {
    Key::new(&group.namespace, &group.name)
}

pub(crate) async fn run(model: Arc<Model>) {
    // A Service or class that is merely not seen yet must not change a load balancer that is in use.
    model.classes.synced().await;
    model.services.synced().await;
    model.ingresses.synced().await;
    let queue = Queue::new();
    wake::connect(&model, &queue);
    work("ingress", queue, WORKERS, move |key: Key| {
        let model = model.clone();
        async move { model.reconcile(GroupId { namespace: key.namespace, name: key.name }).await }
    })
    .await;
}

impl Model {
    /// Members of the group, and Ingresses that still carry its finalizer but are no members.
    fn members(&self, group: &GroupId) -> (Vec<Arc<Ingress>>, Vec<Arc<Ingress>>) {
        let candidates = if group.is_explicit() {
            self.ingresses.all()
        } else {
            self.ingresses.get(&group_key(group)).into_iter().collect()
        };
        let finalizer = group.finalizer();
        let (mut members, mut leaving) = (Vec::new(), Vec::new());
        for ingress in candidates {
            let is_member = ingress.metadata.deletion_timestamp.is_none()
                && class::selects(&self.classes, &ingress)
                && membership(&ingress).is_ok_and(|(of, _)| of == *group);
            if is_member {
                members.push(ingress);
            } else if has_finalizer(&ingress.metadata, &finalizer) {
                leaving.push(ingress);
            }
        }
        (members, leaving)
    }

    async fn reconcile(&self, group: GroupId) -> Result<Done, Error> {
        self.tell_invalid_group(&group)?;
        let (members, leaving) = self.members(&group);
        if members.is_empty() && leaving.is_empty() {
            return Ok(Done::nothing());
        }
        let mut members = members;
        for member in &mut members {
            *member = self.add_finalizer(member, &group).await?;
        }
        self.tell_protected(&members, &leaving)?;
        let plan = match self.plan(&group, &members).await {
            Ok(plan) => plan,
            Err(refused) => {
                let why = format!("Failed build model due to {}", refused.reason);
                members.iter().for_each(|i| self.events.warning(i.as_ref(), "FailedBuildModel", why.clone()));
                return Err(if refused.outside { Error::Transient(why) } else { Error::Terminal(why) });
            }
        };
        let mut session = Session::new(self.aws.clone(), self.bindings.clone(), &plan);
        let applied = session.apply().await;
        let mut done = Done::nothing();
        session.changes.drain(..).for_each(|change| done.note(change));
        let hostname = match applied {
            Ok(hostname) => hostname,
            Err(error) => {
                let why = format!("Failed deploy model due to {error}");
                let told = members.iter().chain(leaving.iter().filter(|_| members.is_empty()));
                told.for_each(|i| self.events.warning(i.as_ref(), "FailedDeployModel", why.clone()));
                return Err(Error::Transient(why));
            }
        };
        if let Some(hostname) = hostname {
            for member in &members {
                if self.write_status(member, &hostname).await? {
                    done.note(format!("status of {} is {hostname}", Key::of(&member.metadata)));
                }
            }
        }
        for ingress in leaving {
            self.let_go(&ingress, &group).await?;
            done.note(format!("released {}", Key::of(&ingress.metadata)));
        }
        if done.changed() {
            let said = |i: &Arc<Ingress>| {
                self.events.normal(i.as_ref(), "SuccessfullyReconciled", "Successfully reconciled");
            };
            members.iter().for_each(said);
        }
        Ok(done)
    }

    /// An Ingress whose group cannot be read is in no group; it is told so under its own name.
    fn tell_invalid_group(&self, group: &GroupId) -> Result<(), Error> {
        let own = self.ingresses.get(&group_key(group)).filter(|_| !group.is_explicit());
        let Some(ingress) = own.filter(|i| class::selects(&self.classes, i)) else { return Ok(()) };
        match membership(&ingress) {
            Err(why) if ingress.metadata.deletion_timestamp.is_none() => {
                let why = format!("failed load groupID due to {why}");
                self.events.warning(ingress.as_ref(), "FailedLoadGroupID", why.clone());
                Err(Error::Terminal(why))
            }
            _ => Ok(()),
        }
    }

    /// One that is being deleted and says that its load balancer must not be holds up its group, as upstream has it.
    fn tell_protected(&self, members: &[Arc<Ingress>], leaving: &[Arc<Ingress>]) -> Result<(), Error> {
        let deleted = || leaving.iter().filter(|i| i.metadata.deletion_timestamp.is_some());
        let Some((ingress, why)) = deleted().find_map(|i| deletable(i).err().map(|why| (i, why))) else {
            return Ok(());
        };
        let why = format!("Failed build model due to {why}");
        let told = members.iter().chain([ingress]);
        told.for_each(|i| self.events.warning(i.as_ref(), "FailedBuildModel", why.clone()));
        Err(Error::Terminal(why))
    }

    async fn plan(&self, group: &GroupId, members: &[Arc<Ingress>]) -> Result<Plan, Refused> {
        if members.is_empty() {
            return Ok(Plan::empty(&self.cluster, group.to_string()));
        }
        let loaded = self.load(group, members.to_vec()).await;
        let loaded = loaded.map_err(|error| Refused { reason: error.to_string(), outside: true })?;
        Ok(build(&check(&loaded)?))
    }

    async fn add_finalizer(&self, ingress: &Arc<Ingress>, group: &GroupId) -> Result<Arc<Ingress>, Error> {
        let finalizer = group.finalizer();
        if has_finalizer(&ingress.metadata, &finalizer) {
            return Ok(ingress.clone());
        }
        let mut all = ingress.metadata.finalizers.clone().unwrap_or_default();
        all.push(finalizer);
        let patch = finalizers(ingress, all);
        match self.ingresses.patch(&Key::of(&ingress.metadata), &patch).await {
            Err(error) if !error.is_code(409) && !error.is_not_found() => {
                let why = format!("Failed add finalizer due to {}", error.sentence());
                self.events.warning(ingress.as_ref(), "FailedAddFinalizer", why);
                Err(error)
            }
            other => other,
        }
    }

    async fn let_go(&self, ingress: &Arc<Ingress>, group: &GroupId) -> Result<(), Error> {
        let key = Key::of(&ingress.metadata);
        let finalizer = group.finalizer();
        let has_status = ingress.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let has_status = has_status.is_some_and(|b| b.ingress.as_ref().is_some_and(|all| !all.is_empty()));
        let stays = ingress.metadata.deletion_timestamp.is_none();
        let elsewhere = stays && class::selects(&self.classes, ingress);
        if stays && has_status && !elsewhere {
            let nothing = json!({"status": {"loadBalancer": {"ingress": null}}});
            gone_is_fine(self.ingresses.patch_status(&key, &nothing).await)?;
        }
        let Some(ingress) = self.ingresses.get(&key) else { return Ok(()) };
        let mut all = ingress.metadata.finalizers.clone().unwrap_or_default();
        all.retain(|f| *f != finalizer);
        gone_is_fine(self.ingresses.patch(&key, &finalizers(&ingress, all)).await)?;
        Ok(())
    }

    async fn write_status(&self, ingress: &Ingress, hostname: &str) -> Result<bool, Error> {
        let current = ingress.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let current = current.and_then(|b| b.ingress.as_deref()).unwrap_or_default();
        let wanted = [reached_at(ingress, hostname)];
        if current == wanted {
            return Ok(false);
        }
        let status = json!({"status": {"loadBalancer": {"ingress": wanted}}});
        gone_is_fine(self.ingresses.patch_status(&Key::of(&ingress.metadata), &status).await)?;
        Ok(true)
    }
}

/// The host name of the load balancer and the ports of this Ingress on it.
fn reached_at(ingress: &Ingress, hostname: &str) -> IngressLoadBalancerIngress {
    let port = |port: u16| IngressPortStatus { port: port.into(), protocol: "TCP".into(), error: None };
    IngressLoadBalancerIngress {
        hostname: Some(hostname.to_string()),
        ip: None,
        ports: Some(listen_ports(ingress).into_iter().map(port).collect()),
    }
}

fn finalizers(ingress: &Ingress, all: Vec<String>) -> Value {
    json!({"metadata": {"resourceVersion": ingress.metadata.resource_version, "finalizers": all}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_the_ports_of_the_ingress() {
        let both = r#"[{"HTTPS": 443}, {"HTTP": 80}]"#;
        let table = [
            (json!({}), json!([{"port": 80, "protocol": "TCP"}])),
            (
                json!({"alb.ingress.kubernetes.io/listen-ports": both}),
                json!([{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]),
            ),
            (
                json!({"alb.ingress.kubernetes.io/certificate-arn": "arn:x"}),
                json!([{"port": 443, "protocol": "TCP"}]),
            ),
        ];
        for (annotations, ports) in table {
            let ingress: Ingress = serde_json::from_value(json!({"metadata": {"annotations": annotations}}))
                .expect("an Ingress");
            let status = serde_json::to_value(reached_at(&ingress, "a.example")).expect("JSON");
            assert_eq!(status, json!({"hostname": "a.example", "ports": ports}));
        }
    }
}
