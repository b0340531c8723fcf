//! The Pod of a Job, for an index where the Job has them.

use super::TRACKING;
use super::indexes::INDEX;
use super::plan::is_indexed;
use crate::control::pod_from;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Letters of a name before those that the server makes up.
const PREFIX_MAX: usize = 58;

/// The Pod.
pub(super) fn build(job: &Job, index: Option<i32>) -> Pod {
    let spec = job.spec.clone().unwrap_or_default();
    let mut pod = pod_from(job, &spec.template);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    let pod_spec = pod.spec.get_or_insert_default();
    if is_indexed(job) {
        let init = pod_spec.init_containers.iter_mut().flatten();
        init.chain(&mut pod_spec.containers).for_each(tell_index);
    }
    if let Some(index) = index {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let end = format!("-{index}-");
        let start: String = name.chars().take(PREFIX_MAX.saturating_sub(end.len())).collect();
        pod_spec.hostname = Some(format!("{name}-{index}"));
        pod.metadata.generate_name = Some(start + &end);
        pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
        pod.metadata.annotations.get_or_insert_default().insert(INDEX.into(), index.to_string());
    }
    pod
}

fn tell_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|variable| variable.name == VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), api_version: None };
    let source = EnvVarSource { field_ref: Some(field), ..Default::default() };
    env.push(EnvVar { name: VARIABLE.into(), value_from: Some(source), ..Default::default() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_knows_its_index() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": "work", "namespace": "default", "uid": "u"},
            "spec": {"completionMode": "Indexed", "template": {"spec": {"containers": [{"name": "c"}]}}},
        }))
        .unwrap();
        let pod = build(&job, Some(3));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("work-3-"));
        assert_eq!(pod.metadata.finalizers, Some(vec![TRACKING.to_string()]));
        assert_eq!(super::super::indexes::of(&pod), Some(3));
        let spec = pod.spec.unwrap();
        assert_eq!(spec.hostname.as_deref(), Some("work-3"));
        let variable = &spec.containers[0].env.as_ref().unwrap()[0];
        let path = variable.value_from.as_ref().unwrap().field_ref.as_ref().unwrap().field_path.clone();
        assert_eq!(
            (variable.name.as_str(), path.as_str()),
            (VARIABLE, "metadata.labels['batch.kubernetes.io/job-completion-index']")
        );
    }
}
