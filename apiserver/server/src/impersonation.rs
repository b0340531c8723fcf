//! As whom somebody asks: the users they may be taken for, in upstream's modes
//! (`endpoints/filters/impersonation/mode.go`).
//!
//! A mode allows to be a sort of users while doing certain things (`impersonate-on:<mode>:<verb>` on what is done, and
//! `impersonate:<mode>` of the user); the old one, last, allows it for everything (`impersonate`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use apiserver_meta::{GroupResource, Status, names};

use crate::authn::User;
use crate::authz::{self, Attributes};
use crate::limits::IMPERSONATORS_MAX;
use crate::service::ApiServer;

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// From so many on, one permission for all of them is looked for first.
const MANY: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

/// As they are tried.
const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// Which mode let somebody be another the last time: it is tried first, and its refusal is the one that is told.
#[derive(Debug, Default)]
pub(crate) struct Modes(Mutex<HashMap<String, Mode>>);

impl Modes {
    fn last_of(&self, asker: &str) -> Option<Mode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(asker).copied()
    }

    fn remember(&self, asker: &str, mode: Mode) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(asker) == Some(&mode) {
            return;
        }
        // What is forgotten is found again, at the price of a look at the other modes.
        if known.len() >= IMPERSONATORS_MAX {
            known.clear();
        }
        known.insert(asker.to_owned(), mode);
    }
}

/// Who asks, and what for.
pub(crate) struct Asker<'a> {
    pub server: &'a ApiServer,
    pub user: &'a User,
    pub wants: &'a Attributes<'a>,
}

/// The user that `wanted` stands for, where the asker may be taken for it while doing what they want.
///
/// # Errors
/// 403 with the first thing that is missing.
pub(crate) fn become_user(asker: &Asker<'_>, wanted: &User) -> Result<User, Status> {
    let known = &asker.server.inner.impersonation;
    let last = known.last_of(&asker.user.name);
    let others = MODES.into_iter().filter(|mode| Some(*mode) != last);
    let mut refusal = None;
    for mode in last.into_iter().chain(others).filter(|mode| mode.is_for(asker.user, wanted)) {
        match mode.check(asker, wanted) {
            Ok(user) => {
                known.remember(&asker.user.name, mode);
                return Ok(user);
            }
            Err(status) => drop(refusal.get_or_insert(status)),
        }
    }
    Err(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_one = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(account).is_empty();
    is_one.then_some((namespace, account))
}

fn node(name: &str) -> Option<&str> {
    name.strip_prefix("system:node:").filter(|node| names::dns1123_subdomain(node).is_empty())
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn is_for(self, asker: &User, wanted: &User) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account_of) = (node(&wanted.name), account(&wanted.name));
        match self {
            Self::AssociatedNode => {
                let own = match asker.extra.get(NODE_NAME).map(Vec::as_slice) {
                    Some([own]) => Some(own.as_str()),
                    _ => None,
                };
                only_name && node.is_some() && account(&asker.name).is_some() && own == node
            }
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && account_of.is_some(),
            Self::UserInfo => node.is_none() && account_of.is_none(),
            Self::Legacy => true,
        }
    }

    fn check(self, asker: &Asker<'_>, wanted: &User) -> Result<User, Status> {
        let verb = match self {
            Self::Legacy => "impersonate".to_owned(),
            _ => {
                let on = format!("impersonate-on:{}:{}", self.name(), asker.wants.verb);
                allowed(asker, &Attributes { verb: &on, ..asker.wants.clone() })?;
                format!("impersonate:{}", self.name())
            }
        };
        let mut user = wanted.clone();
        self.check_name(asker, &verb, &mut user)?;
        if !wanted.uid.is_empty() {
            allowed(asker, &one(&verb, AUTHENTICATION, "uids", &wanted.uid))?;
        }
        self.check_groups(asker, &verb, &wanted.groups)?;
        self.check_extra(asker, &verb, wanted)?;
        Ok(with_own_group(user))
    }

    /// The group of `users` and `groups`.
    fn group(self) -> &'static str {
        if self == Self::Legacy { "" } else { AUTHENTICATION }
    }

    /// May the asker take the name? The groups of accounts and nodes follow from theirs.
    fn check_name(self, asker: &Asker<'_>, verb: &str, user: &mut User) -> Result<(), Status> {
        let name = user.name.clone();
        if let Some((namespace, account)) = account(&name) {
            if user.groups.is_empty() {
                user.groups =
                    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
            let wanted = one(verb, self.group(), "serviceaccounts", account);
            return allowed(asker, &Attributes { namespace: Some(namespace), ..wanted });
        }
        match node(&name).filter(|_| self != Self::Legacy) {
            Some(node) => {
                user.groups = vec!["system:nodes".into()];
                // Who may be the node it runs on may be so on each.
                let node = if self == Self::AssociatedNode { "*" } else { node };
                allowed(asker, &one(verb, AUTHENTICATION, "nodes", node))
            }
            None => allowed(asker, &one(verb, self.group(), "users", &name)),
        }
    }

    fn check_groups(self, asker: &Asker<'_>, verb: &str, groups: &[String]) -> Result<(), Status> {
        let one = |name| one(verb, self.group(), "groups", name);
        if self != Self::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(refused(asker, &one(""), "impersonating the empty string group is not allowed"));
            }
            const MASTERS: &str = "system:masters";
            if groups.iter().any(|group| group == MASTERS) {
                return Err(refused(
                    asker,
                    &one(MASTERS),
                    "impersonating the system:masters group is not allowed",
                ));
            }
            if groups.len() >= MANY && allowed(asker, &one("*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| allowed(asker, &one(group)))
    }

    fn check_extra(self, asker: &Asker<'_>, verb: &str, wanted: &User) -> Result<(), Status> {
        let one =
            |key, value| Attributes { subresource: key, ..one(verb, AUTHENTICATION, "userextras", value) };
        if self != Self::Legacy {
            if let Some(why) = wanted.extra.iter().find_map(|(key, values)| wrong_extra(key, values)) {
                return Err(refused(asker, &one("", ""), &why));
            }
            let count: usize = wanted.extra.values().map(Vec::len).sum();
            if count >= MANY && allowed(asker, &one("*", "*")).is_ok() {
                return Ok(());
            }
        }
        let mut all =
            wanted.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        all.try_for_each(|(key, value)| allowed(asker, &one(key, value)))
    }
}

fn one<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
    Attributes { verb, group, resource, name, ..Attributes::default() }
}

