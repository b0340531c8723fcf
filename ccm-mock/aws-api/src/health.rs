//! Reasons of target health with AWS's sentences.
//!
//! When a state changes is decided by whoever checks; here is only what it is called.

use crate::elbv2::HealthState;
use crate::text_enum::text_enum;

text_enum! {
    /// Reason code of a health that is not `healthy`.
    Reason {
        RegistrationInProgress = "Elb.RegistrationInProgress",
        InitialHealthChecking = "Elb.InitialHealthChecking",
        ResponseCodeMismatch = "Target.ResponseCodeMismatch",
        Timeout = "Target.Timeout",
        FailedHealthChecks = "Target.FailedHealthChecks",
        InternalError = "Elb.InternalError",
        NotRegistered = "Target.NotRegistered",
        NotInUse = "Target.NotInUse",
        InvalidState = "Target.InvalidState",
        IpUnusable = "Target.IpUnusable",
        DeregistrationInProgress = "Target.DeregistrationInProgress",
        HealthCheckDisabled = "Target.HealthCheckDisabled",
    }
}

impl Reason {
    /// The state this reason goes with, and AWS's sentence.
    pub const fn meaning(self) -> (HealthState, &'static str) {
        use HealthState::*;
        match self {
            Reason::RegistrationInProgress => (Initial, "Target registration is in progress"),
            Reason::InitialHealthChecking => (Initial, "Initial health checks in progress"),
            Reason::ResponseCodeMismatch => (Unhealthy, "Health checks failed with these codes: [code]"),
            Reason::Timeout => (Unhealthy, "Request timed out"),
            Reason::FailedHealthChecks => (Unhealthy, "Health checks failed"),
            Reason::InternalError => (Unhealthy, "Health checks failed due to an internal error"),
            Reason::NotRegistered => (Unused, "Target is not registered to the target group"),
            Reason::NotInUse => {
                (Unused, "Target group is not configured to receive traffic from the load balancer")
            }
            Reason::InvalidState => (Unused, "Target is in the stopped state"),
            Reason::IpUnusable => {
                (Unused, "The IP address cannot be used as a target, as it is in use by a load balancer")
            }
            Reason::DeregistrationInProgress => (Draining, "Target deregistration is in progress"),
            Reason::HealthCheckDisabled => (Unavailable, "Health checks are disabled"),
        }
    }

    /// AWS's sentence.
    pub const fn description(self) -> &'static str {
        self.meaning().1
    }
}
