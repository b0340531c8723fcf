//! Which behaviour an image has: a table of names, without registry, tag and digest.
//!
//! Tags are not told apart.

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers what it saw, as JSON or HTML.
    Echo,
    /// Serves nginx's welcome page.
    Nginx,
    /// Serves httpd's page.
    Httpd,
    /// traefik/whoami.
    Whoami,
    /// agnhost netexec.
    Netexec,
    /// agnhost serve-hostname.
    ServeHostname,
    /// hashicorp/http-echo.
    HttpEcho,
    /// Listens on nothing and waits.
    Idle,
}

/// Names, behaviour, and the port if the Pod names none.
const IMAGES: &[(&[&str], Behaviour, u16)] = &[
    (&["nginx", "nginx-unprivileged", "nginxinc/nginx-unprivileged", "bitnami/nginx"], Behaviour::Nginx, 80),
    (&["httpd", "bitnami/apache"], Behaviour::Httpd, 80),
    (&["traefik/whoami", "containous/whoami", "whoami"], Behaviour::Whoami, 80),
    (&["agnhost"], Behaviour::Netexec, 8080),
    (&["hashicorp/http-echo", "http-echo"], Behaviour::HttpEcho, 5678),
    (
        &[
            "pause",
            "busybox",
            "alpine",
            "debian",
            "ubuntu",
            "bash",
            "perl",
            "curlimages/curl",
            "curl",
            "nicolaka/netshoot",
        ],
        Behaviour::Idle,
        0,
    ),
    (&["ealen/echo-server", "hopyard/echo", "echo"], Behaviour::Echo, 80),
    (
        &[
            "jmalloc/echo-server",
            "mendhak/http-https-echo",
            "echoserver",
            "echo-server",
            "google_containers/echoserver",
        ],
        Behaviour::Echo,
        8080,
    ),
];

/// An image's name without registry, tag and digest, nor the folder of those that are the registry's own: `library/`, and
/// `e2e-test-images/` for what Kubernetes' own tests run.
pub(crate) fn short(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let slash = image.rfind('/').map_or(0, |i| i + 1);
    let image = image[slash..].find(':').map_or(image, |colon| &image[..slash + colon]);
    let image = match image.split_once('/') {
        Some((registry, rest)) if registry.contains(['.', ':']) || registry == "localhost" => rest,
        _ => image,
    };
    ["library/", "e2e-test-images/"].iter().find_map(|folder| image.strip_prefix(folder)).unwrap_or(image)
}

/// Behaviour and usual port of an image; None if it is not known.
pub fn behaviour_of(image: &str) -> Option<(Behaviour, u16)> {
    let name = short(image);
    IMAGES.iter().find(|(names, _, _)| names.contains(&name)).map(|(_, behaviour, port)| (*behaviour, *port))
}

/// What agnhost does by this name, and its usual port.
const AGNHOST: &[(&str, Behaviour, u16)] = &[
    ("netexec", Behaviour::Netexec, 8080),
    ("serve-hostname", Behaviour::ServeHostname, 9376),
    ("test-webserver", Behaviour::Echo, 80),
];

/// Behaviour and usual port of an image that is started with these arguments; None if it is not known.
pub(crate) fn behaviour_with(image: &str, arguments: &[String]) -> Option<(Behaviour, u16)> {
    let known = behaviour_of(image)?;
    let Some(word) = arguments.first().filter(|_| known.0 == Behaviour::Netexec) else { return Some(known) };
    let found = AGNHOST.iter().find(|(name, _, _)| name == word);
    // What is begun with an option has no name, and the other names listen on nothing that is simulated.
    let other = if word.starts_with('-') { known } else { (Behaviour::Idle, 0) };
    Some(found.map_or(other, |(_, behaviour, port)| (*behaviour, *port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_name() {
        let table = [
            ("nginx", Some((Behaviour::Nginx, 80))),
            ("docker.io/library/nginx:1.29@sha256:abc", Some((Behaviour::Nginx, 80))),
            ("registry.k8s.io/e2e-test-images/agnhost:2.53", Some((Behaviour::Netexec, 8080))),
            ("registry.k8s.io/e2e-test-images/httpd:2.4.38-4", Some((Behaviour::Httpd, 80))),
            ("localhost:5000/traefik/whoami", Some((Behaviour::Whoami, 80))),
            ("registry.k8s.io/pause:3.10", Some((Behaviour::Idle, 0))),
            ("my/app:1", None),
        ];
        for (image, expected) in table {
            assert_eq!(behaviour_of(image), expected, "{image}");
        }
    }

    #[test]
    fn agnhost_does_what_its_first_argument_says() {
        for (arguments, want) in [
            (&[][..], (Behaviour::Netexec, 8080)),
            (&["netexec", "--http-port=80"], (Behaviour::Netexec, 8080)),
            (&["--http-port=80"], (Behaviour::Netexec, 8080)),
            (&["serve-hostname"], (Behaviour::ServeHostname, 9376)),
            (&["test-webserver"], (Behaviour::Echo, 80)),
            (&["pause"], (Behaviour::Idle, 0)),
        ] {
            let words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(
                behaviour_with("registry.k8s.io/e2e-test-images/agnhost:2.55", &words),
                Some(want),
                "{arguments:?}"
            );
        }
        assert_eq!(behaviour_with("nginx", &["pause".to_owned()]), Some((Behaviour::Nginx, 80)));
    }
}
