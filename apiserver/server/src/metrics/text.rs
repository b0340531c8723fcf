//! Prometheus' text format.

use std::fmt::Write;

/// Families of metrics as text.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// What a family is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Text {
    /// Begins a family.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to memory cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What is wrong with a text, read as a scraper reads it: each family is told of once, before its samples, which follow each
    /// other; names and labels are what they may be; values are numbers; no sample comes twice.
    pub(crate) fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let (mut family, mut kind) = (String::new(), String::new());
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let is_name = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
                && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
        };
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                if !is_name(name) || help.is_empty() || !families.insert(name.to_owned()) {
                    problems.push(format!("a family: {line}"));
                }
                (family, kind) = (name.to_owned(), String::new());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, its) = rest.split_once(' ').unwrap_or((rest, ""));
                if name != family || !kind.is_empty() || !["counter", "gauge", "histogram"].contains(&its) {
                    problems.push(format!("a type: {line}"));
                }
                kind = its.to_owned();
            } else {
                let Some((series, value)) = line.rsplit_once(' ') else {
                    problems.push(format!("no sample: {line}"));
                    continue;
                };
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let known = match kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|end| name.strip_suffix(end) == Some(&family)),
                    _ => name == family,
                };
                let labels = labels.strip_suffix('}').map(labels_of);
                let fine = labels.as_ref().is_some_and(|labels| {
                    labels.as_ref().is_some_and(|labels| {
                        let names: BTreeSet<&String> = labels.iter().collect();
                        names.len() == labels.len() && names.iter().all(|name| is_name(name))
                    })
                });
                if !known || !fine || value.parse::<f64>().is_err() || !samples.insert(series.to_owned()) {
                    problems.push(format!("a sample: {line}"));
                }
            }
        }
        if !text.ends_with('\n') {
            problems.push("no end of the last line".to_owned());
        }
        problems
    }

    /// Names of labels, where the values are written as they must be.
    fn labels_of(text: &str) -> Option<Vec<String>> {
        let (mut names, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=\"")?;
            names.push(name.to_owned());
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (_, '\\') => {
                        chars.next().filter(|(_, c)| matches!(c, '\\' | '"' | 'n'))?;
                    }
                    (at, '"') => break at,
                    _ => {}
                }
            };
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        Some(names)
    }

    #[test]
    fn texts_are_escaped() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "what\nis \\ counted");
        text.sample("a_total", &[("b", "say \"hi\"\n\\"), ("c", "")], 7);
        text.sample("a_total", &[], 0.25);
        let text = text.finish();
        assert_eq!(
            text,
            "# HELP a_total what\\nis \\\\ counted\n# TYPE a_total counter\n\
             a_total{b=\"say \\\"hi\\\"\\n\\\\\",c=\"\"} 7\na_total 0.25\n"
        );
        assert_eq!(problems(&text), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_found() {
        for text in [
            "a 1\n",
            "# HELP a x\n# TYPE a counter\nb 1\n",
            "# HELP a x\n# TYPE a counter\na 1\na 1\n",
            "# HELP a x\n# TYPE a counter\na{b=\"\\x\"} 1\n",
            "# HELP a x\n# TYPE a counter\na{b=\"c} 1\n",
            "# HELP a x\n# TYPE a counter\na one\n",
            "# HELP a x\n# TYPE a histogram\na 1\n",
            "# HELP a x\n# TYPE a counter\na 1",
        ] {
            assert_ne!(problems(text), Vec::<String>::new(), "{text}");
        }
    }
}
