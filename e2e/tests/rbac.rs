//! Who may: roles, what a role's holder may hand on, and what admission asks of a Pod.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::{Instance, stderr, stdout, wait_for};

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let instance = Instance::up(&["--nodes", "1"]);
    let rules = "rules:\n- {apiGroups: [''], resources: [pods], verbs: [get, list]}\n\
                 - {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: ['*']}\n";
    instance.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: lead}}\n{}",
        rules.replace("['*']", "[get, create, update, patch]")
    ));
    instance.kubectl_ok(&["create", "rolebinding", "lead", "--role=lead", "--user=ann"]);
    let as_ann = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--as", "ann"]);
        instance.kubectl(&all)
    };
    assert_eq!(stdout(&as_ann(&["auth", "can-i", "list", "pods"])).trim(), "yes");
    assert_eq!(stdout(&as_ann(&["auth", "can-i", "delete", "pods"])).trim(), "no");
    let held = as_ann(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    assert!(held.status.success(), "{}", stderr(&held));
    let more = as_ann(&["create", "role", "writer", "--verb=get,delete", "--resource=pods"]);
    let told = stderr(&more);
    assert!(
        told.contains("roles.rbac.authorization.k8s.io \"writer\" is forbidden: user \"ann\"")
            && told.contains("is attempting to grant RBAC permissions not currently held")
            && told.contains("{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"),
        "{told}"
    );
    let edited = as_ann(&[
        "patch",
        "role",
        "reader",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/rules/0/verbs/-","value":"delete"}]"#,
    ]);
    assert!(stderr(&edited).contains("not currently held"), "{}", stderr(&edited));
    let bound = as_ann(&["create", "rolebinding", "up", "--clusterrole=cluster-admin", "--user=ann"]);
    assert!(stderr(&bound).contains("not currently held"), "{}", stderr(&bound));
    let bound = as_ann(&["create", "rolebinding", "same", "--role=reader", "--user=bob"]);
    assert!(bound.status.success(), "{}", stderr(&bound));
    wait_for("bob may read", || {
        stdout(&instance.kubectl(&["auth", "can-i", "list", "pods", "--as", "bob"])).trim() == "yes"
    });
}

/// A request for a certificate of an elliptic curve, `CN=ec`.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISE1HOENBUUF3RFRFTE1Ba0dBMVVFQXd3Q1pXTXdXVEFUQmdjcWhrak9QUUlCQmdncWhrak9QUU1CQndOQwpBQVJ1M3NGTnpveEpzOVJUNHVQclp0VkxuTWFUMFR4NjFQV2RnMm4rR1pMYzNoU3B0NlVNZktoWHNSTHBhTzVRCnlyZ1ZVT3N5enVLL3I3K09TN1NiSm1YNW9BQXdDZ1lJS29aSXpqMEVBd0lEU0FBd1JRSWhBSkdIeCtrdm5FWnMKN0hOSWVvR0dnRWVJNzFnWkx5aUgyck5kVHhDMlpUb2xBaUFwb0J4UitodmhRRHAwVytLNjNkc1ZCd1g1ZVFsNwpmdVdWMFpiMUpDbmdudz09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

