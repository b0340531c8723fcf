//! The outside of a review: its version, its kind, and the types of the members of its answer.

use apiserver_json::Value;
use apiserver_meta::json::go_error;
use apiserver_schema::json_kind;

use crate::strategy::shared::text;

/// The versions of a review that webhooks can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V1beta1,
}

impl Version {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::V1 => Self::V1beta1,
            Self::V1beta1 => Self::V1,
        }
    }
}

/// A kind of review, as upstream's decoder knows it.
pub(crate) struct Envelope {
    pub group: &'static str,
    pub kind: &'static str,
    /// Go type of the answer.
    pub response: &'static str,
    /// Where upstream registers the kind.
    pub scheme: &'static str,
    /// Members of the answer and their Go types.
    pub types: &'static [(&'static str, &'static str)],
}

impl Envelope {
    fn api_version(&self, version: Version) -> String {
        format!("{}/{}", self.group, version.name())
    }

    /// Writes a review up to the first member of its request.
    pub(crate) fn open(&self, out: &mut Vec<u8>, version: Version) {
        let (kind, api_version) = (self.kind, self.api_version(version));
        let head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"request\":{{");
        out.extend_from_slice(head.as_bytes());
    }

    /// Reads the body of an answer as a review.
    ///
    /// # Errors
    /// The decoder's sentence.
    pub(crate) fn read(&self, version: Version, body: &[u8]) -> Result<Value, String> {
        let review: Value = match apiserver_json::from_slice(body) {
            Ok(review) => review,
            // What is no JSON may be YAML, where a page of HTML is a string.
            Err(_) if !body.trim_ascii_start().starts_with(b"{") => Value::String(String::new().into()),
            Err(error) => {
                let why = go_error(body, &error);
                return Err(format!("couldn't get version/kind; json parse error: {why}"));
            }
        };
        crate::decode::check_types(&review)?;
        self.check_kind(version, &review)?;
        if let Some(response) = review.get("response").filter(|response| !response.is_null()) {
            self.check_types(version, response)?;
        }
        Ok(review)
    }

    fn check_kind(&self, version: Version, review: &Value) -> Result<(), String> {
        let (api_version, kind) = (text(review, "apiVersion"), text(review, "kind"));
        let unknown = |kind: &str| {
            Err(format!(
                "no kind {kind:?} is registered for version {api_version:?} in scheme {:?}",
                self.scheme
            ))
        };
        if !kind.is_empty() && kind != self.kind {
            return unknown(kind);
        }
        if api_version == self.api_version(version.other()) {
            let kind = self.kind;
            let (from, to) = (version.other().name(), version.name());
            return Err(format!("converting ({from}.{kind}) to ({to}.{kind}): unknown conversion"));
        }
        if !api_version.is_empty() && api_version != self.api_version(version) {
            return unknown(self.kind);
        }
        Ok(())
    }

    fn check_types(&self, version: Version, response: &Value) -> Result<(), String> {
        if !response.is_object() {
            return Err(format!(
                "json: cannot unmarshal {} into Go struct field {}.response of type {}.{}",
                json_kind(response),
                self.kind,
                version.name(),
                self.response
            ));
        }
        for (member, go_type) in self.types {
            let value = &response[*member];
            let fits = match *go_type {
                _ if value.is_null() => true,
                "bool" => value.is_boolean(),
                "v1.Status" => value.is_object(),
                "[]string" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
                "[]runtime.RawExtension" => value.is_array(),
                _ => value.is_string(),
            };
            if !fits {
                return Err(format!(
                    "json: cannot unmarshal {} into Go struct field {}.response.{member} of type {go_type}",
                    json_kind(value),
                    self.response
                ));
            }
        }
        Ok(())
    }

    /// Does an answer of v1 say what it is?
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn is_named(&self, review: &Value) -> Result<(), String> {
        let (api_version, kind) = (text(review, "apiVersion"), text(review, "kind"));
        if !api_version.is_empty() && !kind.is_empty() {
            return Ok(());
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Err(format!(
            "expected webhook response of {}, Kind={}, got {group}/{version}, Kind={kind}",
            self.api_version(Version::V1),
            self.kind
        ))
    }
}
