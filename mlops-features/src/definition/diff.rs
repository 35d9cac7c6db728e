//! What differs between two definitions of one name.

use std::{fmt::Display, time::Duration};

use arrow_schema::Field;
use mlops_core::FeatureRef;

use super::{
    Aggregation, Definition, FeatureService, FeatureView, LabelView, OnDemandView, Source,
    plan::{Change, ChangeClass, Subject},
};

/// Collects the differences of one definition.
struct Differences<'a> {
    subject: &'a Subject,
    changes: Vec<Change>,
}

impl Differences<'_> {
    fn add(&mut self, class: ChangeClass, what: impl Into<String>) {
        self.changes.push(Change::new(class, self.subject, what));
    }

    /// A part on which values depend.
    fn compare<T: PartialEq + Display + ?Sized>(&mut self, what: &str, old: &T, new: &T) {
        if old != new {
            self.add(ChangeClass::Destructive, format!("{what}: {old} -> {new}; values change"));
        }
    }
}

/// What differs from `old` in `new`; empty when nothing does.
pub(super) fn view_changes(old: &FeatureView, new: &FeatureView) -> Vec<Change> {
    let subject = old.subject();
    let mut differences = Differences { subject: &subject, changes: Vec::new() };
    values(&mut differences, old, new);
    if old.vector_search() != new.vector_search() {
        let (old, new) = (old.vector_search(), new.vector_search());
        differences.add(ChangeClass::Metadata, format!("search for vectors: {old} -> {new}"));
    }
    differences.changes.extend(old.metadata().changes(new.metadata(), &subject));
    differences.changes
}

/// What differs from `old` in `new`; empty when nothing does.
pub(super) fn label_changes(old: &LabelView, new: &LabelView) -> Vec<Change> {
    let subject = old.subject();
    let mut differences = Differences { subject: &subject, changes: Vec::new() };
    values(&mut differences, old.outcomes(), new.outcomes());
    differences.compare("delay", &format!("{:?}", old.delay()), &format!("{:?}", new.delay()));
    differences.changes.extend(old.metadata().changes(new.metadata(), &subject));
    differences.changes
}

/// What differs in the parts on which values depend.
fn values(differences: &mut Differences<'_>, old: &FeatureView, new: &FeatureView) {
    let keys = |view: &FeatureView| format!("{} ({})", view.entity().name(), view.entity().join_keys().join(", "));
    differences.compare("entity", &keys(old), &keys(new));
    differences.compare("table", old.table(), new.table());
    differences.compare("event time column", old.timestamp(), new.timestamp());
    differences.compare("creation time column", &optional(old.created()), &optional(new.created()));
    differences.compare("event id column", &optional(old.event_id()), &optional(new.event_id()));
    differences.compare("retraction column", &optional(old.retraction()), &optional(new.retraction()));
    differences.compare("ttl", &age(old.ttl()), &age(new.ttl()));
    if old.ttl() == new.ttl() || old.has_online_ttl() || new.has_online_ttl() {
        differences.compare("online ttl", &age(old.online_ttl()), &age(new.online_ttl()));
    }
    features(differences, old, new);
}

fn features(differences: &mut Differences<'_>, old: &FeatureView, new: &FeatureView) {
    for name in old.feature_names().filter(|name| !new.feature_names().any(|new| new == *name)) {
        differences.add(ChangeClass::Destructive, format!("feature \"{name}\" is removed"));
    }
    for name in new.feature_names() {
        let before = old.feature_names().any(|old| old == name).then(|| formula(old, name));
        let after = formula(new, name);
        match before {
            None => differences.add(ChangeClass::Additive, format!("feature \"{name}\" is added: {after}")),
            Some(before) => differences.compare(&format!("feature \"{name}\""), &before, &after),
        }
    }
    let kept = |view: &FeatureView, other: &FeatureView| -> Vec<String> {
        let names = view.feature_names().filter(|name| other.feature_names().any(|other| other == *name));
        names.map(str::to_owned).collect()
    };
    if kept(old, new) != kept(new, old) {
        differences.add(ChangeClass::Additive, "features are in another order; values stay as they are");
    }
}

