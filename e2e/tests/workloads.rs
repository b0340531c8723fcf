//! DaemonSets, StatefulSets, Jobs and CronJobs with kubectl: rolled out, scaled, undone, waited for, read and deleted.

use e2e::{Instance, stderr, stdout, wait_for};

const DAEMON: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: "nginx:1.29"}]}
"#;

#[test]
fn a_pod_is_resized_where_it_runs() {
    let instance = Instance::up(&[]);
    instance.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: c, image: "nginx:1.29", resources: {requests: {cpu: 100m}}}]}
"#,
    );
    instance.kubectl_ok(&["wait", "pod/web", "--for=condition=Ready", "--timeout=60s"]);
    let resize = r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}"#;
    let as_patch =
        ["-X", "PATCH", "-H", "Content-Type: application/strategic-merge-patch+json", "-d", resize];
    let (answer, code) = instance.api("/api/v1/namespaces/default/pods/web/resize", &as_patch);
    assert_eq!(code, 200, "{answer}");
    let has = "jsonpath={.status.containerStatuses[0].resources.requests.cpu} {.status.containerStatuses[0].allocatedResources.cpu} {.status.containerStatuses[0].restartCount}";
    wait_for("the node to give it", || {
        instance.kubectl_ok(&["get", "pod", "web", "-o", has]) == "200m 200m 0"
    });
}

#[test]
fn a_daemon_runs_on_every_node_rolls_over_and_goes_back() {
    let instance = Instance::up(&["--nodes", "3"]);
    let rolled = || instance.kubectl_ok(&["rollout", "status", "ds/agent", "--timeout=60s"]);
    let get = |path: &str| instance.kubectl_ok(&["get", "ds", "agent", "-o", &format!("jsonpath={path}")]);
    instance.apply(DAEMON);
    assert!(rolled().contains("daemon set \"agent\" successfully rolled out"));
    let mut nodes: Vec<String> = instance
        .kubectl_ok(&[
            "get",
            "pods",
            "-l",
            "app=agent",
            "-o",
            "jsonpath={range .items[*]}{.spec.nodeName} {end}",
        ])
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
    let counts = "{.status.desiredNumberScheduled} {.status.numberAvailable} {.status.updatedNumberScheduled} {.status.numberMisscheduled}";
    assert_eq!(get(counts), "3 3 3 0");

    instance.kubectl_ok(&["set", "image", "ds/agent", "c=nginx:1.30"]);
    rolled();
    instance.kubectl_ok(&["rollout", "undo", "ds/agent"]);
    rolled();
    assert_eq!(get("{.spec.template.spec.containers[0].image}"), "nginx:1.29");
    let history = instance.kubectl_ok(&["rollout", "history", "ds/agent"]);
    let revisions: Vec<&str> =
        history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(revisions, ["2", "3"], "the first revision became the third");

    // A label keeps it from the others, and a cordon from none.
    instance.kubectl_ok(&["cordon", "node-1"]);
    instance.kubectl_ok(&["label", "node", "node-1", "disk=ssd"]);
    let patch = r#"{"spec":{"template":{"spec":{"nodeSelector":{"disk":"ssd"}}}}}"#;
    instance.kubectl_ok(&["patch", "ds", "agent", "-p", patch]);
    rolled();
    wait_for("the other nodes to be left", || get(counts) == "1 1 1 0");
    let events = instance.events("DaemonSet", "agent");
    assert!(events.iter().any(|event| event.starts_with("Normal SuccessfulCreate Created pod: agent-")));
    instance.kubectl_ok(&["delete", "ds", "agent"]);
    wait_for("its Pods and revisions to go", || {
        instance.kubectl_ok(&["get", "pods,controllerrevisions", "-o", "name"]).is_empty()
    });
}

const STATEFUL: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: peers
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: c, image: "nginx:1.29", volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;

