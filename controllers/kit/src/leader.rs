//! Leader election: of several processes that have the same loops, one runs them.
//!
//! Who leads holds a Lease and renews it; who waits takes it over when it has not changed for as long as it says. All
//! times are measured where they are used, so clocks need not agree. The rules are those of client-go's
//! `tools/leaderelection`, so that its clients take turns with us on one Lease.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::core::Request;
use kube::{Client, Resource};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cache::Object;
use crate::error::Error;
use crate::events::Recorder;
use crate::meta::now_micro;
use crate::{Running, raw};

/// Who wants to lead, and for how long a lead counts.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace and name of the Lease.
    pub namespace: String,
    pub name: String,
    /// A name that no other process has.
    pub identity: String,
    /// How long others wait for a leader that says nothing.
    pub lease_duration: Duration,
    /// How long a leader goes on that cannot renew its Lease; less than `lease_duration`.
    pub renew_deadline: Duration,
    /// How long everybody waits between two looks at the Lease.
    pub retry_period: Duration,
}

/// What ended a lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The Lease could not be renewed in time, or is somebody else's.
    Lost,
    /// `stop` resolved; the Lease was given back.
    Stopped,
}

/// The Lease as it was seen last, and since when it has been like that.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// What came of an attempt to have the Lease.
enum Held {
    Ours(Box<Lease>),
    Theirs,
    /// Somebody wrote it meanwhile, whoever has it now.
    Changed,
}

/// What a process does about a Lease.
#[derive(Debug, PartialEq)]
enum Step {
    /// Somebody else leads.
    Wait,
    Take(Box<Lease>),
    /// It is ours.
    Renew(Box<Lease>),
}

impl Election {
    /// Waits to lead, then runs `work` until the lead is lost or `stop` resolves. Whoever loses the lead should end: others
    /// do the work now.
    pub async fn lead(
        &self,
        client: Client,
        work: impl FnOnce() -> Running,
        stop: impl Future<Output = ()>,
    ) -> Ended {
        let mut stop = std::pin::pin!(stop.fuse());
        let mut seen = None;
        tracing::info!(lease = %self.lease(), identity = %self.identity, "waiting to lead");
        let taken = loop {
            let began = Instant::now();
            let next = began + self.retry_period;
            let attempt = timeout_at(began + self.one_attempt(), self.hold(&client, &mut seen));
            tokio::select! {
                () = &mut stop => return Ended::Stopped,
                held = attempt => match held {
                    Ok(Ok(Held::Ours(lease))) => {
                        self.tell(&client, &lease);
                        break began;
                    }
                    Ok(Ok(Held::Theirs | Held::Changed)) => {}
                    Ok(Err(error)) => tracing::warn!(lease = %self.lease(), error = error.sentence(), "no lead yet"),
                    Err(_) => tracing::warn!(lease = %self.lease(), "no lead yet: the API server does not answer"),
                }
            }
            tokio::select! {
                () = &mut stop => return Ended::Stopped,
                () = sleep_until(next) => {}
            }
        };
        let mut work = work();
        tokio::select! {
            () = &mut work => Ended::Lost,
            () = self.renew(&client, &mut seen, taken) => Ended::Lost,
            () = &mut stop => {
                drop(work);
                self.give_back(&client, &mut seen).await;
                Ended::Stopped
            }
        }
    }

