//! Reading a path: the syntax of client-go's templates, of which a column is one action.

use apiserver_json::Value;

/// Unions and filters within each other are read so deep.
const DEPTH_MAX: usize = 16;

/// A step of a path.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Field(String),
    /// Everything in a value.
    Wildcard,
    /// A value and all containers in it.
    Recursive,
    /// An index, or from, to and step; what is not said is `None`.
    Slice(Vec<Option<i64>>),
    Union(Vec<Vec<Node>>),
    Filter(Filter),
    /// A text, number or truth of its own.
    Literal(Value),
    /// A word that means nothing here: nothing is found.
    Unknown,
}

/// Keeps the items of which a comparison holds, or of which something is there.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub left: Vec<Node>,
    pub right: Option<(String, Vec<Node>)>,
}

/// The steps of a path; `None` where it is none.
pub(super) fn parse(text: &str) -> Option<Vec<Node>> {
    action(text, 0)
}

fn action(text: &str, depth: usize) -> Option<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            // The end of the action: what follows is text around it.
            '}' => return Some(nodes),
            _ if rest.starts_with("[?(") => filter(&rest[3..], &mut nodes, depth)?,
            _ if rest.starts_with("..") => {
                if matches!(nodes.last(), Some(Node::Recursive)) {
                    return None;
                }
                nodes.push(Node::Recursive);
                let after = &rest[2..];
                if after.starts_with(is_letter) { field(after, &mut nodes) } else { after }
            }
            ' ' | '@' | '$' => after,
            '[' => brackets(after, &mut nodes, depth)?,
            '"' | '\'' => quoted(first, after, &mut nodes)?,
            '.' => field(after, &mut nodes),
            '+' | '-' => number(rest, &mut nodes)?,
            digit if digit.is_numeric() => number(rest, &mut nodes)?,
            letter if is_letter(letter) => {
                let end = rest.find(ends_word).unwrap_or(rest.len());
                nodes.push(match &rest[..end] {
                    "true" => Node::Literal(true.into()),
                    "false" => Node::Literal(false.into()),
                    _ => Node::Unknown,
                });
                &rest[end..]
            }
            _ => return None,
        };
    }
    Some(nodes)
}

fn is_letter(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

fn ends_word(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

/// A member's name, in which a backslash makes anything a letter.
fn field<'t>(text: &'t str, nodes: &mut Vec<Node>) -> &'t str {
    let mut name = String::new();
    let mut letters = text.char_indices();
    let mut end = text.len();
    while let Some((i, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, escaped)| escaped)),
            letter if ends_word(letter) => {
                end = i;
                break;
            }
            letter => name.push(letter),
        }
    }
    nodes.push(if &text[..end] == "*" { Node::Wildcard } else { Node::Field(name) });
    &text[end..]
}

fn number<'t>(text: &'t str, nodes: &mut Vec<Node>) -> Option<&'t str> {
    let digits = text.trim_start_matches(['+', '-']);
    let sign = text.len() - digits.len();
    let end = sign + digits.find(|c: char| c != '.' && !c.is_numeric()).unwrap_or(digits.len());
    let written = &text[..end];
    let value = match written.parse::<i64>() {
        Ok(whole) => whole.into(),
        Err(_) => written.parse::<f64>().ok().filter(|_| sign < 2)?.into(),
    };
    nodes.push(Node::Literal(value));
    Some(&text[end..])
}

fn quoted<'t>(quote: char, text: &'t str, nodes: &mut Vec<Node>) -> Option<&'t str> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((i, letter)) = letters.next() {
        match letter {
            '\n' => return None,
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('\\' | '\'' | '"') => same,
                _ => return None,
            }),
            letter if letter == quote => {
                nodes.push(Node::Literal(value.into()));
                return Some(&text[i + quote.len_utf8()..]);
            }
            letter => value.push(letter),
        }
    }
    None
}

/// What stands in brackets: several of them, a name in quotes, or which items.
fn brackets<'t>(text: &'t str, nodes: &mut Vec<Node>, depth: usize) -> Option<&'t str> {
    let end = text.find([']', '\n']).filter(|end| text[*end..].starts_with(']'))?;
    let (inside, after) = (&text[..end], &text[end + 1..]);
    if inside.contains(',') {
        let deeper = below(depth)?;
        let parts = inside.split(',').map(|part| action(&format!("[{}]", part.trim_matches(' ')), deeper));
        nodes.push(Node::Union(parts.collect::<Option<_>>()?));
        return Some(after);
    }
    let name = inside.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
    if let Some(name) = name.filter(|name| !name.contains('\'')) {
        // A path of its own, in which a point must be escaped.
        nodes.extend(action(&format!(".{name}"), below(depth)?)?);
        return Some(after);
    }
    let inside = if inside == "*" { ":" } else { inside };
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<i64>().ok().map(Some) };
    let is_sign = |text: &str| !text.starts_with('+');
    let parts: Vec<&str> = inside.split(':').collect();
    if parts.len() > 3 || !parts.iter().all(|part| is_sign(part)) {
        return None;
    }
    nodes.push(Node::Slice(parts.into_iter().map(number).collect::<Option<_>>()?));
    Some(after)
}

fn below(depth: usize) -> Option<usize> {
    (depth < DEPTH_MAX).then_some(depth + 1)
}

fn filter<'t>(text: &'t str, nodes: &mut Vec<Node>, depth: usize) -> Option<&'t str> {
    let end = filter_end(text)?;
    let after = text[end + 1..].strip_prefix(']')?;
    let inside = &text[..end];
    let is_operator = |letter: char| matches!(letter, '!' | '<' | '>' | '=');
    let deeper = below(depth)?;
    let compared = inside.find(is_operator).filter(|at| *at > 0).and_then(|at| {
        let length = inside[at..].find(|letter| !is_operator(letter))?;
        Some((&inside[..at], &inside[at..at + length], &inside[at + length..]))
    });
    nodes.push(Node::Filter(match compared {
        Some((left, operator, right)) => {
            Filter { left: action(left, deeper)?, right: Some((operator.to_owned(), action(right, deeper)?)) }
        }
        None => Filter { left: action(inside, deeper)?, right: None },
    }));
    Some(after)
}

/// Where the bracket ends that a text is within: outside of the first quotes.
fn filter_end(text: &str) -> Option<usize> {
    let (mut pair, mut is_closed, mut before) = (None, false, '(');
    for (i, letter) in text.char_indices() {
        match (letter, pair) {
            ('\n', _) => return None,
            ('"' | '\'', None) => pair = Some(letter),
            ('"' | '\'', Some(open)) => is_closed |= before != '\\' && letter == open,
            (')', None) => return Some(i),
            (')', Some(_)) if is_closed => return Some(i),
            _ => {}
        }
        before = letter;
    }
    None
}