#[test]
fn stateful_pods_keep_their_names_and_their_order() {
    let mut instance = Instance::up(&[]);
    let rolled = |instance: &Instance| {
        instance.kubectl_ok(&["rollout", "status", "statefulset/db", "--timeout=60s"]);
    };
    let pods = |instance: &Instance| instance.kubectl_ok(&["get", "pods", "-l", "app=db", "-o", "name"]);
    let images = |instance: &Instance| {
        let path = "jsonpath={range .items[*]}{.spec.containers[0].image} {end}";
        instance.kubectl_ok(&["get", "pods", "-l", "app=db", "-o", path])
    };
    instance.apply(STATEFUL);
    rolled(&instance);
    assert_eq!(pods(&instance), "pod/db-0\npod/db-1\npod/db-2\n");
    let claims =
        instance.kubectl_ok(&["get", "pvc", "-o", "jsonpath={range .items[*]}{.metadata.name} {end}"]);
    assert_eq!(claims, "data-db-0 data-db-1 data-db-2 ");
    let made: Vec<String> = instance
        .events("StatefulSet", "db")
        .into_iter()
        .filter(|event| event.contains("Create Pod"))
        .collect();
    assert!(made[0].ends_with("Create Pod db-0 in StatefulSet db successful"), "{made:?}");
    let found = instance.kubectl_ok(&[
        "exec",
        "db-2",
        "--",
        "getent",
        "hosts",
        "db-0.peers.default.svc.cluster.local",
    ]);
    assert!(found.contains("db-0.peers"), "{found}");

    // The last one first, as far as the partition goes.
    let patch = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}"#;
    instance.kubectl_ok(&["patch", "statefulset", "db", "-p", patch]);
    instance.kubectl_ok(&["set", "image", "statefulset/db", "c=nginx:1.30"]);
    rolled(&instance);
    assert_eq!(images(&instance), "nginx:1.29 nginx:1.29 nginx:1.30 ");
    instance.kubectl_ok(&["rollout", "undo", "statefulset/db"]);
    rolled(&instance);
    wait_for("all to be as before", || images(&instance) == "nginx:1.29 nginx:1.29 nginx:1.29 ");

    instance.kubectl_ok(&["scale", "statefulset/db", "--replicas=1"]);
    wait_for("the highest to go", || pods(&instance) == "pod/db-0\n");
    assert_eq!(instance.kubectl_ok(&["get", "pvc", "-o", "name"]).lines().count(), 3, "claims stay");
    instance.kubectl_ok(&["delete", "pod", "db-0"]);
    rolled(&instance);

    // It goes on where it was after a power cut.
    let dir = instance.kill();
    instance = Instance::up_in(dir, &[]);
    instance.kubectl_ok(&["scale", "statefulset/db", "--replicas=2"]);
    rolled(&instance);
    assert_eq!(pods(&instance), "pod/db-0\npod/db-1\n");
    instance.kubectl_ok(&["delete", "statefulset", "db"]);
    wait_for("its Pods to go", || pods(&instance).is_empty());
}

