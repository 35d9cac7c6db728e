//! What is asked of a [`super::VectorIndex`].

use std::{fmt, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, ListArray, RecordBatch, cast::AsArray, types::Float32Type,
};
use arrow_schema::DataType;
use mlops_core::{Error, Result};

use super::metric::Metric;

/// Most neighbours of one vector.
pub const NEIGHBOURS_MAX: usize = 10_000;

/// Most vectors of one question.
pub const VECTORS_PER_QUERY_MAX: usize = 1_024;

/// Most numbers of one vector.
pub const VECTOR_LENGTH_MAX: usize = 65_536;

/// Says of entities, a row of join keys each, whether they may be found; null is no.
pub type EntityFilter = dyn Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync;

/// Some vectors, and how many neighbours of each are wanted by which distance.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::arrow_array::{ListArray, types::Float32Type};
/// use mlops_features::vector::{Metric, VectorQuery};
///
/// let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>([Some([Some(0.5), Some(-1.0)])]);
/// let query = VectorQuery::new(&vectors, 10, Metric::Cosine)?;
/// assert_eq!((query.vectors().len(), query.length()), (1, 2));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone)]
pub struct VectorQuery {
    vectors: Vec<Vec<f32>>,
    neighbours: usize,
    metric: Metric,
    filter: Option<Arc<EntityFilter>>,
}

impl fmt::Debug for VectorQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorQuery")
            .field("vectors", &self.vectors.len())
            .field("length", &self.length())
            .field("neighbours", &self.neighbours)
            .field("metric", &self.metric)
            .field("filter", &self.filter.is_some())
            .finish()
    }
}

impl VectorQuery {
    /// The `neighbours` nearest to each of `vectors`, a list or fixed-size list of 32- or 64-bit floats; distances are
    /// computed in 32 bits.
    ///
    /// # Errors
    /// `InvalidArgument` for another type, no vector or more than [`VECTORS_PER_QUERY_MAX`], vectors of different
    /// lengths, of none or of more than [`VECTOR_LENGTH_MAX`] numbers, a null, a part that is no finite number, a
    /// vector of zeros where `metric` is the cosine, and for 0 or more than [`NEIGHBOURS_MAX`] neighbours.
    pub fn new(vectors: &dyn Array, neighbours: usize, metric: Metric) -> Result<Self> {
        if !(1..=NEIGHBOURS_MAX).contains(&neighbours) {
            return Err(Error::invalid_argument(format!(
                "{neighbours} neighbours are asked for; it can be 1 to {NEIGHBOURS_MAX}"
            )));
        }
        if !(1..=VECTORS_PER_QUERY_MAX).contains(&vectors.len()) {
            return Err(Error::invalid_argument(format!(
                "a question has {} vectors; it can have 1 to {VECTORS_PER_QUERY_MAX}",
                vectors.len()
            )));
        }
        let vectors = (0..vectors.len()).map(|row| vector(vectors, row)).collect::<Result<Vec<_>>>()?;
        let length = vectors.first().map_or(0, Vec::len);
        if !(1..=VECTOR_LENGTH_MAX).contains(&length) {
            return Err(Error::invalid_argument(format!(
                "a vector of {length} numbers is asked for; it can have 1 to {VECTOR_LENGTH_MAX}"
            )));
        }
        if let Some(row) = vectors.iter().position(|vector| vector.len() != length) {
            let found = vectors.get(row).map_or(0, Vec::len);
            return Err(Error::invalid_argument(format!(
                "vector {row} of a question has {found} numbers and vector 0 has {length}; all must have as many"
            )));
        }
        let zeros = |vector: &Vec<f32>| vector.iter().all(|number| *number == 0.0);
        if let Some(row) = vectors.iter().position(zeros).filter(|_| metric == Metric::Cosine) {
            return Err(Error::invalid_argument(format!(
                "vector {row} of a question is all zeros, which has no cosine; ask by another metric"
            )));
        }
        Ok(Self { vectors, neighbours, metric, filter: None })
    }

    /// Finds only entities that `filter` takes: it is given batches of their join keys.
    #[must_use]
    pub fn with_filter(
        mut self,
        filter: impl Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync + 'static,
    ) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// The vectors, in 32 bits.
    #[must_use]
    pub fn vectors(&self) -> &[Vec<f32>] {
        &self.vectors
    }

    /// How many numbers each vector has.
    #[must_use]
    pub fn length(&self) -> usize {
        self.vectors.first().map_or(0, Vec::len)
    }

    /// How many neighbours of each vector are wanted.
    #[must_use]
    pub fn neighbours(&self) -> usize {
        self.neighbours
    }

    /// By which distance.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    pub(super) fn filter(&self) -> Option<&EntityFilter> {
        self.filter.as_deref()
    }
}

fn vector(vectors: &dyn Array, row: usize) -> Result<Vec<f32>> {
    let items: ArrayRef = match vectors.data_type() {
        _ if vectors.is_null(row) => {
            return Err(Error::invalid_argument(format!("vector {row} of a question is null")));
        }
        DataType::List(_) => vectors.as_any().downcast_ref::<ListArray>().map(|list| list.value(row)),
        DataType::FixedSizeList(_, _) => {
            vectors.as_any().downcast_ref::<FixedSizeListArray>().map(|list| list.value(row))
        }
        _ => None,
    }
    .filter(|items| matches!(items.data_type(), DataType::Float32 | DataType::Float64))
    .ok_or_else(|| {
        Error::invalid_argument(format!("vectors must be lists of floats; they are {}", vectors.data_type()))
    })?;
    let items = arrow_cast::cast(&items, &DataType::Float32)?;
    let floats = items.as_primitive::<Float32Type>();
    if floats.null_count() > 0 || floats.values().iter().any(|number| !number.is_finite()) {
        return Err(Error::invalid_argument(format!(
            "vector {row} of a question has a part that is null or no finite 32-bit number"
        )));
    }
    Ok(floats.values().to_vec())
}