/// What is computed for feature `name`, in words.
fn formula(view: &FeatureView, name: &str) -> String {
    match view.aggregations().iter().find(|aggregation| aggregation.name.as_ref() == name) {
        None => format!("latest {name}"),
        Some(Aggregation { function, column, window, .. }) => format!("{function} of {column} over {window:?}"),
    }
}

/// What differs from `old` in `new`; empty when nothing does.
pub(super) fn service_changes(old: &FeatureService, new: &FeatureService) -> Vec<Change> {
    let subject = old.subject();
    let mut differences = Differences { subject: &subject, changes: Vec::new() };
    references(&mut differences, "feature", old.features(), new.features());
    references(&mut differences, "label", old.labels(), new.labels());
    differences.changes.extend(old.metadata().changes(new.metadata(), &subject));
    differences.changes
}

fn references(differences: &mut Differences<'_>, what: &str, old: &[FeatureRef], new: &[FeatureRef]) {
    for one in old.iter().filter(|one| !new.contains(one)) {
        differences.add(ChangeClass::Destructive, format!("{what} \"{one}\" is removed"));
    }
    for one in new.iter().filter(|one| !old.contains(one)) {
        differences.add(ChangeClass::Additive, format!("{what} \"{one}\" is added"));
    }
    let mut kept = old.iter().filter(|one| new.contains(one));
    if !new.iter().filter(|one| old.contains(one)).all(|new| kept.next() == Some(new)) {
        differences.add(ChangeClass::Destructive, format!("{what}s are in another order; columns move"));
    }
}

/// What differs from `old` in `new`; empty when nothing does.
pub(super) fn on_demand_changes(old: &OnDemandView, new: &OnDemandView) -> Vec<Change> {
    let subject = old.subject();
    let mut differences = Differences { subject: &subject, changes: Vec::new() };
    let inputs = |view: &OnDemandView| {
        let inputs = view.inputs().iter().map(|input| format!("{} as {}", input.feature, input.name));
        inputs.collect::<Vec<_>>().join(", ")
    };
    differences.compare("code", old.code_version(), new.code_version());
    differences.compare("inputs", &inputs(old), &inputs(new));
    differences.compare("request data", &typed(old.request()), &typed(new.request()));
    for output in old.outputs().iter().filter(|output| new.output_names().all(|new| new != output.name())) {
        differences.add(ChangeClass::Destructive, format!("feature \"{}\" is removed", output.name()));
    }
    for output in new.outputs() {
        match old.outputs().iter().find(|old| old.name() == output.name()) {
            None => differences.add(ChangeClass::Additive, format!("feature \"{}\" is added", output.name())),
            Some(old) => {
                differences.compare(&format!("feature \"{}\"", old.name()), old.data_type(), output.data_type());
            }
        }
    }
    differences.changes.extend(old.metadata().changes(new.metadata(), &subject));
    differences.changes
}

/// What differs from `old` in `new`; empty when nothing does.
pub(super) fn source_changes(old: &Source, new: &Source) -> Vec<Change> {
    let subject = old.subject();
    let mut differences = Differences { subject: &subject, changes: Vec::new() };
    let renamed = |source: &Source| {
        let renamed = source.renamed().map(|(column, other)| format!("{column} from {other}"));
        renamed.collect::<Vec<_>>().join(", ")
    };
    differences.compare("rows", &old.kind().to_string(), &new.kind().to_string());
    differences.compare("event time column", old.timestamp(), new.timestamp());
    differences.compare("creation time column", &optional(old.created()), &optional(new.created()));
    differences.compare("columns", &renamed(old), &renamed(new));
    let may_miss = |source: &Source| source.optional().collect::<Vec<_>>().join(", ");
    differences.compare("optional columns", &may_miss(old), &may_miss(new));
    differences.changes.extend(old.metadata().changes(new.metadata(), &subject));
    differences.changes
}

fn typed(fields: &[Field]) -> String {
    let typed = fields.iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    typed.collect::<Vec<_>>().join(", ")
}

fn optional(name: Option<&str>) -> String {
    name.map_or_else(|| "none".to_owned(), |name| format!("\"{name}\""))
}

fn age(ttl: Option<Duration>) -> String {
    ttl.map_or_else(|| "any age".to_owned(), |ttl| format!("{ttl:?}"))
}
