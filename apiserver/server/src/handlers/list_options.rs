//! `ListOptions`: what a list, a watch and the deletion of a collection are asked for.

use apiserver_meta::field::{FieldError, go_parse_int, go_quote};
use apiserver_meta::selector::{FieldSelector, FieldTerm, LabelSelector};
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Page, Resource, Selectors};

use super::{continue_token, read};
use crate::context::Context;

/// The options that are there, read and checked.
pub(super) struct ListOptions<'a> {
    pub selectors: Selectors,
    /// As it was given, and not yet read.
    pub version: &'a str,
    /// The state is sent first, and what ends it is told.
    pub initial_events: Option<bool>,
    pub timeout_seconds: Option<i64>,
    matching: &'a str,
    token: &'a str,
    limit: usize,
}

/// Reads the options as upstream decodes, defaults and validates them (`ValidateListOptions`).
///
/// # Errors
/// 400 and 422 in upstream's words.
pub(super) fn read<'a>(context: &Context<'a>, resource: &Resource) -> Result<ListOptions<'a>, Status> {
    let query = context.query;
    let is_watch = context.info.verb == "watch";
    let number = |name: &str| query.get(name).map(go_parse_int).transpose().map_err(Status::bad_request);
    let (timeout_seconds, limit) = (number("timeoutSeconds")?, number("limit")?);
    let labels = LabelSelector::parse(query.text("labelSelector")).map_err(Status::bad_request)?;
    let fields = FieldSelector::parse(query.text("fieldSelector")).map_err(Status::bad_request)?;
    let mut options = ListOptions {
        selectors: Selectors { labels, fields },
        version: query.text("resourceVersion"),
        matching: query.text("resourceVersionMatch"),
        token: query.text("continue"),
        initial_events: query.given_flag("sendInitialEvents"),
        timeout_seconds,
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
    };
    if is_watch
        && options.initial_events.is_none()
        && options.matching.is_empty()
        && matches!(options.version, "" | "0")
    {
        // As older clients expect it: `SetListOptionsDefaults`.
        options.initial_events = Some(true);
        options.matching = NOT_OLDER;
    }
    let errors = if is_watch { options.watch_errors() } else { options.list_errors() };
    if !errors.is_empty() {
        return Err(Status::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", "ListOptions"), "", &errors));
    }
    apiserver_registry::check_field_selector(resource, &options.selectors.fields)
        .map_err(Status::bad_request)?;
    if is_watch && !context.info.name.is_empty() {
        let selected = options.selectors.fields.exact("metadata.name");
        if !options.selectors.fields.terms.is_empty() && selected != Some(&context.info.name) {
            return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        let value = context.info.name.clone();
        options.selectors.fields.terms.push(FieldTerm { path: "metadata.name".into(), value, equal: true });
    }
    Ok(options)
}

const MATCH: &str = "resourceVersionMatch";
const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";

impl ListOptions<'_> {
    fn list_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !self.matching.is_empty() {
            if self.version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(MATCH, why));
            }
            if !self.token.is_empty() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(MATCH, why));
            }
            if ![EXACT, NOT_OLDER].contains(&self.matching) {
                let known = [EXACT, NOT_OLDER, ""];
                errors.push(FieldError::not_supported_in_order(MATCH, &self.matching.into(), &known));
            }
            if self.matching == EXACT && self.version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(MATCH, why));
            }
        }
        if self.initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden("sendInitialEvents", why));
        }
        errors
    }

    fn watch_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.initial_events.is_some() && self.matching != NOT_OLDER {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if self.matching.is_empty() {
            return errors;
        }
        if self.initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if self.matching != NOT_OLDER {
            errors.push(FieldError::not_supported(MATCH, &self.matching.into(), &[NOT_OLDER]));
        }
        if !self.token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        errors
    }

    /// Which page of which state of a scope, a prefix of keys, is asked for.
    ///
    /// # Errors
    /// 400 of a version or a token that is none.
    pub(super) fn page(&self, scope: &str) -> Result<Page, Status> {
        // What is served from a cache at any revision is served whole.
        let any = self.version == "0" && self.matching != EXACT;
        let mut page = Page { limit: if any { 0 } else { self.limit }, ..Page::default() };
        if !self.token.is_empty() {
            page.from = Some(continue_token::read(self.token, scope)?);
            if !self.version.is_empty() && self.version != "0" {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Status::bad_request(why));
            }
            return Ok(page);
        }
        if !self.version.is_empty() {
            let revision = read::parse_version(self.version).map_err(|why| {
                Status::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {}: {why}",
                    go_quote(self.version)
                ))
            })?;
            match self.matching {
                EXACT => page.exact = Some(revision),
                "" if page.limit > 0 => page.exact = Some(revision),
                _ => page.at_least = Some(revision),
            }
        }
        Ok(page)
    }
}
