//! The few shapes of DER that a certificate is made of.

use k8s_openapi::jiff::Timestamp;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const TRUE: &[u8] = &[0x01, 0x01, 0xff];
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A value under its tag.
pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// Values one after another, as one.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// A number that is not negative.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    let is_high = digits.first().is_none_or(|first| first & 0x80 != 0);
    value(INTEGER, &[if is_high { &[0][..] } else { &[] }, &digits].concat())
}

/// Named bits, of which the first is the highest.
pub(super) fn bits(set: u16) -> Vec<u8> {
    let bytes = set.to_be_bytes();
    let kept = if set & 0xff == 0 { &bytes[..1] } else { &bytes[..] };
    let unused = kept.last().map_or(0, |last| last.trailing_zeros().min(7)) as u8;
    value(BIT_STRING, &[&[unused], kept].concat())
}

/// A time, in the way that certificates tell it.
pub(super) fn time(seconds: i64) -> Vec<u8> {
    const YEAR_2050: i64 = 2_524_608_000;
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let (tag, format) =
        if seconds < YEAR_2050 { (UTC_TIME, "%y%m%d%H%M%SZ") } else { (GENERALIZED_TIME, "%Y%m%d%H%M%SZ") };
    value(tag, time.strftime(format).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ders() {
        for (made, want) in [
            (value(OCTET_STRING, &[0; 200])[..3].to_vec(), vec![4, 0x81, 200]),
            (value(OCTET_STRING, &[0; 300])[..4].to_vec(), vec![4, 0x82, 1, 44]),
            (unsigned(&[0, 0x7f]), vec![2, 1, 0x7f]),
            (unsigned(&[0x80]), vec![2, 2, 0, 0x80]),
            (unsigned(&[0]), vec![2, 1, 0]),
            (bits(0xa000), vec![3, 2, 5, 0xa0]),
            (bits(0x0080), vec![3, 3, 7, 0, 0x80]),
            (time(0), [&[0x17, 13][..], b"700101000000Z"].concat()),
            (time(2_524_608_000), [&[0x18, 15][..], b"20500101000000Z"].concat()),
        ] {
            assert_eq!(made, want);
        }
    }
}