/// What the newer modes refuse of the further members of a user.
fn wrong_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let mut wrong = Vec::new();
    apiserver_registry::strategy::check_domain_path(key, "extra.key", &mut wrong);
    if !wrong.is_empty() {
        let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        let told = if let [one] = told.as_slice() { one.clone() } else { format!("[{}]", told.join(", ")) };
        return Some(format!("impersonating an invalid key in extra is not allowed: {told}"));
    }
    values
        .iter()
        .any(String::is_empty)
        .then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}

fn allowed(asker: &Asker<'_>, wanted: &Attributes<'_>) -> Result<(), Status> {
    if asker.server.inner.rbac.allows(asker.server.registry(), asker.user, wanted) {
        return Ok(());
    }
    Err(refused(asker, wanted, ""))
}

/// The refusal of a permission, with the reason where there is one beside that it is missing.
fn refused(asker: &Asker<'_>, wanted: &Attributes<'_>, reason: &str) -> Status {
    let mut why = authz::refusal(asker.user, wanted);
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    let mut status = Status::forbidden(&GroupResource::new(wanted.group, wanted.resource), wanted.name, &why);
    if wanted.path.is_some() {
        status.details = Some(apiserver_json::json!({}));
    }
    status
}

/// Everybody is of one of these groups.
fn with_own_group(mut user: User) -> User {
    const NOBODY: &str = "system:unauthenticated";
    if user.name == "system:anonymous" {
        if !user.is_in(NOBODY) {
            user.groups.push(NOBODY.to_owned());
        }
        return user;
    }
    if user.is_in(NOBODY) { user } else { user.authenticated() }
}
