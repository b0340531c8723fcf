//! Numbers: whether their type and format have room for them, their bounds and factors.
//!
//! What upstream says of a number it cannot hold has no field.

use apiserver_json::Value;
use apiserver_meta::field::{FieldError, Problem, go_float};

use super::loose;
use crate::node::{Rules, Schema, Shape};

pub(super) fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().is_some_and(is_json_integer),
        Value::Number(_) => true,
        _ => false,
    }
}

/// Whether a floating point number is near enough to an integer that it can hold.
fn is_json_integer(number: f64) -> bool {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    const NEAR: f64 = 1e-9;
    let difference = number.fract().abs();
    number.abs() <= LARGEST
        && (difference == 0.0 || difference / (number.abs() + number.trunc().abs()) < NEAR)
}

pub(super) fn check_number(
    schema: &Schema,
    rules: &Rules,
    value: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let range = Range::of(schema, rules);
    range.check("Checked", value, path, errors);
    if let Some(factor) = rules.multiple_of {
        check_factor(&range, factor, value, path, errors);
    }
    // The sides of a range: its bound, whether that belongs to it, and what is said of it.
    let sides = [
        ("Minimum", rules.minimum, rules.exclusive_minimum, "greater than"),
        ("Maximum", rules.maximum, rules.exclusive_maximum, "less than"),
    ];
    for (name, bound, exclusive, than) in sides {
        let Some(bound) = bound else { continue };
        let known = range.check(&format!("{name} boundary"), &bound.into(), path, errors);
        let (outside, at, shown) = match value.as_i64() {
            // Integers are compared as such, with what is left of the bound.
            Some(number) if known => {
                let bound = bound as i64;
                (
                    if name == "Minimum" { number < bound } else { number > bound },
                    number == bound,
                    bound.to_string(),
                )
            }
            _ => {
                let number = value.as_f64().unwrap_or(0.0);
                let outside = if name == "Minimum" { number < bound } else { number > bound };
                (outside, number == bound, go_float(bound))
            }
        };
        if outside || exclusive && at {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let detail = format!("{path} in body should be {than}{or_equal} {shown}");
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
}

/// The numbers that a type and its format have room for.
struct Range<'a> {
    integer: bool,
    format: Option<&'a str>,
}

impl<'a> Range<'a> {
    fn of(schema: &Schema, rules: &'a Rules) -> Self {
        let integer = matches!(schema.shape, Shape::Integer(_)) && rules.typed;
        let known: &[&str] = match &schema.shape {
            Shape::Integer(_) => &["int32", "int64", "uint32", "uint64"],
            Shape::Number => &["float", "double"],
            _ => &[],
        };
        Self { integer, format: rules.format.as_deref().filter(|format| known.contains(format)) }
    }

    /// Whether a number is in it. `what` is told where it is not.
    fn check(&self, what: &str, value: &Value, path: &str, errors: &mut Vec<FieldError>) -> bool {
        let number = value.as_f64().unwrap_or(0.0);
        let whole = number.fract() == 0.0;
        let fits = match (self.integer, self.format) {
            (true, Some("int32")) => whole && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            (true, Some("uint32")) => whole && (0.0..=f64::from(u32::MAX)).contains(&number),
            (true, Some("uint64")) => whole && (0.0..u64::MAX as f64).contains(&number),
            (true, _) => {
                value.as_i64().is_some() || whole && (i64::MIN as f64..i64::MAX as f64).contains(&number)
            }
            (false, Some("float")) => number.abs() <= f64::from(f32::MAX),
            (false, _) => true,
        };
        if !fits {
            let kind = if self.integer { "integer" } else { "number" };
            let format =
                self.format.map_or("(default format)".to_owned(), |format| format!("with format {format}"));
            errors.push(loose(format!("{what} value must be of type {kind} {format} in {path}")));
        }
        fits
    }
}

fn check_factor(range: &Range<'_>, factor: f64, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let known = range.check("MultipleOf", &factor.into(), path, errors);
    let not_positive = |shown: String| FieldError {
        problem: Problem::Invalid,
        field: path.to_owned(),
        detail: format!("factor MultipleOf declared for {path} must be positive: {shown}"),
        value: shown,
    };
    let (fits, shown) = match value.as_i64() {
        // Of a factor below one nothing is left for an integer.
        Some(number) if known => match factor as i64 {
            whole @ ..=0 => return errors.push(not_positive(whole.to_string())),
            whole => (number % whole == 0, whole.to_string()),
        },
        _ if factor <= 0.0 => return errors.push(not_positive(go_float(factor))),
        _ => {
            let number = value.as_f64().unwrap_or(0.0);
            let times = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
            (is_json_integer(times), go_float(factor))
        }
    };
    if !fits {
        errors.push(FieldError::invalid(
            path,
            value,
            format!("{path} in body should be a multiple of {shown}"),
        ));
    }
}
