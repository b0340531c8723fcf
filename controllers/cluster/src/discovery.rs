//! Which resources there are, in their preferred versions.
//!
//! Nothing is remembered here; asking is cheap.

use controllers_kit::Error;
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope};

/// A resource and what can be done with it.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// All resources.
pub(crate) async fn all(client: &kube::Client) -> Result<Vec<Resource>, Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let groups = discovery.groups();
    let found = groups.flat_map(|group| group.recommended_resources()).map(|(api, capabilities)| Resource {
        namespaced: capabilities.scope == Scope::Namespaced,
        verbs: capabilities.operations,
        api,
    });
    Ok(found.collect())
}
