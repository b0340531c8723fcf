//! What a call is estimated to cost, and how large its result can be.

use crate::ast::{Kind, Literal};
use crate::cost::Part;
use crate::size::Range;
use crate::types::Type;

pub(crate) mod lists;

pub(crate) const CHARACTER: f64 = 0.1;
const PATTERN: f64 = 0.25;
/// No named format has a longer pattern.
const FORMAT_PATTERN_MAX: f64 = 128.0;
const FORMAT_NAME_MAX: u64 = 64;

type Price = (Range, Option<Range>);
type Measure<'m> = &'m dyn Fn(&Part<'_>) -> Range;

/// The prices of Kubernetes' libraries; `None` for what they say nothing of.
pub(crate) fn library(
    function: &str,
    overload: &str,
    target: Option<&Part<'_>>,
    args: &[Part<'_>],
    measure: Measure<'_>,
) -> Option<Price> {
    let one = Some((Range::ONE, None));
    if let Some(price) = lists::price(overload, target, args, measure) {
        return Some(price);
    }
    match function {
        "check" => Some((Range::fixed(350_000), None)),
        "serviceAccount"
        | "path"
        | "group"
        | "resource"
        | "subresource"
        | "namespace"
        | "name"
        | "allowed"
        | "reason"
        | "error"
        | "errored"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery"
        | "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast" => one,
        "fieldSelector" | "labelSelector" => {
            let length = measure(args.first()?);
            let parse = length.at(CHARACTER);
            let requirements = length.at(0.5).at(50.0);
            Some((Range::fixed(10).plus(parse).plus(requirements), None))
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            let target = target?;
            let size = measure(target);
            Some((
                match element(target) {
                    None => size.at(CHARACTER),
                    Some(item) => {
                        let mut each = Range::ONE;
                        if matches!(item.of, Type::Text | Type::Bytes) {
                            each = each.plus(measure(&item).at(CHARACTER));
                        }
                        size.times(each)
                    }
                },
                None,
            ))
        }
        "ip" if overload == "cidr_ip" => one,
        "url" => args.first().map(|arg| (measure(arg).at(CHARACTER), Some(measure(arg)))),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            target.map(|target| (measure(target).at(CHARACTER), Some(measure(target))))
        }
        "cidr" | "ip" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            args.first().map(|arg| (measure(arg).at(CHARACTER), None))
        }
        "ip.isCanonical" => args.first().map(|arg| (measure(arg).at(2.0 * CHARACTER), None)),
        "replace" => replace(measure(target?), measure(args.first()?), measure(args.get(1)?)),
        "split" => {
            let size = measure(target?);
            let mut max = size.max;
            if let Some(Kind::Literal(Literal::Int(limit))) =
                args.get(1).and_then(|arg| arg.expr).map(|e| &e.kind)
            {
                max = *limit as u64;
            }
            Some((size.at(2.0 * CHARACTER), Some(Range { min: 0, max })))
        }
        "join" => {
            let target = target?;
            let count = measure(target);
            let mut size = element(target).map_or(Range::ZERO, |item| count.times(measure(&item)));
            if let Some(separator) = args.first() {
                let gaps = Range { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
                size = size.plus(measure(separator).times(gaps));
            }
            Some((size.at(CHARACTER), Some(size)))
        }
        "find" | "findAll" => {
            let size = measure(target?);
            let cost = size.plus(Range::ONE).at(CHARACTER).times(measure(args.first()?).at(PATTERN));
            Some((cost, Some(Range { min: 0, max: size.max })))
        }
        "containsIP" | "containsCIDR" => {
            let size = Range { min: 4, max: 16 };
            let mut cost = size.plus(size).at(CHARACTER);
            if function == "containsCIDR" {
                cost = cost.plus(size.at(CHARACTER)).plus(Range::ONE);
            }
            if overload.ends_with("_string") {
                cost = cost.plus(measure(args.first()?).at(CHARACTER));
            }
            Some((cost, None))
        }
        "validate" => {
            let cost = measure(args.first()?).at(CHARACTER).at(FORMAT_PATTERN_MAX * PATTERN);
            Some((cost, None))
        }
        "_==_" => equality(args),
        _ => None,
    }
}

fn equality(args: &[Part<'_>]) -> Option<Price> {
    let [a, b] = args else { return None };
    if a.of != b.of {
        return None;
    }
    match &a.of {
        Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => Some((Range::ONE, None)),
        Type::Object(name) => match &**name {
            "kubernetes.Quantity" | "kubernetes.Semver" => Some((Range::ONE, None)),
            name if name.starts_with("kubernetes.authorization.") => Some((Range::ONE, None)),
            "kubernetes.NamedFormat" => Some((Range { min: 1, max: FORMAT_NAME_MAX }.at(CHARACTER), None)),
            "kubernetes.URL" => {
                let max = b.size.map_or(1, |size| size.max);
                Some((Range { min: 1, max }.at(CHARACTER), None))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The items of a list; `None` if it is none.
fn element(list: &Part<'_>) -> Option<Part<'static>> {
    let of = match &list.of {
        Type::List(item) => (**item).clone(),
        _ => return None,
    };
    let mut path = list.path.clone();
    if !path.is_empty() {
        path.push("@items".to_owned());
    }
    Some(Part { path, of, expr: None, size: None })
}

fn replace(size: Range, from: Range, to: Range) -> Option<Price> {
    let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
    let per = |total: u64, part: u64| (total as f64 / part as f64).ceil() as u64;
    if from.min == 0 {
        count.max = size.max.saturating_add(1);
        kept.max = size.max;
    } else if to.max <= from.min {
        kept.max = size.max;
    } else {
        count.max = per(size.max, from.min);
    }
    if from.max == 0 {
        count.min = size.min.saturating_add(1);
        kept.min = size.min;
    } else if from.max <= to.min {
        kept.min = size.min;
    } else {
        count.min = per(size.min, from.max);
    }
    Some((size.at(2.0 * CHARACTER), Some(count.times(to).plus(kept))))
}

/// The prices of the standard functions.
pub(crate) fn standard(overload: &str, target: Option<&Part<'_>>, args: &[Part<'_>]) -> Price {
    let known = |part: &Part<'_>| part.size.unwrap_or(Range::UNKNOWN);
    let one = (Range::ONE, None);
    match (overload, target, args) {
        ("string_format", Some(target), _) => (known(target).at(CHARACTER), None),
        ("string_to_bytes", _, [arg]) => {
            let size = known(arg);
            (size.at(CHARACTER), Some(Range { min: size.min, max: size.max.wrapping_mul(4) }))
        }
        ("bytes_to_string", _, [arg]) => {
            let size = known(arg);
            (size.at(CHARACTER), Some(Range { min: size.min / 4, max: size.max }))
        }
        ("strings_quote", _, [arg]) => {
            let size = known(arg);
            let result =
                Range { min: size.min.wrapping_add(2), max: size.max.wrapping_mul(2).wrapping_add(2) };
            (size.at(CHARACTER), Some(result))
        }
        ("starts_with_string" | "ends_with_string", _, [arg]) => (known(arg).at(CHARACTER), None),
        ("in_list", _, [_, holder]) => (known(holder).at(1.0), None),
        ("matches_string", Some(target), [pattern]) => {
            let text = known(target).plus(Range::ONE).at(CHARACTER);
            (text.times(known(pattern).at(PATTERN)), None)
        }
        ("contains_string", Some(target), [part]) => {
            (known(target).at(CHARACTER).times(known(part).at(CHARACTER)), None)
        }
        (
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals",
            _,
            [a, b],
        ) => {
            let max = known(a).max.min(known(b).max);
            (Range { min: u64::from(max > 0), max }.at(CHARACTER), None)
        }
        _ => one,
    }
}
