//! Completion indexes: `1,3-5,7` and the annotation of a Pod. Pure.

use controllers_kit::meta::annotation;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;

/// Label and annotation of a Pod.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index of a Pod.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// The indexes of a text that are below a bound; what cannot be read is left out.
pub(super) fn parse(text: &str, below: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            all.extend(first..=last.min(below - 1));
        }
    }
    all.retain(|index| *index < below);
    all
}

/// The text of indexes: two that follow each other with a comma, more with a hyphen.
pub(super) fn text(indexes: &BTreeSet<i32>) -> String {
    let mut spans: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => spans.push((*index, *index)),
        }
    }
    let span = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    spans.iter().map(span).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        for (given, below, expected) in [
            ("", 5, ""),
            ("0", 5, "0"),
            ("0,1", 5, "0,1"),
            ("0-2,4", 5, "0-2,4"),
            ("0,1,2", 9, "0-2"),
            ("1-9", 4, "1-3"),
            ("x,2,-", 5, "2"),
        ] {
            assert_eq!(text(&parse(given, below)), expected, "{given}");
        }
    }
}
