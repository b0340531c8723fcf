"""What an answer must not be: a server error, unless it is one that kube-apiserver answers with, too."""

import schemathesis

# Validation of a binding is no Status there, nor is what storage says of a resourceVersion, nor most of what strategic
# merge patches and apply patches are refused for.
UPSTREAMS = (
    "target.",
    "resourceVersion: Invalid value",
    "resourceVersion should not be set",
    "failed to create typed patch object",
    "Too large resource version",
)


@schemathesis.check
def no_server_error(context, response, case):
    if response.status_code < 500 or any(text in response.text for text in UPSTREAMS):
        return
    sent = (case.headers or {}).get("Content-Type") or case.media_type or ""
    assert sent.startswith("application/strategic-merge-patch"), f"{response.status_code}: {response.text}"
