//! The load balancers that really listen: ALBs speak HTTP, NLBs pass TCP, both check their targets' health.
//!
//! Every request looks at the state of that moment, so a change of configuration needs no reload and loses nothing.
//! Which rule matches and which target is next is `alb-routing`; gRPC targets and authentication are not here.

mod body;
mod cookies;
mod decision;
mod headers;
mod health;
mod http_listener;
mod matcher;
mod proxy;
mod targets;
mod tcp_listener;

pub use decision::{Decision, Decisions};
pub use proxy::{Control, Proxy, run};
