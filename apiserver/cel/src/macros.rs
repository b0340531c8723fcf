//! The macros of Kubernetes' environment that the parser does not know: those with two variables, and those of
//! optionals. They expand to what cel-go's do, so that costs agree.

use crate::ast::{ACCU, Expr, Fold, Kind, Literal};
use crate::parse::Reader;

/// A call, or what the macro of its name makes of it.
pub(crate) fn expand(
    reader: &mut Reader<'_>,
    at: usize,
    function: String,
    target: Option<Box<Expr>>,
    args: Vec<Expr>,
) -> Expr {
    let Some(target) = target else {
        return reader.node(at, Kind::Call { function, target: None, args });
    };
    let mut make = Maker { reader, at };
    match (function.as_str(), args.len()) {
        ("optMap", 2) => make.optional(*target, args, true),
        ("optFlatMap", 2) => make.optional(*target, args, false),
        ("bind", 3) if make.reader.bindings && matches!(&target.kind, Kind::Ident(name) if name == "cel") => {
            make.bound(args)
        }
        ("sortBy", 2) => make.sort_by(*target, args),
        ("all" | "exists" | "existsOne" | "exists_one", 3)
        | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
            make.two_variables(&function, *target, args)
        }
        _ => reader.node(at, Kind::Call { function, target: Some(target), args }),
    }
}

struct Maker<'r, 'a> {
    reader: &'r mut Reader<'a>,
    at: usize,
}

