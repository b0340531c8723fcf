//! Which Ingresses are the controller's: by legacy annotation, by IngressClass, or by default class.
//!
//! Parameters of a class are not read.

use controllers_kit::meta::annotation;
use controllers_kit::{Cache, Key};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use serde_json::json;
use std::time::Duration;

/// What an IngressClass of ours says in spec.controller.
const CONTROLLER: &str = "ingress.k8s.aws/alb";
const NAME: &str = "alb";
const LEGACY: &str = "kubernetes.io/ingress.class";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const RETRY: Duration = Duration::from_secs(1);

fn is_ours(class: &IngressClass) -> bool {
    class.spec.as_ref().and_then(|s| s.controller.as_deref()) == Some(CONTROLLER)
}

/// True if the controller has to act on the Ingress.
pub(crate) fn selects(classes: &Cache<IngressClass>, ingress: &Ingress) -> bool {
    if let Some(legacy) = annotation(&ingress.metadata, LEGACY) {
        return legacy == NAME;
    }
    match ingress.spec.as_ref().and_then(|s| s.ingress_class_name.as_deref()) {
        Some(name) => classes.get(&Key::new("", name)).is_some_and(|class| is_ours(&class)),
        None => {
            let default = |class: &IngressClass| annotation(&class.metadata, DEFAULT) == Some("true");
            classes.all().iter().any(|class| default(class) && is_ours(class))
        }
    }
}

/// Make the IngressClass `alb` if nobody did.
pub(crate) async fn ensure(classes: Cache<IngressClass>) {
    classes.synced().await;
    let class = json!({
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": "aws-load-balancer-controller"}},
        "spec": {"controller": CONTROLLER},
    });
    let Ok(class) = serde_json::from_value::<IngressClass>(class) else { return };
    while classes.get(&Key::new("", NAME)).is_none() {
        let began = std::time::Instant::now();
        match classes.create(&class).await {
            Ok(_) => tracing::info!(
                controller = "ingress",
                object = %NAME,
                cause = "start",
                change = "created IngressClass",
                elapsed_ms = began.elapsed().as_micros() as f64 / 1000.0,
                "reconciled"
            ),
            Err(error) if error.is_already_exists() => return,
            Err(error) => {
                tracing::warn!(controller = "ingress", error = %error, "cannot create IngressClass");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
