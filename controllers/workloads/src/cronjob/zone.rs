//! Zones of time by name, from the tz database that is part of the binary.

use jiff::tz::{self, TimeZone};
use k8s_openapi::jiff::Timestamp;

/// A zone; without a name, UTC.
///
/// # Errors
/// Go's sentence about a zone that is not known.
pub(super) fn load(name: Option<&str>) -> Result<TimeZone, String> {
    let name = match name {
        None | Some("" | "UTC") => return Ok(TimeZone::UTC),
        Some(name) => name,
    };
    let found = tz::db().get(name).ok();
    // The API server takes names only as they are spelt.
    found
        .filter(|zone| zone.iana_name() == Some(name) && !zone.is_unknown())
        .ok_or_else(|| format!("unknown time zone {name}"))
}

/// As Go writes RFC 3339.
pub(super) fn rfc3339(at: Timestamp, zone: &TimeZone) -> String {
    let local = at.to_zoned(zone.clone());
    let format = if local.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    local.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_name() {
        let at: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        for (name, expected) in [
            (None, Ok("2026-07-01T12:00:00Z")),
            (Some("Europe/Berlin"), Ok("2026-07-01T14:00:00+02:00")),
            (Some("Europe/Nowhere"), Err("unknown time zone Europe/Nowhere")),
            (Some("../../../etc/passwd"), Err("unknown time zone ../../../etc/passwd")),
        ] {
            let text = load(name).map(|zone| rfc3339(at, &zone));
            assert_eq!(text.as_deref().map_err(String::as_str), expected);
        }
    }
}
