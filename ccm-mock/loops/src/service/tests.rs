//! A Service against the fake cloud: what is made, that a second run writes nothing, that nothing is left.

use super::apply::Session;
use super::build::{Plan, build, nothing};
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Answer, Aws, AwsFuture, Operation};
use ccm_mock_fake_aws::State;
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

struct Fake(Mutex<State>);

impl Aws for Fake {
    fn call(&self, operation: Operation) -> AwsFuture<'_, Answer> {
        Box::pin(async move {
            let mut state = self.0.lock().expect("lock");
            let (next, answer) = state.apply(operation, 0)?;
            *state = next;
            Ok(answer)
        })
    }
}

fn service(ports: &[(i32, i32)]) -> Service {
    let port =
        |(port, node): &(i32, i32)| json!({"name": format!("p{port}"), "port": port, "nodePort": node});
    let object = json!({
        "metadata": {"namespace": "default", "name": "web", "uid": "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"},
        "spec": {"type": "LoadBalancer", "ports": ports.iter().map(port).collect::<Vec<_>>()},
    });
    serde_json::from_value(object).expect("a Service")
}

async fn apply(aws: &Arc<dyn Aws>, plan: &Plan) -> (String, usize) {
    let mut session = Session::new(aws.clone(), plan, None);
    let hostname = session.apply().await.expect("applied");
    (hostname, session.changes.len() + session.target_changes.len())
}

#[tokio::test]
async fn a_load_balancer_is_made_once_and_removed_whole() {
    let fake = Arc::new(Fake(Mutex::new(State::bootstrap(3))));
    let aws: Arc<dyn Aws> = fake.clone();
    let subnets = aws.send(DescribeSubnets::default()).await.expect("subnets");
    let subnet_id = subnets.first().map(|s| s.subnet_id.clone()).expect("a subnet");
    let run = RunInstances { subnet_id, count: 2, ..Default::default() };
    let instances = aws.send(run).await.expect("instances");
    let ids: BTreeSet<String> = instances.into_iter().map(|i| i.instance_id).collect();

    let two = build(&service(&[(8080, 30080), (9090, 30090)]), &subnets, &ids).expect("a plan");
    let (hostname, _) = apply(&aws, &two).await;
    assert!(
        hostname.starts_with("a0a1b2c3d4e5f60718293a4b5c6d7e8f-")
            && hostname.ends_with(".elb.us-east-1.amazonaws.com")
    );
    assert_eq!(apply(&aws, &two).await, (hostname.clone(), 0));
    {
        let state = fake.0.lock().expect("lock");
        assert_eq!((state.listeners.len(), state.target_groups.len()), (2, 2));
        assert!(state.target_groups.values().all(|g| g.targets.len() == 2));
    }

    let one = build(&service(&[(8080, 30080)]), &subnets, &ids).expect("a plan");
    assert_eq!(apply(&aws, &one).await, (hostname, 2));

    let none = nothing(&service(&[]));
    Session::new(aws.clone(), &none, None).remove().await.expect("removed");
    let state = fake.0.lock().expect("lock");
    assert!(state.load_balancers.is_empty() && state.listeners.is_empty() && state.target_groups.is_empty());
}
