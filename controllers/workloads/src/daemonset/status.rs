//! Status of a DaemonSet: counts over the nodes.

use super::plan::World;
use controllers_kit::pods;
use k8s_openapi::api::apps::v1::DaemonSetStatus;

/// The status as it should be.
pub(super) fn build(world: &World) -> DaemonSetStatus {
    let before = world.set.status.clone().unwrap_or_default();
    let (mut desired, mut current, mut misplaced, mut ready, mut updated, mut available) = (0, 0, 0, 0, 0, 0);
    for node in &world.nodes {
        let first =
            world.pods.get(node.metadata.name.as_deref().unwrap_or_default()).and_then(|all| all.first());
        if !world.should_run(node).0 {
            misplaced += i32::from(first.is_some());
            continue;
        }
        desired += 1;
        if let Some(pod) = first {
            current += 1;
            ready += i32::from(pods::is_ready(pod));
            available += i32::from(world.is_available(pod));
            updated += i32::from(world.is_updated(pod));
        }
    }
    let some = |n: i32| Some(n).filter(|n| *n > 0);
    DaemonSetStatus {
        observed_generation: world.set.metadata.generation,
        desired_number_scheduled: desired,
        current_number_scheduled: current,
        number_misscheduled: misplaced,
        number_ready: ready,
        updated_number_scheduled: some(updated),
        number_available: some(available),
        number_unavailable: some(desired - available),
        conditions: before.conditions,
        collision_count: before.collision_count,
    }
}
