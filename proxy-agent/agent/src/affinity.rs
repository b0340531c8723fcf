//! Which client went to which endpoint, for as long as the Service says.
//!
//! The memory is of this process; a restart forgets, as a node's reboot does.

use proxy_agent_ruleset::Affinity;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries before those that have expired are swept out; the same bound as a set's `size`.
const MAX_ENTRIES: usize = 65_535;

/// Remembered clients by set.
#[derive(Debug, Default)]
pub struct AffinityTable {
    entries: Mutex<HashMap<(String, Ipv4Addr), Instant>>,
}

impl AffinityTable {
    /// Remember a client for some seconds from now.
    pub fn remember(&self, set: &str, client: Ipv4Addr, seconds: u32) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, until| *until > now);
        }
        if entries.len() < MAX_ENTRIES {
            entries.insert((set.to_string(), client), now + Duration::from_secs(seconds.into()));
        }
    }
}

impl Affinity for AffinityTable {
    fn remembers(&self, set: &str, client: Ipv4Addr) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&(set.to_string(), client)).is_some_and(|until| *until > Instant::now())
    }
}
