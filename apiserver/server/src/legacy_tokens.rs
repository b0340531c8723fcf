//! The ConfigMap that says since when uses of legacy service account tokens are tracked, as upstream's controller keeps it.

use std::time::Duration;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, Changed, Registry, Requester};
use jiff::civil::Date;
use tokio::time::Instant;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// How long one that was deleted stays away at least: servers of which one makes it and another removes it don't fight.
const PAUSE: Duration = Duration::from_secs(30 * 60);

/// When it was made last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made(Option<Instant>);

/// Makes it where it is missing, and puts a date into it where there is none.
pub(crate) async fn keep(registry: &Registry, made: &mut Made) {
    let catalogue = registry.catalogue();
    let Some(resource) = catalogue.get("", "v1", "configmaps") else { return };
    let found = registry.cache().get(&resource.key(Some(NAMESPACE), NAME));
    let missing = found.is_none();
    if found.is_some_and(|found| says_since(&found.parse()))
        || missing && made.0.is_some_and(|at| at.elapsed() < PAUSE)
    {
        return;
    }
    let call = Call {
        resource,
        namespace: Some(NAMESPACE),
        subresource: "",
        manager: "kube-apiserver",
        dry_run: false,
        requester: Requester::default(),
    };
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let outcome = if missing {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": {"since": today},
        });
        registry.create(&call, object).await.map(drop)
    } else {
        let change = |live: Option<&Value>| {
            let mut next = live.ok_or_else(|| Status::not_found(&resource.group_resource(), NAME))?.clone();
            next["data"]["since"] = today.clone().into();
            Ok(Changed::Patched(next))
        };
        registry.update(&call, NAME, false, change).await.map(drop)
    };
    match outcome {
        Ok(()) if missing => made.0 = Some(Instant::now()),
        // Another server, or somebody, was faster.
        Err(status) if matches!(status.code, 404 | 409) => {}
        Err(status) => tracing::warn!(error = %status, "the date of token tracking could not be written"),
        Ok(()) => {}
    }
}

fn says_since(map: &Value) -> bool {
    let since = map.pointer("/data/since").and_then(Value::as_str).unwrap_or("");
    since.len() == "2006-01-02".len() && since.parse::<Date>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_date_is_one() {
        for (since, want) in
            [("2026-11-22", true), ("2026-13-01", false), ("20261122", false), ("", false), ("today", false)]
        {
            assert_eq!(says_since(&json!({"data": {"since": since}})), want, "{since}");
        }
        assert!(!says_since(&json!({})));
    }
}
