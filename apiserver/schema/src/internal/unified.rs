//! Unified diffs of texts, line by line, as Python's `difflib` makes them: upstream's error texts hold such.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Lines shown around a change.
const CONTEXT: usize = 3;
/// Lines of either text beyond which no diff is made: looking for one takes their square.
const LINES_MAX: usize = 20_000;
/// From this many lines on, those that occur often start no match.
const POPULAR_FROM: usize = 200;

/// A run of lines that both texts have.
#[derive(Clone, Copy)]
struct Match {
    old: usize,
    new: usize,
    size: usize,
}

/// Ranges of lines of both texts: the same, or one put in place of the other.
#[derive(Clone, Copy)]
struct Step {
    same: bool,
    old: (usize, usize),
    new: (usize, usize),
}

/// What turns one text into the other; empty where nothing does.
pub(super) fn unified_diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return out;
    }
    for group in groups(steps(&old, &new)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (was, is) = (range(first.old.0, last.old.1), range(first.new.0, last.new.1));
        let _ = writeln!(out, "@@ -{was} +{is} @@");
        for step in &group {
            let shown = |out: &mut String, mark: char, lines: &[&str]| {
                for line in lines {
                    let _ = writeln!(out, "{mark}{line}");
                }
            };
            if step.same {
                shown(&mut out, ' ', &old[step.old.0..step.old.1]);
            } else {
                shown(&mut out, '-', &old[step.old.0..step.old.1]);
                shown(&mut out, '+', &new[step.new.0..step.new.1]);
            }
        }
    }
    out
}

/// A range of lines as headers name it: from one, with its length unless that is one.
fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    let end = Match { old: old.len(), new: new.len(), size: 0 };
    for found in matches(old, new).into_iter().chain([end]) {
        if i < found.old || j < found.new {
            out.push(Step { same: false, old: (i, found.old), new: (j, found.new) });
        }
        (i, j) = (found.old + found.size, found.new + found.size);
        if found.size > 0 {
            out.push(Step { same: true, old: (found.old, i), new: (found.new, j) });
        }
    }
    out
}

/// The steps with little of what stays the same, in groups that are far from each other.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|step| step.same) {
        first.old.0 = first.old.0.max(first.old.1.saturating_sub(CONTEXT));
        first.new.0 = first.new.0.max(first.new.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = steps.last_mut().filter(|step| step.same) {
        last.old.1 = last.old.1.min(last.old.0 + CONTEXT);
        last.new.1 = last.new.1.min(last.new.0 + CONTEXT);
    }
    let mut out = Vec::new();
    let mut group = Vec::new();
    for step in steps {
        let (mut old, mut new) = (step.old, step.new);
        if step.same && old.1 - old.0 > 2 * CONTEXT {
            let (end, stop) = (old.1.min(old.0 + CONTEXT), new.1.min(new.0 + CONTEXT));
            group.push(Step { same: true, old: (old.0, end), new: (new.0, stop) });
            out.push(std::mem::take(&mut group));
            old.0 = old.0.max(old.1.saturating_sub(CONTEXT));
            new.0 = new.0.max(new.1.saturating_sub(CONTEXT));
        }
        group.push(Step { same: step.same, old, new });
    }
    if !(group.len() == 1 && group[0].same) {
        out.push(group);
    }
    out
}

/// The longest run, then the longest before and after it, and so on; runs that touch are one.
fn matches(old: &[&str], new: &[&str]) -> Vec<Match> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(j);
    }
    if new.len() >= POPULAR_FROM {
        let often = new.len() / 100 + 1;
        places.retain(|_, found| found.len() <= often);
    }
    let mut found = Vec::new();
    let mut open = vec![((0, old.len()), (0, new.len()))];
    while let Some(((from, to), (start, stop))) = open.pop() {
        let run = longest(old, new, &places, (from, to), (start, stop));
        if run.size == 0 {
            continue;
        }
        found.push(run);
        if from < run.old && start < run.new {
            open.push(((from, run.old), (start, run.new)));
        }
        if run.old + run.size < to && run.new + run.size < stop {
            open.push(((run.old + run.size, to), (run.new + run.size, stop)));
        }
    }
    found.sort_by_key(|run| (run.old, run.new));
    let mut joined: Vec<Match> = Vec::new();
    for run in found {
        match joined.last_mut() {
            Some(last) if last.old + last.size == run.old && last.new + last.size == run.new => {
                last.size += run.size;
            }
            _ => joined.push(run),
        }
    }
    joined
}

/// The longest run within two ranges, the first of several; lines that occur often only lengthen it.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    (from, to): (usize, usize),
    (start, stop): (usize, usize),
) -> Match {
    let mut best = Match { old: from, new: start, size: 0 };
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for (i, line) in old.iter().enumerate().take(to).skip(from) {
        let mut next = HashMap::new();
        let here = places.get(line).map_or(&[][..], Vec::as_slice);
        for &j in here.iter().skip_while(|j| **j < start).take_while(|j| **j < stop) {
            let length = 1 + j.checked_sub(1).and_then(|before| lengths.get(&before)).copied().unwrap_or(0);
            next.insert(j, length);
            if length > best.size {
                best = Match { old: i + 1 - length, new: j + 1 - length, size: length };
            }
        }
        lengths = next;
    }
    while best.old > from && best.new > start && old[best.old - 1] == new[best.new - 1] {
        best = Match { old: best.old - 1, new: best.new - 1, size: best.size + 1 };
    }
    while best.old + best.size < to
        && best.new + best.size < stop
        && old[best.old + best.size] == new[best.new + best.size]
    {
        best.size += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_far_from_each_other_are_told_apart() {
        let lines = |changed: &[usize]| {
            let line = |i: usize| if changed.contains(&i) { format!("x{i}") } else { format!("{i}") };
            (0..20).map(line).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            unified_diff(&lines(&[]), &lines(&[1, 15])),
            "@@ -1,5 +1,5 @@\n 0\n-1\n+x1\n 2\n 3\n 4\n@@ -13,7 +13,7 @@\n 12\n 13\n 14\n-15\n+x15\n 16\n 17\n 18\n"
        );
        assert_eq!(unified_diff("a\nb", "a\nb\nc"), "@@ -1,2 +1,3 @@\n a\n b\n+c\n");
        assert_eq!(unified_diff("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(unified_diff("a", "a"), "");
    }

    #[test]
    fn what_is_too_long_has_no_diff() {
        let long = "a\n".repeat(LINES_MAX + 1);
        assert_eq!(unified_diff(&long, "a"), "");
    }
}