    fn lease(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn tell(&self, client: &Client, lease: &Lease) {
        tracing::info!(lease = %self.lease(), identity = %self.identity, "leading");
        let recorder = Recorder::new(client.clone(), "leader-election");
        recorder.normal(lease, "LeaderElection", format!("{} became leader", self.identity));
    }

    /// How long one attempt may take: who hears nothing tries again, on another connection.
    fn one_attempt(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// Renews the Lease, taken at `taken`, until that has failed for too long. Times count from before a request is sent:
    /// others count from when it was done.
    async fn renew(&self, client: &Client, seen: &mut Option<Seen>, taken: Instant) {
        let mut deadline = taken + self.renew_deadline;
        let mut next = Instant::now() + self.retry_period;
        while next < deadline {
            sleep_until(next).await;
            let began = Instant::now();
            next = began + self.retry_period;
            let attempt = timeout_at(deadline.min(began + self.one_attempt()), self.hold(client, seen));
            let failure = match attempt.await {
                Ok(Ok(Held::Ours(_))) => {
                    deadline = began + self.renew_deadline;
                    continue;
                }
                Ok(Ok(Held::Theirs)) => return tracing::error!(lease = %self.lease(), "somebody else leads"),
                Ok(Ok(Held::Changed)) => "somebody wrote the Lease".to_owned(),
                Ok(Err(error)) => error.sentence(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            tracing::warn!(lease = %self.lease(), error = failure, "the lead is not renewed");
        }
        tracing::error!(lease = %self.lease(), "the lead was not renewed in time");
    }

    /// Tries once to have the Lease.
    fn hold<'a>(
        &'a self,
        client: &'a Client,
        seen: &'a mut Option<Seen>,
    ) -> BoxFuture<'a, Result<Held, Error>> {
        async move {
            let found = self.read(client).await?;
            let written = match self.step(found, seen, Instant::now(), &now_micro()) {
                Step::Wait => return Ok(Held::Theirs),
                Step::Take(lease) if lease.metadata.resource_version.is_none() => {
                    raw::create(client, &*lease).await
                }
                Step::Take(lease) | Step::Renew(lease) => raw::replace(client, "", &*lease).await,
            };
            match written {
                Ok(lease) => {
                    let lease = Lease::from_tree(lease.tree)?;
                    *seen =
                        Some(Seen { spec: lease.spec.clone().unwrap_or_default(), since: Instant::now() });
                    Ok(Held::Ours(Box::new(lease)))
                }
                Err(error) if error.is_code(409) => Ok(Held::Changed),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    async fn read(&self, client: &Client) -> Result<Option<Lease>, Error> {
        let request = Request::new(Lease::url_path(&(), Some(&self.namespace)));
        let request = request.get(&self.name, &kube::api::GetParams::default());
        match raw::send(client.clone(), request).await {
            Ok(found) => Ok(Some(Lease::from_tree(found.tree)?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What to do about the Lease that was found.
    fn step(&self, found: Option<Lease>, seen: &mut Option<Seen>, now: Instant, time: &MicroTime) -> Step {
        let Some(mut lease) = found else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            };
            return Step::Take(Box::new(Lease { metadata, spec: Some(self.spec(0, time, time)) }));
        };
        let spec = lease.spec.unwrap_or_default();
        let since = match &*seen {
            Some(seen) if seen.spec == spec => seen.since,
            _ => now,
        };
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let acquired = spec.acquire_time.clone().unwrap_or_else(|| time.clone());
        let transitions = spec.lease_transitions.unwrap_or_default();
        let counts = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        let counts = Duration::from_secs(counts).max(self.lease_duration);
        *seen = Some(Seen { spec, since });
        if holder == self.identity {
            lease.spec = Some(self.spec(transitions, &acquired, time));
            return Step::Renew(Box::new(lease));
        }
        if !holder.is_empty() && now.duration_since(since) < counts {
            return Step::Wait;
        }
        lease.spec = Some(self.spec(transitions.saturating_add(1), time, time));
        Step::Take(Box::new(lease))
    }

    fn spec(&self, transitions: i32, acquired: &MicroTime, renewed: &MicroTime) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.lease_duration)),
            acquire_time: Some(acquired.clone()),
            renew_time: Some(renewed.clone()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Lets the next one lead at once.
    async fn give_back(&self, client: &Client, seen: &mut Option<Seen>) {
        let release = async {
            let Some(mut lease) = self.read(client).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&*self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            raw::replace(client, "", &lease).await.map(drop)
        };
        match timeout_at(Instant::now() + self.retry_period, release).await {
            Ok(Ok(())) => *seen = None,
            Ok(Err(error)) => tracing::warn!(error = error.sentence(), "the lead was not given back"),
            Err(_) => tracing::warn!("the lead was not given back in time"),
        }
    }
}

/// A Lease counts whole seconds, at least one.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs_f64().ceil() as u64).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(identity: &str) -> Election {
        Election {
            namespace: "kube-system".into(),
            name: "loops".into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    fn taken(step: Step) -> Lease {
        match step {
            Step::Take(lease) | Step::Renew(lease) => *lease,
            Step::Wait => panic!("nothing is taken"),
        }
    }

    #[test]
    fn a_lease_is_taken_kept_and_taken_over() {
        let (a, b) = (election("a"), election("b"));
        let (mut a_saw, mut b_saw) = (None, None);
        let (start, time) = (Instant::now(), now_micro());
        let at = |seconds| start + Duration::from_secs(seconds);
        let lease = taken(a.step(None, &mut a_saw, start, &time));
        assert_eq!(lease.spec.as_ref().unwrap().holder_identity.as_deref(), Some("a"));
        // Who comes later waits as long as the Lease says, from when it has seen it first.
        assert_eq!(b.step(Some(lease.clone()), &mut b_saw, at(100), &time), Step::Wait);
        assert_eq!(b.step(Some(lease.clone()), &mut b_saw, at(114), &time), Step::Wait);
        // A renewal begins the wait anew.
        let mut renewed = taken(a.step(Some(lease), &mut a_saw, at(114), &time));
        assert_eq!(renewed.spec.as_ref().unwrap().lease_transitions, Some(0));
        renewed.spec.as_mut().unwrap().renew_time = Some(now_micro());
        assert_eq!(b.step(Some(renewed.clone()), &mut b_saw, at(115), &time), Step::Wait);
        assert_eq!(b.step(Some(renewed.clone()), &mut b_saw, at(129), &time), Step::Wait);
        let over = taken(b.step(Some(renewed), &mut b_saw, at(130), &time));
        let spec = over.spec.as_ref().unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("b"), Some(1)));
        assert_eq!(a.step(Some(over.clone()), &mut a_saw, at(131), &time), Step::Wait);
        // One that was given back is free at once.
        let mut free = over;
        free.spec.as_mut().unwrap().holder_identity = Some(String::new());
        assert!(matches!(a.step(Some(free), &mut a_saw, at(132), &time), Step::Take(_)));
    }
}
