//! Owners across the scale subresource: who owns the replicas of an object owns those of its Scale, and the other way.

use apiserver_json::Value;

use super::entries::{self, Entries, Fields, Operation, Owned};
use super::set::FieldSet;

const SCALE: &str = "autoscaling/v1";

/// Where a kind keeps the replicas that a Scale shows.
#[derive(Clone, Copy, Debug)]
pub struct ScaleOwners<'a> {
    /// The version of the request, `apps/v1`.
    pub api_version: &'a str,
    /// Members on the way to the replicas.
    pub path: &'a [&'a str],
}

impl ScaleOwners<'_> {
    fn replicas(&self) -> FieldSet {
        FieldSet::of(&[self.path])
    }

    /// Versions of another group than the kind's are of nothing that is known.
    fn knows(&self, api_version: &str) -> bool {
        let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
        group(api_version) == group(self.api_version)
    }

    fn holds(&self, owned: &mut Owned) -> bool {
        self.knows(&owned.api_version) && !owned.fields.set().intersection(&self.replicas()).is_empty()
    }

    /// Gives the Scale of an object its owners: those of the replicas.
    pub fn to_scale(&self, object: &Value, scale: &mut Value) {
        let mut shown = Entries::new();
        for (mut identity, mut owned) in owners(object) {
            if !self.holds(&mut owned) {
                continue;
            }
            if identity.operation == Operation::Update {
                SCALE.clone_into(&mut identity.api_version);
            }
            let fields = Fields::of(scale_replicas());
            shown.insert(identity, Owned { fields, api_version: SCALE.to_owned(), time: owned.time });
        }
        entries::write(scale, shown);
    }

    /// Brings what became of a Scale's owners back to its object. An updater is another owner as seen through a
    /// Scale than it is of the object, since its version belongs to what it is; nobody new has a time.
    pub fn to_object(&self, scale: &Value, object: &mut Value) {
        let mut through_scale = owners(scale);
        let mut kept = Entries::new();
        for (identity, mut owned) in owners(object) {
            if !self.knows(&owned.api_version) {
                continue;
            }
            if self.holds(&mut owned) && through_scale.remove(&identity).is_none() {
                owned.fields.remove(&self.replicas());
                if owned.fields.is_empty() {
                    continue;
                }
            }
            kept.insert(identity, owned);
        }
        for (identity, mut owned) in through_scale {
            if owned.fields.set().intersection(&scale_replicas()).is_empty() {
                continue;
            }
            let fields = Fields::of(self.replicas());
            let time = None;
            kept.insert(identity, Owned { fields, api_version: self.api_version.to_owned(), time });
        }
        entries::write(object, kept);
    }
}

fn scale_replicas() -> FieldSet {
    FieldSet::of(&[&["spec", "replicas"]])
}

fn owners(object: &Value) -> Entries {
    entries::parse(entries::raw(object).cloned().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, version: &str, fields: &str) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
            "time": "2020-01-01T00:00:00Z", "fieldsV1": Value::Raw(fields.into())})
    }

    fn names(object: &Value) -> Vec<(String, String)> {
        let list = entries::raw(object).and_then(Value::as_array).unwrap_or_default();
        let text = |entry: &Value, member: &str| entry[member].as_str().unwrap_or("").to_owned();
        let owned = |entry: &Value| entry["fieldsV1"].as_raw().unwrap_or("").to_owned();
        list.iter().map(|entry| (text(entry, "manager"), owned(entry))).collect()
    }

    #[test]
    fn replicas_are_owned_through_a_scale_and_stolen_through_it() {
        let of = ScaleOwners { api_version: "apps/v1", path: &["spec", "replicas"] };
        let both = r#"{"f:spec":{"f:paused":{},"f:replicas":{}}}"#;
        let list = [
            entry("a", "Apply", "apps/v1", both),
            entry("b", "Apply", "apps/v1", r#"{"f:spec":{"f:paused":{}}}"#),
        ];
        let mut object = json!({"metadata": {"managedFields": list}});
        let mut scale = json!({"metadata": {}});
        of.to_scale(&object, &mut scale);
        let replicas = r#"{"f:spec":{"f:replicas":{}}}"#.to_owned();
        assert_eq!(names(&scale), [("a".to_owned(), replicas.clone())]);

        scale = json!({"metadata": {"managedFields": [entry("hpa", "Apply", SCALE, &replicas)]}});
        of.to_object(&scale, &mut object);
        let paused = r#"{"f:spec":{"f:paused":{}}}"#.to_owned();
        let told = names(&object);
        assert_eq!(told.len(), 3);
        for owner in
            [("hpa".to_owned(), replicas), ("a".to_owned(), paused.clone()), ("b".to_owned(), paused)]
        {
            assert!(told.contains(&owner), "{owner:?} in {told:?}");
        }
        assert!(object["metadata"]["managedFields"][0].get("time").is_none(), "nobody new has a time");
    }
}
