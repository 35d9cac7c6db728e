//! The join as its callers see it: a spine, views, settings; an answer whole or in pieces.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use mlops_core::{Error, Result};

use super::{JoinSettings, JoinView, Knowledge, Moments, entities::spine_of, pass::Pass, pieces::Pieces};
use crate::definition::{EVENT_TIMESTAMP, first_duplicate};

/// A point-in-time join of a spine with one or more views. The rules are at the head of [this module](super).
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, cast::AsArray, types::Int64Type};
/// use mlops_features::{JoinView, PointInTimeJoin};
///
/// let times = |t: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(t).with_timezone("UTC")) as ArrayRef;
/// let ints = |v: Vec<i64>| Arc::new(Int64Array::from(v)) as ArrayRef;
/// let spine = RecordBatch::try_from_iter([("k", ints(vec![1, 1])), ("event_timestamp", times(vec![5, 15]))])?;
/// let source = RecordBatch::try_from_iter([
///     ("k", ints(vec![1, 1])), ("event_timestamp", times(vec![10, 5])), ("v", ints(vec![20, 10])),
/// ])?;
/// let view = JoinView::new("a", source.schema(), vec![source]).with_key("k", "k").with_feature("v", "v");
/// let joined = PointInTimeJoin::new(spine).with_view(view).run()?;
/// assert_eq!(joined.column(2).as_primitive::<Int64Type>().values(), &[10, 20]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PointInTimeJoin {
    spine: RecordBatch,
    pub(crate) timestamp: Arc<str>,
    pub(crate) views: Vec<JoinView>,
    pub(crate) knowledge: Knowledge,
    settings: JoinSettings,
}

impl PointInTimeJoin {
    /// A join of `spine`, whose time is in `event_timestamp`, with nothing yet.
    #[must_use]
    pub fn new(spine: RecordBatch) -> Self {
        Self {
            spine,
            timestamp: EVENT_TIMESTAMP.into(),
            views: Vec::new(),
            knowledge: Knowledge::default(),
            settings: JoinSettings::default(),
        }
    }

