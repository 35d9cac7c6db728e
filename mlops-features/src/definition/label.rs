//! A label view: what became of an entity after the moment that a training row stands for.
//!
//! Invariant: a label is a value of the window `(t, t + window]`, and it is null until everything in that window can be
//! known: until `t + window + delay`. A label is no feature: nothing serves it online.

use std::time::Duration;

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

use super::{Aggregation, Entity, FeatureView, FeatureViewBuilder, Metadata, all_faults};

/// Labels of one entity, observed after the time of a training row, from one table of outcomes.
///
/// For a row at `t` a label is its function over the outcomes in `(t, t + window]`; the forward window begins where that
/// of a feature, `(t - window, t]`, ends, so no event is on both sides. A row whose window has not closed by the time
/// at which the training set is made has null, not "nothing happened yet"; a row whose window has closed without an
/// outcome has 0 for a count and null for everything else.
///
/// ```
/// use std::time::Duration;
/// use mlops_features::{Aggregation, Entity, Function, LabelView};
///
/// let day = Duration::from_secs(86_400);
/// let view = LabelView::builder("chargebacks", Entity::new("card", ["card"])?, "disputes")
///     .with_label(Aggregation::new("charged_back_30d", Function::Count, "amount", day * 30))
///     .with_created("reported_at")
///     .with_delay(day * 2)
///     .build()?;
/// assert_eq!(view.label_names().collect::<Vec<_>>(), ["charged_back_30d"]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelView {
    /// The outcomes, as a view of windows alone.
    outcomes: FeatureView,
    delay: Duration,
}

impl LabelView {
    /// Begins a view called `name` of `entity` over the outcomes in `table`.
    pub fn builder(name: impl AsRef<str>, entity: Entity, table: impl AsRef<str>) -> LabelViewBuilder {
        LabelViewBuilder { outcomes: FeatureView::builder(name, entity, table), delay: Duration::ZERO }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.outcomes.name()
    }

    /// What the labels are about.
    #[must_use]
    pub fn entity(&self) -> &Entity {
        self.outcomes.entity()
    }

    /// The table that the outcomes are in.
    #[must_use]
    pub fn table(&self) -> &str {
        self.outcomes.table()
    }

    /// The labels, whose windows reach forward.
    #[must_use]
    pub fn labels(&self) -> &[Aggregation] {
        self.outcomes.aggregations()
    }

    /// Their names, in order of definition.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.outcomes.feature_names()
    }

    /// How long after an outcome it is in the table at the latest.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Owner, description and tags.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.outcomes.metadata()
    }

    /// A digest of everything that changes a value; metadata has no part in it.
    ///
    /// # Errors
    /// `Internal` when the definition cannot be written as JSON, which no valid definition does.
    pub fn digest(&self) -> Result<Digest> {
        let outcomes = self.outcomes.digest()?.to_string();
        let fail = |error| Error::internal("label view cannot be written as json").with_source(error);
        Ok(Digest::of(&serde_json::to_vec(&("labels", outcomes, self.delay)).map_err(fail)?))
    }

    /// The outcomes as a view whose windows end where those of the labels do.
    pub(crate) fn outcomes(&self) -> &FeatureView {
        &self.outcomes
    }

    /// Refuses a definition that no builder would have built.
    pub(super) fn checked(&self) -> Result<()> {
        self.outcomes.checked()?;
        let mut faults = Vec::new();
        if !self.outcomes.columns().is_empty() || self.outcomes.ttl().is_some() {
            faults.push("labels are windows alone, without a time to live".to_owned());
        }
        if i64::try_from(self.delay.as_micros()).is_err() {
            faults.push("the delay must be below 292,000 years".to_owned());
        }
        all_faults(&format!("label view \"{}\"", self.name()), &faults)
    }
}

/// Collects the parts of a [`LabelView`].
#[derive(Debug, Clone)]
#[must_use]
pub struct LabelViewBuilder {
    outcomes: FeatureViewBuilder,
    delay: Duration,
}