fn job(name: &str, spec: &str, image: &str, command: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{{name: c, image: \"{image}\", command: {command}}}]\n"
    )
}

#[test]
fn jobs_end_as_their_commands_do() {
    let instance = Instance::up(&[]);
    let pi = r#"["perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"]"#;
    let jobs = [
        job("pi", "backoffLimit: 4", "perl:5.34.0", pi),
        job(
            "indexed",
            "{completions: 3, parallelism: 2, completionMode: Indexed}"
                .trim_matches(['{', '}'])
                .replace(", ", "\n  ")
                .as_str(),
            "busybox",
            r#"["sh", "-c", "echo index $JOB_COMPLETION_INDEX; hostname"]"#,
        ),
        job("bad", "backoffLimit: 0", "busybox", r#"["sh", "-c", "echo oh no; exit 3"]"#),
        job("late", "activeDeadlineSeconds: 1", "busybox", r#"["sleep", "600"]"#),
        job("unknown", "backoffLimit: 0", "busybox", r#"["rev", "/x"]"#),
        job("brief", "ttlSecondsAfterFinished: 0", "busybox", r#"["true"]"#),
    ];
    instance.apply(&jobs.join("---\n"));
    let wait = |condition: &str, names: &[&str]| {
        let condition = format!("--for=condition={condition}");
        instance.kubectl_ok(&[&["wait", &condition, "--timeout=60s"], names].concat());
    };
    wait("complete", &["job/pi", "job/indexed"]);
    wait("failed", &["job/bad", "job/late", "job/unknown"]);
    let digits = instance.kubectl_ok(&["logs", "job/pi"]);
    assert!(digits.starts_with("3.14159265358979") && digits.trim_end().len() == 2001, "{digits}");
    let said = instance.kubectl_ok(&[
        "logs",
        "-l",
        "batch.kubernetes.io/job-name=indexed,batch.kubernetes.io/job-completion-index=2",
    ]);
    assert_eq!(said, "index 2\nindexed-2\n");
    assert_eq!(instance.kubectl_ok(&["logs", "-f", "job/bad"]), "oh no\n", "a log that has ended ends");

    let get = |what: &str, path: &str| instance.kubectl_ok(&["get", what, "-o", &format!("jsonpath={path}")]);
    assert_eq!(
        get(
            "job/indexed",
            "{.status.succeeded} {.status.completedIndexes} {.status.uncountedTerminatedPods}"
        ),
        "3 0-2 {}"
    );
    let types = "{range .status.conditions[*]}{.type}:{.reason} {end}";
    assert_eq!(get("job/pi", types), "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached ");
    assert_eq!(get("job/bad", types), "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded ");
    assert_eq!(get("job/late", types), "FailureTarget:DeadlineExceeded Failed:DeadlineExceeded ");
    let ended = instance.kubectl_ok(&["get", "pods", "-l", "job-name=bad", "-o", "jsonpath={.items[0].status.phase} {.items[0].status.containerStatuses[0].state.terminated.exitCode} {.items[0].metadata.finalizers}"]);
    assert_eq!(ended, "Failed 3 ");
    assert!(instance.events("Job", "pi").contains(&"Normal Completed Job completed".to_owned()));

    // What cannot be run says so.
    let pod = instance.kubectl_ok(&[
        "get",
        "pods",
        "-l",
        "job-name=unknown",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let events = instance.events("Pod", &pod);
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("Warning Failed") && event.contains("\"rev\" is not simulated")),
        "{events:?}"
    );
    wait_for("what should not stay to go", || !instance.kubectl(&["get", "job/brief"]).status.success());
    instance.kubectl_ok(&["delete", "jobs", "--all"]);
    wait_for("their Pods to go", || instance.kubectl_ok(&["get", "pods", "-o", "name"]).is_empty());
}

#[test]
fn containers_are_run_again_as_their_pod_says() {
    let instance = Instance::up(&[]);
    instance.kubectl_ok(&[
        "run",
        "again",
        "--image=busybox",
        "--restart=OnFailure",
        "--",
        "sh",
        "-c",
        "exit 1",
    ]);
    instance.kubectl_ok(&["run", "over", "--image=busybox", "--restart=OnFailure", "--", "true"]);
    instance.kubectl_ok(&["run", "for-ever", "--image=busybox", "--", "echo", "hi"]);
    let get =
        |pod: &str, path: &str| instance.kubectl_ok(&["get", "pod", pod, "-o", &format!("jsonpath={path}")]);
    let container = "{.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.waiting.reason}";
    wait_for("a failure to be tried again", || get("again", container) == "Running 1 CrashLoopBackOff");
    wait_for("an end that is no failure to be tried again", || {
        get("for-ever", container) == "Running 1 CrashLoopBackOff"
    });
    wait_for("the other to be done", || get("over", container) == "Succeeded 0 ");
    assert_eq!(get("again", "{.status.containerStatuses[0].lastState.terminated.exitCode}"), "1");
    let events = instance.events("Pod", "again");
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("Warning BackOff Back-off restarting failed container again"))
    );
}

#[test]
fn jobs_follow_their_policies() {
    let instance = Instance::up(&["--nodes", "1"]);
    let rules = |rule: &str| format!("backoffLimit: 3\n  podFailurePolicy: {{rules: [{rule}]}}");
    let exits = |action: &str, code: u8| {
        rules(&format!("{{action: {action}, onExitCodes: {{operator: In, values: [{code}]}}}}"))
    };
    let fails = |code: u8| format!(r#"["sh", "-c", "exit {code}"]"#);
    let leader = "completions: 3\n  parallelism: 3\n  completionMode: Indexed\n  successPolicy: {rules: [{succeededIndexes: \"0-2\", succeededCount: 1}]}";
    let jobs = [
        job("fatal", &exits("FailJob", 42), "busybox", &fails(42)),
        job("patient", &exits("Ignore", 7), "busybox", &fails(7)),
        job("leader", leader, "busybox", r#"["sleep", "1"]"#),
    ];
    instance.apply(&jobs.join("---\n"));
    instance.kubectl_ok(&["wait", "--for=condition=failed", "--timeout=60s", "job/fatal"]);
    let condition = |job: &str, kind: &str| {
        let path = format!(
            "jsonpath={{.status.conditions[?(@.type==\"{kind}\")].reason}} {{.status.conditions[?(@.type==\"{kind}\")].message}}"
        );
        instance.kubectl_ok(&["get", "job", job, "-o", &path])
    };
    let why = condition("fatal", "Failed");
    assert!(why.starts_with("PodFailurePolicy Container c for pod default/fatal-"), "{why}");
    assert!(why.ends_with("failed with exit code 42 matching FailJob rule at index 0"), "{why}");
    instance.kubectl_ok(&["wait", "--for=condition=complete", "--timeout=60s", "job/leader"]);
    assert_eq!(condition("leader", "SuccessCriteriaMet"), "SuccessPolicy Matched rules at index 0");
    // What is ignored is let go of and counts as nothing.
    wait_for("the ignored Pod to be let go", || {
        let finalizers = "jsonpath={.items[*].status.phase} {.items[*].metadata.finalizers}";
        let selector = "batch.kubernetes.io/job-name=patient";
        instance.kubectl_ok(&["get", "pods", "-l", selector, "-o", finalizers]).trim() == "Failed"
    });
    assert_eq!(instance.kubectl_ok(&["get", "job", "patient", "-o", "jsonpath={.status.failed}"]), "");
}

#[test]
fn a_job_takes_back_the_pods_it_selects_and_lets_go_of_others() {
    let instance = Instance::up(&[]);
    instance.apply(&job("calm", "parallelism: 2\n  completions: 4", "busybox", r#"["sleep", "600"]"#));
    let names = |selector: &str, of: &str| {
        let list = instance.kubectl_ok(&["get", "pods", "-l", selector, "-o", &format!("jsonpath={of}")]);
        let mut names: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    };
    let owned = "{range .items[?(@.metadata.ownerReferences[0].name=='calm')]}{.metadata.name} {end}";
    wait_for("two Pods", || names("job-name=calm", owned).len() == 2);
    let before = names("job-name=calm", owned);
    let orphaned = r#"{"metadata": {"ownerReferences": null}}"#;
    instance.kubectl_ok(&["patch", "pod", &before[0], "--type=merge", "-p", orphaned]);
    wait_for("it to be taken back", || names("job-name=calm", owned) == before);
    let tracked = "{.metadata.finalizers}";
    let has = |pod: &str| instance.kubectl_ok(&["get", "pod", pod, "-o", &format!("jsonpath={tracked}")]);
    assert_eq!(has(&before[0]), r#"["batch.kubernetes.io/job-tracking"]"#);
    instance.kubectl_ok(&["label", "pod", &before[0], "batch.kubernetes.io/controller-uid=x", "--overwrite"]);
    wait_for("another one in its place", || {
        let now = names("job-name=calm", owned);
        now.len() == 2 && !now.contains(&before[0]) && has(&before[0]).is_empty()
    });
}

#[test]
fn a_cron_job_makes_a_job_when_it_is_due() {
    let instance = Instance::up(&[]);
    let refused =
        instance.kubectl(&["create", "cronjob", "bad", "--image=busybox", "--schedule=* * *", "--", "true"]);
    assert!(stderr(&refused).contains("expected exactly 5 fields"), "{}", stdout(&refused));
    let nowhere = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: nowhere}
spec:
  schedule: "* * * * *"
  timeZone: Europe/Nowhere
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}}}
"#;
    let refused = instance.kubectl_with(&["create", "-f", "-"], nowhere);
    assert!(stderr(&refused).contains("unknown time zone Europe/Nowhere"), "{}", stderr(&refused));
    instance.apply(
        r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "@every 1s"
  timeZone: Europe/Berlin
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: 0
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: c, image: busybox, command: ["true"]}]
"#,
    );
    let get =
        |path: &str| instance.kubectl_ok(&["get", "cronjob", "tick", "-o", &format!("jsonpath={path}")]);
    wait_for("a Job to succeed", || !get("{.status.lastSuccessfulTime}").is_empty());
    assert!(!get("{.status.lastScheduleTime}").is_empty());
    let told = |name: &str, start: &str| {
        instance.events("CronJob", name).iter().any(|event| event.starts_with(start))
    };
    wait_for("all of it to be told", || {
        told("tick", "Normal SuccessfulCreate Created job tick-")
            && told("tick", "Normal SawCompletedJob Saw completed job: tick-")
            && told("tick", "Normal SuccessfulDelete Deleted job tick-")
    });
    let suspend = r#"{"spec":{"suspend":true}}"#;
    instance.kubectl_ok(&["patch", "cronjob", "tick", "-p", suspend]);
    instance.kubectl_ok(&["create", "job", "--from=cronjob/tick", "by-hand"]);
    instance.kubectl_ok(&["delete", "cronjobs", "--all"]);
    wait_for("its Jobs to go", || instance.kubectl_ok(&["get", "jobs,pods", "-o", "name"]).is_empty());
}

#[test]
fn what_a_deletion_orphans_stays() {
    const DEPLOYMENTS: usize = 24;
    let instance = Instance::up(&["--nodes", "1"]);
    let deployment = |i: usize| {
        format!(
            "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d{i}, labels: {{app: d}}}}, \
             spec: {{replicas: 1, selector: {{matchLabels: {{app: d, one: d{i}}}}}, template: {{metadata: {{labels: \
             {{app: d, one: d{i}}}}}, spec: {{containers: [{{name: c, image: nginx}}]}}}}}}}}\n"
        )
    };
    instance.apply(&(0..DEPLOYMENTS).map(deployment).collect::<String>());
    let sets = |path: &str| instance.kubectl_ok(&["get", "rs", "-l", "app=d", "-o", path]);
    wait_for("every ReplicaSet to have its Pod", || {
        sets("jsonpath={.items[*].status.replicas}").split_whitespace().count() == DEPLOYMENTS
    });
    // The loop of Deployments sees sets without an owner while they go, and must not take them again.
    instance.kubectl_ok(&["delete", "deploy", "-l", "app=d", "--cascade=orphan"]);
    instance.kubectl_ok(&["wait", "--for=delete", "deploy", "-l", "app=d", "--timeout=60s"]);
    assert_eq!(sets("jsonpath={.items[*].metadata.name}").split_whitespace().count(), DEPLOYMENTS);
    assert_eq!(sets("jsonpath={.items[*].metadata.ownerReferences}"), "");
}

#[test]
fn a_namespaces_pods_go_before_the_rest() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.kubectl_ok(&["create", "namespace", "going"]);
    let team = |arguments: &[&str]| instance.kubectl(&[&["-n", "going"], arguments].concat());
    instance.apply(
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: going}}\n\
         ---\n{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: going, finalizers: [example.com/hold]}, \
         spec: {containers: [{name: c, image: nginx}]}}\n",
    );
    instance.kubectl_ok(&["delete", "namespace", "going", "--wait=false"]);
    let condition = "jsonpath={.status.conditions[?(@.type=='NamespaceDeletionContentFailure')].reason}";
    wait_for("the loop to have looked", || {
        let deleted = "jsonpath={.metadata.deletionTimestamp}";
        stdout(&instance.kubectl(&["get", "namespace", "going", "-o", condition])) == "ContentDeleted"
            && !stdout(&team(&["get", "pod", "p", "-o", deleted])).is_empty()
    });
    assert!(team(&["get", "configmap", "settings"]).status.success(), "a Pod may still need it");
    let free = team(&["patch", "pod", "p", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#]);
    assert!(free.status.success());
    wait_for("the namespace to be gone", || {
        !instance.kubectl(&["get", "namespace", "going"]).status.success()
    });
}

#[test]
fn a_replication_controller_keeps_its_pods() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.apply(
        "---\n{apiVersion: v1, kind: ReplicationController, metadata: {name: old}, spec: {replicas: 2, selector: {app: old}, \
         template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c, image: nginx}]}}}}\n",
    );
    let has = |want: &str| {
        let status = "jsonpath={.status.replicas} {.status.readyReplicas} {.status.observedGeneration}";
        wait_for(want, || instance.kubectl_ok(&["get", "rc", "old", "-o", status]) == want);
    };
    has("2 2 1");
    let first =
        instance.kubectl_ok(&["get", "pods", "-l", "app=old", "-o", "jsonpath={.items[0].metadata.name}"]);
    instance.kubectl_ok(&["delete", "pod", &first, "--now"]);
    has("2 2 1");
    instance.kubectl_ok(&["scale", "rc", "old", "--replicas=1"]);
    has("1 1 2");
    assert!(
        instance
            .events("ReplicationController", "old")
            .iter()
            .any(|event| event.contains("SuccessfulDelete"))
    );
    instance.kubectl_ok(&["delete", "rc", "old"]);
    wait_for("no Pod to be left", || instance.kubectl_ok(&["get", "pods", "-o", "name"]).is_empty());
}

