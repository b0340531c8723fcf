//! Which resources there are, in their preferred versions.
//!
//! Nothing is remembered here; asking is cheap.

use controllers_kit::Error;
use kube::core::ApiResource;
use kube::discovery::{ApiGroup, Discovery, Scope};
use kube::error::DiscoveryError;

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
    // In one answer no group is gone while it is asked for. Servers before 1.26 have no such answer.
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    Ok(discovery.groups().flat_map(resources).collect())
}

/// The resources of one group, of which there may be none.
pub(crate) async fn of_group(client: &kube::Client, group: &str) -> Result<Vec<Resource>, Error> {
    match kube::discovery::group(client, group).await {
        Ok(group) => Ok(resources(&group).collect()),
        Err(kube::Error::Discovery(DiscoveryError::MissingApiGroup(_))) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn resources(group: &ApiGroup) -> impl Iterator<Item = Resource> + use<> {
    group.recommended_resources().into_iter().map(|(api, capabilities)| Resource {
        namespaced: capabilities.scope == Scope::Namespaced,
        verbs: capabilities.operations,
        api,
    })
}
