//! What is wrong with an expression, printed as cel-go prints it.

/// One problem and where it is: line from one, column from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// More problems than this are only counted.
const REPORTED_MAX: usize = 100;
/// Longer lines are not shown.
const SNIPPET_MAX: usize = 16384;

impl Issue {
    pub(crate) fn at(source: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = source.get(..offset.min(source.len())).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        Self { line, column, message: message.into() }
    }

    fn show(&self, source: &str) -> String {
        if source.is_empty() {
            return format!("ERROR: <input>:1:0: {}", self.message);
        }
        let mut out = format!("ERROR: <input>:{}:{}: {}", self.line, self.column + 1, self.message);
        let Some(snippet) = source.split('\n').nth(self.line.saturating_sub(1)) else { return out };
        if snippet.len() > SNIPPET_MAX {
            return out;
        }
        out.push_str("\n | ");
        out.push_str(&snippet.replace('\t', " "));
        out.push_str("\n | ");
        let mut rest = snippet.chars();
        for c in rest.by_ref().take(self.column) {
            out.push(if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' });
        }
        out.push(if rest.next().is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
        out
    }
}

/// All problems in the order of the source.
pub(crate) fn display(mut issues: Vec<Issue>, source: &str) -> String {
    issues.sort_by_key(|issue| (issue.line, issue.column));
    let mut shown: Vec<String> = issues.iter().take(REPORTED_MAX).map(|issue| issue.show(source)).collect();
    if issues.len() > REPORTED_MAX {
        shown.push(format!("{} more errors were truncated", issues.len() - REPORTED_MAX));
    }
    shown.join("\n")
}
