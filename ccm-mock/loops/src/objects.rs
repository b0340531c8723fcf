//! Objects of the cloud whose changes wake the loops: instances and hosted zones.
//!
//! They say only when to look again; what is true is asked from the cloud.

use ccm_mock_aws_api::{GROUP, VERSION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ClusterResourceScope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

macro_rules! object {
    ($(#[$meta:meta])* $name:ident, $plural:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub(crate) struct $name {
            pub metadata: ObjectMeta,
            #[serde(default)]
            pub status: Value,
        }

        impl $name {
            /// A text of the status.
            pub(crate) fn text(&self, name: &str) -> Option<&str> {
                self.status.get(name).and_then(Value::as_str)
            }
        }

        controllers_kit::objects!($name);

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = ClusterResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($name).into()
            }
            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                VERSION.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

object!(
    /// A machine.
    Instance,
    "instances"
);
object!(
    /// A zone of DNS.
    HostedZone,
    "hostedzones"
);
