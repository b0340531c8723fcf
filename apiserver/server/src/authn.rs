//! Who asks: client certificates, bearer tokens, impersonation, anonymous.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use http::HeaderMap;
use x509_parser::prelude::FromDer;

use crate::token::ServiceAccountKeys;

/// A user, as authentication found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Member of `system:masters`: what in-process loops are.
    pub fn master(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..Self::default()
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..Self::default()
        }
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    fn authenticated(mut self) -> Self {
        if !self.is_in("system:authenticated") {
            self.groups.push("system:authenticated".into());
        }
        self
    }

    /// As TokenReview and SelfSubjectReview print it.
    pub(crate) fn to_json(&self) -> Value {
        let mut user = json!({"username": self.name});
        if !self.uid.is_empty() {
            user["uid"] = self.uid.clone().into();
        }
        if !self.groups.is_empty() {
            user["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            user["extra"] = json!(self.extra);
        }
        user
    }
}

/// The known credentials.
#[derive(Debug, Default)]
pub struct Authentication {
    /// Static bearer tokens.
    pub tokens: HashMap<String, User>,
    pub service_accounts: Option<Arc<ServiceAccountKeys>>,
    pub anonymous: bool,
}

/// The user of a client certificate that TLS has verified: common name and organisations.
pub(crate) fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    Some(User { name, groups, ..User::default() })
}

impl Authentication {
    /// The user of a request; `certificate` is the user TLS vouches for.
    ///
    /// # Errors
    /// 401 for a token nobody knows, or nobody at all where anonymous requests are off.
    pub(crate) fn user(
        &self,
        headers: &HeaderMap,
        certificate: Option<&User>,
        check: impl Fn(&str) -> Option<User>,
    ) -> Result<User, Status> {
        if let Some(user) = certificate {
            return Ok(user.clone().authenticated());
        }
        let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(token) = header.and_then(bearer) {
            let found = self.tokens.get(token).cloned().or_else(|| check(token));
            return found.map(User::authenticated).ok_or_else(Status::unauthorized);
        }
        if self.anonymous { Ok(User::anonymous()) } else { Err(Status::unauthorized()) }
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A permission that impersonation takes: resource, group, name.
pub(crate) type Need = (&'static str, &'static str, String);

/// The user a request wants to be taken for, where it says so, and what the asker must be allowed for that:
/// resource (with its group), name.
pub(crate) fn impersonated(headers: &HeaderMap) -> Result<Option<(User, Vec<Need>)>, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let name = text("impersonate-user").to_owned();
    let (groups, uid) = (all("impersonate-group"), text("impersonate-uid").to_owned());
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix("impersonate-extra-"), value.to_str()) {
            extra.entry(crate::query::decode(key, false)).or_default().push(value.to_owned());
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::new(
            500,
            "InternalError",
            "Internal error occurred: requested [] without impersonating a user",
        ));
    }
    let mut needs: Vec<Need> = Vec::new();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => needs.push(("serviceaccounts", "", format!("{namespace}/{account}"))),
        None => needs.push(("users", "", name.clone())),
    }
    needs.extend(groups.iter().map(|group| ("groups", "", group.clone())));
    if !uid.is_empty() {
        needs.push(("uids", "authentication.k8s.io", uid.clone()));
    }
    for values in extra.values() {
        needs.extend(values.iter().map(|value| ("userextras", "authentication.k8s.io", value.clone())));
    }
    let mut user = User { name: name.clone(), uid, groups, extra };
    if let Some((namespace, _)) = account
        && user.groups.is_empty()
    {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let user = if name == "system:anonymous" {
        if !user.is_in("system:unauthenticated") {
            user.groups.push("system:unauthenticated".into());
        }
        user
    } else {
        user.authenticated()
    };
    Ok(Some((user, needs)))
}
