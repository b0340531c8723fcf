//! Why an apply was refused, in upstream's words.

use std::fmt;

use super::entries::{Identity, Operation};

/// A field that somebody else owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub manager: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
    /// As upstream prints it: `.spec.ports[port=80,protocol="TCP"].name`.
    pub field: String,
}

impl Conflict {
    pub(super) fn new(identity: &Identity, field: String) -> Self {
        Self {
            manager: identity.manager.clone(),
            operation: identity.operation,
            api_version: identity.api_version.clone(),
            subresource: identity.subresource.clone(),
            field,
        }
    }

    /// The message of the cause: `conflict with "alpha"`.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.owner())
    }

    fn owner(&self) -> String {
        let mut text = apiserver_meta::field::go_quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(" with subresource ");
            text.push_str(&apiserver_meta::field::go_quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(" using ");
            text.push_str(&self.api_version);
        }
        text
    }
}

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// 409 Conflict; each conflict is a cause of type `FieldManagerConflict`.
    Conflicts(Vec<Conflict>),
    /// 400 BadRequest.
    BadRequest(String),
    /// 500 without a reason.
    Failed(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflicts(conflicts) => write_conflicts(f, conflicts),
            Self::BadRequest(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ApplyError {}

fn write_conflicts(f: &mut fmt::Formatter<'_>, conflicts: &[Conflict]) -> fmt::Result {
    if let [one] = conflicts {
        return write!(f, "Apply failed with 1 conflict: {}: {}", one.message(), one.field);
    }
    write!(f, "Apply failed with {} conflicts: ", conflicts.len())?;
    let mut owner = String::new();
    for (i, conflict) in conflicts.iter().enumerate() {
        if i > 0 {
            f.write_str("\n")?;
        }
        if conflict.owner() != owner || i == 0 {
            owner = conflict.owner();
            writeln!(f, "conflicts with {owner}:")?;
        }
        write!(f, "- {}", conflict.field)?;
    }
    Ok(())
}
