//! Current state and event window of every resource; every read and watch is served from here.
//!
//! The store's writer publishes each batch under one lock before it answers, so a reader sees a write it was
//! told of, and the revision of a snapshot is exact for all resources. Snapshots are persistent maps: taking one
//! costs nothing and holds nobody up. Watchers hold a position, not a buffer: a slow one costs no memory and
//! learns that it fell out of the window. Nothing here touches the disk or knows what an object means.

mod behind;
mod labels;
mod object;
mod watcher;

pub use object::Object;
pub use watcher::{Batch, Watcher};

use behind::Behind;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use apiserver_storage::{Event, EventKind, Key, Publish, Revision};
use imbl::OrdMap;
use tokio::sync::watch;

/// Every bound of the cache, and why.
pub mod limits {
    use std::time::Duration;

    /// Events kept a resource; upstream's upper bound.
    pub const WINDOW_EVENTS_MAX: usize = 100_000;
    /// Superseded bytes the windows of a resource may keep alive.
    pub const WINDOW_BYTES_MAX: usize = 24 << 20;
    /// Events always kept, so that a client which just listed can start its watch.
    pub const WINDOW_EVENTS_MIN: usize = 1_000;
    /// Labels of a resource by which its objects are indexed.
    pub const LABEL_INDEXES_MAX: usize = 8;
    /// Objects of a resource below which a selector looks at each of them.
    pub const LABEL_INDEX_OBJECTS_MIN: usize = 1_000;
    /// Snapshots remembered for lists read page by page while writes go on.
    pub const PAGED_SNAPSHOTS_MAX: usize = 32;
    /// How long a read waits for a revision it has heard of elsewhere; upstream waits as long.
    pub const FUTURE_WAIT: Duration = Duration::from_secs(3);
}

/// The state of one resource at one revision. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub revision: Revision,
    pub objects: OrdMap<Key, Arc<Object>>,
}

impl Snapshot {
    /// The objects whose key starts with `prefix`, in key order.
    pub fn scope<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
        self.from(prefix, prefix)
    }

    /// As [`Snapshot::scope`], from key `start` on.
    pub fn from<'a>(&'a self, prefix: &'a str, start: &str) -> impl Iterator<Item = &'a Arc<Object>> {
        let start: Key = start.into();
        self.objects
            .range(start..)
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, object)| object)
    }
}

/// One change of one object, shared by every watcher.
#[derive(Debug)]
pub struct Change {
    pub revision: Revision,
    pub kind: EventKind,
    /// The object after the change; its last state for a deletion.
    pub object: Arc<Object>,
    pub previous: Option<Arc<Object>>,
}

impl Change {
    /// Whether the object is there after the change.
    fn is_state(&self) -> bool {
        self.kind != EventKind::Deleted
    }
}

/// Why a read at some revision was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("revision {asked} has left the window; the oldest is {oldest}")]
    Expired { asked: Revision, oldest: Revision },
    #[error("revision {asked} is not reached; the current one is {current}")]
    Future { asked: Revision, current: Revision },
}

/// The cache of all resources.
#[derive(Debug)]
pub struct Cache {
    state: RwLock<State>,
    revision: watch::Sender<Revision>,
    paged: Mutex<VecDeque<(String, Snapshot)>>,
    /// States before this revision are told to nobody.
    history: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    resources: HashMap<String, Resource>,
    /// What happened up to here can't be told of any resource, nor of those that are not known yet.
    floor: Revision,
}

#[derive(Debug)]
struct Resource {
    objects: OrdMap<Key, Arc<Object>>,
    labels: labels::Labels,
    window: VecDeque<Arc<Change>>,
    window_bytes: usize,
    floor: Revision,
    /// Revision of the last change; 0 where there was none.
    changed: Revision,
    tick: watch::Sender<Revision>,
    behind: Behind,
}

impl Resource {
    fn new(floor: Revision) -> Self {
        Self {
            objects: OrdMap::new(),
            labels: labels::Labels::default(),
            window: VecDeque::new(),
            window_bytes: 0,
            floor,
            changed: 0,
            tick: watch::Sender::new(floor),
            behind: Behind::default(),
        }
    }

    /// Forgets what happened before `floor`, whatever it was.
    fn begin_at(&mut self, floor: Revision) {
        self.window.clear();
        self.window_bytes = 0;
        self.floor = floor;
    }

