//! The cluster of the scenario: a Deployment and a Service for each application, spread over namespaces as Kubernetes'
//! own limits have it, and what is looked at to know that all of it is there.

use serde_json::{Value, json};

use crate::api::{Api, JSON, TABLE};

/// Kubernetes' own limit of a namespace.
const PODS_PER_NAMESPACE: usize = 3000;

#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
    pub(crate) services: usize,
}

impl Size {
    /// The Pods of an application: as many as of any other, or one more.
    fn replicas(&self, application: usize) -> usize {
        self.pods / self.services + usize::from(application < self.pods % self.services)
    }

    /// The applications that are there once so many Pods are.
    pub(crate) fn applications(&self, pods: usize) -> usize {
        (pods * self.services).div_ceil(self.pods).min(self.services)
    }

    pub(crate) fn pods_of(&self, applications: usize) -> usize {
        (0..applications).map(|application| self.replicas(application)).sum()
    }

    fn namespaces(&self) -> usize {
        self.pods.div_ceil(PODS_PER_NAMESPACE)
    }

    pub(crate) fn namespace(&self, application: usize) -> String {
        format!("scale-{}", application % self.namespaces())
    }

    /// An instance type with room for its share of the Pods.
    pub(crate) fn instance_type(&self) -> &'static str {
        match self.pods.div_ceil(self.nodes) {
            0..=26 => "m5.large",
            27..=52 => "m5.xlarge",
            _ => "m5.4xlarge",
        }
    }

    pub(crate) fn create_namespaces(&self) -> Vec<(String, String)> {
        let one =
            |i| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("scale-{i}")}});
        (0..self.namespaces()).map(|i| ("/api/v1/namespaces".to_owned(), one(i).to_string())).collect()
    }

    /// The Services and Deployments of these applications.
    pub(crate) fn create(&self, applications: std::ops::Range<usize>) -> Vec<(String, String)> {
        applications.flat_map(|application| self.create_one(application)).collect()
    }

    fn create_one(&self, application: usize) -> [(String, String); 2] {
        let (namespace, name) = (self.namespace(application), format!("app-{application}"));
        let labels = json!({"app": name});
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 80}]},
        });
        let container = json!({
            "name": "web", "image": "nginx:1.29", "ports": [{"containerPort": 80}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": self.replicas(application), "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        });
        [
            (format!("/api/v1/namespaces/{namespace}/services"), service.to_string()),
            (format!("/apis/apps/v1/namespaces/{namespace}/deployments"), deployment.to_string()),
        ]
    }
}

fn rows(api: &mut Api, path: &str) -> Result<Vec<Vec<String>>, String> {
    let table: Value = serde_json::from_slice(&api.get(path, TABLE)?).map_err(|error| error.to_string())?;
    let cells = |row: &Value| {
        let cells = row["cells"].as_array().into_iter().flatten();
        cells.map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
    };
    Ok(table["rows"].as_array().into_iter().flatten().map(cells).collect())
}

/// Nodes that take Pods: Ready, and without a taint.
pub(crate) fn ready_nodes(api: &mut Api) -> Result<usize, String> {
    let list: Value =
        serde_json::from_slice(&api.get("/api/v1/nodes", JSON)?).map_err(|error| error.to_string())?;
    let takes_pods = |node: &&Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "Ready" && c["status"] == "True") && node["spec"]["taints"].is_null()
    };
    Ok(list["items"].as_array().into_iter().flatten().filter(takes_pods).count())
}

/// Pods that their Deployments call ready.
pub(crate) fn ready_pods(api: &mut Api) -> Result<usize, String> {
    let ready = |row: &Vec<String>| row.get(1)?.split('/').next()?.parse::<usize>().ok();
    Ok(rows(api, "/apis/apps/v1/deployments")?.iter().filter_map(ready).sum())
}

/// Endpoints of the scenario's EndpointSlices that are ready.
pub(crate) fn ready_endpoints(api: &mut Api) -> Result<usize, String> {
    let bytes = api.get("/apis/discovery.k8s.io/v1/endpointslices?labelSelector=app", JSON)?;
    let list: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let endpoints = list["items"].as_array().into_iter().flatten();
    let endpoints = endpoints.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    Ok(endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count())
}

/// Addresses of the scenario's Endpoints, the older form.
pub(crate) fn addresses(api: &mut Api) -> Result<usize, String> {
    let bytes = api.get("/api/v1/endpoints?labelSelector=app", JSON)?;
    let list: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let subsets = list["items"].as_array().into_iter().flatten();
    let subsets = subsets.flat_map(|object| object["subsets"].as_array().into_iter().flatten());
    Ok(subsets.map(|subset| subset["addresses"].as_array().map_or(0, Vec::len)).sum())
}
