//! A refusal of the cloud, with the annotations that the refused value came from.
//!
//! Which these are is known by the plan; the sentence is not searched.

use ccm_mock_aws_api::{Aws, Error, Request};
use controllers_ingress_model::{Origin, blamed};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Why a plan could not be made true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Refusal {
    pub error: Error,
    /// `alb.ingress.kubernetes.io/… of Ingress ns/name`, each once.
    pub blamed: BTreeSet<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if self.blamed.is_empty() {
            return Ok(());
        }
        let all: Vec<&str> = self.blamed.iter().map(String::as_str).collect();
        write!(f, " ({})", all.join(", "))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { error, blamed: BTreeSet::new() }
    }
}

/// Sends a request that is made from what was written at `origins`.
pub(super) async fn send<R: Request>(
    aws: &Arc<dyn Aws>,
    request: R,
    origins: &[Origin],
) -> Result<R::Answer, Refusal> {
    let refused = |error: Error| {
        let blamed = blamed(origins, &error).into_iter().map(Origin::to_string).collect();
        Refusal { error, blamed }
    };
    aws.send(request).await.map_err(refused)
}