    fn apply(&mut self, event: &Event) {
        let object = Arc::new(Object::new(event.key.clone(), event.revision, event.value.clone()));
        let previous = match event.kind {
            EventKind::Deleted => self.objects.remove(&event.key),
            EventKind::Created | EventKind::Updated => self.objects.insert(event.key.clone(), object.clone()),
        };
        let change = Arc::new(Change { revision: event.revision, kind: event.kind, object, previous });
        self.labels.change(change.previous.as_ref(), change.is_state().then_some(&change.object));
        self.changed = self.changed.max(event.revision);
        self.window_bytes += cost(&change);
        self.window.push_back(change);
        while self.window.len() > limits::WINDOW_EVENTS_MIN
            && (self.window.len() > limits::WINDOW_EVENTS_MAX || self.window_bytes > limits::WINDOW_BYTES_MAX)
        {
            let Some(oldest) = self.window.pop_front() else { break };
            self.window_bytes -= cost(&oldest);
            self.floor = oldest.revision;
        }
    }

    fn since(&self, after: Revision) -> Result<impl ExactSizeIterator<Item = &Arc<Change>>, Error> {
        if after < self.floor {
            return Err(Error::Expired { asked: after, oldest: self.floor });
        }
        let start = self.window.partition_point(|change| change.revision <= after);
        Ok(self.window.range(start..))
    }

    /// A watcher that reads has still `unread` events to come.
    fn is_behind(&self, unread: usize) {
        let bytes_each = (self.window_bytes / self.window.len().max(1)).max(1);
        let room = (limits::WINDOW_BYTES_MAX / bytes_each)
            .clamp(limits::WINDOW_EVENTS_MIN, limits::WINDOW_EVENTS_MAX);
        self.behind.say(unread as f64 / room as f64, Instant::now());
    }
}

fn cost(change: &Change) -> usize {
    change.previous.as_ref().map_or(0, |previous| previous.bytes().len()) + 256
}

/// The part of a key that names its resource: `/registry/<group>/<resource>/`.
fn resource_of(key: &str) -> &str {
    let end = key.match_indices('/').nth(3).map_or(key.len(), |(at, _)| at + 1);
    &key[..end]
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            revision: watch::Sender::new(0),
            paged: Mutex::default(),
            history: AtomicU64::new(0),
        }
    }
}

impl Cache {
    /// The revision every snapshot taken now would have.
    pub fn revision(&self) -> Revision {
        self.read().revision
    }

