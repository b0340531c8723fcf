//! From text to tree: the grammar is the `cel` crate's, the macros it lacks are `macros.rs`'.

use cel::common::ast::{EntryExpr, Expr as Parsed, IdedExpr, LiteralValue, SourceInfo};

use crate::ast::{Entry, Expr, Field, Fold, Kind, Literal};
use crate::issue::Issue;
use crate::macros;

/// Upstream's limit of nested rules of the grammar.
const NESTING_MAX: usize = 250;
/// Upstream's limit of characters.
const SOURCE_MAX: usize = 100_000;
/// Deeper trees are refused, so that no walk over a tree can exhaust a stack.
const TREE_MAX: usize = 400;
/// The generated parser recurses through ten rules for each parenthesis.
const PARSER_STACK: usize = 256 << 20;

/// A tree, or what is wrong with the text. `cel.bind` is a macro where there are `bindings`.
pub(crate) fn parse(source: &str, bindings: bool) -> Result<Expr, Vec<Issue>> {
    let refuse = |message: String| vec![Issue { line: 1, column: 0, message }];
    let length = source.chars().count();
    if length > SOURCE_MAX {
        return Err(refuse(format!(
            "expression code point size exceeds limit: size: {length}, limit {SOURCE_MAX}"
        )));
    }
    if nesting(source) > NESTING_MAX {
        return Err(refuse(format!("expression recursion limit exceeded: {NESTING_MAX}")));
    }
    // Expressions of more than a few levels get a stack of their own.
    let parsed = if nesting(source) <= 8 && length < 400 {
        convert(source, bindings)
    } else {
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(PARSER_STACK)
                .spawn_scoped(scope, || convert(source, bindings))
                .ok()
                .and_then(|thread| thread.join().ok())
        })
        .unwrap_or_else(|| Err(refuse("expression could not be parsed".to_owned())))
    };
    let tree = parsed?;
    if tree.depth() > TREE_MAX {
        return Err(refuse(format!("expression recursion limit exceeded: {NESTING_MAX}")));
    }
    Ok(tree)
}

/// An upper bound of how deep the grammar's rules will nest: brackets, and operators one after the other.
fn nesting(source: &str) -> usize {
    let (mut open, mut chain, mut deepest) = (Vec::new(), 0_usize, 0_usize);
    let mut quote: Option<char> = None;
    let mut previous = ' ';
    for c in source.chars() {
        match (quote, c) {
            (Some(q), c) if c == q && previous != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => {
                open.push(chain);
                chain += 2;
            }
            (None, ')' | ']' | '}') => chain = open.pop().unwrap_or(0) + 1,
            (None, ',' | '|' | '&') => chain = open.last().map_or(0, |outer| outer + 2),
            (None, '.' | '+' | '-' | '*' | '/' | '%' | '?' | '<' | '>' | '=' | '!') => chain += 1,
            _ => {}
        }
        previous = c;
        deepest = deepest.max(chain / 2).max(open.len());
    }
    deepest
}

fn convert(source: &str, bindings: bool) -> Result<Expr, Vec<Issue>> {
    let parser = cel::parser::Parser::new()
        .max_recursion_depth(u16::MAX - 1)
        .enable_optional_syntax(true)
        .enable_ident_escape_syntax(false);
    match parser.parse_with_source_info(source) {
        Ok((expr, info)) => {
            let mut reader = Reader { source, info, next: 0, issues: Vec::new(), depth: 0, bindings };
            let tree = reader.expr(expr);
            if reader.issues.is_empty() { Ok(tree) } else { Err(reader.issues) }
        }
        Err(errors) => {
            let issues = errors.errors.into_iter().filter(|error| !error.msg.starts_with("Incomplete"));
            Err(issues
                .map(|error| Issue {
                    line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
                    column: usize::try_from(error.pos.1 - 1).unwrap_or(0),
                    message: wanted_end(error.msg),
                })
                .collect())
        }
    }
}

