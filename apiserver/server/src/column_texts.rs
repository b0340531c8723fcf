//! What the columns of built-in kinds say of themselves, in the API's own words.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Kind, column, and where its text comes from: the documentation of a field, or words.
const TEXTS: &str = include_str!("../data/column-texts.tsv");

/// The text of a column; empty where none is known.
pub(crate) fn of(kind: &str, column: &str) -> &'static str {
    static FOUND: OnceLock<HashMap<String, String>> = OnceLock::new();
    FOUND.get_or_init(read).get(&format!("{kind}\t{column}")).map_or("", String::as_str)
}

/// By kind and column with a tab between.
fn read() -> HashMap<String, String> {
    let mut texts = HashMap::new();
    let mut documented = Vec::new();
    for line in TEXTS.lines().filter(|line| !line.starts_with('#')) {
        let Some((column, source)) = line.rsplit_once('\t') else { continue };
        // A field has no spaces in it, words do.
        match source.split_once('#').filter(|_| !source.contains(' ')) {
            Some(field) => documented.push((column, field)),
            None => drop(texts.insert(column.to_owned(), source.replace("\\n", "\n"))),
        }
    }
    let fields: Vec<(&str, &str)> = documented.iter().map(|(_, field)| *field).collect();
    let found = apiserver_schema::field_descriptions(&fields);
    for ((column, _), text) in documented.iter().zip(found) {
        texts.insert((*column).to_owned(), text.unwrap_or_default());
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_the_table_is_found() {
        let texts = read();
        assert_eq!(texts.len(), TEXTS.lines().count() - 1);
        let empty: Vec<_> =
            texts.iter().filter(|(_, text)| text.is_empty()).map(|(column, _)| column).collect();
        assert!(empty.is_empty(), "{empty:?}");
        assert_eq!(of("Pod", "Ready"), "The aggregate readiness state of this pod for accepting traffic.");
        assert!(of("EndpointSlice", "Ports").starts_with("ports specifies"));
    }
}
