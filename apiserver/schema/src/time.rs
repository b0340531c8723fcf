//! Timestamps as Go reads and writes them, with the sentences of `time.Parse`.
//!
//! There is no clock here: text in, canonical text out.

/// Reads RFC 3339 and writes it in UTC with whole seconds (`metav1.Time`).
pub fn normalise_time(text: &str) -> Result<String, String> {
    let (seconds, _) = parse(text, false)?;
    Ok(write(seconds, None))
}

/// Reads RFC 3339 with microseconds and writes it in UTC (`metav1.MicroTime`).
pub fn normalise_micro_time(text: &str) -> Result<String, String> {
    let (seconds, micros) = parse(text, true)?;
    Ok(write(seconds, Some(micros)))
}

/// Seconds since 1970 of an RFC 3339 text; `None` if it is none.
pub(crate) fn unix_seconds(text: &str) -> Option<i64> {
    parse(text, false).ok().map(|(seconds, _)| seconds)
}

/// Seconds since 1970 and, of a `MicroTime`, microseconds.
pub(crate) fn read(text: &str, micro: bool) -> Option<(i64, i64)> {
    parse(text, micro).or_else(|_| parse(text, false)).ok()
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    micro: bool,
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        let layout =
            if self.micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
        let quote = apiserver_meta::field::go_quote;
        Err(format!(
            "parsing time {} as \"{layout}\": cannot parse {} as \"{what}\"",
            quote(self.text),
            quote(self.rest)
        ))
    }

    fn range<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("parsing time {}: {what} out of range", apiserver_meta::field::go_quote(self.text)))
    }

    fn digits(&mut self, count: usize, what: &str) -> Result<i64, String> {
        match self.rest.get(..count) {
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                self.rest = &self.rest[count..];
                Ok(text.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
            }
            _ => self.fail(what),
        }
    }

    fn number(&mut self, what: &str, name: &str, low: i64, high: i64) -> Result<i64, String> {
        let value = self.digits(2, what)?;
        if (low..=high).contains(&value) { Ok(value) } else { self.range(name) }
    }

    fn literal(&mut self, what: &str) -> Result<(), String> {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.fail(what),
        }
    }

    fn fraction(&mut self) -> Result<i64, String> {
        if self.micro {
            let valid = self.rest.strip_prefix(['.', ',']).and_then(|r| r.get(..6));
            return match valid {
                Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                    self.rest = &self.rest[7..];
                    Ok(text.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
                }
                _ => self.fail(".000000"),
            };
        }
        if let Some(after) = self.rest.strip_prefix(['.', ',']) {
            let count = after.bytes().take_while(u8::is_ascii_digit).count();
            if count > 0 {
                self.rest = &after[count..];
            }
        }
        Ok(0)
    }

    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let two = |i: usize| match (bytes.get(i), bytes.get(i + 1)) {
            (Some(a @ b'0'..=b'9'), Some(b @ b'0'..=b'9')) => Some(i64::from((a - b'0') * 10 + (b - b'0'))),
            _ => None,
        };
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return self.fail("Z07:00"),
        };
        match (two(1), bytes.get(3), two(4)) {
            (Some(hours), Some(b':'), Some(minutes)) if hours <= 24 && minutes < 60 => {
                self.rest = &self.rest[6..];
                Ok(sign * (hours * 3600 + minutes * 60))
            }
            _ => self.fail("Z07:00"),
        }
    }
}

fn parse(text: &str, micro: bool) -> Result<(i64, i64), String> {
    let mut reader = Reader { text, rest: text, micro };
    let year = reader.digits(4, "2006")?;
    reader.literal("-")?;
    let month = reader.number("01", "month", 1, 12)?;
    reader.literal("-")?;
    let day = reader.number("02", "day", 0, 99)?;
    reader.literal("T")?;
    let hour = reader.number("15", "hour", 0, 23)?;
    reader.literal(":")?;
    let minute = reader.number("04", "minute", 0, 59)?;
    reader.literal(":")?;
    let second = reader.number("05", "second", 0, 59)?;
    let micros = reader.fraction()?;
    let offset = reader.zone()?;
    if !reader.rest.is_empty() {
        let quote = apiserver_meta::field::go_quote;
        return Err(format!("parsing time {}: extra text: {}", quote(text), quote(reader.rest)));
    }
    if day < 1 || day > days_in(year, month) {
        return reader.range("day");
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok((seconds, micros))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a civil date; the year starts in March so that the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

pub(crate) fn write(seconds: i64, micros: Option<i64>) -> String {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = micros.map(|m| format!(".{m:06}")).unwrap_or_default();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_as_go() {
        assert_eq!(normalise_time("2024-02-29T01:02:03.9+01:00").unwrap(), "2024-02-29T00:02:03Z");
        assert_eq!(normalise_time("1969-12-31T23:59:59Z").unwrap(), "1969-12-31T23:59:59Z");
        assert_eq!(
            normalise_micro_time("2020-01-01T00:00:00.123456Z").unwrap(),
            "2020-01-01T00:00:00.123456Z"
        );
        let layout = "2006-01-02T15:04:05.000000Z07:00";
        assert_eq!(
            normalise_micro_time("not a time").unwrap_err(),
            format!("parsing time \"not a time\" as \"{layout}\": cannot parse \"not a time\" as \"2006\"")
        );
        assert_eq!(
            normalise_micro_time("2020-01-01T00:00:00Z").unwrap_err(),
            format!(
                "parsing time \"2020-01-01T00:00:00Z\" as \"{layout}\": cannot parse \"Z\" as \".000000\""
            )
        );
        assert_eq!(
            normalise_time("2023-02-29T00:00:00Z").unwrap_err(),
            "parsing time \"2023-02-29T00:00:00Z\": day out of range"
        );
    }
}
