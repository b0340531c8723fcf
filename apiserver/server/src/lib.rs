//! The API server: HTTP in, HTTP out. Who asks, whether they may, in which form, and one handler a verb.
//!
//! What an object means is the registry's business; what is stored where, the store's. The same service answers
//! sockets and in-process clients.

mod access;
mod answer;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod certificates;
mod claims;
mod column_texts;
mod components;
mod compress;
mod conditions;
mod content_type;
mod context;
mod definitions;
mod discovery;
mod dispatch;
mod endpoints;
mod escalation;
mod etag;
mod flow_control;
mod gathered;
mod handlers;
mod health;
mod housekeeping;
mod impersonation;
mod legacy_tokens;
pub mod limits;
mod metrics;
mod negotiate;
mod node_proxy;
mod openapi;
mod own_documents;
mod patience;
mod pod_log;
mod portforward;
mod query;
mod rbac_policy;
mod remote_command;
mod request_info;
mod serve;
mod service;
mod service_addresses;
mod signers;
mod streams;
mod table;
mod token;
mod webhooks;
mod yaml;
mod yaml_writer;
mod zpages;

pub use authn::{Authentication, User};
pub use body::{BoxError, RequestBody, ResponseBody};
pub use bootstrap::bootstrap;
pub use certificates::{Acceptor, Tls};
pub use housekeeping::run as run_housekeeping;
pub use node_proxy::{
    Chunks, Connection, NodeRequest, Nodes, PodTarget, Process, ProcessStreams, Promise, TerminalSize,
};
pub use serve::serve;
pub use service::{ApiServer, Config, InProcess};
pub use token::ServiceAccountKeys;

/// The Kubernetes version this server is.
pub const VERSION: &str = "v1.36.2+hopyard";
