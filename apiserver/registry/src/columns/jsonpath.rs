//! JSONPath as printer columns use it: `k8s.io/client-go/util/jsonpath` with missing keys allowed.

use apiserver_json::Value;

/// More values than this no path looks at: each `..`, union and filter multiplies.
const LOOKS_MAX: usize = 100_000;
/// Reading a path counts too: so much of its text as one value.
const TEXT_OF_ONE: usize = 64;

/// How many values may still be looked at.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, looks: usize) -> Option<()> {
        self.0 = self.0.checked_sub(looks)?;
        Some(())
    }
}

/// What a path finds first in an object; `None` where there is nothing, or the path does not fit what is there.
pub(super) fn lookup(object: &Value, path: &str) -> Option<Value> {
    let found = walk(vec![object], path, &mut Budget(LOOKS_MAX))?;
    found.first().map(|value| (*value).clone())
}

/// All that a path leads to; `None` where it does not fit, or leads to too much.
fn walk<'a>(mut found: Vec<&'a Value>, path: &str, budget: &mut Budget) -> Option<Vec<&'a Value>> {
    budget.spend(path.len() / TEXT_OF_ONE)?;
    let mut rest = path;
    while !rest.is_empty() {
        budget.spend(1 + found.len())?;
        if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            found = bracket(found, &after[..end], budget)?;
            rest = &after[end + 1..];
        } else if let Some(after) = rest.strip_prefix("..") {
            found = descendants(found, budget)?;
            rest = after;
        } else {
            let (name, after) = member(rest.strip_prefix('.').unwrap_or(rest));
            found = match name.as_str() {
                "" if after.is_empty() => found,
                "*" => all_children(&found, budget)?,
                name => found.into_iter().filter_map(|value| value.as_object()?.get(name)).collect(),
            };
            rest = after;
        }
    }
    Some(found)
}

/// A member's name, in which a backslash makes anything a letter, and what follows it.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((i, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[i..]),
            letter => name.push(letter),
        }
    }
    (name, "")
}

/// Where the bracket ends whose inside a text begins with: outside of quotes and of further brackets.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (i, letter) in text.char_indices() {
        match (letter, quote) {
            (letter, Some(open)) => quote = (letter != open).then_some(open),
            ('"' | '\'', None) => quote = Some(letter),
            ('[', None) => depth += 1,
            (']', None) if depth == 0 => return Some(i),
            (']', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

/// What is directly in values, in their order.
fn all_children<'a>(values: &[&'a Value], budget: &mut Budget) -> Option<Vec<&'a Value>> {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Array(items) => {
                budget.spend(items.len())?;
                all.extend(items);
            }
            Value::Object(members) => {
                budget.spend(members.len())?;
                all.extend(members.values());
            }
            _ => {}
        }
    }
    Some(all)
}

/// Values and all that is in them, the outer before the inner.
fn descendants<'a>(values: Vec<&'a Value>, budget: &mut Budget) -> Option<Vec<&'a Value>> {
    let mut all = values.clone();
    let mut level = values;
    while !level.is_empty() {
        level = all_children(&level, budget)?;
        all.extend(&level);
    }
    Some(all)
}

fn bracket<'a>(found: Vec<&'a Value>, inside: &str, budget: &mut Budget) -> Option<Vec<&'a Value>> {
    let inside = inside.trim();
    if inside == "*" {
        return all_children(&found, budget);
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        return filtered(found, filter.trim(), budget);
    }
    let mut all = Vec::new();
    for part in inside.split(',').map(str::trim) {
        budget.spend(found.len())?;
        match quoted(part) {
            Some(name) => all.extend(found.iter().filter_map(|value| value.as_object()?.get(name))),
            None => {
                for value in &found {
                    if !value.is_null() {
                        let items = slice(value.as_array()?, part)?;
                        budget.spend(items.len())?;
                        all.extend(items);
                    }
                }
            }
        }
    }
    Some(all)
}

