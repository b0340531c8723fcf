//! The parameters of the API's operations: names, types, and what they do.

use apiserver_json::{Value, json};

/// Name, type, and what it does. All of them are given in queries.
const QUERY: &[(&str, &str, &str)] = &[
    ("allowWatchBookmarks", "boolean", "Send BOOKMARK events that tell how far a watch has come."),
    ("command", "string", "The command and its arguments, each a parameter of its own; no shell reads them."),
    ("container", "string", "The container; without it the only one, or the default one of the Pod."),
    ("continue", "string", "Go on with the list that gave this token."),
    ("dryRun", "string", "All: go through every stage, and store nothing."),
    (
        "fieldManager",
        "string",
        "Who owns the fields of this change; required of apply patches, else made of the user agent.",
    ),
    ("fieldSelector", "string", "Only objects with these values in their fields."),
    (
        "fieldValidation",
        "string",
        "What unknown and repeated fields get: Ignore, Warn (the default) or Strict.",
    ),
    ("follow", "boolean", "Go on with what is logged from now on."),
    ("force", "boolean", "Take over fields that others own; for apply patches only."),
    ("gracePeriodSeconds", "integer", "Seconds until the object is deleted; 0 is at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object even if it can't be read from the store.",
    ),
    ("insecureSkipTLSVerifyBackend", "boolean", "Trust whatever certificate the kubelet shows."),
    ("labelSelector", "string", "Only objects with these labels."),
    ("limit", "integer", "At most so many objects; the answer holds a token for the rest."),
    ("limitBytes", "integer", "At most so many bytes of the log."),
    ("orphanDependents", "boolean", "Deprecated, see propagationPolicy: leave dependents behind."),
    ("path", "string", "The path to ask for."),
    ("ports", "integer", "The ports to forward."),
    ("pretty", "string", "Lay the answer out for people; the default for curl, wget and browsers."),
    ("previous", "boolean", "The log of the container before its last restart."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
    ("resourceVersion", "string", "Where a watch begins; how fresh a read must be."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant for lists: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with all objects there are, and a bookmark after them."),
    ("shardSelector", "string", "Only objects of this shard."),
    ("sinceSeconds", "integer", "Only what was logged within so many seconds."),
    ("stderr", "boolean", "Send what is written to standard error."),
    ("stdin", "boolean", "Send standard input."),
    ("stdout", "boolean", "Send what is written to standard output."),
    ("stream", "string", "Which stream of the log: All, Stdout or Stderr."),
    ("tailLines", "integer", "Only so many lines from the end of the log."),
    ("timeoutSeconds", "integer", "End the list or watch after so many seconds."),
    ("timestamps", "boolean", "Begin each line of the log with its time."),
    ("tty", "boolean", "Give the command a terminal."),
    ("watch", "boolean", "Stream changes instead of a list."),
];

/// Of lists and watches.
pub(super) const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
/// Of creations and updates.
pub(super) const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
/// Of patches.
pub(super) const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
/// Of deletions.
pub(super) const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
/// Of deletions of a collection.
pub(super) const DELETE_COLLECTION: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
];
/// Of a log.
pub(super) const LOG: &[&str] = &[
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "stream",
    "tailLines",
    "timestamps",
];

/// What a connection takes, by subresource.
pub(super) fn of_connection(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "exec" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
        "attach" => &["container", "stderr", "stdin", "stdout", "tty"],
        "portforward" => &["ports"],
        _ => &["path"],
    }
}

/// The names of all query parameters.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    QUERY.iter().map(|(name, _, _)| *name)
}

fn parameter(v3: bool, (name, place, kind): (&str, &str, &str), text: &str) -> Value {
    let mut out = if v3 {
        json!({"name": name, "in": place, "description": text, "schema": {"type": kind, "uniqueItems": true}})
    } else {
        json!({"name": name, "in": place, "description": text, "type": kind, "uniqueItems": true})
    };
    if place == "path" {
        out["required"] = true.into();
    }
    out
}

/// A query parameter.
pub(super) fn query(v3: bool, wanted: &str) -> Option<Value> {
    let (name, kind, text) = QUERY.iter().find(|(name, _, _)| *name == wanted)?;
    Some(parameter(v3, (name, "query", kind), text))
}

/// A parameter in braces of a path to objects of a kind.
pub(super) fn of_path(v3: bool, name: &str, kind: &str) -> Value {
    let text = match name {
        "name" => format!("name of the {kind}"),
        "namespace" => "The namespace of the objects.".to_owned(),
        _ => "The rest of the path to ask for.".to_owned(),
    };
    parameter(v3, (name, "path", "string"), &text)
}
