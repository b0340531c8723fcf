//! Timestamps and durations: reading them, writing them, asking them.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::mistyped;
use crate::value::{Outcome, Val, fail};

const SECOND: i128 = 1_000_000_000;

/// RFC 3339, in nanoseconds since 1970.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let shape = text.len() >= 20 && text.as_bytes().get(10).is_some_and(|b| b"Tt".contains(b));
    let zoned = text.ends_with(['Z', 'z'])
        || text.get(text.len().saturating_sub(6)..).is_some_and(|end| end.starts_with(['+', '-']));
    (shape && zoned).then(|| text.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond)).flatten()
}

/// A full date.
pub(crate) fn parse_date(text: &str) -> Option<i128> {
    (text.len() == 10).then(|| parse(&format!("{text}T00:00:00Z"))).flatten()
}

/// What a schema of format `date` or `date-time` lets through.
pub(crate) fn parse_schema_time(text: &str) -> Option<i128> {
    parse(text).or_else(|| parse_date(text)).or_else(|| parse(&format!("{text}Z")))
}

/// A Go duration: `1h30m`, `-1.5s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    parse_units(text, &[])
}

/// What a schema of format `duration` lets through: days and weeks too.
pub(crate) fn parse_schema_duration(text: &str) -> Option<i64> {
    parse_units(&text.replace(' ', ""), &[("d", 86_400 * SECOND), ("w", 7 * 86_400 * SECOND)])
}

fn parse_units(text: &str, more: &[(&str, i128)]) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let units = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", 3_600 * SECOND),
    ];
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
            return None;
        }
        let (name, size) = units.iter().chain(more).find(|(name, _)| {
            after
                .strip_prefix(name)
                .is_some_and(|r| r.is_empty() || r.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
        })?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut part = whole.checked_mul(*size)?;
        if !fraction.is_empty() {
            let digits: i128 = fraction.get(..fraction.len().min(15))?.parse().ok()?;
            part += digits * size / 10_i128.pow(fraction.len().min(15) as u32);
        }
        total = total.checked_add(part)?;
        rest = &after[name.len()..];
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// RFC 3339 in UTC, with as many digits of a second as there are.
pub(crate) fn show(nanos: i128) -> String {
    Timestamp::from_nanosecond(nanos).map_or_else(|_| String::new(), |at| at.to_string())
}

/// A duration in seconds, as CEL writes it.
pub(crate) fn show_duration(nanos: i64) -> String {
    let (seconds, rest) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
    let sign = if nanos < 0 && seconds == 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{seconds}s");
    }
    let digits = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", digits.trim_end_matches('0'))
}

/// A zone by its name in the tz database, which is part of the binary, or `+02:30`.
fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC" | "Local") {
        return Some(TimeZone::UTC);
    }
    if !name.contains(':') {
        // Go reads files: names are as they are spelt, and there is none of the zone that is not known.
        let found = jiff::tz::db().get(name).ok()?;
        return (found.iana_name() == Some(name) && !found.is_unknown()).then_some(found);
    }
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = sign * (hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?);
    Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?))
}

/// Go's sentence about a zone there is not.
fn unknown_zone(name: &str) -> String {
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return "time: invalid location name".to_owned();
    }
    format!("unknown time zone {name}")
}

/// `getHours` and its like.
pub(crate) fn call<'a>(function: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let (nanos, tz) = match args {
        [Val::Duration(nanos)] => {
            let divisor = match function {
                "getHours" => 3_600_000_000_000,
                "getMinutes" => 60_000_000_000,
                "getSeconds" => 1_000_000_000,
                "getMilliseconds" => 1_000_000,
                _ => return mistyped(function, args),
            };
            return Ok(Val::Int(nanos / divisor));
        }
        [Val::Timestamp(nanos)] => (*nanos, TimeZone::UTC),
        [Val::Timestamp(nanos), Val::Text(name)] => match zone(name) {
            Some(tz) => (*nanos, tz),
            None => return fail(unknown_zone(name)),
        },
        _ => return mistyped(function, args),
    };
    let Ok(at) = Timestamp::from_nanosecond(nanos) else { return fail("timestamp overflow") };
    let at = at.to_zoned(tz);
    let number = match function {
        "getFullYear" => i64::from(at.year()),
        "getMonth" => i64::from(at.month()) - 1,
        "getDate" => i64::from(at.day()),
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(at.hour()),
        "getMinutes" => i64::from(at.minute()),
        "getSeconds" => i64::from(at.second()),
        "getMilliseconds" => i64::from(at.millisecond()),
        _ => return mistyped(function, args),
    };
    Ok(Val::Int(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_name_and_by_offset() {
        let noon: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        for (name, want) in [
            ("", Some("12:00")),
            ("UTC", Some("12:00")),
            ("GMT", Some("12:00")),
            ("Europe/Berlin", Some("14:00")),
            ("US/Eastern", Some("08:00")),
            ("02:30", Some("14:30")),
            ("-01:00", Some("11:00")),
            ("europe/berlin", None),
            ("Z", None),
            ("Etc/Unknown", None),
            ("Europe/Nowhere", None),
        ] {
            let told = zone(name).map(|zone| noon.to_zoned(zone).strftime("%H:%M").to_string());
            assert_eq!(told.as_deref(), want, "{name}");
        }
        assert_eq!(unknown_zone("../etc"), "time: invalid location name");
    }
}