    /// A join of `views` without a spine: for every entity that occurs in them, with the rows that `moments` says,
    /// ordered by keys and time. The columns are the keys, by their names in the spine, then `event_timestamp` in the
    /// finest unit of the views and at least microseconds, then what the views add. All views have the same keys.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, cast::AsArray, types::Int64Type};
    /// # use mlops_core::Timestamp;
    /// # use mlops_features::{JoinSettings, JoinView, Knowledge, Moments, PointInTimeJoin};
    /// # let ints = |v: Vec<i64>| Arc::new(Int64Array::from(v)) as ArrayRef;
    /// # let source = RecordBatch::try_from_iter([
    /// #     ("k", ints(vec![1, 2, 1])),
    /// #     ("event_timestamp", Arc::new(TimestampMicrosecondArray::from(vec![10, 20, 30])) as ArrayRef),
    /// #     ("v", ints(vec![100, 200, 300])),
    /// # ])?;
    /// let view = JoinView::new("a", source.schema(), vec![source]).with_key("k", "k").with_feature("v", "v");
    /// let at = Moments::At(Timestamp::from_micros(25));
    /// let join = PointInTimeJoin::of_entities([view], at, Knowledge::Event, JoinSettings::default())?;
    /// assert_eq!(join.run()?.column(2).as_primitive::<Int64Type>().values(), &[100, 200]);
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` without views, for views with different keys or none, and for a column that is missing or
    /// wrongly typed; `ResourceExhausted` when there are more rows than the memory of the settings holds; `DataLoss`,
    /// `NotFound` or `Unavailable` for a file that cannot be read.
    pub fn of_entities(
        views: impl IntoIterator<Item = JoinView>,
        moments: Moments,
        knowledge: Knowledge,
        settings: JoinSettings,
    ) -> Result<Self> {
        let views: Vec<_> = views.into_iter().collect();
        let spine = spine_of(&views, moments, knowledge, &settings)?;
        Ok(Self { spine, timestamp: EVENT_TIMESTAMP.into(), views, knowledge, settings })
    }

    /// Joins `spine` instead.
    #[must_use]
    pub fn with_spine(mut self, spine: RecordBatch) -> Self {
        self.spine = spine;
        self
    }

    /// The spine.
    #[must_use]
    pub fn spine(&self) -> &RecordBatch {
        &self.spine
    }

    /// The spine's time is in `column`.
    #[must_use]
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.timestamp = column.as_ref().into();
        self
    }

    /// Adds a view; its columns follow those of the views before it.
    #[must_use]
    pub fn with_view(mut self, view: JoinView) -> Self {
        self.views.push(view);
        self
    }

    /// Which source rows may be seen.
    #[must_use]
    pub fn with_knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = knowledge;
        self
    }

    /// How the join runs.
    #[must_use]
    pub fn with_settings(mut self, settings: JoinSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Joins. CPU-bound: call it from a blocking thread when on an async runtime.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing column, keys of different types on the two sides, a time column that is no
    /// timestamp, a time that the finer unit of two columns cannot hold, or output names that clash;
    /// `ResourceExhausted` when the settings leave too little memory; `DataLoss`, `NotFound` or `Unavailable` for a
    /// file that cannot be read.
    pub fn run(&self) -> Result<RecordBatch> {
        let mut parts = Vec::new();
        let schema = self.run_each([Ok(self.spine.clone())], |part| {
            parts.push(part);
            Ok(())
        })?;
        match parts.as_slice() {
            [whole] => Ok(whole.clone()),
            parts => Ok(concat_batches(&schema, parts)?),
        }
    }

    /// Joins `spine` in place of the spine of [`PointInTimeJoin::new`], whose schema it has, and hands the answer
    /// piece by piece to `sink`, in order. As much of the spine is joined at a time as the memory of the settings
    /// allows, and every such piece reads the sources again. Answers the schema of the pieces.
    ///
    /// # Errors
    /// As [`PointInTimeJoin::run`], and what `spine` and `sink` return; after an error nothing more is handed out.
    pub fn run_each(
        &self,
        spine: impl IntoIterator<Item = Result<RecordBatch>>,
        mut sink: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<SchemaRef> {
        self.check_names()?;
        let schema = self.spine.schema_ref();
        let pass = Pass::new(&self.views, schema, &self.timestamp, self.knowledge, &self.settings)?;
        let mut pieces = Pieces::new(Arc::clone(schema));
        let mut shares = pass.shares(&self.spine)?;
        for batch in spine {
            let batch = batch?;
            pieces.push(batch.clone())?;
            shares = pass.shares(&batch)?;
            while pieces.rows() > shares.spine_rows {
                sink(pass.run(&pieces.take(shares.spine_rows)?, shares.threads)?)?;
            }
        }
        sink(pass.run(&pieces.take(pieces.rows())?, shares.threads)?)?;
        Ok(pass.into_schema())
    }

    /// The columns of the answer; refuses what [`PointInTimeJoin::run`] refuses before it reads anything.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        self.check_names()?;
        let schema = self.spine.schema_ref();
        Ok(Pass::new(&self.views, schema, &self.timestamp, self.knowledge, &self.settings)?.into_schema())
    }

    fn check_names(&self) -> Result<()> {
        let spine = self.spine.schema_ref().fields().iter().map(|field| field.name().as_str());
        let outputs = self.views.iter().flat_map(JoinView::outputs);
        match first_duplicate(spine.chain(outputs)) {
            Some(twice) => Err(Error::invalid_argument(format!(
                "column \"{twice}\" would occur twice in the joined table; rename the feature or drop the spine column"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn a_clash_of_names_is_an_error() {
        let times = Arc::new(TimestampMillisecondArray::from(vec![1])) as ArrayRef;
        let values = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let spine = RecordBatch::try_from_iter([("v", values), ("event_timestamp", times)]).unwrap();
        let view = JoinView::new("a", spine.schema(), vec![spine.clone()]).with_feature("v", "v");
        assert!(PointInTimeJoin::new(spine).with_view(view).run().unwrap_err().message().contains("\"v\""));
    }
}
