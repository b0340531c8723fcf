//! The names of members: short texts, most of which differ in length or at once.

use std::cmp::Ordering;

/// Whether two names are the same.
#[inline]
pub fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    // Two words that may overlap hold all of a name of up to twice their size; a call costs more than comparing them.
    match one.len() {
        8..=16 => {
            one.first_chunk::<8>() == other.first_chunk::<8>()
                && one.last_chunk::<8>() == other.last_chunk::<8>()
        }
        4..=7 => {
            one.first_chunk::<4>() == other.first_chunk::<4>()
                && one.last_chunk::<4>() == other.last_chunk::<4>()
        }
        0..=3 => one.iter().eq(other),
        _ => one == other,
    }
}

/// The order of two names, that of their bytes.
#[inline]
pub(crate) fn order(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    match (one.first_chunk(), other.first_chunk()) {
        (Some(a), Some(b)) if a != b => u32::from_be_bytes(*a).cmp(&u32::from_be_bytes(*b)),
        _ => one.cmp(other),
    }
}

/// Which names there may be, a bit for each: most fields that are asked for are optional and missing, and mostly that
/// shows here already.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names(u64);

impl Names {
    pub(crate) const NONE: Self = Self(0);

    /// The factors tell the fields of Pods, which have most of them, apart.
    #[inline]
    fn bit(name: &str) -> u64 {
        let bytes = name.as_bytes();
        let (first, last) = match bytes {
            [first, .., last] => (*first, *last),
            [only] => (*only, *only),
            [] => (0, 0),
        };
        let sum = usize::from(first) * 7 + usize::from(last) * 3 + bytes.len();
        1 << (sum % 64)
    }

    #[inline]
    pub(crate) fn may_have(self, name: &str) -> bool {
        self.0 & Self::bit(name) != 0
    }

    #[inline]
    pub(crate) fn add(&mut self, name: &str) {
        self.0 |= Self::bit(name);
    }
}

impl<'a> FromIterator<&'a smol_str::SmolStr> for Names {
    fn from_iter<I: IntoIterator<Item = &'a smol_str::SmolStr>>(names: I) -> Self {
        let mut all = Self::NONE;
        names.into_iter().for_each(|name| all.add(name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_as_texts_do() {
        let text = "abcdefghijklmnopqrstuvwxyz";
        let mut names: Vec<String> = (0..=text.len()).map(|length| text[..length].to_owned()).collect();
        for name in names.clone() {
            for at in 0..name.len() {
                let mut other = name.clone().into_bytes();
                other[at] ^= 0x03;
                names.extend(String::from_utf8(other));
            }
        }
        for one in &names {
            for other in &names {
                assert_eq!(is_same(one, other), one == other, "{one} {other}");
                assert_eq!(order(one, other), one.cmp(other), "{one} {other}");
            }
        }
    }
}
