//! The plan of load balancer, listeners, rules and target groups of an Ingress group: values in, values out.
//!
//! [`check`] reads annotations and specs and refuses what is wrong; [`build`] cannot fail and makes every choice:
//! names, order, priorities, tags. Nothing here asks the cloud or the API server.

mod action;
mod annotations;
mod backend;
mod build;
mod check;
mod condition;
mod group;
mod json;
mod listeners;
pub mod names;
mod origin;
mod plan;
mod rules;
#[cfg(test)]
mod tests;
mod values;

pub use annotations::PREFIX;
pub use backend::find_port;
pub use build::build;
pub use check::{Checked, check};
pub use group::{DELETION_PROTECTION, Group, GroupId, Refused, deletable, membership};
pub use listeners::listen_ports;
pub use origin::{Origin, blamed};
pub use plan::{
    CLUSTER_TAG, ListenerPlan, LoadBalancerPlan, Plan, RESOURCE_TAG, RulePlan, STACK_TAG, SecurityGroupPlan,
    Tags, TargetGroupPlan,
};
pub use rules::services_of;