#[test]
fn budgets_say_how_many_pods_may_be_evicted() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.apply(
        "---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3, selector: {matchLabels: \
         {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: nginx}]}}}}\n\
         ---\n{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, spec: {maxUnavailable: 34%, \
         selector: {matchLabels: {app: web}}}}\n",
    );
    let says = |want: &str| {
        let status = "jsonpath={.status.expectedPods} {.status.desiredHealthy} {.status.currentHealthy} \
                      {.status.disruptionsAllowed} {.status.conditions[0].reason}";
        wait_for(want, || instance.kubectl_ok(&["get", "pdb", "web", "-o", status]) == want);
    };
    // Of three 34 %, rounded up, may be away.
    says("3 1 3 2 SufficientPods");
    instance.kubectl_ok(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec": {"maxUnavailable": 0}}"#]);
    says("3 3 3 0 InsufficientPods");
    let refused = instance.kubectl(&["drain", "node-1", "--ignore-daemonsets", "--timeout=1s"]);
    assert!(stderr(&refused).contains("violate the pod's disruption budget"), "{}", stderr(&refused));
    instance.kubectl_ok(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec": {"maxUnavailable": 3}}"#]);
    says("3 0 3 3 SufficientPods");
    instance.kubectl_ok(&["drain", "node-1", "--ignore-daemonsets", "--timeout=60s"]);
}

#[test]
fn owners_in_a_circle_go_together() {
    let instance = Instance::up(&["--nodes", "1"]);
    let names = ["a", "b", "c"];
    for name in names {
        instance.kubectl_ok(&["create", "configmap", name]);
    }
    let uid = |name: &str| instance.kubectl_ok(&["get", "configmap", name, "-o", "jsonpath={.metadata.uid}"]);
    for (name, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
        let patch = format!(
            r#"{{"metadata": {{"ownerReferences": [{{"apiVersion": "v1", "kind": "ConfigMap", "name": "{owner}", "uid": "{}", "blockOwnerDeletion": true}}]}}}}"#,
            uid(owner)
        );
        instance.kubectl_ok(&["patch", "configmap", name, "--type=merge", "-p", &patch]);
    }
    instance.kubectl_ok(&["delete", "configmap", "a", "--cascade=foreground", "--wait=false"]);
    wait_for("all to be gone", || {
        names.iter().all(|name| !instance.kubectl(&["get", "configmap", name]).status.success())
    });
}
