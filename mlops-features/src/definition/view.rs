//! A feature view: how columns and windows over one table become features of one entity.

use std::{sync::Arc, time::Duration};

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

use super::{Aggregation, Entity, Metadata, all_faults, check_name, first_duplicate};
use crate::vector::VectorSearch;

/// Default name of the column that says when an event happened.
pub const EVENT_TIMESTAMP: &str = "event_timestamp";
/// Customary name of the column that says when a row became known.
pub const CREATED: &str = "created";

/// Most features that a view may have.
pub const FEATURES_MAX: usize = 4_096;

/// Features of one entity, taken from one table.
///
/// ```
/// use std::time::Duration;
/// use mlops_features::{Aggregation, Entity, FeatureView, Function};
///
/// let view = FeatureView::builder("cards", Entity::new("card", ["card"])?, "payments")
///     .with_column("amount")
///     .with_aggregation(Aggregation::new("spent_1h", Function::Sum, "amount", Duration::from_secs(3600)))
///     .with_ttl(Duration::from_secs(86_400))
///     .build()?;
/// assert_eq!(view.feature_names().collect::<Vec<_>>(), ["amount", "spent_1h"]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureView {
    name: Arc<str>,
    entity: Entity,
    table: Arc<str>,
    timestamp: Arc<str>,
    created: Option<Arc<str>>,
    event_id: Option<Arc<str>>,
    columns: Vec<Arc<str>>,
    aggregations: Vec<Aggregation>,
    ttl: Option<Duration>,
    /// None is as `ttl`, zero is any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    online_ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retraction: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "VectorSearch::is_exact")]
    vector_search: VectorSearch,
    #[serde(default)]
    metadata: Metadata,
}

/// The parts of a view on which a value depends, in the order that digests are made of.
#[derive(Serialize)]
struct Values<'a> {
    name: &'a str,
    entity: &'a Entity,
    table: &'a str,
    timestamp: &'a str,
    created: Option<&'a str>,
    event_id: Option<&'a str>,
    columns: &'a [Arc<str>],
    aggregations: &'a [Aggregation],
    ttl: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online_ttl: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retraction: Option<&'a str>,
}

impl FeatureView {
    /// Begins a view called `name` of `entity` over `table`.
    pub fn builder(name: impl AsRef<str>, entity: Entity, table: impl AsRef<str>) -> FeatureViewBuilder {
        FeatureViewBuilder {
            view: Self {
                name: name.as_ref().into(),
                entity,
                table: table.as_ref().into(),
                timestamp: EVENT_TIMESTAMP.into(),
                created: None,
                event_id: None,
                columns: Vec::new(),
                aggregations: Vec::new(),
                ttl: None,
                online_ttl: None,
                retraction: None,
                vector_search: VectorSearch::Exact,
                metadata: Metadata::default(),
            },
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the features describe.
    #[must_use]
    pub fn entity(&self) -> &Entity {
        &self.entity
    }

    /// The table that the events are in.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The column with the event time.
    #[must_use]
    pub fn timestamp(&self) -> &str {
        &self.timestamp
    }

    /// The column with the time at which a row became known, when the table has one.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// The column that tells events apart, when the table has one.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.event_id.as_deref()
    }

    /// The columns whose latest value is a feature.
    #[must_use]
    pub fn columns(&self) -> &[Arc<str>] {
        &self.columns
    }

    /// The features computed over windows.
    #[must_use]
    pub fn aggregations(&self) -> &[Aggregation] {
        &self.aggregations
    }

    /// How old the latest event may be for its columns to count (inclusive); none means any age. Windows bound
    /// themselves.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// The same for what is served; as [`FeatureView::ttl`] unless another was given.
    #[must_use]
    pub fn online_ttl(&self) -> Option<Duration> {
        self.online_ttl.map_or(self.ttl, |ttl| (!ttl.is_zero()).then_some(ttl))
    }

    /// Whether the time to live of what is served was given on its own.
    pub(super) fn has_online_ttl(&self) -> bool {
        self.online_ttl.is_some()
    }

    /// The column that says whether a row takes an event back, when the table has one.
    #[must_use]
    pub fn retraction(&self) -> Option<&str> {
        self.retraction.as_deref()
    }

    /// How the vectors among its features are searched.
    #[must_use]
    pub fn vector_search(&self) -> VectorSearch {
        self.vector_search
    }

    /// Owner, description and tags.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The longest window.
    #[must_use]
    pub fn window_max(&self) -> Duration {
        self.aggregations.iter().map(|aggregation| aggregation.window).max().unwrap_or_default()
    }

    /// The features: plain columns first, then aggregations, in order of definition.
    pub fn feature_names(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().map(AsRef::as_ref);
        columns.chain(self.aggregations.iter().map(|aggregation| aggregation.name.as_ref()))
    }

    /// A digest of everything that changes a value: equal digests, equal features. Metadata and how vectors are searched
    /// have no part in it.
    ///
    /// # Errors
    /// `Internal` when the definition cannot be written as JSON, which no valid definition does.
    pub fn digest(&self) -> Result<Digest> {
        digest_of(&self.values())
    }

    /// A digest of everything that changes what is kept online. How old a value may be is asked when it is read, so
    /// another time to live finds the same records.
    pub(crate) fn records_digest(&self) -> Result<Digest> {
        digest_of(&Values { ttl: None, online_ttl: None, ..self.values() })
    }

    fn values(&self) -> Values<'_> {
        Values {
            name: &self.name,
            entity: &self.entity,
            table: &self.table,
            timestamp: &self.timestamp,
            created: self.created(),
            event_id: self.event_id(),
            columns: &self.columns,
            aggregations: &self.aggregations,
            ttl: self.ttl,
            online_ttl: self.online_ttl,
            retraction: self.retraction(),
        }
    }

