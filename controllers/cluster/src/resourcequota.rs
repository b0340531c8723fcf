//! ResourceQuotas say what is used: counted when a quota changes, when something it counts goes or ends, and every
//! five minutes.
//!
//! What is used is read from the API server after the quota, never from caches: every write that is charged to a quota
//! changes it, so a sum that misses one meets a newer quota and is refused. Creations are not waited for here: they
//! are charged when they happen.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use controllers_kit::{Cache, Caches, Done, Error, Key, Object, Queue, Tree};
use controllers_quota_model::{Amounts, Measure, amounts, usage};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::jiff::Timestamp;

use resources::Resources;
use watches::Watches;

mod changes;
mod resources;
mod watches;

/// Upstream counts everything again as often.
const RESYNC: Duration = Duration::from_secs(300);
/// A creation that was admitted before there was a quota is stored by then.
const SETTLED: Duration = Duration::from_secs(1);
/// After objects were read they are not read again for so many times as long: many deletions make few counts.
const REST: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(2);

struct Loop {
    quotas: Cache<ResourceQuota>,
    resources: Resources,
    /// When a quota's last count ended, and how long the next one waits after that.
    rests: Mutex<HashMap<Key, (Instant, Duration)>>,
}

pub(crate) async fn run(caches: Caches) {
    let quotas = caches.of::<ResourceQuota>();
    let queue: Queue<Key> = Queue::new();
    let resources = Resources::new(&caches);
    let watches = Watches::new(&caches, &quotas, &resources, &queue);
    let (q, w) = (queue.clone(), watches.queue());
    quotas.on_change(move |change| {
        let spec = |quota: &Option<Arc<ResourceQuota>>| quota.as_ref().and_then(|quota| quota.spec.clone());
        if change.old.is_none() || spec(&change.old) != spec(&change.new) {
            w.add(Key::new("", "quotas"), change.story());
        }
        if change.old.is_none() || spec(&change.old) != spec(&change.new) || is_behind(change.new.as_deref())
        {
            q.add(change.key.clone(), change.story());
        }
    });
    quotas.synced().await;
    let this = Arc::new(Loop { quotas: quotas.clone(), resources, rests: Mutex::default() });
    let count = controllers_kit::run("resourcequota", queue.clone(), 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    });
    futures::join!(count, watches.run(), resync(quotas, queue));
}

async fn resync(quotas: Cache<ResourceQuota>, queue: Queue<Key>) {
    loop {
        tokio::time::sleep(RESYNC).await;
        quotas.all().iter().for_each(|quota| queue.add(Key::of(&quota.metadata), "time passed"));
    }
}

/// Is what is limited another thing than what is said to be?
fn is_behind(quota: Option<&ResourceQuota>) -> bool {
    quota.is_some_and(|quota| {
        let said = quota.status.as_ref().and_then(|status| status.hard.as_ref());
        said != quota.spec.as_ref().and_then(|spec| spec.hard.as_ref())
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The amounts a quota limits, by the resource they are about.
fn by_resource(hard: &Amounts) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut found: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for name in hard.keys() {
        if let Some(resource) = usage::measured(name) {
            found.entry(resource).or_default().push(name);
        }
    }
    found
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let Some(quota) = self.quotas.get(&key) else {
            lock(&self.rests).remove(&key);
            return Ok(Done::nothing());
        };
        let mut done = Done::nothing();
        if let Some(wait) = self.rest(&key) {
            done.again_after(wait);
            return Ok(done);
        }
        let tree: Tree = serde_json::from_slice(&quota.to_json()?)?;
        let hard = amounts::read(&tree["spec"], "hard");
        let before = amounts::read(&tree["status"], "used");
        let (used, read) = self.count(&key.namespace, &tree["spec"], &hard, &before).await?;
        lock(&self.rests).insert(key, (Instant::now(), (read * REST).min(REST_MAX)));
        let (unknown, behind) = (tree["status"]["used"].is_null(), is_behind(Some(&quota)));
        if !unknown && !behind && used == before {
            return Ok(done);
        }
        let mut counted = (*quota).clone();
        let status = counted.status.get_or_insert_default();
        status.hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        status.used = Some(serde_json::from_value(amounts::write(&used))?);
        self.quotas.replace_status(&counted).await?;
        done.note(story(&before, &used));
        if behind {
            done.again_after(SETTLED);
        }
        Ok(done)
    }

    fn rest(&self, key: &Key) -> Option<Duration> {
        let (ended, rest) = *lock(&self.rests).get(key)?;
        rest.checked_sub(ended.elapsed()).filter(|left| *left > Duration::from_millis(20))
    }

    /// What is used of each limited amount, and how long it took to read objects. What nobody can count stays as it
    /// was.
    async fn count(
        &self,
        namespace: &str,
        spec: &Tree,
        hard: &Amounts,
        before: &Amounts,
    ) -> Result<(Amounts, Duration), Error> {
        let mut read = Duration::ZERO;
        let limited: Vec<&str> = hard.keys().map(String::as_str).collect();
        let mut used = amounts::only(before, &limited);
        for ((group, name), names) in by_resource(hard) {
            let Some(measure) = Measure::of(group, name) else { continue };
            let Some(resource) = self.resources.find(group, name).await? else { continue };
            let part = match usage::need(&measure, spec, &names) {
                usage::Need::Nothing => usage::of_count(&names, 0),
                usage::Need::Count => {
                    usage::of_count(&names, self.resources.count(&resource, namespace).await?)
                }
                usage::Need::Objects => {
                    let began = Instant::now();
                    let objects = self.resources.list(&resource, namespace).await?;
                    read += began.elapsed();
                    let trees = objects.iter().map(|object| &object.tree);
                    usage::of_objects(&measure, spec, &names, trees, Timestamp::now())
                }
            };
            used.extend(part);
        }
        Ok((used, read))
    }
}

fn story(before: &Amounts, used: &Amounts) -> String {
    let changed = used.iter().filter(|(name, amount)| before.get(*name) != Some(*amount));
    let told: Vec<String> = changed
        .map(|(name, amount)| match before.get(name) {
            Some(before) => format!("{name} {before} -> {amount}"),
            None => format!("{name} {amount}"),
        })
        .collect();
    match told.as_slice() {
        [] => "said what is limited".to_owned(),
        told => format!("counted {}", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controllers_quota_model::Amount;

    #[test]
    fn amounts_are_counted_by_resource() {
        let hard: Amounts =
            ["pods", "limits.cpu", "count/pods", "secrets", "count/widgets.example.com", "wrong"]
                .map(|name| (name.to_owned(), Amount::count(1)))
                .into();
        let found = by_resource(&hard);
        assert_eq!(found[&("", "pods")], ["count/pods", "limits.cpu", "pods"]);
        assert_eq!(found[&("", "secrets")], ["secrets"]);
        assert_eq!(found[&("example.com", "widgets")], ["count/widgets.example.com"]);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn the_log_says_what_changed() {
        let amounts = |pods: usize| Amounts::from([("pods".to_owned(), Amount::count(pods))]);
        assert_eq!(story(&Amounts::new(), &amounts(2)), "counted pods 2");
        assert_eq!(story(&amounts(2), &amounts(1)), "counted pods 2 -> 1");
        assert_eq!(story(&amounts(2), &amounts(2)), "said what is limited");
    }
}
