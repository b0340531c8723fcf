//! Schedules of CronJobs, and what is wrong with one in the words of upstream's parser (`robfig/cron`).

/// (least, most, names) of the five fields.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const DESCRIPTORS: &[&str] =
    &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Why the text is no schedule.
pub(super) fn problem(schedule: &str) -> Option<String> {
    let schedule = match schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        Some(rest) => {
            let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            // Go has these beside those of the database, in which it looks for a file of just that name.
            let is_known = || jiff::tz::db().get(zone).is_ok_and(|found| found.iana_name() == Some(zone));
            if !matches!(zone, "" | "Local") && !is_known() {
                return Some(format!("provided bad location {zone}: unknown time zone {zone}"));
            }
            rest.trim()
        }
        None => schedule,
    };
    if schedule.starts_with('@') {
        let known = DESCRIPTORS.contains(&schedule) || schedule.starts_with("@every ");
        return (!known).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields
        .iter()
        .zip(FIELDS)
        .flat_map(|(field, bounds)| {
            field.split(',').filter(|part| !part.is_empty()).map(move |part| (part, bounds))
        })
        .find_map(|(part, bounds)| check_range(part, bounds).err())
}

fn check_range(part: &str, (least, most, names): (u32, u32, &[&str])) -> Result<(), String> {
    let range_and_step: Vec<&str> = part.split('/').collect();
    let bounds: Vec<&str> = range_and_step[0].split('-').collect();
    let (start, mut end) = match bounds.as_slice() {
        ["*" | "?"] => (least, most),
        ["*" | "?", ..] => (least, most),
        [one] => {
            let number = parse(one, names)?;
            (number, number)
        }
        [low, high] => (parse(low, names)?, parse(high, names)?),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    let step = match range_and_step.as_slice() {
        [_] => 1,
        [_, step] => {
            if bounds.len() == 1 {
                end = most;
            }
            parse(step, &[])?
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {part}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn parse(text: &str, names: &[&str]) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(i) = names.iter().position(|name| *name == lower) {
        let first = if names.len() == 12 { 1 } else { 0 };
        return Ok(i as u32 + first);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        ));
    }
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: value out of range"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn schedules() {
        for (schedule, want) in [
            ("*/5 0-6 1,15 jan-mar mon", None),
            ("@daily", None),
            ("@x", Some("unrecognized descriptor: @x")),
            ("* * *", Some("expected exactly 5 fields, found 3: [* * *]")),
            ("60 * * * *", Some("end of range (60) above maximum (59): 60")),
            ("* * 0 * *", Some("beginning of range (0) below minimum (1): 0")),
            ("5-1 * * * *", Some("beginning of range (5) beyond end of range (1): 5-1")),
            ("*/0 * * * *", Some("step of range should be a positive number: */0")),
            ("1-2-3 * * * *", Some("too many hyphens: 1-2-3")),
            ("*/1/2 * * * *", Some("too many slashes: */1/2")),
            ("a * * * *", Some("failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax")),
        ] {
            assert_eq!(problem(schedule).as_deref(), want, "{schedule}");
        }
    }
}