    /// Refuses a definition that no builder would have built.
    pub(super) fn checked(&self) -> Result<()> {
        all_faults(&format!("feature view \"{}\"", self.name), &faults(self))
    }
}

fn digest_of(values: &Values<'_>) -> Result<Digest> {
    let bytes = serde_json::to_vec(values)
        .map_err(|error| Error::internal("feature view cannot be written as json").with_source(error))?;
    Ok(Digest::of(&bytes))
}

/// Collects the parts of a [`FeatureView`].
#[derive(Debug, Clone)]
#[must_use]
pub struct FeatureViewBuilder {
    view: FeatureView,
}

impl FeatureViewBuilder {
    /// Event time is in `column` instead of [`EVENT_TIMESTAMP`].
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.view.timestamp = column.as_ref().into();
        self
    }

    /// The time at which a row became known is in `column`: it breaks ties of event time, and training sets can ask
    /// for what was known rather than what had happened.
    pub fn with_created(mut self, column: impl AsRef<str>) -> Self {
        self.view.created = Some(column.as_ref().into());
        self
    }

    /// `column` tells events of one entity and time apart. Without it, events that are equal in time and in every
    /// aggregated column and arrive online in separate writes count as one event delivered twice.
    pub fn with_event_id(mut self, column: impl AsRef<str>) -> Self {
        self.view.event_id = Some(column.as_ref().into());
        self
    }

    /// The latest value of `column` is a feature of the same name.
    pub fn with_column(mut self, column: impl AsRef<str>) -> Self {
        self.view.columns.push(column.as_ref().into());
        self
    }

    /// Adds a window aggregate.
    pub fn with_aggregation(mut self, aggregation: Aggregation) -> Self {
        self.view.aggregations.push(aggregation);
        self
    }

    /// Values of plain columns older than `ttl` are null. Zero means any age.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.view.ttl = (!ttl.is_zero()).then_some(ttl);
        self
    }

    /// Values of plain columns older than `ttl` are not served, however old they may be in training sets. Zero means
    /// any age. Without it the time to live is the same in both, which keeps what is served equal to what is trained
    /// on.
    pub fn with_online_ttl(mut self, ttl: Duration) -> Self {
        self.view.online_ttl = Some(ttl);
        self
    }

    /// A row in which the boolean `column` is true takes back the event of its entity, time and event id, in whatever
    /// order the two arrive. For views of windows alone, with an event id: a latest row that is taken back would need
    /// the one before it, which is not kept online.
    pub fn with_retraction(mut self, column: impl AsRef<str>) -> Self {
        self.view.retraction = Some(column.as_ref().into());
        self
    }

    /// How the vectors among its features, columns of lists of floats, are searched; exactly without it.
    pub fn with_vector_search(mut self, search: VectorSearch) -> Self {
        self.view.vector_search = search;
        self
    }

    /// Who answers for the view.
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.view.metadata.owner = Some(owner.into());
        self
    }

    /// What the view is for.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.view.metadata.description = Some(description.into());
        self
    }

    /// Whatever else is to be said about the view.
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.view.metadata.tags.insert(name.into(), value.into());
        self
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// `InvalidArgument` that lists every fault: invalid or repeated names, no feature at all, an empty or
    /// unrepresentable window.
    pub fn build(self) -> Result<FeatureView> {
        self.view.checked()?;
        Ok(self.view)
    }
}

