//! Who asks: client certificates, bearer tokens, impersonation, anonymous.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_meta::field::go_quote;
use http::{HeaderMap, HeaderValue};

use crate::streams::upgrade::{self, BadToken};
use crate::token::{ISSUER, ServiceAccountKeys};

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

    /// A service account, as its token makes it known.
    pub(crate) fn of_account(namespace: &str, name: &str) -> Self {
        let groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        Self { name: format!("system:serviceaccount:{namespace}:{name}"), groups, ..Self::default() }
            .authenticated()
    }

    pub(crate) fn authenticated(mut self) -> Self {
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

/// Under which it is told what somebody was known by.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Mark of a request whose client has shown a certificate that nobody vouches for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedCertificate;

/// The known credentials.
#[derive(Debug, Default)]
pub struct Authentication {
    /// Static bearer tokens.
    pub tokens: HashMap<String, User>,
    pub service_accounts: Option<Arc<ServiceAccountKeys>>,
    pub anonymous: bool,
}

impl Authentication {
    /// Who this server is for tokens, where a request names nobody.
    pub(crate) fn audiences(&self) -> Vec<String> {
        let keys = self.service_accounts.as_ref();
        keys.map_or_else(|| vec![ISSUER.to_owned()], |keys| keys.audiences().to_vec())
    }

    /// Whose service account tokens are believed.
    pub(crate) fn issuers(&self) -> &[String] {
        self.service_accounts.as_ref().map_or(&[], |keys| keys.issuers())
    }

    /// The user of a request; `certificate` is the user TLS vouches for, `is_refused` that what was shown is nobody's.
    ///
    /// # Errors
    /// 401 for a token nobody knows, or nobody at all where anonymous requests are off.
    pub(crate) fn user(
        &self,
        headers: &HeaderMap,
        certificate: Option<&User>,
        mut is_refused: bool,
        check: impl Fn(&str) -> Option<User>,
    ) -> Result<User, Status> {
        if let Some(user) = certificate {
            return Ok(user.clone().authenticated());
        }
        let find = |token: &str| self.tokens.get(token).cloned().or_else(|| check(token));
        let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(token) = header.and_then(bearer) {
            if let Some(user) = find(token) {
                return Ok(user.authenticated());
            }
            is_refused = true;
        }
        match upgrade::token(headers) {
            Ok(Some(token)) => return find(&token).map(User::authenticated).ok_or_else(Status::unauthorized),
            Ok(None) => {}
            Err(BadToken) => is_refused = true,
        }
        if is_refused {
            return Err(Status::unauthorized());
        }
        if self.anonymous { Ok(User::anonymous()) } else { Err(Status::unauthorized()) }
    }
}

/// The word behind the scheme; what follows it is not looked at.
fn bearer(header: &str) -> Option<&str> {
    let mut words = header.trim().split(' ');
    let is_bearer = words.next()?.eq_ignore_ascii_case("bearer");
    words.next().filter(|token| is_bearer && !token.is_empty())
}

/// What is told of an `Authorization` header that is passed over.
pub(crate) fn passed_over(headers: &HeaderMap) -> Option<&'static str> {
    let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.trim().split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.starts_with(' ')).then_some(
        "the provided Authorization header contains extra space before the bearer token, and is ignored",
    )
}

/// The user a request wants to be taken for, where it says so, with nothing added.
pub(crate) fn impersonated(headers: &HeaderMap) -> Result<Option<User>, Status> {
    // Whoever is meant is not the asker, whatever the bytes are.
    let read = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let text = |name: &str| headers.get(name).map(read).unwrap_or_default();
    let name = text("impersonate-user");
    let groups: Vec<String> = headers.get_all("impersonate-group").iter().map(read).collect();
    let uid = text("impersonate-uid");
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix("impersonate-extra-") {
            extra.entry(crate::query::decode(key, false)).or_default().push(read(value));
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let wanted = User { name, uid, groups, extra };
        return Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            in_go(&wanted)
        )));
    }
    Ok(Some(User { name, uid, groups, extra }))
}

/// A user as Go's `%#v` prints it.
fn in_go(user: &User) -> String {
    let list = |items: &[String]| {
        if items.is_empty() {
            return "[]string(nil)".to_owned();
        }
        let quoted: Vec<String> = items.iter().map(|item| go_quote(item)).collect();
        format!("[]string{{{}}}", quoted.join(", "))
    };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let members: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{}:{}", go_quote(key), list(values))).collect();
        format!("map[string][]string{{{}}}", members.join(", "))
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:{extra}}}",
        go_quote(&user.name),
        go_quote(&user.uid),
        list(&user.groups)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn nobody_is_impersonated_without_a_name() {
        for (pairs, want) in [
            (
                &[("impersonate-group", &b"g"[..])][..],
                r#"UID:"", Groups:[]string{"g"}, Extra:map[string][]string(nil)"#,
            ),
            (
                &[("impersonate-uid", b"x")],
                r#"UID:"x", Groups:[]string(nil), Extra:map[string][]string(nil)"#,
            ),
            (
                &[("impersonate-extra-foo", b"x")],
                r#"UID:"", Groups:[]string(nil), Extra:map[string][]string{"foo":[]string{"x"}}"#,
            ),
        ] {
            let refused = impersonated(&headers(pairs)).unwrap_err();
            let want =
                format!("requested &user.DefaultInfo{{Name:\"\", {want}}} without impersonating a user name");
            assert_eq!((refused.code, refused.message), (400, want));
        }
    }

    #[test]
    fn a_bearer_token_is_one_word() {
        for (header, want) in [
            ("Bearer a", Some("a")),
            (" bearer a b ", Some("a")),
            ("Bearer  a", None),
            ("Basic a", None),
            ("Bearer", None),
        ] {
            assert_eq!(bearer(header), want, "{header}");
        }
        let of = |value: &'static str| headers(&[("authorization", value.as_bytes())]);
        assert!(passed_over(&of("Bearer  a")).is_some());
        assert!(passed_over(&of("Bearer a")).is_none());
    }
}
