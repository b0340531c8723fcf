//! What the signers of Kubernetes sign.

use std::collections::BTreeSet;

use super::sign::Wanted;

/// Why a request, and what it is to be used for, is nothing that a signer signs.
pub(super) type Rules = fn(&Wanted, &[String]) -> Option<String>;

/// The rules of a signer; of those that are somebody else's there are none.
pub(super) fn of(signer: &str) -> Option<Rules> {
    Some(match signer {
        "kubernetes.io/kube-apiserver-client" => client_problem,
        "kubernetes.io/kube-apiserver-client-kubelet" => kubelet_client_problem,
        "kubernetes.io/kubelet-serving" => kubelet_serving_problem,
        // Nothing is asked of what is older than signers.
        "kubernetes.io/legacy-unknown" => |_, _| None,
        _ => return None,
    })
}

fn client_problem(_: &Wanted, usages: &[String]) -> Option<String> {
    let known = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !known.contains(&usage.as_str())) {
        return Some(format!("invalid usage for client certificate: {other}"));
    }
    let is_there = usages.iter().any(|usage| usage == "client auth");
    (!is_there).then(|| "missing required usage for client certificate: client auth".to_owned())
}

fn kubelet_client_problem(wanted: &Wanted, usages: &[String]) -> Option<String> {
    let names = &wanted.names;
    let problem = [
        (!is_of_nodes(wanted), "subject organization is not system:nodes"),
        (names.dns > 0, "DNS subjectAltNames are not allowed"),
        (names.emails > 0, "Email subjectAltNames are not allowed"),
        (names.addresses > 0, "IP subjectAltNames are not allowed"),
        (names.uris > 0, "URI subjectAltNames are not allowed"),
        (!is_node(wanted), NO_NODE),
    ];
    first(&problem).or_else(|| usage_problem(usages, "client auth"))
}

fn kubelet_serving_problem(wanted: &Wanted, usages: &[String]) -> Option<String> {
    let names = &wanted.names;
    let problem = [
        (!is_of_nodes(wanted), "subject organization is not system:nodes"),
        (names.dns + names.addresses == 0, "DNS or IP subjectAltName is required"),
        (names.emails > 0, "Email subjectAltNames are not allowed"),
        (names.uris > 0, "URI subjectAltNames are not allowed"),
    ];
    first(&problem)
        .or_else(|| usage_problem(usages, "server auth"))
        .or_else(|| first(&[(!is_node(wanted), NO_NODE)]))
}

const NO_NODE: &str = "subject common name does not begin with system:node:";

fn is_of_nodes(wanted: &Wanted) -> bool {
    wanted.organizations == ["system:nodes"]
}

fn is_node(wanted: &Wanted) -> bool {
    wanted.common_name.starts_with("system:node:")
}

fn first(problems: &[(bool, &str)]) -> Option<String> {
    problems.iter().find(|(is_there, _)| *is_there).map(|(_, why)| (*why).to_owned())
}

/// What a kubelet's certificate is for; keys of other kinds than RSA encipher nothing.
fn usage_problem(usages: &[String], purpose: &str) -> Option<String> {
    let asked: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let mut wanted = BTreeSet::from(["digital signature", "key encipherment", purpose]);
    if asked == wanted {
        return None;
    }
    let all: Vec<&str> = wanted.iter().copied().collect();
    let told = format!("usages did not match [{}]", all.join(" "));
    wanted.remove("key encipherment");
    (asked != wanted).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::super::sign::Names;
    use super::*;

    #[test]
    fn each_signer_has_rules_of_its_own() {
        let asked = |organization: &str, name: &str, dns: usize, emails: usize| {
            let mut wanted = Wanted::default();
            wanted.organizations.push(organization.to_owned());
            wanted.common_name = name.to_owned();
            wanted.names = Names { dns, emails, ..Names::default() };
            wanted
        };
        let node = |dns, emails| asked("system:nodes", "system:node:a", dns, emails);
        let (client, server) =
            (&["digital signature", "client auth"][..], &["server auth", "digital signature"][..]);
        for (signer, wanted, usages, want) in [
            ("kube-apiserver-client", asked("g", "u", 0, 0), &["client auth"][..], ""),
            (
                "kube-apiserver-client",
                asked("g", "u", 0, 0),
                server,
                "invalid usage for client certificate: server auth",
            ),
            (
                "kube-apiserver-client",
                asked("g", "u", 0, 0),
                &["digital signature"],
                "missing required usage for client certificate: client auth",
            ),
            ("kube-apiserver-client-kubelet", node(0, 0), client, ""),
            ("kube-apiserver-client-kubelet", node(1, 0), client, "DNS subjectAltNames are not allowed"),
            (
                "kube-apiserver-client-kubelet",
                asked("g", "system:node:a", 0, 0),
                client,
                "subject organization is not system:nodes",
            ),
            (
                "kube-apiserver-client-kubelet",
                node(0, 0),
                server,
                "usages did not match [client auth digital signature key encipherment]",
            ),
            ("kubelet-serving", node(1, 0), server, ""),
            ("kubelet-serving", node(0, 0), server, "DNS or IP subjectAltName is required"),
            ("kubelet-serving", node(1, 1), server, "Email subjectAltNames are not allowed"),
            ("kubelet-serving", asked("system:nodes", "a", 1, 0), server, NO_NODE),
            ("legacy-unknown", asked("", "", 3, 3), &[], ""),
        ] {
            let usages: Vec<String> = usages.iter().map(|usage| (*usage).to_owned()).collect();
            let rules = of(&format!("kubernetes.io/{signer}")).expect("a signer of Kubernetes");
            assert_eq!(rules(&wanted, &usages).unwrap_or_default(), want, "{signer}");
        }
        assert!(of("example.com/x").is_none());
    }
}