fn faults(view: &FeatureView) -> Vec<String> {
    let mut faults = view.vector_search.faults();
    let columns = view.columns.iter().map(|column| ("column", column));
    let aggregated = view.aggregations.iter().map(|aggregation| ("aggregated column", &aggregation.column));
    let named = view.aggregations.iter().map(|aggregation| ("feature", &aggregation.name));
    let special = view.created.iter().chain(&view.event_id).chain(&view.retraction).map(|column| ("column", column));
    let fixed = [("feature view name", &view.name), ("table name", &view.table), ("timestamp column", &view.timestamp)];
    for (what, name) in fixed.into_iter().chain(special).chain(columns).chain(aggregated).chain(named) {
        faults.extend(check_name(what, name).err().map(|error| error.to_string()));
    }
    if let Some(twice) = first_duplicate(view.feature_names()) {
        faults.push(format!("feature \"{twice}\" is defined twice"));
    }
    match view.feature_names().count() {
        0 => faults.push("no feature; add a column or an aggregation".into()),
        1..=FEATURES_MAX => {}
        many => faults.push(format!("{many} features; at most {FEATURES_MAX} are allowed")),
    }
    if view.retraction.is_some() && (view.event_id.is_none() || !view.columns.is_empty()) {
        faults.push("retractions need an event id and a view of window aggregates alone".into());
    }
    for key in view.entity.join_keys() {
        if view.feature_names().any(|name| name == key.as_ref()) {
            faults.push(format!("feature \"{key}\" has the name of a join key"));
        }
    }
    for aggregation in &view.aggregations {
        if aggregation.window.as_micros() == 0 || i64::try_from(aggregation.window.as_micros()).is_err() {
            faults.push(format!("window of \"{}\" must be from 1 us to 292,000 years", aggregation.name));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    fn builder() -> FeatureViewBuilder {
        FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "t")
    }

    #[test]
    fn build_names_every_fault_at_once() {
        let zero = Aggregation::new("x", Function::Sum, "a", Duration::ZERO);
        let error = builder().with_column("x").with_column("k").with_aggregation(zero).build().unwrap_err();
        for part in ["\"x\" is defined twice", "name of a join key", "window of \"x\""] {
            assert!(error.message().contains(part), "{error}");
        }
        assert!(builder().build().unwrap_err().message().contains("no feature"));
    }

    #[test]
    fn digest_follows_whatever_changes_a_value() {
        let plain = builder().with_column("a").build().unwrap();
        assert_eq!(plain.digest().unwrap(), builder().with_column("a").build().unwrap().digest().unwrap());
        let limited = builder().with_column("a").with_ttl(Duration::from_secs(1)).build().unwrap();
        assert_ne!(plain.digest().unwrap(), limited.digest().unwrap());
        let served = builder().with_column("a").with_online_ttl(Duration::from_secs(1)).build().unwrap();
        assert_ne!(plain.digest().unwrap(), served.digest().unwrap());
        for kept in [&limited, &served] {
            assert_eq!(plain.records_digest().unwrap(), kept.records_digest().unwrap(), "records stay");
        }
        let owned = builder().with_column("a").with_owner("ann").with_description("d").with_tag("team", "x");
        assert_eq!(plain.digest().unwrap(), owned.build().unwrap().digest().unwrap());
    }

    #[test]
    fn digest_of_a_view_without_newer_parts_is_fixed() {
        let view = builder().with_column("a").with_ttl(Duration::from_secs(1)).build().unwrap();
        let before = concat!(
            r#"{"name":"v","entity":{"name":"e","join_keys":["k"]},"table":"t","timestamp":"event_timestamp","#,
            r#""created":null,"event_id":null,"columns":["a"],"aggregations":[],"ttl":{"secs":1,"nanos":0}}"#
        );
        assert_eq!(view.digest().unwrap(), Digest::of(before.as_bytes()));
    }

    #[test]
    fn served_values_may_have_their_own_time_to_live() {
        let hour = Duration::from_secs(3_600);
        let ttl = |view: FeatureViewBuilder| view.with_column("a").build().unwrap().online_ttl();
        assert_eq!(ttl(builder().with_ttl(hour)), Some(hour));
        assert_eq!(ttl(builder().with_ttl(hour).with_online_ttl(hour * 2)), Some(hour * 2));
        assert_eq!(ttl(builder().with_ttl(hour).with_online_ttl(Duration::ZERO)), None);
    }
}