impl LabelViewBuilder {
    fn outcomes(self, change: impl FnOnce(FeatureViewBuilder) -> FeatureViewBuilder) -> Self {
        Self { outcomes: change(self.outcomes), ..self }
    }

    /// Adds a label: the function over the column in the window `(t, t + window]`, whatever else [`Aggregation`] says of
    /// the side on which its window lies. `First` is the outcome that came first, `Count` tells whether any came.
    pub fn with_label(self, label: Aggregation) -> Self {
        self.outcomes(|view| view.with_aggregation(label))
    }

    /// The time of an outcome is in `column` instead of [`super::EVENT_TIMESTAMP`].
    pub fn with_timestamp(self, column: impl AsRef<str>) -> Self {
        self.outcomes(|view| view.with_timestamp(column))
    }

    /// The time at which an outcome became known is in `column`: a training set made as of a time sees no outcome that
    /// was recorded after it, and none whose time there is null. Of a view without it all outcomes in the version that
    /// is read are seen.
    pub fn with_created(self, column: impl AsRef<str>) -> Self {
        self.outcomes(|view| view.with_created(column))
    }

    /// An outcome is in the table at most `delay` after it happened, so a window is closed that much after its end.
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// `column` tells outcomes of one entity and time apart, which [`LabelViewBuilder::with_retraction`] needs.
    pub fn with_event_id(self, column: impl AsRef<str>) -> Self {
        self.outcomes(|view| view.with_event_id(column))
    }

    /// A row in which the boolean `column` is true takes back the outcome of its entity, time and event id.
    pub fn with_retraction(self, column: impl AsRef<str>) -> Self {
        self.outcomes(|view| view.with_retraction(column))
    }

    /// Who answers for the view.
    pub fn with_owner(self, owner: impl Into<String>) -> Self {
        self.outcomes(|view| view.with_owner(owner))
    }

    /// What the view is for.
    pub fn with_description(self, description: impl Into<String>) -> Self {
        self.outcomes(|view| view.with_description(description))
    }

    /// Whatever else is to be said about the view.
    pub fn with_tag(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.outcomes(|view| view.with_tag(name, value))
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// `InvalidArgument` that lists every fault: invalid or repeated names, no label at all, an empty or
    /// unrepresentable window or delay.
    pub fn build(self) -> Result<LabelView> {
        let view = LabelView { outcomes: self.outcomes.build()?, delay: self.delay };
        view.checked()?;
        Ok(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    fn builder() -> LabelViewBuilder {
        let label = Aggregation::new("lost", Function::Count, "x", Duration::from_secs(60));
        LabelView::builder("l", Entity::new("e", ["k"]).unwrap(), "outcomes").with_label(label)
    }

    #[test]
    fn the_digest_is_of_what_values_depend_on() {
        let digest = |builder: LabelViewBuilder| builder.build().unwrap().digest().unwrap();
        assert_eq!(digest(builder()), digest(builder().with_owner("ann").with_tag("a", "b")));
        assert_ne!(digest(builder()), digest(builder().with_delay(Duration::from_secs(1))));
        assert_ne!(digest(builder()), digest(builder().with_created("seen")));
        assert_ne!(digest(builder()), builder().build().unwrap().outcomes().digest().unwrap());
    }

    #[test]
    fn it_is_read_back_as_it_was_written_and_checked() {
        let view = builder().with_delay(Duration::from_secs(9)).build().unwrap();
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<LabelView>(&text).unwrap(), view);
        let served = text.replace(r#""columns":[]"#, r#""columns":["x"]"#);
        let error = serde_json::from_str::<LabelView>(&served).unwrap().checked().unwrap_err();
        assert!(error.message().contains("windows alone"), "{error}");
        let none = LabelView::builder("l", Entity::new("e", ["k"]).unwrap(), "t").build().unwrap_err();
        assert!(none.message().contains("no feature"), "{none}");
    }
}
