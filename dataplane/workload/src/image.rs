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
}