    /// Starts counting at `revision` where the store's history is longer than what it published.
    pub fn advance_to(&self, revision: Revision) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.revision = state.revision.max(revision);
        self.revision.send_replace(state.revision);
    }

    /// Forgets that events up to `floor` can be watched: the store compacted them before this process began.
    pub fn raise_floor(&self, floor: Revision) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.floor = state.floor.max(floor);
        for resource in state.resources.values_mut() {
            while resource.window.front().is_some_and(|change| change.revision <= floor) {
                if let Some(oldest) = resource.window.pop_front() {
                    resource.window_bytes -= cost(&oldest);
                }
            }
            resource.floor = resource.floor.max(floor);
        }
    }

    /// One object by key.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read().resources.get(resource_of(key))?.objects.get(key).cloned()
    }

    /// Tells, without asking the cache, whether a resource may have changed; `resource` is its key prefix.
    pub fn ticks(&self, resource: &str) -> watch::Receiver<Revision> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let floor = state.floor;
        let found = state.resources.entry(resource.to_owned()).or_insert_with(|| Resource::new(floor));
        found.tick.subscribe()
    }

    /// Revision of the last change of a resource; 0 where there was none in this process.
    pub fn last_change(&self, resource: &str) -> Revision {
        self.read().resources.get(resource).map_or(0, |found| found.changed)
    }

    /// The current state of a resource; `resource` is its key prefix.
    pub fn snapshot(&self, resource: &str) -> Snapshot {
        let state = self.read();
        let objects = state.resources.get(resource).map(|found| found.objects.clone()).unwrap_or_default();
        Snapshot { revision: state.revision, objects }
    }

    /// Forgets every state before `revision`, as a compacted etcd does; what happened since can still be watched.
    pub fn forget_states_before(&self, revision: Revision) {
        self.history.fetch_max(revision, Ordering::Relaxed);
        self.paged.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, old)| old.revision >= revision);
    }

    /// The state of a resource as it was at `at`.
    ///
    /// # Errors
    /// [`Error::Expired`] when it is forgotten or the changes since then have left the window, [`Error::Future`] when `at` is
    /// ahead.
    pub fn snapshot_at(&self, resource: &str, at: Revision) -> Result<Snapshot, Error> {
        let oldest = self.history.load(Ordering::Relaxed);
        if at < oldest {
            return Err(Error::Expired { asked: at, oldest });
        }
        {
            let paged = self.paged.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, snapshot)) =
                paged.iter().find(|(name, old)| name == resource && old.revision == at)
            {
                return Ok(snapshot.clone());
            }
        }
        let state = self.read();
        if at > state.revision {
            return Err(Error::Future { asked: at, current: state.revision });
        }
        let Some(found) = state.resources.get(resource) else {
            if at < state.floor {
                return Err(Error::Expired { asked: at, oldest: state.floor });
            }
            return Ok(Snapshot { revision: at, objects: OrdMap::new() });
        };
        let mut objects = found.objects.clone();
        let mut changes: Vec<&Arc<Change>> = found.since(at)?.collect();
        changes.reverse();
        for change in changes {
            match &change.previous {
                Some(previous) => objects.insert(previous.key().clone(), previous.clone()),
                None => objects.remove(change.object.key()),
            };
        }
        Ok(Snapshot { revision: at, objects })
    }

    /// Remembers a snapshot whose later pages will be asked for.
    pub fn keep_for_pages(&self, resource: &str, snapshot: &Snapshot) {
        let mut paged = self.paged.lock().unwrap_or_else(PoisonError::into_inner);
        if paged.iter().any(|(name, old)| name == resource && old.revision == snapshot.revision) {
            return;
        }
        if paged.len() >= limits::PAGED_SNAPSHOTS_MAX {
            paged.pop_front();
        }
        paged.push_back((resource.to_owned(), snapshot.clone()));
    }

    /// Waits until the cache has reached `at`.
    ///
    /// # Errors
    /// [`Error::Future`] when it did not within [`limits::FUTURE_WAIT`].
    pub async fn wait_for(&self, at: Revision) -> Result<(), Error> {
        self.wait_for_within(at, limits::FUTURE_WAIT).await
    }

    async fn wait_for_within(&self, at: Revision, patience: Duration) -> Result<(), Error> {
        let mut revision = self.revision.subscribe();
        let reached = tokio::time::timeout(patience, revision.wait_for(|now| *now >= at)).await;
        match reached {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Future { asked: at, current: self.revision() }),
        }
    }

    /// Watches the changes of keys that start with `scope`, after revision `after`.
    ///
    /// # Errors
    /// [`Error::Expired`] when some have left the window already.
    pub fn watch(self: &Arc<Self>, scope: &str, after: Revision) -> Result<Watcher, Error> {
        let resource = resource_of(scope).to_owned();
        let tick = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let floor = state.floor;
            let found = state.resources.entry(resource.clone()).or_insert_with(|| Resource::new(floor));
            if after < found.floor {
                return Err(Error::Expired { asked: after, oldest: found.floor });
            }
            found.tick.subscribe()
        };
        Ok(Watcher::new(self.clone(), resource, scope.to_owned(), after, tick))
    }

    /// How long a write of a resource should wait for its watchers, at most a tenth of a second: they are about to fall
    /// out of the window.
    pub fn wait_for_watchers(&self, resource: &str) -> Duration {
        self.read().resources.get(resource).map_or(Duration::ZERO, |found| found.behind.wait(Instant::now()))
    }

    /// Applies events under the lock; the resources they are of.
    fn apply(state: &mut State, events: &[Arc<Event>]) -> Vec<watch::Sender<Revision>> {
        let mut touched: Vec<watch::Sender<Revision>> = Vec::new();
        let mut previous: &str = "";
        let floor = state.floor;
        for event in events {
            let name = resource_of(&event.key);
            if !state.resources.contains_key(name) {
                state.resources.insert(name.to_owned(), Resource::new(floor));
            }
            if let Some(resource) = state.resources.get_mut(name) {
                resource.apply(event);
                if name != previous {
                    touched.push(resource.tick.clone());
                    previous = name;
                }
            }
        }
        touched
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publish for Cache {
    fn publish(&self, events: &[Arc<Event>]) {
        let Some(last) = events.last() else { return };
        let touched = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let touched = Self::apply(&mut state, events);
            state.revision = last.revision;
            touched
        };
        for tick in touched {
            tick.send_replace(last.revision);
        }
        self.revision.send_replace(last.revision);
    }

    fn reached(&self, revision: Revision) {
        self.advance_to(revision);
    }

    fn restart(&self, events: &[Arc<Event>], revision: Revision) {
        let ticks: Vec<watch::Sender<Revision>> = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            Self::apply(&mut state, events);
            state.floor = revision;
            state.revision = revision;
            state.resources.values_mut().for_each(|resource| resource.begin_at(revision));
            // Every watcher is to learn that it missed something, whatever it watches.
            state.resources.values().map(|resource| resource.tick.clone()).collect()
        };
        for tick in ticks {
            tick.send_replace(revision);
        }
        self.revision.send_replace(revision);
    }
}

#[cfg(test)]
mod tests;
