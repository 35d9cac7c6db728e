//! The vectors of one feature and how they are searched: every one of them is looked at, so an answer is exact, unless
//! the view says otherwise.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use arrow_array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use mlops_core::{Error, ErrorKind, FeatureRef, Result, Timestamp};

use super::{
    matrix::Matrix,
    query::{EntityFilter, VECTOR_LENGTH_MAX, VectorQuery},
    vectors::{Found, Vectors},
};
use crate::{
    cell::{Cell, ColumnBuilder},
    online::{EntityKey, LatestHead, Place, PushReceipt, ResolvedView, Stored, Update, changes},
    value::{Decoder, Value},
};

/// Columns of an answer beside the join keys.
const QUERY: &str = "query";
const EVENT_TIMESTAMP: &str = "event_timestamp";
const DISTANCE: &str = "distance";

/// Vectors that are taken in at once: searches wait no longer. Those that are linked with others take longer.
const TAKEN_AT_ONCE: usize = 256;
const LINKED_AT_ONCE: usize = 8;

/// Entities that a filter is given at once.
const FILTERED_AT_ONCE: usize = 8_192;

/// The newest vector of every entity, of one feature. Clones share everything.
///
/// An entity whose newest row has a null is found by no question, and neither is one whose list is no vector: empty,
/// longer than [`VECTOR_LENGTH_MAX`], or with a part that is null or no finite 32-bit number; [`VectorIndex::unusable`]
/// counts the latter. Vectors of several lengths may be there, as while one model of embeddings takes over from
/// another: a question is answered by those of its own length.
#[derive(Clone)]
pub struct VectorIndex {
    inner: Arc<Inner>,
}

struct Inner {
    feature: FeatureRef,
    view: Arc<ResolvedView>,
    /// Which cell of a row holds the vector.
    cell: usize,
    /// Time to live in microseconds.
    ttl: Option<i64>,
    vectors: RwLock<Vectors>,
}

impl fmt::Debug for VectorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorIndex").field("feature", &self.inner.feature).finish_non_exhaustive()
    }
}

impl VectorIndex {
    /// Without any vector yet; of vectors that take more than about `bytes_max` none is found.
    pub(crate) fn new(feature: &FeatureRef, view: &Arc<ResolvedView>, bytes_max: usize) -> Result<Self> {
        let (place, data_type) = view.place(feature.feature())?;
        let floats = match &data_type {
            DataType::List(item) => matches!(item.data_type(), DataType::Float32 | DataType::Float64),
            _ => false,
        };
        let cell = match place {
            Place::Column(cell) if floats => cell,
            _ => {
                return Err(Error::invalid_argument(format!(
                    "feature \"{feature}\" is no vector: it must be the latest value of a column of lists of floats; \
                     it is {data_type}"
                )));
            }
        };
        let reserved = [QUERY, EVENT_TIMESTAMP, DISTANCE];
        if let Some(key) = view.view.entity().join_keys().iter().find(|key| reserved.contains(&key.as_ref())) {
            return Err(Error::invalid_argument(format!(
                "join key \"{key}\" of \"{feature}\" has the name of a column of the answer"
            )));
        }
        let ttl = view.view.online_ttl().map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
        let vectors = RwLock::new(Vectors::new(view.view.vector_search(), bytes_max));
        let (feature, view) = (feature.clone(), Arc::clone(view));
        Ok(Self { inner: Arc::new(Inner { feature, view, cell, ttl, vectors }) })
    }

    /// The feature.
    #[must_use]
    pub fn feature(&self) -> &FeatureRef {
        &self.inner.feature
    }