#[test]
fn a_signers_requests_are_approved_by_who_may() {
    let instance = Instance::up(&["--nodes", "1"]);
    let request = |name: &str, extra: &str| {
        format!(
            "---\n{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, \
             spec: {{request: {REQUEST}, signerName: example.com/ours, usages: [client auth]{extra}}}}}\n"
        )
    };
    instance.apply(&(request("ann", ", username: root") + &request("bob", "")));
    let shown = instance.kubectl_ok(&["get", "csr", "ann"]);
    assert!(shown.contains("example.com/ours   kubernetes-admin   <none>              Pending"), "{shown}");
    let verbs = [
        "--verb=get,list,update",
        "--resource=certificatesigningrequests,certificatesigningrequests/approval",
    ];
    instance.kubectl_ok(&[&["create", "clusterrole", "approver"], &verbs[..]].concat());
    instance.kubectl_ok(&[
        "create",
        "clusterrolebinding",
        "approver",
        "--clusterrole=approver",
        "--user=ann",
    ]);
    let approve = || instance.kubectl(&["certificate", "approve", "ann", "--as", "ann"]);
    wait_for("ann to be asked for the signer", || {
        let why = "user not permitted to approve requests with signerName \"example.com/ours\"";
        stderr(&approve()).contains(why)
    });
    instance.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: ours}\n\
         rules: [{apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: [example.com/*], verbs: [approve]}]\n",
    );
    instance.kubectl_ok(&["create", "clusterrolebinding", "ours", "--clusterrole=ours", "--user=ann"]);
    wait_for("the approval", || approve().status.success());
    instance.kubectl_ok(&["certificate", "deny", "bob"]);
    let shown = instance.kubectl_ok(&["get", "csr"]);
    assert!(shown.contains("Approved") && shown.contains("Denied"), "{shown}");
    let denial = r#"{"status": {"conditions": [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]}}"#;
    let both =
        instance.kubectl(&["patch", "csr", "ann", "--subresource=approval", "--type=merge", "-p", denial]);
    assert!(
        stderr(&both).contains("Approved and Denied conditions are mutually exclusive"),
        "{}",
        stderr(&both)
    );
}

#[test]
fn an_approved_request_gets_its_certificate() {
    let instance = Instance::up(&["--nodes", "1"]);
    let request = |name: &str, signer: &str| {
        format!(
            "---\n{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, \
             spec: {{request: {REQUEST}, signerName: kubernetes.io/{signer}, usages: [client auth]}}}}\n"
        )
    };
    let signers = [("client", "kube-apiserver-client"), ("kubelet", "kube-apiserver-client-kubelet")];
    instance.apply(&signers.map(|(name, signer)| request(name, signer)).concat());
    instance.kubectl_ok(&["certificate", "approve", "client", "kubelet"]);
    wait_for("an answer to both", || {
        let shown = instance.kubectl_ok(&["get", "csr"]);
        shown.contains("Approved,Issued") && shown.contains("Approved,Failed")
    });
    let certificate = instance.kubectl_ok(&[
        "get",
        "csr",
        "client",
        "-o",
        "go-template={{.status.certificate | base64decode}}",
    ]);
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----\n"), "{certificate}");
    let why =
        instance.kubectl_ok(&["get", "csr", "kubelet", "-o", "jsonpath={.status.conditions[1].message}"]);
    assert_eq!(why, "subject organization is not system:nodes");
}

#[test]
fn cluster_roles_gather_others() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n\
         metadata: {name: cleaners, labels: {rbac.authorization.k8s.io/aggregate-to-view: 'true'}}\n\
         rules: [{apiGroups: [''], resources: [configmaps], verbs: [delete]}]\n",
    );
    instance.kubectl_ok(&["create", "clusterrolebinding", "ann", "--clusterrole=view", "--user=ann"]);
    wait_for("the role view has the rule", || {
        stdout(&instance.kubectl(&["auth", "can-i", "delete", "configmaps", "--as", "ann"]))
            .starts_with("yes")
    });
    let pods = instance.kubectl(&["auth", "can-i", "list", "pods", "--as", "ann"]);
    assert_eq!(stdout(&pods).trim(), "yes", "what it had stays");
}

#[test]
fn a_pod_runs_as_an_account_that_exists() {
    let instance = Instance::up(&["--nodes", "1"]);
    let both = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n---\n\
                apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: fresh}\n\
                spec: {containers: [{name: web, image: nginx}]}\n";
    // The namespace's default account is made by a loop, a moment later.
    instance.apply(both);
    let account = ["get", "pod", "web", "-n", "fresh", "-o", "jsonpath={.spec.serviceAccountName}"];
    assert_eq!(instance.kubectl_ok(&account), "default");
    let nobody =
        both.replace("spec: {", "spec: {serviceAccountName: nobody, ").replace("name: web,", "name: other,");
    let refused = instance.kubectl_with(&["apply", "-f", "-"], &nobody);
    assert!(
        stderr(&refused)
            .contains(r#"error looking up service account fresh/nobody: serviceaccount "nobody" not found"#),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn keys_of_tokens_are_changed_without_losing_the_tokens() {
    let key = |name: &str| {
        let path = e2e::root().join("apiserver/server/src/token/testdata").join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let (rsa, public, curve) = (key("rsa-pkcs1.pem"), key("rsa-public.pem"), key("p256-sec1.pem"));
    let signing = "--service-account-signing-key-file";
    let (keys, issuer) = ("--service-account-key-file", "--service-account-issuer");
    let (one, two) = ("https://one.example", "https://two.example");
    let token = |instance: &Instance| instance.kubectl_ok(&["create", "token", "robot"]).trim().to_owned();
    let is_believed = |instance: &Instance, token: &str| {
        let review = format!(
            "---\n{{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {{token: {token}}}}}"
        );
        let asked = ["create", "-f", "-", "-o", "jsonpath={.status.authenticated} {.status.user.username}"];
        stdout(&instance.kubectl_with(&asked, &review)) == "true system:serviceaccount:default:robot"
    };
    let says = |instance: &Instance, path: &str, parts: &[&str]| {
        let text = instance.kubectl_ok(&["get", "--raw", path]);
        parts.iter().for_each(|part| assert!(text.contains(part), "{path}: {part}: {text}"));
    };
    let openid = "/.well-known/openid-configuration";

    let first = Instance::apiserver_in(e2e::fresh_dir(), &[signing, &rsa, issuer, one]);
    first.kubectl_ok(&["create", "serviceaccount", "robot"]);
    let old = token(&first);
    assert!(is_believed(&first, &old));
    says(&first, openid, &[one, r#"["RS256"]"#]);

    let arguments = [signing, &curve, keys, &curve, keys, &public, issuer, two, issuer, one];
    let both = Instance::apiserver_in(first.kill(), &arguments);
    let new = token(&both);
    assert!(is_believed(&both, &old) && is_believed(&both, &new));
    says(&both, openid, &[two, r#"["ES256","RS256"]"#]);
    says(&both, "/openid/v1/jwks", &[r#""kty":"RSA""#, r#""crv":"P-256""#, r#""e":"AQAB""#]);

    let last = Instance::apiserver_in(both.kill(), &[signing, &curve, issuer, two]);
    assert!(is_believed(&last, &new) && !is_believed(&last, &old));
}

#[test]
fn a_secret_for_a_token_gets_one_and_goes_with_its_account() {
    let instance = Instance::up(&[]);
    instance.kubectl_ok(&["create", "serviceaccount", "robot"]);
    let asked = "---\n{apiVersion: v1, kind: Secret, metadata: {name: held, annotations: {kubernetes.io/service-account.name: robot}}, type: kubernetes.io/service-account-token}";
    instance.apply(asked);
    let read = |path: &str| {
        let path = format!("jsonpath={path}");
        stdout(&instance.kubectl(&["get", "secret", "held", "-o", &path]))
    };
    wait_for("a token in the Secret", || !read("{.data.token}").is_empty());
    let uid = instance.kubectl_ok(&["get", "serviceaccount", "robot", "-o", "jsonpath={.metadata.uid}"]);
    assert_eq!(read(r"{.metadata.annotations.kubernetes\.io/service-account\.uid}"), uid);
    let text = |member: &str| {
        let decoded = STANDARD.decode(read(&format!("{{.data.{member}}}"))).expect("base64");
        String::from_utf8(decoded).expect("text")
    };
    let ca = std::fs::read_to_string(instance.dir().join("pki/ca.crt")).expect("the authority");
    assert_eq!((text(r"ca\.crt"), text("namespace")), (ca, "default".to_owned()));
    let token = text("token");
    let review =
        format!("---\n{{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {{token: {token}}}}}");
    let asked = ["create", "-f", "-", "-o", "jsonpath={.status.user.username}{.status.error}"];
    assert_eq!(stdout(&instance.kubectl_with(&asked, &review)), "system:serviceaccount:default:robot");
    instance.kubectl_ok(&["delete", "serviceaccount", "robot"]);
    wait_for("the Secret to go", || read("{.metadata.name}").is_empty());
}

/// A token as the token controller signs it into a Secret.
fn signed_for_a_secret(key: &rcgen::KeyPair, secret: &str, account: &str, uid: &str) -> String {
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let claim = |name: &str| format!("kubernetes.io/serviceaccount/{name}");
    let claims = serde_json::json!({
        "iss": "kubernetes/serviceaccount", "sub": format!("system:serviceaccount:default:{account}"),
        claim("namespace"): "default", claim("secret.name"): secret,
        claim("service-account.name"): account, claim("service-account.uid"): uid,
    });
    let head = encode(br#"{"alg":"RS256"}"#) + "." + &encode(claims.to_string().as_bytes());
    let signature = rcgen::SigningKey::sign(key, head.as_bytes()).expect("a signature");
    format!("{head}.{}", encode(&signature))
}

#[test]
fn a_token_in_a_secret_lives_as_long_as_that() {
    let path = e2e::root().join("apiserver/server/src/token/testdata/rsa-pkcs8.pem");
    let instance = Instance::apiserver(&["--service-account-signing-key-file", &path.display().to_string()]);
    let key = std::fs::read_to_string(&path).expect("a key");
    let key = rcgen::KeyPair::from_pem(&key).expect("an RSA key");
    instance.kubectl_ok(&["create", "serviceaccount", "robot"]);
    let uid = instance.kubectl_ok(&["get", "serviceaccount", "robot", "-o", "jsonpath={.metadata.uid}"]);
    instance.apply(
        "---\n{apiVersion: v1, kind: Secret, metadata: {name: held, annotations: {kubernetes.io/service-account.name: robot}}, type: kubernetes.io/service-account-token}",
    );
    let token = signed_for_a_secret(&key, "held", "robot", &uid);
    let review = || {
        let body = format!(
            "---\n{{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {{token: {token}}}}}"
        );
        let asked = ["create", "-f", "-", "-o", "jsonpath={.status.user.username}{.status.error}"];
        stdout(&instance.kubectl_with(&asked, &body))
    };
    // Signed, but not what the Secret holds.
    assert_eq!(review(), "[invalid bearer token, Token does not match server's copy]");
    let data = format!(r#"{{"stringData": {{"token": "{token}"}}}}"#);
    instance.kubectl_ok(&["patch", "secret", "held", "--type", "merge", "-p", &data]);
    assert_eq!(review(), "system:serviceaccount:default:robot");
    e2e::wait_for("the day of its last use", || {
        let labels = instance.kubectl_ok(&["get", "secret", "held", "-o", "jsonpath={.metadata.labels}"]);
        labels.contains("kubernetes.io/legacy-token-last-used")
    });
    instance.kubectl_ok(&["label", "secret", "held", "kubernetes.io/legacy-token-invalid-since=2026-01-01"]);
    assert!(review().contains("has been marked invalid"), "{}", review());
    instance.kubectl_ok(&["delete", "secret", "held"]);
    assert_eq!(review(), "[invalid bearer token, Token has been invalidated]");
}
