//! `docs/kinds.md` is what the catalogue says. `HOPYARD_WRITE_DOCS=1 cargo test -p apiserver-registry --test kinds` writes it.

use apiserver_registry::{Catalogue, Resource};

const HEAD: &str = "\
# Every kind

What `hopyard apiserver` serves, as the catalogue has it; made by its test (`apiserver/registry/tests/kinds.rs`). All kinds have
schema validation, defaults of their types, field ownership, Tables, JSON, YAML and protobuf. \"Own rules\" are defaults, checks
and admission beyond the schema, as upstream's strategy of the kind has them.
";

fn special(row: &Resource) -> String {
    let strategy = row.strategy;
    let unsaid = |verb: &str| !row.has_verb(verb);
    let reads = row.has_verb("get");
    [
        (strategy.has_own_rules(), "own rules"),
        (strategy.generation, "`generation` counts changes"),
        (strategy.annotations_count, "of annotations, too"),
        (strategy.create_on_update && reads, "PUT creates"),
        (!strategy.unconditional_update && row.has_verb("update"), "PUT needs a resourceVersion"),
        (strategy.delete_returns_object, "DELETE answers with the object"),
        (!reads, "answers a question, is not stored"),
        (reads && unsaid("update"), "read only"),
    ]
    .into_iter()
    .filter_map(|(is, text)| is.then_some(text))
    .collect::<Vec<_>>()
    .join(", ")
}

fn table() -> String {
    let catalogue = Catalogue::builtin();
    let mut out = HEAD.to_owned();
    for group in catalogue.groups() {
        for version in &group.versions {
            let name =
                if group.name.is_empty() { version.clone() } else { format!("{}/{version}", group.name) };
            out.push_str(&format!(
                "\n## {name}\n\n| kind | resource | scope | subresources | special |\n|---|---|---|---|---|\n"
            ));
            let mut rows: Vec<_> = catalogue.resources(&group.name, version).iter().collect();
            rows.sort_by_key(|row| &row.kind);
            for row in rows {
                let short = row.short_names.iter().map(|name| format!(" ({name})")).collect::<String>();
                let scope = if row.namespaced { "namespace" } else { "cluster" };
                let subresources: Vec<&str> = row.subresources.iter().map(|sub| sub.name.as_str()).collect();
                let cells = [
                    &row.kind,
                    &format!("{}{short}", row.name),
                    scope,
                    &subresources.join(", "),
                    &special(row),
                ];
                out.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
        }
    }
    out
}

#[test]
fn the_table_of_kinds_is_what_the_catalogue_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kinds.md");
    let table = table();
    if std::env::var_os("HOPYARD_WRITE_DOCS").is_some() {
        std::fs::write(path, &table).expect("the table is written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, table, "HOPYARD_WRITE_DOCS=1 writes it");
}