/// After a whole expression upstream's parser wants its end alone, where this one lists every operator too.
fn wanted_end(message: String) -> String {
    match message.split_once(" expecting {<EOF>,") {
        Some((before, _)) => format!("{before} expecting <EOF>"),
        None => message,
    }
}

/// Turns the parser's nodes into ours.
pub(crate) struct Reader<'a> {
    source: &'a str,
    info: SourceInfo,
    next: u32,
    pub issues: Vec<Issue>,
    depth: usize,
    pub bindings: bool,
}

impl Reader<'_> {
    /// A new node.
    pub(crate) fn node(&mut self, at: usize, kind: Kind) -> Expr {
        self.next += 1;
        Expr { id: self.next, at, kind }
    }

    /// Notes a problem.
    pub(crate) fn fail(&mut self, at: usize, message: impl Into<String>) {
        self.issues.push(Issue::at(self.source, at, message));
    }

    fn at(&self, id: u64) -> usize {
        self.info.offset_for(id).map_or(0, |(start, _)| start as usize)
    }

    fn boxed(&mut self, expr: IdedExpr) -> Box<Expr> {
        Box::new(self.expr(expr))
    }

    fn expr(&mut self, ided: IdedExpr) -> Expr {
        let at = self.at(ided.id);
        self.depth += 1;
        if self.depth > TREE_MAX {
            self.depth -= 1;
            self.fail(at, format!("expression recursion limit exceeded: {NESTING_MAX}"));
            return self.node(at, Kind::Literal(Literal::Null));
        }
        let kind = match ided.expr {
            Parsed::Unspecified => Kind::Literal(Literal::Null),
            Parsed::Ident(name) => Kind::Ident(name),
            Parsed::Literal(value) => Kind::Literal(literal(value)),
            Parsed::Select(select) => {
                Kind::Select { operand: self.boxed(*select.operand), field: select.field, test: select.test }
            }
            Parsed::Call(call) => {
                let target = call.target.map(|target| self.boxed(*target));
                let args: Vec<Expr> = call.args.into_iter().map(|arg| self.expr(arg)).collect();
                let made = macros::expand(self, at, call.func_name, target, args);
                self.depth -= 1;
                return made;
            }
            Parsed::List(list) => Kind::List {
                items: list.elements.into_iter().map(|item| self.expr(item)).collect(),
                optional: list.optional_indices,
            },
            Parsed::Map(map) => {
                let mut entries = Vec::new();
                for entry in map.entries {
                    if let EntryExpr::MapEntry(entry) = entry.expr {
                        let key = self.expr(entry.key);
                        let value = self.expr(entry.value);
                        entries.push(Entry { key, value, optional: entry.optional });
                    }
                }
                Kind::Map(entries)
            }
            Parsed::Struct(made) => {
                let mut fields = Vec::new();
                for entry in made.entries {
                    let at = self.at(entry.id);
                    if let EntryExpr::StructField(field) = entry.expr {
                        let value = self.expr(field.value);
                        fields.push(Field { at, name: field.field, value, optional: field.optional });
                    }
                }
                Kind::Struct { name: made.type_name, fields }
            }
            Parsed::Comprehension(fold) => Kind::Fold(Box::new(Fold {
                range: self.expr(fold.iter_range),
                var: fold.iter_var,
                var2: fold.iter_var2,
                accu: fold.accu_var,
                init: self.expr(fold.accu_init),
                condition: self.expr(fold.loop_cond),
                step: self.expr(fold.loop_step),
                result: self.expr(fold.result),
            })),
        };
        self.depth -= 1;
        self.node(at, kind)
    }
}

fn literal(value: LiteralValue) -> Literal {
    match value {
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Bytes(value) => Literal::Bytes(value.inner().to_vec()),
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
        LiteralValue::String(value) => Literal::Text(value.inner().to_owned()),
        LiteralValue::Null => Literal::Null,
    }
}
