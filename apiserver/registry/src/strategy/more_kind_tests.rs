//! What upstream says of kinds with rules of their own: rows of what differs from a plain object, and the causes.

use apiserver_json::{Value, json};

use super::table::{Write, check, check_new};

#[rustfmt::skip]
fn plain_validating_webhooks() -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "w"}, "webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]})
}

#[test]
#[rustfmt::skip]
fn validating_webhooks() {
    check_new(&plain_validating_webhooks(), &[
        (json!({}), &[]),
        (json!({"webhooks": [{"name": "", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].name: Required value"]),
        (json!({"webhooks": [{"name": "a.b", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &[r#"webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#]),
        (json!({"webhooks": [{"name": "A", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &[r#"webhooks[0].name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "Some", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}], "failurePolicy": "X", "matchPolicy": "Y", "timeoutSeconds": 31}]}), &[r#"webhooks[0].failurePolicy: Unsupported value: "X": supported values: "Fail", "Ignore""#, r#"webhooks[0].matchPolicy: Unsupported value: "Y": supported values: "Equivalent", "Exact""#, r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#, "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": [], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v2", "V3", "v2"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &[r#"webhooks[0].admissionReviewVersions[1]: Invalid value: "V3": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"#, r#"webhooks[0].admissionReviewVersions[2]: Invalid value: "v2": duplicate version"#, r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2","V3","v2"]: must include at least one of v1, v1beta1"#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}, "url": "https://x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"url": "http://u@x/y?q#f"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &[r#"webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#, r#"webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL"#, r#"webhooks[0].clientConfig.url: Invalid value: "f": fragments are not permitted in the URL"#, r#"webhooks[0].clientConfig.url: Invalid value: "q": query parameters are not permitted in the URL"#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "", "namespace": "n", "port": 0, "path": "a//B"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].clientConfig.service.namespace: Required value", "webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive", r#"webhooks[0].clientConfig.service.path: Invalid value: "a//B": must start with a '/'"#, r#"webhooks[0].clientConfig.service.path: Invalid value: "a//B": segment[0] may not be empty"#, r#"webhooks[0].clientConfig.service.path: Invalid value: "a//B": segment[1] may not be empty"#, r#"webhooks[0].clientConfig.service.path: Invalid value: "a//B": segment[2]: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}], "namespaceSelector": {"matchLabels": {"a b": "c"}}}]}), &[r#"webhooks[0].namespaceSelector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["X"], "apiGroups": [], "apiVersions": [""], "resources": ["a", "*"], "scope": "Y"}]}]}), &[r#"webhooks[0].rules[0].operations[0]: Unsupported value: "X": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#, "webhooks[0].rules[0].apiGroups: Required value", "webhooks[0].rules[0].apiVersions[0]: Required value", r#"webhooks[0].rules[0].scope: Unsupported value: "Y": supported values: "*", "Cluster", "Namespaced""#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}, {"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &[r#"webhooks[1].name: Duplicate value: "a.b.c""#]),
    ]);
}

#[rustfmt::skip]
fn plain_mutating_webhooks() -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "w"}, "webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]})
}

#[test]
#[rustfmt::skip]
fn mutating_webhooks() {
    check_new(&plain_mutating_webhooks(), &[
        (json!({}), &[]),
        (json!({"webhooks": [{"name": "", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &["webhooks[0].name: Required value"]),
        (json!({"webhooks": [{"name": "a.b", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}), &[r#"webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#]),
        (json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}], "reinvocationPolicy": "X"}]}), &[r#"webhooks[0].reinvocationPolicy: Unsupported value: "X": supported values: "IfNeeded", "Never""#]),
    ]);
}

#[rustfmt::skip]
fn plain_secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "w", "namespace": "default"}})
}

#[test]
#[rustfmt::skip]
fn secret() {
    check_new(&plain_secret(), &[
        (json!({}), &[]),
        (json!({"type": "kubernetes.io/service-account-token"}), &["metadata.annotations[kubernetes.io/service-account.name]: Required value"]),
        (json!({"type": "kubernetes.io/tls"}), &["data[tls.crt]: Required value", "data[tls.key]: Required value"]),
        (json!({"type": "kubernetes.io/ssh-auth"}), &["data[ssh-privatekey]: Required value"]),
        (json!({"type": "kubernetes.io/basic-auth"}), &["data[username]: Required value", "data[password]: Required value"]),
        (json!({"type": "kubernetes.io/dockercfg"}), &["data[.dockercfg]: Required value"]),
        (json!({"data": {"a b": "eA=="}}), &[r#"data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"#]),
    ]);
}

#[rustfmt::skip]
fn plain_endpoints() -> Value {
    json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "w", "namespace": "default"}, "subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80}]}]})
}

#[test]
#[rustfmt::skip]
fn endpoints() {
    check_new(&plain_endpoints(), &[
        (json!({}), &[]),
        (json!({"subsets": [{"ports": [{"port": 0}]}]}), &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`", "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
        (json!({"subsets": [{"addresses": [{"ip": "x"}, {"ip": "127.0.0.1", "hostname": "A", "nodeName": "B"}, {"ip": "169.254.0.1"}], "ports": [{"port": 1, "name": "A"}, {"port": 2, "protocol": "X", "appProtocol": "a b"}]}]}), &[r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#, r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address"#, r#"subsets[0].addresses[1].hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#, r#"subsets[0].addresses[1].nodeName: Invalid value: "B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, r#"subsets[0].addresses[1].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#, r#"subsets[0].addresses[2].ip: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#, r#"subsets[0].ports[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#, "subsets[0].ports[1].name: Required value", r#"subsets[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#, r#"subsets[0].ports[1].appProtocol: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
    ]);
}

#[rustfmt::skip]
fn plain_lease() -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "w", "namespace": "default"}, "spec": {}})
}

#[test]
#[rustfmt::skip]
fn lease() {
    check_new(&plain_lease(), &[
        (json!({}), &[]),
        (json!({"spec": {"leaseDurationSeconds": 0}}), &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
        (json!({"spec": {"leaseTransitions": -1}}), &["spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"]),
    ]);
}

#[rustfmt::skip]
fn plain_claim() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "w", "namespace": "default"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

#[test]
#[rustfmt::skip]
fn claim() {
    check_new(&plain_claim(), &[
        (json!({}), &[]),
        (json!({"spec": {"accessModes": []}}), &["spec.accessModes: Required value: at least 1 access mode is required"]),
        (json!({"spec": {"accessModes": ["X"]}}), &[r#"spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#]),
        (json!({"spec": {"resources": null}}), &["spec.resources[storage]: Required value"]),
        (json!({"spec": {"resources": {"requests": {"storage": "-1"}}}}), &[r#"spec.resources[storage]: Invalid value: "-1": must be greater than zero"#]),
        (json!({"spec": {"volumeMode": "X", "storageClassName": "A B"}}), &[r#"spec.storageClassName: Invalid value: "A B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, r#"spec.volumeMode: Unsupported value: "X": supported values: "Block", "Filesystem""#]),
        (json!({"spec": {"selector": {"matchLabels": {"a b": "c"}}}}), &[r#"spec.selector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
        (json!({"spec": {"dataSource": {"kind": "VolumeSnapshot", "name": ""}}}), &[]),
        (json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}, "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "b"}}}), &["spec: Invalid value: {}: must match dataSourceRef"]),
    ]);
    check(Write::Update, &plain_claim(), &[
        (json!({}), json!({"spec": {"volumeName": "v"}}), &[]),
        (json!({}), json!({"spec": {"accessModes": ["ReadOnlyMany"]}}), &["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"]),
        (json!({}), json!({"spec": {"storageClassName": "x"}}), &[]),
        (json!({}), json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "x"}}}), &[r#"metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "x": field is immutable"#]),
        (json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "x"}}}), json!({"metadata": {"annotations": null}, "spec": {"storageClassName": "x"}}), &[]),
        (json!({"spec": {"volumeAttributesClassName": "a"}, "status": {"phase": "Bound", "currentVolumeAttributesClassName": "a"}}), json!({"spec": {"volumeAttributesClassName": null}}), &["spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"]),
        (json!({"spec": {"storageClassName": "x"}}), json!({"spec": {"storageClassName": "y"}}), &["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"]),
        (json!({}), json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}), &["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"]),
        (json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}), json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}), &[]),
        (json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}), json!({"spec": {"resources": {"requests": {"storage": "512Mi"}}}}), &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]),
    ]);
}

#[rustfmt::skip]
fn plain_volume() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "w"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}})
}

#[test]
#[rustfmt::skip]
fn volume() {
    check_new(&plain_volume(), &[
        (json!({}), &[]),
        (json!({"spec": {"accessModes": []}}), &["spec.accessModes: Required value"]),
        (json!({"spec": {"accessModes": ["X", "ReadWriteOncePod", "ReadWriteOnce"]}}), &[r#"spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#, "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"]),
        (json!({"spec": {"capacity": null}}), &["spec.capacity: Required value", r#"spec.capacity: Unsupported value: null: supported values: "storage""#]),
        (json!({"spec": {"capacity": {"storage": "-1"}}}), &["spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity", r#"spec.capacity[storage]: Invalid value: "-1": must be greater than zero"#]),
        (json!({"spec": {"capacity": {"storage": null, "cpu": "1"}}}), &[r#"spec.capacity: Unsupported value: {"cpu":"1"}: supported values: "storage""#]),
        (json!({"spec": {"hostPath": null}}), &["spec: Required value: must specify a volume type"]),
        (json!({"spec": {"hostPath": {"path": "/a/../b"}}}), &[r#"spec.hostPath.path: Invalid value: "/a/../b": must not contain '..'"#]),
        (json!({"spec": {"hostPath": null, "nfs": {"server": "", "path": ""}}}), &["spec.nfs.server: Required value", "spec.nfs.path: Required value", r#"spec.nfs.path: Invalid value: "": must be an absolute path"#]),
        (json!({"spec": {"nfs": {"server": "a", "path": "/"}}}), &["spec.nfs: Forbidden: may not specify more than 1 volume type"]),
        (json!({"spec": {"persistentVolumeReclaimPolicy": "X"}}), &[r#"spec.persistentVolumeReclaimPolicy: Unsupported value: "X": supported values: "Delete", "Recycle", "Retain""#]),
        (json!({"spec": {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}}), &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"]),
        (json!({"spec": {"storageClassName": "A B", "volumeMode": "X"}}), &[r#"spec.storageClassName: Invalid value: "A B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#, r#"spec.volumeMode: Unsupported value: "X": supported values: "Block", "Filesystem""#]),
        (json!({"spec": {"hostPath": null, "csi": {"driver": "", "volumeHandle": ""}}}), &["spec.csi.driver: Required value", "spec.csi.volumeHandle: Required value"]),
        (json!({"spec": {"hostPath": null, "csi": {"driver": "d", "volumeHandle": "h", "nodePublishSecretRef": {"name": "", "namespace": ""}}}}), &["spec.csi.nodePublishSecretRef.name: Required value", "spec.csi.nodePublishSecretRef.namespace: Required value"]),
        (json!({"spec": {"hostPath": null, "local": {"path": ""}}}), &["spec.local.path: Required value", "spec.nodeAffinity: Required value: Local volume requires node affinity"]),
        (json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": []}}}}), &["spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term"]),
        (json!({"spec": {"nodeAffinity": {}}}), &["spec.nodeAffinity.required: Required value: must specify required node constraints"]),
        (json!({"spec": {"hostPath": null, "glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}}}), &[r#"spec.glusterfs.endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name"#]),
        (json!({"spec": {"hostPath": null, "cinder": {"volumeID": "v", "secretRef": {"name": "s"}}}}), &["spec.cinder.secretRef.namespace: Required value"]),
        (json!({"spec": {"hostPath": null, "storageos": {"volumeName": "v", "secretRef": {}}}}), &["spec.storageos.secretRef.name: Required value", "spec.storageos.secretRef.namespace: Required value"]),
        (json!({"spec": {"hostPath": null, "azureFile": {"secretName": "s", "shareName": "s", "secretNamespace": ""}}}), &["spec.azureFile.secretNamespace: Required value"]),
    ]);
    check(Write::Update, &plain_volume(), &[
        (json!({}), json!({"spec": {"hostPath": {"path": "/b"}}}), &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]),
        (json!({}), json!({"spec": {"capacity": {"storage": "2Gi"}}}), &[]),
        (json!({}), json!({"spec": {"volumeMode": "Block"}}), &[r#"volumeMode: Invalid value: "Block": field is immutable"#]),
        (json!({"spec": {"hostPath": null, "csi": {"driver": "a", "volumeHandle": "h"}}}), json!({"spec": {"csi": {"controllerExpandSecretRef": {"name": "a", "namespace": "b"}}}}), &[]),
        (json!({"spec": {"hostPath": null, "csi": {"driver": "a", "volumeHandle": "h", "controllerExpandSecretRef": {"name": "a", "namespace": "b"}}}}), json!({"spec": {"csi": {"controllerExpandSecretRef": {"name": "c"}}}}), &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]),
        (json!({}), json!({"metadata": {"finalizers": ["bad"]}, "spec": {"accessModes": []}}), &[
            r#"metadata.finalizers[0]: Invalid value: "bad": name is neither a standard finalizer name nor is it fully qualified"#, "spec.accessModes: Required value",
            r#"metadata.finalizers[0]: Invalid value: "bad": name is neither a standard finalizer name nor is it fully qualified"#, "spec.accessModes: Required value",
        ]),
    ]);
}

#[rustfmt::skip]
fn plain_node() -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w"}})
}

#[test]
#[rustfmt::skip]
fn node() {
    check_new(&plain_node(), &[
        (json!({}), &[]),
        (json!({"spec": {"podCIDRs": ["010.0.0.0/8", "fd00::/08"]}}), &[r#"spec.podCIDRs[0]: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length"#, r#"spec.podCIDRs[1]: Invalid value: "fd00::/08": must not have leading 0s in IP or prefix length"#]),
        (json!({"spec": {"podCIDRs": ["010.0.0.1"]}}), &[r#"spec.podCIDRs[0]: Invalid value: "010.0.0.1": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]),
        (json!({"spec": {"podCIDRs": ["10.0.0.0/8", "b"]}}), &[r#"spec.podCIDRs[1]: Invalid value: "b": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#, "spec.podCIDRs: Internal error: invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[1]: <nil> (invalid CIDR address: b)", r#"spec.podCIDRs: Invalid value: ["10.0.0.0/8","b"]: may specify no more than one CIDR for each IP family"#]),
        (json!({"spec": {"taints": [{"key": "a b", "value": "c d", "effect": ""}, {"key": "a", "effect": "X"}, {"key": "b", "effect": "NoSchedule"}, {"key": "b", "effect": "NoSchedule"}]}}), &[r#"metadata.taints[0].key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#, r#"metadata.taints[0].value: Invalid value: "c d": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#, "metadata.taints[0].effect: Required value", r#"metadata.taints[1].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#, r#"metadata.taints[3]: Duplicate value: {"Key":"b","Value":"","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair"#]),
    ]);
    check(Write::Update, &plain_node(), &[
        (json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "podCIDR": "10.0.0.0/24"}}), json!({"spec": {"podCIDRs": ["10.1.0.0/24"], "podCIDR": "10.1.0.0/24"}}), &[r#"spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid"#]),
        (json!({"spec": {"providerID": "a"}}), json!({"spec": {"providerID": "b"}}), &[r#"spec.providerID: Forbidden: node updates may not change providerID except from "" to valid"#]),
    ]);
}

/// Lists and maps that are sent empty are not always missing ones.
#[test]
#[rustfmt::skip]
fn what_is_sent_empty() {
    let rule = |policies: Value| json!({"behavior": {"scaleUp": {"policies": policies}}});
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "w", "namespace": "default"}, "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
    check_new(&scaler, &[
        (json!({"spec": rule(json!([]))}), &["spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"]),
        (json!({"spec": rule(Value::Null)}), &[]),
    ]);
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "w"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {}, "hostPath": {"path": "/a"}}});
    check_new(&volume, &[
        (json!({}), &["spec.capacity: Required value", r#"spec.capacity: Unsupported value: {}: supported values: "storage""#]),
        (json!({"spec": {"capacity": null}}), &["spec.capacity: Required value", r#"spec.capacity: Unsupported value: null: supported values: "storage""#]),
    ]);
}

#[test]
#[rustfmt::skip]
fn statuses() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w"}, "spec": {"externalID": "a"}});
    check(Write::Status, &node, &[
        (json!({}), json!({"status": {"allocatable": {"x.io/b": "1500m"}}}), &[r#"status.allocatable.x.io/b: Invalid value: "1500m": must be an integer"#]),
        (json!({}), json!({"status": {"declaredFeatures": ["B", "A", "A", "A/b"], "config": {}}}), &[r#"status.declaredFeatures[1]: Invalid value: "A": list must be sorted alphabetically"#, r#"status.declaredFeatures[2]: Duplicate value: "A""#]),
        (json!({}), json!({"status": {"addresses": [{"type": "Hostname", "address": "a"}, {"type": "Hostname", "address": "a"}]}}), &[r#"status.addresses[1]: Duplicate value: {"Type":"Hostname","Address":"a"}"#]),
    ]);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "w", "namespace": "default"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    check(Write::Status, &claim, &[
        (json!({}), json!({"status": {"allocatedResourceStatuses": {"cpu": "NodeResizePending", "storage": "x"}}}), &[
            r#"status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "storage""#,
            r#"status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#,
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn processes_of_windows_hosts() {
    let container = |name: &str, own: Value| json!({"name": name, "image": "i", "securityContext": {"windowsOptions": {"hostProcess": own}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "w", "namespace": "default"}, "spec": {"containers": []}});
    check_new(&pod, &[
        (json!({"spec": {"hostNetwork": true, "containers": [container("a", json!(true))]}}), &[]),
        (json!({"spec": {"securityContext": {"windowsOptions": {"hostProcess": true}}, "containers": [container("a", json!(false)), {"name": "b", "image": "i"}]}}), &[
            "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
            r#"spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess containers"#,
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn services_that_change() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ports": [{"port": 80}], "externalIPs": ["1.2.3.4"], "externalTrafficPolicy": "Cluster"}});
    check(Write::Update, &service, &[
        (json!({}), json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": null}}), &[r#"spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]: may not change once set"#]),
        // What goes with an external address goes with it, unless it was changed.
        (json!({}), json!({"spec": {"externalIPs": null}}), &[]),
        (json!({}), json!({"spec": {"externalIPs": null, "externalTrafficPolicy": "Local"}}), &[r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#]),
    ]);
}

#[test]
fn what_a_template_may_not_say_is_told_in_the_order_of_the_struct() {
    let template = json!({"finalizers": ["a"], "uid": "u", "creationTimestamp": null, "name": "n", "labels": {"a": "b"}});
    let mut errors = Vec::new();
    super::shared::check_template_metadata(&template, "spec.metadata", &mut errors);
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["name", "uID", "finalizers"].map(|name| format!("spec.metadata.{name}: Forbidden: cannot be set"))
    );
}