impl Maker<'_, '_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.reader.node(self.at, kind)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call { function: function.to_owned(), target: None, args })
    }

    fn member(&mut self, function: &str, target: Expr) -> Expr {
        self.node(Kind::Call {
            function: function.to_owned(),
            target: Some(Box::new(target)),
            args: Vec::new(),
        })
    }

    fn literal(&mut self, value: Literal) -> Expr {
        self.node(Kind::Literal(value))
    }

    fn accu(&mut self) -> Expr {
        self.node(Kind::Ident(ACCU.to_owned()))
    }

    fn name(&mut self, expr: &Expr, wrong: &str) -> Option<String> {
        if let Kind::Ident(name) = &expr.kind {
            return Some(name.clone());
        }
        self.reader.fail(expr.at, wrong);
        None
    }

    /// The same tree with identities of its own.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let kind = match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => expr.kind.clone(),
            Kind::Select { operand, field, test } => {
                Kind::Select { operand: Box::new(self.copy(operand)), field: field.clone(), test: *test }
            }
            Kind::Call { function, target, args } => Kind::Call {
                function: function.clone(),
                target: target.as_ref().map(|target| Box::new(self.copy(target))),
                args: args.iter().map(|arg| self.copy(arg)).collect(),
            },
            Kind::List { items, optional } => Kind::List {
                items: items.iter().map(|item| self.copy(item)).collect(),
                optional: optional.clone(),
            },
            Kind::Map(entries) => {
                let mut entries = entries.clone();
                for entry in &mut entries {
                    entry.key = self.copy(&entry.key);
                    entry.value = self.copy(&entry.value);
                }
                Kind::Map(entries)
            }
            Kind::Struct { name, fields } => {
                let mut fields = fields.clone();
                for field in &mut fields {
                    field.value = self.copy(&field.value);
                }
                Kind::Struct { name: name.clone(), fields }
            }
            Kind::Fold(fold) => {
                let mut fold = fold.clone();
                for part in
                    [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result]
                {
                    *part = self.copy(part);
                }
                Kind::Fold(fold)
            }
        };
        self.reader.node(expr.at, kind)
    }

    /// `cel.bind` under another name: the variable stands for the value in the body.
    fn bind(&mut self, var: String, value: Expr, body: Expr) -> Expr {
        let range = self.node(Kind::List { items: Vec::new(), optional: Vec::new() });
        let condition = self.literal(Literal::Bool(false));
        let step = self.node(Kind::Ident(var.clone()));
        self.node(Kind::Fold(Box::new(Fold {
            range,
            var: "#unused".to_owned(),
            var2: None,
            accu: var,
            init: value,
            condition,
            step,
            result: body,
        })))
    }

    fn bound(&mut self, mut args: Vec<Expr>) -> Expr {
        let (body, value) = (args.remove(2), args.remove(1));
        let wrong = "cel.bind() variable names must be simple identifiers";
        match self.name(&args[0], wrong) {
            Some(var) => self.bind(var, value, body),
            None => body,
        }
    }

    fn optional(&mut self, target: Expr, mut args: Vec<Expr>, wrap: bool) -> Expr {
        let macro_name = if wrap { "optMap" } else { "optFlatMap" };
        let wrong = format!("{macro_name}() variable name must be a simple identifier");
        let body = args.remove(1);
        let Some(var) = self.name(&args[0], &wrong) else { return body };
        let copied = self.copy(&target);
        let has = self.member("hasValue", target);
        let value = self.member("value", copied);
        let mut then = self.bind(var, value, body);
        if wrap {
            then = self.call("optional.of", vec![then]);
        }
        let none = self.call("optional.none", Vec::new());
        self.call("_?_:_", vec![has, then, none])
    }

    /// `list.sortBy(e, key)` binds the list and sorts it by its keys.
    fn sort_by(&mut self, target: Expr, mut args: Vec<Expr>) -> Expr {
        const BOUND: &str = "@__sortBy_input__";
        let key = args.remove(1);
        let Some(var) = self.name(&args[0], "argument must be a simple name") else { return key };
        let init = self.node(Kind::List { items: Vec::new(), optional: Vec::new() });
        let condition = self.literal(Literal::Bool(true));
        let accu = self.accu();
        let made = self.node(Kind::List { items: vec![key], optional: Vec::new() });
        let step = self.call("_+_", vec![accu, made]);
        let result = self.accu();
        let range = self.node(Kind::Ident(BOUND.to_owned()));
        let keys = self.node(Kind::Fold(Box::new(Fold {
            range,
            var,
            var2: None,
            accu: ACCU.to_owned(),
            init,
            condition,
            step,
            result,
        })));
        let input = self.node(Kind::Ident(BOUND.to_owned()));
        let sorted = self.node(Kind::Call {
            function: "@sortByAssociatedKeys".to_owned(),
            target: Some(Box::new(input)),
            args: vec![keys],
        });
        self.bind(BOUND.to_owned(), target, sorted)
    }

    fn two_variables(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Expr {
        let body = args.pop();
        let filter = if args.len() == 3 { args.pop() } else { None };
        let (Some(body), [first, second]) = (body, args.as_slice()) else { return target };
        let (first, second, second_at) = (first.clone(), second.clone(), second.at);
        let wrong = "argument must be a simple name";
        let (Some(var), Some(var2)) = (self.name(&first, wrong), self.name(&second, wrong)) else {
            return target;
        };
        if var == var2 {
            self.reader.fail(second_at, format!("duplicate variable name: {var}"));
        }
        for (name, at) in [(&var, first.at), (&var2, second_at)] {
            if name == ACCU || name == "__result__" {
                self.reader.fail(at, "iteration variable overwrites accumulator variable");
            }
        }
        let (init, condition, mut step, result) = self.parts(function, &var, body);
        if let Some(filter) = filter {
            let accu = self.accu();
            step = self.call("_?_:_", vec![filter, step, accu]);
        }
        self.node(Kind::Fold(Box::new(Fold {
            range: target,
            var,
            var2: Some(var2),
            accu: ACCU.to_owned(),
            init,
            condition,
            step,
            result,
        })))
    }

    /// Start, condition, step and result of a macro.
    fn parts(&mut self, function: &str, var: &str, body: Expr) -> (Expr, Expr, Expr, Expr) {
        let accu = self.accu();
        let init = match function {
            "all" => self.literal(Literal::Bool(true)),
            "exists" => self.literal(Literal::Bool(false)),
            "existsOne" | "exists_one" => self.literal(Literal::Int(0)),
            "transformList" => self.node(Kind::List { items: Vec::new(), optional: Vec::new() }),
            _ => self.node(Kind::Map(Vec::new())),
        };
        let condition = match function {
            "all" => {
                let accu = self.accu();
                self.call("@not_strictly_false", vec![accu])
            }
            "exists" => {
                let accu = self.accu();
                let negated = self.call("!_", vec![accu]);
                self.call("@not_strictly_false", vec![negated])
            }
            _ => self.literal(Literal::Bool(true)),
        };
        let step = match function {
            "all" => self.call("_&&_", vec![accu, body]),
            "exists" => self.call("_||_", vec![accu, body]),
            "existsOne" | "exists_one" => {
                let one = self.literal(Literal::Int(1));
                let more = self.call("_+_", vec![accu, one]);
                let same = self.accu();
                self.call("_?_:_", vec![body, more, same])
            }
            "transformList" => {
                let item = self.node(Kind::List { items: vec![body], optional: Vec::new() });
                self.call("_+_", vec![accu, item])
            }
            "transformMap" => {
                let key = self.node(Kind::Ident(var.to_owned()));
                self.call("cel.@mapInsert", vec![accu, key, body])
            }
            _ => self.call("cel.@mapInsert", vec![accu, body]),
        };
        let result = self.accu();
        if matches!(function, "existsOne" | "exists_one") {
            let one = self.literal(Literal::Int(1));
            let equal = self.call("_==_", vec![result, one]);
            return (init, condition, step, equal);
        }
        (init, condition, step, result)
    }
}
