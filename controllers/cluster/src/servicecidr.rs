//! ServiceCIDRs say that they are ready, and stay as long as a Service's address is of them alone.
//! `pkg/controller/servicecidrs` upstream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use controllers_kit::meta::{has_finalizer, now};
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, raw};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::jiff::SignedDuration;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, Request};
use serde_json::{Value, json};

const PATH: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const MANAGER: &str = "service-cidr-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// What an address of a Service is labelled with.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const CONTROLLER: &str = "ipallocator.k8s.io";
/// Until every API server knows that the range goes, it may still give an address of it.
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// How soon the addresses are looked at again that a range waits for. Ranges go so seldom that nobody watches all addresses.
const AGAIN: Duration = Duration::from_secs(1);

struct Loop {
    client: Client,
    ranges: Cache<ServiceCIDR>,
}

pub(crate) async fn run(caches: Caches) {
    let ranges = caches.of::<ServiceCIDR>();
    let queue: Queue<Key> = Queue::new();
    ranges.wake(&queue);
    ranges.synced().await;
    let this = Arc::new(Loop { client: caches.client().clone(), ranges });
    controllers_kit::run("servicecidr", queue, 1, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(range) = self.ranges.get(&key) else { return Ok(done) };
        let Some(since) = &range.metadata.deletion_timestamp else {
            if !has_finalizer(&range.metadata, FINALIZER) {
                self.patch(&key, &json!({"metadata": {"finalizers": [FINALIZER]}})).await?;
                done.note(format!("added {FINALIZER}"));
            }
            self.set_ready(&range, &key, "True", "", "Kubernetes Service CIDR is ready", &mut done).await?;
            return Ok(done);
        };
        if !has_finalizer(&range.metadata, FINALIZER) {
            return Ok(done);
        }
        if self.is_needed(&range).await? {
            let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            self.set_ready(&range, &key, "False", "Terminating", why, &mut done).await?;
            done.again_after(AGAIN);
            return Ok(done);
        }
        let left = GRACE - now().0.duration_since(since.0);
        if left.is_positive() {
            done.again_after(left.unsigned_abs());
            return Ok(done);
        }
        self.patch(&key, &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}})).await?;
        done.note(format!("took {FINALIZER} away: no address is of it alone"));
        Ok(done)
    }

    /// Whether an address of a Service is of this range and of no other.
    async fn is_needed(&self, range: &ServiceCIDR) -> Result<bool, Error> {
        let name = range.metadata.name.as_ref();
        let others: Vec<(IpAddr, u8)> = self
            .ranges
            .all()
            .iter()
            .filter(|other| other.metadata.name.as_ref() != name)
            .flat_map(|other| cidrs_of(other).collect::<Vec<_>>())
            .collect();
        let alone: Vec<(IpAddr, u8)> = cidrs_of(range).collect();
        let is_within = |(ip, bits): (IpAddr, u8)| {
            others.iter().any(|(base, length)| *length <= bits && holds((*base, *length), ip))
        };
        if alone.iter().all(|cidr| is_within(*cidr)) {
            return Ok(false);
        }
        let addresses = raw::list_raw(self.client.clone(), ApiResource::erase::<IPAddress>(&())).await?;
        let own = addresses.iter().filter(|found| found.tree["metadata"]["labels"][MANAGED_BY] == CONTROLLER);
        let mut ips = own.filter_map(|found| found.metadata.name.as_ref()?.parse::<IpAddr>().ok());
        Ok(ips.any(|ip| {
            alone.iter().any(|cidr| holds(*cidr, ip)) && !others.iter().any(|cidr| holds(*cidr, ip))
        }))
    }

    async fn set_ready(
        &self,
        range: &ServiceCIDR,
        key: &Key,
        status: &str,
        reason: &str,
        message: &str,
        done: &mut Done,
    ) -> Result<(), Error> {
        let mut conditions = range.status.iter().flat_map(|status| status.conditions.iter().flatten());
        if conditions.any(|known| {
            (&*known.type_, &*known.status, &*known.reason, &*known.message)
                == ("Ready", status, reason, message)
        }) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": key.name},
            "status": {"conditions": [{
                "type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": now(),
            }]},
        });
        let params = PatchParams::apply(MANAGER).force();
        let request =
            Request::new(PATH).patch_subresource("status", &key.name, &params, &Patch::Apply(&patch));
        raw::send(self.client.clone(), request).await?;
        done.note(format!("Ready is {status}"));
        Ok(())
    }

    async fn patch(&self, key: &Key, patch: &Value) -> Result<(), Error> {
        let request = Request::new(PATH).patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch));
        controllers_kit::error::gone_is_fine(raw::send(self.client.clone(), request).await).map(drop)
    }
}

fn cidrs_of(range: &ServiceCIDR) -> impl Iterator<Item = (IpAddr, u8)> {
    let cidrs = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    cidrs.filter_map(|cidr| {
        let (base, length) = cidr.split_once('/')?;
        Some((base.parse().ok()?, length.parse().ok()?))
    })
}

/// Whether an address is in a range.
fn holds((base, length): (IpAddr, u8), ip: IpAddr) -> bool {
    let prefix =
        |bits: u128, width: u32| bits.checked_shr(width.saturating_sub(u32::from(length))).unwrap_or(0);
    match (base, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            prefix(u32::from(base).into(), 32) == prefix(u32::from(ip).into(), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) => prefix(base.into(), 128) == prefix(ip.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_range_of_its_family() {
        for (range, ip, want) in [
            (("10.0.0.0", 24), "10.0.0.77", true),
            (("10.0.0.0", 24), "10.0.1.77", false),
            (("0.0.0.0", 0), "10.0.1.77", true),
            (("10.0.0.7", 32), "10.0.0.7", true),
            (("fd00::", 64), "fd00::7", true),
            (("fd00::", 64), "fd00:0:0:1::7", false),
            (("::", 0), "fd00::7", true),
            (("::", 0), "10.0.0.1", false),
        ] {
            assert_eq!(
                holds((range.0.parse().unwrap(), range.1), ip.parse().unwrap()),
                want,
                "{range:?} {ip}"
            );
        }
    }
}
