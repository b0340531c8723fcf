"""What the Python client does: create, watch, every kind of patch, apply, delete."""

import sys

from kubernetes import client, config, dynamic, watch

config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
NAME, NAMESPACE = "from-python", "default"

created = core.create_namespaced_config_map(
    NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=NAME), data={"a": "1"})
)

merged = core.patch_namespaced_config_map(NAME, NAMESPACE, {"data": {"b": "2"}})
assert merged.data == {"a": "1", "b": "2"}, merged.data
patched = core.patch_namespaced_config_map(
    NAME, NAMESPACE, [{"op": "replace", "path": "/data/a", "value": "3"}]
)
assert patched.data == {"a": "3", "b": "2"}, patched.data

maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
intent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"c": "4"}}
applied = maps.server_side_apply(body=intent, name=NAME, namespace=NAMESPACE, field_manager="python")
assert applied.data.to_dict() == {"a": "3", "b": "2", "c": "4"}, applied.data
conflict = {**intent, "data": {"a": "5"}}
try:
    maps.server_side_apply(body=conflict, name=NAME, namespace=NAMESPACE, field_manager="python")
    raise AssertionError("the conflict was not told")
except dynamic.exceptions.ConflictError as error:
    assert "conflict with" in str(error.body), error.body

core.delete_namespaced_config_map(NAME, NAMESPACE)

# Everything since the creation, in order, each once.
seen = []
events = watch.Watch().stream(
    core.list_namespaced_config_map,
    NAMESPACE,
    field_selector=f"metadata.name={NAME}",
    resource_version=created.metadata.resource_version,
    timeout_seconds=30,
)
for event in events:
    seen.append((event["type"], sorted(event["object"].data)))
    if event["type"] == "DELETED":
        break
expected = [
    ("MODIFIED", ["a", "b"]),
    ("MODIFIED", ["a", "b"]),
    ("MODIFIED", ["a", "b", "c"]),
    ("DELETED", ["a", "b", "c"]),
]
assert seen == expected, seen

nodes = core.list_node(limit=2)
rest = core.list_node(limit=2, _continue=nodes.metadata._continue)
assert len(nodes.items) + len(rest.items) == 3
print("ok")
