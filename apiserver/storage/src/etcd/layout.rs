//! Where objects are in etcd, and where in this process. Inside, a key is `/registry/<group>/<resource>/…`; in etcd it is
//! upstream's, which leaves most groups out: `/registry/deployments/…`, `/registry/services/specs/…`.

use std::collections::HashMap;

use bytes::Bytes;

use crate::Key;

/// The keys of a cluster in etcd.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// What all keys begin with: `/registry/`.
    root: String,
    /// Directories by the ones inside: `core/pods` is `pods`.
    outside: HashMap<String, String>,
    inside: HashMap<String, String>,
}

/// What all keys inside begin with.
const INSIDE: &str = "/registry/";

impl Layout {
    /// A layout under `prefix`, as `--etcd-prefix` has it, with these directories inside and in etcd; each is one or two
    /// names. Others are the same on both sides.
    pub fn new(prefix: &str, directories: impl IntoIterator<Item = (String, String)>) -> Self {
        let root = format!("/{}/", prefix.trim_matches('/'));
        let outside: HashMap<String, String> = directories.into_iter().collect();
        let inside = outside.iter().map(|(inside, outside)| (outside.clone(), inside.clone())).collect();
        Self { root: if root == "//" { "/".to_owned() } else { root }, outside, inside }
    }

    /// What all keys of the cluster begin with.
    pub(super) fn root(&self) -> Bytes {
        Bytes::copy_from_slice(self.root.as_bytes())
    }

    /// The key in etcd of one inside.
    pub fn to_etcd(&self, key: &str) -> Bytes {
        let rest = key.strip_prefix(INSIDE).unwrap_or(key);
        match split(rest, 2).and_then(|(directory, name)| Some((self.outside.get(directory)?, name))) {
            Some((directory, name)) => format!("{}{directory}/{name}", self.root).into(),
            None => format!("{}{rest}", self.root).into(),
        }
    }

    /// The key inside of one in etcd; `None` where it is no object's that is known here.
    pub fn of_etcd(&self, key: &[u8]) -> Option<Key> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        for names in [2, 1] {
            let Some((directory, name)) = split(rest, names) else { continue };
            if let Some(inside) = self.inside.get(directory) {
                return Some(format!("{INSIDE}{inside}/{name}").into());
            }
        }
        // Custom resources are in a directory of their group, which has a dot in its name; nothing of upstream's own that
        // is not in the table has.
        let (group, name) = split(rest, 1)?;
        (group.contains('.') && name.contains('/')).then(|| format!("{INSIDE}{rest}").into())
    }
}

/// The first `names` of a path, and what follows.
fn split(path: &str, names: usize) -> Option<(&str, &str)> {
    let (at, _) = path.match_indices('/').nth(names - 1)?;
    Some((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_again() {
        let table = [
            ("core/pods", "pods"),
            ("core/services", "services/specs"),
            ("core/endpoints", "services/endpoints"),
            ("core/nodes", "minions"),
            ("apps/deployments", "deployments"),
        ];
        let layout = Layout::new("registry", table.map(|(a, b)| (a.to_owned(), b.to_owned())));
        for (inside, outside) in [
            ("/registry/core/pods/default/web", "/registry/pods/default/web"),
            ("/registry/core/services/default/web", "/registry/services/specs/default/web"),
            ("/registry/core/endpoints/default/web", "/registry/services/endpoints/default/web"),
            ("/registry/core/nodes/n", "/registry/minions/n"),
            ("/registry/apps/deployments/a/b", "/registry/deployments/a/b"),
            ("/registry/stable.example.com/crontabs/a/b", "/registry/stable.example.com/crontabs/a/b"),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
                "/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
            ),
        ] {
            assert_eq!(layout.to_etcd(inside), outside);
            assert_eq!(layout.of_etcd(outside.as_bytes()).as_deref(), Some(inside), "{outside}");
        }
        for foreign in [
            "compact_rev_key",
            "/registry/health",
            "/registry/ranges/serviceips",
            "/other/pods/a/b",
            "/registry/masterleases/10.0.0.1",
        ] {
            assert_eq!(layout.of_etcd(foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(Layout::new("/", []).to_etcd("/registry/core/pods/a/b"), "/core/pods/a/b");
    }
}