/// The text in quotes.
fn quoted(text: &str) -> Option<&str> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"'))
}

/// The items of a list by `index` or `from:to:step`; what is negative counts from the end.
fn slice<'a>(items: &'a [Value], text: &str) -> Option<impl ExactSizeIterator<Item = &'a Value>> {
    let length = i64::try_from(items.len()).ok()?;
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<i64>().ok().map(Some) };
    let parts: Vec<Option<i64>> = text.split(':').map(|part| number(part.trim())).collect::<Option<_>>()?;
    let (from, to, step) = match parts.as_slice() {
        [Some(index)] => {
            let end = index.checked_add(1)?;
            (*index, if *index < 0 && end == 0 { length } else { end }, 1)
        }
        [from, to] => (from.unwrap_or(0), to.unwrap_or(length), 1),
        [from, to, step] => (from.unwrap_or(0), to.unwrap_or(length), step.unwrap_or(1)),
        _ => return None,
    };
    let place = |at: i64| if at < 0 { at + length } else { at };
    let (from, to) = (place(from), place(to));
    if from == to {
        return Some([].iter().step_by(1));
    }
    let fits = (0..length).contains(&from) && (from..=length).contains(&to) && step > 0;
    let items = items.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?).filter(|_| fits)?;
    Some(items.iter().step_by(usize::try_from(step).ok()?))
}

/// The items of lists that a comparison holds of, or of which something is there.
fn filtered<'a>(found: Vec<&'a Value>, filter: &str, budget: &mut Budget) -> Option<Vec<&'a Value>> {
    let operator = ["==", "!=", "<=", ">=", "<", ">"].into_iter().filter_map(|operator| {
        let at = outside_quotes(filter, operator)?;
        Some((at, operator))
    });
    let operator = operator.min_by_key(|(at, operator)| (*at, std::cmp::Reverse(operator.len())));
    let (left, right) = match operator {
        Some((at, operator)) => (&filter[..at], Some((operator, &filter[at + operator.len()..]))),
        None => (filter, None),
    };
    let left = Operand::read(left.trim());
    let right = right.map(|(operator, right)| (operator, Operand::read(right.trim())));
    let mut kept = Vec::new();
    for list in found.into_iter().filter(|value| !value.is_null()) {
        for item in list.as_array()? {
            budget.spend(1)?;
            let left = left.as_ref()?.of(item, budget)?;
            let passes = match &right {
                None => !left.is_empty(),
                Some((operator, right)) => {
                    let right = right.as_ref()?.of(item, budget)?;
                    match (left.as_slice(), right.as_slice()) {
                        ([], _) | (_, []) => false,
                        ([left], [right]) => holds(left, operator, right)?,
                        _ => return None,
                    }
                }
            };
            if passes {
                kept.push(item);
            }
        }
    }
    Some(kept)
}

fn outside_quotes(text: &str, wanted: &str) -> Option<usize> {
    let mut quote = None;
    for (i, letter) in text.char_indices() {
        match (letter, quote) {
            (letter, Some(open)) => quote = (letter != open).then_some(open),
            ('"' | '\'', None) => quote = Some(letter),
            _ if text[i..].starts_with(wanted) => return Some(i),
            _ => {}
        }
    }
    None
}

/// One side of a comparison.
enum Operand<'p> {
    /// A path from the item.
    Path(&'p str),
    Literal(Value),
}

impl<'p> Operand<'p> {
    fn read(text: &'p str) -> Option<Self> {
        if let Some(path) = text.strip_prefix('@') {
            return Some(Self::Path(path));
        }
        if let Some(text) = quoted(text) {
            return Some(Self::Literal(text.into()));
        }
        apiserver_json::from_str(text).ok().map(Self::Literal)
    }

