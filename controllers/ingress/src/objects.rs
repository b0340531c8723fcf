//! The one object of the cloud whose changes wake the controller: a Certificate.
//!
//! It says only when to look again; certificates themselves are asked from the cloud.

use ccm_mock_aws_api::{GROUP, VERSION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ClusterResourceScope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// A certificate as the API server shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Certificate {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: Value,
}

impl Certificate {
    /// What matters to discovery.
    pub(crate) fn state(&self) -> (Option<&str>, Option<&str>) {
        let text = |name: &str| self.status.get(name).and_then(Value::as_str);
        (text("certificateArn"), text("status"))
    }
}

controllers_kit::objects!(Certificate);

impl kube::Resource for Certificate {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Certificate".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "certificates".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
