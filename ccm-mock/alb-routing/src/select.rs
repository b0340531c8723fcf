//! Which target of a target group gets the next request.
//!
//! Counters and health are passed in; nothing is remembered here.

use ccm_mock_aws_api::elbv2::{Attributes, HealthState, TargetHealthDescription};

/// `load_balancing.algorithm.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastOutstandingRequests,
}

impl Algorithm {
    /// What a target group's attributes ask for.
    pub fn of(attributes: &Attributes) -> Self {
        match attributes.get("load_balancing.algorithm.type").map(String::as_str) {
            Some("least_outstanding_requests") => Algorithm::LeastOutstandingRequests,
            _ => Algorithm::RoundRobin,
        }
    }
}

/// Targets that may get a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidates {
    /// Indexes into the targets.
    pub indexes: Vec<usize>,
    /// True if none is healthy and so all registered ones are used.
    pub fail_open: bool,
}

/// The healthy targets; if there is none, all registered ones (draining ones never).
pub fn candidates(targets: &[TargetHealthDescription]) -> Candidates {
    let with = |keep: &dyn Fn(HealthState) -> bool| -> Vec<usize> {
        targets.iter().enumerate().filter(|(_, t)| keep(t.state)).map(|(i, _)| i).collect()
    };
    let healthy = with(&|s| matches!(s, HealthState::Healthy | HealthState::Unavailable));
    if !healthy.is_empty() {
        return Candidates { indexes: healthy, fail_open: false };
    }
    let all = with(&|s| matches!(s, HealthState::Unhealthy | HealthState::Initial));
    Candidates { fail_open: !all.is_empty(), indexes: all }
}

/// The target that is next; None if nothing is registered (the client gets 503).
pub fn select(
    algorithm: Algorithm,
    candidates: &Candidates,
    cursor: u64,
    in_flight: impl Fn(usize) -> usize,
) -> Option<usize> {
    let count = u64::try_from(candidates.indexes.len()).ok().filter(|n| *n > 0)?;
    let start = usize::try_from(cursor % count).ok()?;
    let rotated = candidates.indexes[start..].iter().chain(&candidates.indexes[..start]);
    match algorithm {
        Algorithm::RoundRobin => rotated.copied().next(),
        Algorithm::LeastOutstandingRequests => rotated.copied().min_by_key(|i| in_flight(*i)),
    }
}