    fn of<'a>(&'a self, item: &'a Value, budget: &mut Budget) -> Option<Vec<&'a Value>> {
        match self {
            Self::Path(path) => walk(vec![item], path, budget),
            Self::Literal(value) => Some(vec![value]),
        }
    }
}

/// Whether a comparison holds; `None` of values that can't be compared.
fn holds(left: &Value, operator: &str, right: &Value) -> Option<bool> {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => left.as_str().partial_cmp(right.as_str()),
        (Value::Number(left), Value::Number(right)) if left.is_f64() == right.is_f64() => {
            match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
            }
        }
        (Value::Bool(left), Value::Bool(right)) if matches!(operator, "==" | "!=") => Some(left.cmp(right)),
        _ => return None,
    }?;
    Some(match operator {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn paths_lead_where_upstreams_do() {
        let object = json!({
            "a": {"b.c": [{"t": "x", "v": 1}, {"t": "y]", "v": 2}, {"w": true}], "n": null},
            "l": ["p", "q", "r"], "z": {"deep": {"t": "first"}},
        });
        for (path, want) in [
            (r".a.b\.c[1].v", json!(2)),
            (r#".a['b.c'][?(@.t=="y]")].v"#, json!(2)),
            (r#".a['b.c'][?(@.t == 'x')].v"#, json!(1)),
            (r#".a['b.c'][?(@.v>1)].t"#, json!("y]")),
            (r#".a['b.c'][?(@.v>=2)].v"#, json!(2)),
            (r#".a['b.c'][?(@.t!="x")].v"#, json!(2)),
            (r#".a['b.c'][?(@.w)].w"#, json!(true)),
            (r#".a['b.c'][?(@.w==true)].w"#, json!(true)),
            (".a['b.c'][*].v", json!(1)),
            (".a.n", json!(null)),
            (".l[-1]", json!("r")),
            (".l[-2]", json!("q")),
            (".l[1:]", json!("q")),
            (".l[0:2]", json!("p")),
            (".l[::2]", json!("p")),
            (".l[2,0]", json!("r")),
            ("..t", json!("first")),
            (".z.*.t", json!("first")),
            ("['z'].deep.t", json!("first")),
        ] {
            assert_eq!(lookup(&object, path), Some(want), "{path}");
        }
        for nothing in [
            ".a.none",
            ".l[3]",
            ".l[-4]",
            ".l[9223372036854775807]",
            ".l[-9223372036854775808]",
            ".l[0:9]",
            ".l.x",
            ".z[0]",
            ".l[x]",
            ".l[",
            ".a['b.c'][?(@.v==\"1\")].v",
            ".a['b.c'][?(@.v==1.5)].v",
            ".z[?(@.t==1)]",
        ] {
            assert_eq!(lookup(&object, nothing), None, "{nothing}");
        }
    }
    #[test]
    fn a_path_that_leads_to_too_much_leads_nowhere() {
        let items: Vec<Value> = (0..1000).map(|i| json!({"a": {"i": i}})).collect();
        let object = json!({"l": items});
        let union = |part: &str, times: usize| vec![part; times].join(",");
        let every = "[?(@.a.i>=0)]";
        for (path, is_found) in [
            (format!(".l[{}].a.i", union("0:", 10)), true),
            (format!(".l[{}].a.i", union("0:", 1_000_000)), false),
            (format!(".l[*][{}]", union("'a'", 10)), true),
            (format!(".l[*][{}]", union("'none'", 100_000)), false),
            ("..i".to_owned(), true),
            ("..".repeat(1000), false),
            (format!(".l{every}.a.i"), true),
            (format!(".l[?(@.a[{}]!=1)]", union("'none'", 100_000)), false),
        ] {
            let started = std::time::Instant::now();
            let found = lookup(&object, &path);
            let shown = &path[..path.len().min(40)];
            assert_eq!(found.is_some(), is_found, "{shown}");
            assert!(started.elapsed().as_secs() < 5, "{shown}");
        }
    }
}