    /// How many entities have a vector.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().lengths().map(|(_, count)| count).sum()
    }

    /// Whether no entity has a vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entities have a list that is no vector.
    #[must_use]
    pub fn unusable(&self) -> usize {
        self.inner.read().unusable()
    }

    /// Takes the events of `batch`, which has the columns that the view needs. Of an entity's events the newest counts,
    /// whatever the order.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing or wrongly typed column; `ResourceExhausted` where there are more vectors than
    /// `vector_bytes_max` of the store's settings allows: the index has none from then on.
    pub fn push(&self, batch: &RecordBatch) -> Result<PushReceipt> {
        let (changes, receipt) = changes(&self.inner.view, batch)?;
        self.apply(&changes.updates)?;
        self.inner.check_room()?;
        Ok(receipt)
    }

    /// The nearest entities by `query` as they stand at `as_of`: event and time to live count as in
    /// [`crate::OnlineReader::read`]. A row per neighbour, by vector of the query and then nearest first, equal
    /// distances in order of the encoded key; columns `query` (number of the vector), the join keys, `event_timestamp`
    /// (microseconds, UTC) and `distance`.
    ///
    /// # Errors
    /// `InvalidArgument` when there are vectors, but none of the query's length, `ResourceExhausted` where there are
    /// more than `vector_bytes_max` of the store's settings allows, and the errors of the filter.
    pub async fn search(&self, query: &VectorQuery, as_of: Timestamp) -> Result<RecordBatch> {
        let (inner, query) = (Arc::clone(&self.inner), query.clone());
        let work = move || inner.search(&query, as_of.as_micros());
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("a search of vectors panicked"))?
    }

    pub(super) fn view(&self) -> &Arc<ResolvedView> {
        &self.inner.view
    }

    /// What an online store writes.
    pub(super) fn apply(&self, updates: &[(EntityKey, Update)]) -> Result<()> {
        let mut read = Vec::with_capacity(updates.len());
        for (key, update) in updates {
            let Some(latest) = update.latest() else { continue };
            let mut cells = Decoder(&latest.cells);
            let cells = (0..latest.head.cells).map(|_| cells.cell());
            read.push((key, latest.head, self.inner.found(cells)?));
        }
        self.inner.take(read, Vectors::set);
        Ok(())
    }

    /// What an online store has.
    pub(super) fn load(&self, records: &[(EntityKey, Bytes)]) -> Result<()> {
        let mut read = Vec::with_capacity(records.len());
        for (key, record) in records {
            let mut stored = Stored::open(record)?;
            let Some(head) = stored.latest else { continue };
            read.push((key, head, self.inner.found(stored.cells())?));
        }
        self.inner.take(read, Vectors::load);
        Ok(())
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, Vectors> {
        self.vectors.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, read: Vec<(&EntityKey, LatestHead, Found)>, take: fn(&mut Vectors, &EntityKey, LatestHead, Found)) {
        let at_once = if self.view.view.vector_search().is_exact() { TAKEN_AT_ONCE } else { LINKED_AT_ONCE };
        let mut read = read.into_iter().peekable();
        while read.peek().is_some() {
            let mut vectors = self.vectors.write().unwrap_or_else(PoisonError::into_inner);
            let had_room = !vectors.is_overfull();
            read.by_ref().take(at_once).for_each(|(key, head, found)| take(&mut vectors, key, head, found));
            if had_room && vectors.is_overfull() {
                tracing::warn!(feature = %self.feature, "vectors take more than vector_bytes_max; none is found");
            }
        }
    }

    fn check_room(&self) -> Result<()> {
        if !self.read().is_overfull() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "vectors of \"{}\" take more memory than the setting vector_bytes_max of the feature store allows; \
                 raise it, then build the index again",
                self.feature
            ),
        ))
    }

    fn found<'a>(&self, cells: impl IntoIterator<Item = Result<Cell<'a>>>) -> Result<Found> {
        for (at, cell) in cells.into_iter().enumerate() {
            let cell = cell?;
            if at == self.cell {
                return Ok(match cell {
                    Cell::Null => Found::Nothing,
                    Cell::List(items) => vector(&items),
                    _ => Found::Unusable,
                });
            }
        }
        Ok(Found::Nothing)
    }

    fn search(&self, query: &VectorQuery, as_of: i64) -> Result<RecordBatch> {
        self.check_room()?;
        // A copy, so that nothing waits for a search or for its filter.
        let (matrix, lengths) = {
            let vectors = self.read();
            (vectors.matrix(query.length()).cloned(), vectors.lengths().collect::<Vec<_>>())
        };
        let Some(matrix) = &matrix else {
            let lengths: Vec<String> = lengths.iter().map(|(length, _)| length.to_string()).collect();
            if lengths.is_empty() {
                return self.answer(&Matrix::default(), &[]);
            }
            return Err(Error::invalid_argument(format!(
                "vectors of \"{}\" have {} numbers; one of {} is asked for",
                self.feature,
                lengths.join(" or "),
                query.length()
            )));
        };
        let allowed = query.filter().map(|filter| self.allowed(matrix, filter)).transpose()?;
        let oldest = self.ttl.map_or(i64::MIN, |ttl| as_of.saturating_sub(ttl));
        let wanted = |row: usize| {
            matrix.time(row).is_some_and(|time| (oldest..=as_of).contains(&time))
                && allowed.as_ref().is_none_or(|allowed| allowed.get(row) == Some(&true))
        };
        let mut found = Vec::new();
        for (number, vector) in (0..).zip(query.vectors()) {
            let nearest = matrix.nearest(vector, query.metric(), query.neighbours(), wanted);
            found.extend(nearest.into_iter().map(|(distance, row)| (number, row, distance)));
        }
        self.answer(matrix, &found)
    }

    /// Which rows `filter` takes.
    fn allowed(&self, matrix: &Matrix, filter: &EntityFilter) -> Result<Vec<bool>> {
        let mut allowed = Vec::with_capacity(matrix.rows());
        for begin in (0..matrix.rows()).step_by(FILTERED_AT_ONCE) {
            let rows = begin..matrix.rows().min(begin + FILTERED_AT_ONCE);
            let keys: Vec<&EntityKey> = rows.filter_map(|row| matrix.key(row)).collect();
            let (fields, columns) = self.entities(keys.iter().copied())?;
            let entities = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
            let answer: BooleanArray = filter(&entities)?;
            if answer.len() != keys.len() {
                return Err(Error::invalid_argument(format!(
                    "the filter of a search gave {} answers for {} entities",
                    answer.len(),
                    keys.len()
                )));
            }
            allowed.extend(answer.iter().map(|answer| answer == Some(true)));
        }
        Ok(allowed)
    }

    /// The join keys of some entities.
    fn entities<'a>(&self, keys: impl ExactSizeIterator<Item = &'a EntityKey>) -> Result<(Vec<Field>, Vec<ArrayRef>)> {
        let (names, types) = (self.view.view.entity().join_keys(), &self.view.key_types);
        let builder = |data_type| ColumnBuilder::new(data_type, keys.len());
        let mut columns = types.iter().map(builder).collect::<Result<Vec<_>>>()?;
        for key in keys {
            let mut cells = Decoder(key);
            columns.iter_mut().try_for_each(|column| column.push(cells.cell()?))?;
        }
        let field = |(name, data_type): (&Arc<str>, &DataType)| Field::new(name.as_ref(), data_type.clone(), true);
        let fields = names.iter().zip(types).map(field).collect();
        Ok((fields, columns.into_iter().map(ColumnBuilder::finish).collect::<Result<_>>()?))
    }

    fn answer(&self, matrix: &Matrix, found: &[(u32, usize, f32)]) -> Result<RecordBatch> {
        let keys: Vec<&EntityKey> = found.iter().filter_map(|(_, row, _)| matrix.key(*row)).collect();
        let times = found.iter().filter_map(|(_, row, _)| matrix.time(*row));
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let numbers = UInt32Array::from_iter_values(found.iter().map(|(number, _, _)| *number));
        let distances = Float32Array::from_iter_values(found.iter().map(|(_, _, distance)| *distance));
        let (entity_fields, entity_columns) = self.entities(keys.into_iter())?;
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![Field::new(QUERY, DataType::UInt32, false)];
        fields.extend(entity_fields);
        fields.push(Field::new(EVENT_TIMESTAMP, time, false));
        fields.push(Field::new(DISTANCE, DataType::Float32, false));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers)];
        columns.extend(entity_columns);
        columns.extend([Arc::new(times) as ArrayRef, Arc::new(distances)]);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

fn vector(items: &[Value]) -> Found {
    if !(1..=VECTOR_LENGTH_MAX).contains(&items.len()) {
        return Found::Unusable;
    }
    let number = |item: &Value| match item {
        #[allow(clippy::cast_possible_truncation, reason = "distances are computed in 32 bits")]
        Value::Float(number) => Some(*number as f32).filter(|number| number.is_finite()),
        _ => None,
    };
    items.iter().map(number).collect::<Option<_>>().map_or(Found::Unusable, Found::Vector)
}
