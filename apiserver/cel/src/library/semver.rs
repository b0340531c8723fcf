//! Semantic versions.

use std::cmp::Ordering;

use super::object::Opaque;
use super::{mistyped, opaque};
use crate::value::{Outcome, Val, fail};

/// A version; the build is no part of its order.
#[derive(Clone, Debug)]
pub(crate) struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Equal
    }
}

fn capital(name: &str) -> &str {
    match name {
        "major" => "Major",
        "minor" => "Minor",
        _ => "Patch",
    }
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

impl Semver {
    fn parse(text: &str) -> Result<Self, String> {
        let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
        let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = core.splitn(3, '.').collect();
        let [major, minor, patch] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let mut numbers = [0; 3];
        let named = [("major", major), ("minor", minor), ("patch", patch)];
        for (slot, (name, part)) in numbers.iter_mut().zip(named) {
            *slot = number(part).ok_or_else(|| {
                if part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()) {
                    format!("{} number must not contain leading zeroes {part:?}", capital(name))
                } else {
                    format!("Invalid character(s) found in {name} number {part:?}")
                }
            })?;
        }
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let pre: Vec<&str> = pre.map(|pre| pre.split('.').collect()).unwrap_or_default();
        for part in &pre {
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            if !word(part) || (digits && number(part).is_none()) {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            }
        }
        if build.is_some_and(|build| !build.split('.').all(|part| word(&part))) {
            return Err("Invalid character(s) found in build meta data".to_owned());
        }
        Ok(Self { numbers, pre: pre.into_iter().map(str::to_owned).collect() })
    }

    /// `v1.02` and `1.2` are `1.2.0`.
    fn parse_tolerant(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_start_matches('v');
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<&str> = core.split('.').collect();
        for part in &mut parts {
            let trimmed = part.trim_start_matches('0');
            *part = if trimmed.is_empty() && !part.is_empty() { "0" } else { trimmed };
        }
        if parts.len() < 3 && !rest.is_empty() {
            return Err("Short version cannot contain PreRelease/Build meta data".to_owned());
        }
        while parts.len() < 3 {
            parts.push("0");
        }
        Self::parse(&format!("{}{rest}", parts.join(".")))
    }

    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| match (number(a), number(b)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => a.cmp(b),
                });
                parts.fold(Ordering::Equal, Ordering::then).then(self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

fn of<'v>(value: &'v Val<'_>) -> Option<&'v Semver> {
    match value {
        Val::Opaque(inner) => match &**inner {
            Opaque::Semver(version) => Some(version),
            _ => None,
        },
        _ => None,
    }
}

/// A function of versions.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let parse = |text: &str, tolerant: bool| {
        if tolerant { Semver::parse_tolerant(text) } else { Semver::parse(text) }
    };
    match (function, args) {
        ("semver" | "isSemver", [Val::Text(text), rest @ ..]) => {
            let made = parse(text, matches!(rest, [Val::Bool(true)]));
            match (function, made) {
                ("isSemver", made) => Ok(Val::Bool(made.is_ok())),
                (_, Ok(version)) => opaque(Opaque::Semver(version)),
                (_, Err(why)) => fail(why),
            }
        }
        (_, [one]) => match (function, of(one)) {
            ("major", Some(version)) => Ok(Val::Int(version.numbers[0] as i64)),
            ("minor", Some(version)) => Ok(Val::Int(version.numbers[1] as i64)),
            ("patch", Some(version)) => Ok(Val::Int(version.numbers[2] as i64)),
            _ => mistyped(function, args),
        },
        (_, [one, two]) => match (function, of(one), of(two)) {
            ("compareTo", Some(a), Some(b)) => Ok(Val::Int(a.order(b) as i64)),
            ("isGreaterThan", Some(a), Some(b)) => Ok(Val::Bool(a.order(b) == Ordering::Greater)),
            ("isLessThan", Some(a), Some(b)) => Ok(Val::Bool(a.order(b) == Ordering::Less)),
            _ => mistyped(function, args),
        },
        _ => mistyped(function, args),
    }
}
