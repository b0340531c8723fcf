//! A stand-in for AWS: a pure state machine that refuses what AWS refuses, and around it [`Cloud`], which writes every
//! changed resource as an object of the API server before it answers.
//!
//! It carries no traffic and checks no health: `alb-proxy` does and reports here.

mod acm;
mod actions;
mod addresses;
mod attributes;
mod bootstrap;
mod certificates;
mod cloud;
mod conditions;
mod health_checks;
mod instances;
mod interfaces;
mod listeners;
mod load_balancers;
mod network;
mod report;
mod route53;
mod rules;
mod security_groups;
mod state;
mod tags;
mod target_groups;

pub use certificates::{Issued, Issuer};
pub use cloud::{Cloud, Error, install_crds};
pub use report::{HealthReport, Report};
pub use state::{Change, Map, State};

#[cfg(test)]
mod tests;
