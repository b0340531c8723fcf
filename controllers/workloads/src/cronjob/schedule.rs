//! Schedules: five fields, or one of the words for them, and the time that comes next. Pure.
//!
//! As github.com/robfig/cron reads them, which upstream uses.

use k8s_openapi::jiff::civil::{DateTime, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp, tz::TimeZone};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A time further away than this never comes.
const YEARS_MAX: i16 = 5;
const MINUTE: i64 = 60;

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Schedule {
    Fields(Fields),
    /// So many seconds after the last time.
    Every(i64),
}

/// One bit for each value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// True if one of the fields for days is `*`: then both have to agree.
    both: bool,
}

/// Read a schedule.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Schedule, String> {
    if let Some(duration) = text.strip_prefix("@every ") {
        let seconds = parse_duration(duration).ok_or_else(|| format!("failed to parse duration {text}"))?;
        return Ok(Schedule::Every(seconds.max(1)));
    }
    let text = match WORDS.iter().find(|(word, _)| *word == text) {
        Some((_, fields)) => fields,
        None if text.starts_with('@') => return Err(format!("unrecognized descriptor: {text}")),
        None => text,
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    let (day, any_day) = field(day, (1, 31), &[])?;
    let (weekday, any_weekday) = field(weekday, (0, 6), &DAYS)?;
    Ok(Schedule::Fields(Fields {
        minute: field(minute, (0, 59), &[])?.0,
        hour: field(hour, (0, 23), &[])?.0,
        day,
        month: field(month, (1, 12), &MONTHS)?.0,
        weekday,
        both: any_day || any_weekday,
    }))
}

/// The bits of a field, and whether it stands for everything.
fn field(text: &str, (min, max): (u32, u32), names: &[&str]) -> Result<(u64, bool), String> {
    let (mut bits, mut any) = (0, false);
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let value = |text: &str| {
            let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
            let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + min);
            named.or_else(|| text.parse().ok()).ok_or_else(|| format!("failed to parse int from {text}"))
        };
        let star = matches!(range, "*" | "?");
        let (first, last) = match range.split_once('-') {
            _ if star => (min, max),
            Some((first, last)) => (value(first)?, value(last)?),
            // A number with a step goes on to the end.
            None => (value(range)?, if step.is_some() { max } else { value(range)? }),
        };
        let step: u32 = match step {
            Some(step) => step.parse().map_err(|_| format!("failed to parse int from {step}"))?,
            None => 1,
        };
        if first < min {
            return Err(format!("beginning of range ({first}) below minimum ({min}): {part}"));
        }
        if last > max {
            return Err(format!("end of range ({last}) above maximum ({max}): {part}"));
        }
        if first > last {
            return Err(format!("beginning of range ({first}) beyond end of range ({last}): {part}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        any |= star && step == 1;
        (first..=last).step_by(usize::try_from(step).unwrap_or(1)).for_each(|n| bits |= 1 << n);
    }
    Ok((bits, any))
}

/// Go's durations, in seconds: `1h30m`.
fn parse_duration(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let after = &rest[number..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = match &after[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        total += rest[..number].parse::<f64>().ok()? * unit;
        rest = &after[end..];
    }
    (total > 0.0 && total < 1e10).then_some(total as i64)
}

impl Schedule {
    /// The first time after this one; None if there is none for years.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Every(seconds) => Timestamp::from_second(after.as_second().checked_add(*seconds)?).ok(),
            Schedule::Fields(fields) => fields.next(after, zone),
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let has = |bits: u64, value: i8| bits & (1 << value.unsigned_abs()) != 0;
        let second = after.as_second();
        let mut at = Timestamp::from_second(second - second.rem_euclid(MINUTE) + MINUTE).ok()?;
        let last = at.to_zoned(zone.clone()).year() + YEARS_MAX;
        loop {
            let local = at.to_zoned(zone.clone()).datetime();
            let date = local.date();
            if local.year() > last {
                return None;
            }
            let next = if !has(self.month, local.month()) {
                midnight(date.last_of_month().tomorrow().ok()?.to_datetime(Time::midnight()), zone)?
            } else if !self.has_day(local) {
                midnight(date.tomorrow().ok()?.to_datetime(Time::midnight()), zone)?
            } else if !has(self.hour, local.hour()) {
                later(at, MINUTE * (60 - i64::from(local.minute())))?
            } else if !has(self.minute, local.minute()) {
                later(at, MINUTE)?
            } else {
                return Some(at);
            };
            // A midnight that a change of clocks skips or repeats does not send this back.
            at = if next > at { next } else { later(at, MINUTE)? };
        }
    }

    fn has_day(&self, local: DateTime) -> bool {
        let day = self.day & (1 << local.day().unsigned_abs()) != 0;
        let weekday = self.weekday & (1 << local.weekday().to_sunday_zero_offset().unsigned_abs()) != 0;
        if self.both { day && weekday } else { day || weekday }
    }
}

fn midnight(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    Some(local.to_zoned(zone.clone()).ok()?.timestamp())
}

fn later(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, after: &str, zone: &str) -> Option<String> {
        let zone = super::super::zone::load(Some(zone)).unwrap();
        let next = parse(text).unwrap().next(after.parse().unwrap(), &zone);
        next.map(|at| at.to_string())
    }

    #[test]
    fn the_next_time_is_crons() {
        let table = [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:46:00Z", "2026-01-01T01:00:00Z"),
            ("5/20 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:25:00Z"),
            ("30 6-16/4 * * 1-5", "2026-01-02T14:31:00Z", "2026-01-05T06:30:00Z"),
            ("0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@hourly", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:30:00Z", "2026-01-01T02:00:00Z"),
            // The first of a month or a Monday; only Mondays in March.
            ("0 0 1 * mon", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("0 0 * MAR Mon", "2026-01-02T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("0 12 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T12:00:00Z"),
            ("0,10,20 3,4 * * *", "2026-01-01T03:20:00Z", "2026-01-01T04:00:00Z"),
        ];
        for (text, after, expected) in table {
            assert_eq!(next(text, after, "UTC").as_deref(), Some(expected), "{text} after {after}");
        }
        assert_eq!(next("0 0 31 2 *", "2026-01-01T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn clocks_that_change_are_followed() {
        for (text, after, expected) in [
            ("30 8 * * *", "2026-03-28T08:00:00Z", "2026-03-29T06:30:00Z"),
            // 02:30 is skipped on 29 March.
            ("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
            ("0 0 * * *", "2026-10-24T22:30:00Z", "2026-10-25T23:00:00Z"),
        ] {
            assert_eq!(next(text, after, "Europe/Berlin").as_deref(), Some(expected), "{text} after {after}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (text, why) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("@never", "unrecognized descriptor: @never"),
            ("@every x", "failed to parse duration @every x"),
        ] {
            assert_eq!(parse(text), Err(why.to_string()), "{text}");
        }
    }
}
