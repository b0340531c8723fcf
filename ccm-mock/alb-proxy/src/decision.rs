//! What was decided for each request, kept for a while under its trace id.
//!
//! It is for comparing a trace with reality and for the access log; nothing of it is sent to clients.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};

/// Decisions kept; a request is some hundred bytes.
const CAPACITY: usize = 4096;

/// One request's way through a load balancer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// `1-<time>-<random>` of X-Amzn-Trace-Id's Root.
    pub trace_id: String,
    /// RFC 3339.
    pub time: String,
    /// `http`, `https` or `h2`, as in an access log.
    pub kind: &'static str,
    pub load_balancer_arn: String,
    pub listener_arn: String,
    pub rule_arn: Option<String>,
    /// `default` for the default rule.
    pub priority: Option<String>,
    pub target_group_arn: Option<String>,
    /// Instance id or address.
    pub target_id: Option<String>,
    pub target_port: Option<u16>,
    /// The Pod's or node's address and port that was reached in the end.
    pub destination: Option<SocketAddrV4>,
    /// The node whose rules were walked.
    pub node: Option<String>,
    pub client: SocketAddrV4,
    /// Address of the load balancer that was used.
    pub address: SocketAddrV4,
    pub method: String,
    pub url: String,
    pub user_agent: String,
    pub status: u16,
    pub target_status: Option<u16>,
    pub target_processing_ms: f64,
    /// `forward`, `redirect`, `fixed-response`, or `-`.
    pub action: &'static str,
    /// Why the load balancer answered itself.
    pub error: Option<String>,
}

impl Decision {
    /// The line ALB would write to its access log (fields it does not have are `-`).
    pub fn access_log_line(&self) -> String {
        let arn = |a: &Option<String>| a.clone().unwrap_or_else(|| "-".into());
        let elb = self.load_balancer_arn.split(":loadbalancer/").nth(1).unwrap_or("-");
        let target = self.destination.map_or("-".to_string(), |d| d.to_string());
        let target_status = self.target_status.map_or("-".to_string(), |s| s.to_string());
        let priority = match self.priority.as_deref() {
            Some("default") => "0",
            Some(priority) => priority,
            None => "-1",
        };
        format!(
            "{} {} {elb} {} {target} 0.000 {:.3} 0.000 {} {target_status} - - \"{} {} HTTP/1.1\" \"{}\" - - {} \"Root={}\" \"-\" \"-\" {priority} {} \"{}\" \"-\" \"{}\" \"{target}\" \"{target_status}\" \"-\" \"-\"",
            self.kind,
            self.time,
            self.client,
            self.target_processing_ms / 1000.0,
            self.status,
            self.method,
            self.url,
            self.user_agent,
            arn(&self.target_group_arn),
            self.trace_id,
            self.time,
            self.action,
            self.error.as_deref().unwrap_or("-"),
        )
    }
}

#[derive(Default)]
struct Ring {
    order: VecDeque<String>,
    by_id: HashMap<String, Arc<Decision>>,
}

/// The last decisions; clones share them.
#[derive(Clone, Default)]
pub struct Decisions {
    ring: Arc<Mutex<Ring>>,
}

impl Decisions {
    /// Keep one; the oldest goes when there are too many.
    pub fn push(&self, decision: Decision) {
        tracing::debug!(target: "access_log", line = %decision.access_log_line());
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let id = decision.trace_id.clone();
        if ring.by_id.insert(id.clone(), Arc::new(decision)).is_none() {
            ring.order.push_back(id);
        }
        if ring.order.len() > CAPACITY
            && let Some(oldest) = ring.order.pop_front()
        {
            ring.by_id.remove(&oldest);
        }
    }

    /// The decision for a trace id (`Root=` may be in front).
    pub fn get(&self, trace_id: &str) -> Option<Arc<Decision>> {
        let id = trace_id.trim_start_matches("Root=");
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    /// The latest, newest first.
    pub fn latest(&self, count: usize) -> Vec<Arc<Decision>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.order.iter().rev().take(count).filter_map(|id| ring.by_id.get(id).cloned()).collect()
    }
}
