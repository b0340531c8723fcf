//! JSONPath as printer columns use it: `k8s.io/client-go/util/jsonpath` with missing keys allowed.

mod parse;

use apiserver_json::Value;

use parse::{Filter, Node, parse};

/// More values than this no path looks at: each `..`, union and filter multiplies.
const LOOKS_MAX: usize = 100_000;
/// Longer paths are read by nobody.
const LENGTH_MAX: usize = 64 * 1024;

/// How many values may still be looked at.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, looks: usize) -> Option<()> {
        self.0 = self.0.checked_sub(looks)?;
        Some(())
    }
}

/// A path that was read.
#[derive(Clone, Debug)]
pub struct JsonPath(Vec<Node>);

impl JsonPath {
    /// Reads a path; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LENGTH_MAX {
            return None;
        }
        parse(text).map(Self)
    }

    /// What the path finds first in an object; `None` where there is nothing, or it does not fit what is there.
    pub fn first(&self, object: &Value) -> Option<Value> {
        let found = walk(vec![object], &self.0, &mut Budget(LOOKS_MAX))?;
        found.first().map(|value| (*value).clone())
    }
}

/// All that steps lead to; `None` where they do not fit, or lead to too much.
fn walk<'a>(mut found: Vec<&'a Value>, steps: &'a [Node], budget: &mut Budget) -> Option<Vec<&'a Value>> {
    for step in steps {
        budget.spend(1 + found.len())?;
        found = match step {
            Node::Field(name) => found.into_iter().filter_map(|value| value.as_object()?.get(name)).collect(),
            Node::Wildcard => all_children(&found, budget)?,
            Node::Recursive => {
                let mut all = Vec::new();
                containers(&found, budget, &mut all)?;
                all
            }
            Node::Slice(parts) => {
                let mut all = Vec::new();
                for value in found.into_iter().filter(|value| !value.is_null()) {
                    let items = slice(value.as_array()?, parts)?;
                    budget.spend(items.len())?;
                    all.extend(items);
                }
                all
            }
            Node::Union(paths) => {
                let mut all = Vec::new();
                for path in paths {
                    all.extend(walk(found.clone(), path, budget)?);
                }
                all
            }
            Node::Filter(filter) => filtered(found, filter, budget)?,
            Node::Literal(value) => vec![value],
            Node::Unknown => return None,
        };
    }
    Some(found)
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

/// Values that hold something and all such in them, the outer before the inner.
fn containers<'a>(values: &[&'a Value], budget: &mut Budget, all: &mut Vec<&'a Value>) -> Option<()> {
    for value in values {
        let children = all_children(std::slice::from_ref(value), budget)?;
        if !children.is_empty() {
            all.push(value);
            containers(&children, budget, all)?;
        }
    }
    Some(())
}

/// The items of a list by index or range; what is negative counts from the end.
fn slice<'a>(items: &'a [Value], parts: &[Option<i64>]) -> Option<impl ExactSizeIterator<Item = &'a Value>> {
    let length = i64::try_from(items.len()).ok()?;
    let (from, to, step) = match parts {
        [index] => {
            let index = index.unwrap_or(0);
            let end = index.checked_add(1)?;
            (index, if index < 0 && end == 0 { length } else { end }, 1)
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

/// The items of lists that a filter keeps.
fn filtered<'a>(found: Vec<&'a Value>, filter: &'a Filter, budget: &mut Budget) -> Option<Vec<&'a Value>> {
    let mut kept = Vec::new();
    for list in found {
        for item in list.as_array()? {
            budget.spend(1)?;
            let left = walk(vec![item], &filter.left, budget);
            let passes = match &filter.right {
                None => left.is_some_and(|left| !left.is_empty()),
                Some((operator, right)) => {
                    let left = left?;
                    if left.is_empty() {
                        continue;
                    }
                    let right = walk(vec![item], right, budget)?;
                    match (left.as_slice(), right.as_slice()) {
                        ([_], []) => false,
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
        ">=" => order.is_ge(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    fn lookup(object: &Value, path: &str) -> Option<Value> {
        JsonPath::parse(path)?.first(object)
    }

    #[test]
    fn what_is_no_path_is_not_read() {
        for wrong in [
            ".a[",
            ".a['x",
            ".a[x]",
            ".a[\"x\"]",
            ".a[?(@.x==1)",
            ".a[?(@.x==1]",
            "....a",
            ".a-\\b]",
            ".a[1:2:3:4]",
        ] {
            assert!(JsonPath::parse(wrong).is_none(), "{wrong}");
        }
        for right in
            [".a", ".", "", ".a b", ".a[]", ".a[*]", ".a['x','y']", ".a}[", ".a['b\\.c']", ".a[?(@.x=='])')]"]
        {
            assert!(JsonPath::parse(right).is_some(), "{right}");
        }
        let deep = format!(".a{}", "[?(@.a".repeat(100_000));
        assert!(JsonPath::parse(&deep).is_none());
    }

    #[test]
    fn paths_lead_where_upstreams_do() {
        let object = json!({
            "a": {"b.c": [{"t": "x", "v": 1}, {"t": "y]", "v": 2}, {"w": true}], "n": null},
            "l": ["p", "q", "r"], "z": {"deep": {"t": "first"}},
        });
        for (path, want) in [
            (r".a.b\.c[1].v", json!(2)),
            (".z['deep.t']", json!("first")),
            (r#".a['b\.c'][?(@.t=="y]")].v"#, json!(2)),
            (r#".a['b\.c'][?(@.t == 'x')].v"#, json!(1)),
            (r#".a['b\.c'][?(@.v>1)].t"#, json!("y]")),
            (r#".a['b\.c'][?(@.v>=2)].v"#, json!(2)),
            (r#".a['b\.c'][?(@.t!="x")].v"#, json!(2)),
            (r#".a['b\.c'][?(@.w)].w"#, json!(true)),
            (r#".a['b\.c'][?(@.w==true)].w"#, json!(true)),
            (".a['b\\.c'][*].v", json!(1)),
            (".a.n", json!(null)),
            (".l[-1]", json!("r")),
            (".l[-2]", json!("q")),
            (".l[1:]", json!("q")),
            (".l[0:2]", json!("p")),
            (".l[::2]", json!("p")),
            (".l[2,0]", json!("r")),
            ("..deep.t", json!("first")),
            ("..w", json!(true)),
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
            ".a['b\\.c'][?(@.v==\"1\")].v",
            ".a['b\\.c'][?(@.v==1.5)].v",
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
