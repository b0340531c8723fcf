//! What an etcd member can do, by its version.

/// Whether a member answers a progress request only after everything up to the revision it names was delivered. Older
/// ones may name a revision whose events are still on their way (etcd's issue 15220).
pub(super) fn tells_progress(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let (major, minor, patch) =
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match (major, minor) {
        (3, 4) => patch >= 25,
        (3, 5) => patch >= 8,
        (3, minor) => minor > 5,
        (major, _) => major > 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reliable_versions_are_upstreams() {
        for (version, reliable) in [
            ("3.3.27", false),
            ("3.4.23", false),
            ("3.4.25", true),
            ("3.4.31", true),
            ("3.5.7", false),
            ("3.5.8", true),
            ("3.6.0-rc.3", true),
            ("4.0.0", true),
            ("", false),
            ("new", false),
        ] {
            assert_eq!(tells_progress(version), reliable, "{version}");
        }
    }
}
