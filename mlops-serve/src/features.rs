//! Features in the request path: the client sends keys, the server adds the features.
//!
//! Invariant: row i of the completed batch carries the features of the key in row i, read at the time of row i.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array, cast::AsArray, new_null_array,
};
use arrow_schema::Schema;
use arrow_select::{concat::concat_batches, take::take_record_batch};
use mlops_core::{
    DataType, Error, ErrorKind, FeatureReader, FeatureRef, Result, ResultExt, Signature, TensorSpec, Timestamp,
};

/// Most distinct event times in one request; each costs one call of the reader.
pub const AS_OF_TIMES_MAX: usize = 1024;

/// What to do when the feature store cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnavailable {
    /// Fail the request with `Unavailable` (503).
    #[default]
    Fail,
    /// Predict with null features; the model must allow nulls in them.
    NullFeatures,
}

/// How the inputs that the client does not send are found.
#[derive(Debug, Clone)]
pub struct FeatureLookup {
    /// Where features are read.
    pub reader: Arc<dyn FeatureReader>,
    /// Which; each is the model input of the same name.
    pub features: Vec<FeatureRef>,
    /// The join keys that the client sends. A key that is also a model input is sent once.
    pub keys: Vec<TensorSpec>,
    /// Name of an optional INT64 input with the event time of each row, microseconds since the epoch; none or absent
    /// reads at the server's time.
    pub as_of: Option<String>,
    /// Policy for an unreachable store.
    pub when_unavailable: WhenUnavailable,
    /// After which a store that says nothing is taken for unreachable; none leaves it the time of the request.
    pub timeout: Option<Duration>,
}

impl FeatureLookup {
    /// Looks up `features` by `keys` at the server's time; fails when the store is away.
    #[must_use]
    pub fn new(
        reader: Arc<dyn FeatureReader>,
        features: impl Into<Vec<FeatureRef>>,
        keys: impl Into<Vec<TensorSpec>>,
    ) -> Self {
        let (features, keys) = (features.into(), keys.into());
        Self { reader, features, keys, as_of: None, when_unavailable: WhenUnavailable::Fail, timeout: None }
    }

    /// Lets clients send the time of each row under `name`.
    #[must_use]
    pub fn with_as_of(mut self, name: impl Into<String>) -> Self {
        self.as_of = Some(name.into());
        self
    }

    /// Takes a store that does not answer within `timeout` for one that is away.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Chooses what happens when the store is away.
    #[must_use]
    pub fn with_when_unavailable(mut self, policy: WhenUnavailable) -> Self {
        self.when_unavailable = policy;
        self
    }

    fn provides(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature.feature() == name)
    }

    /// What the client must send for a model of this signature: its inputs that are not features, then the keys
    /// that are not among them.
    pub(crate) fn client_inputs(&self, signature: &Signature) -> Vec<TensorSpec> {
        let mut specs: Vec<_> = signature.inputs().iter().filter(|spec| !self.provides(&spec.name)).cloned().collect();
        for key in &self.keys {
            if !specs.iter().any(|spec| spec.name == key.name) {
                specs.push(key.clone());
            }
        }
        specs
    }

    /// Checks that lookup and signature fit together.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what does not fit.
    pub(crate) fn check(&self, signature: &Signature) -> Result<()> {
        let mut names: Vec<&str> = self.features.iter().map(FeatureRef::feature).collect();
        names.extend(self.keys.iter().map(|key| key.name.as_str()));
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| matches!(pair, [left, right] if left == right)) {
            return Err(Error::failed_precondition(format!(
                "feature lookup yields the column {:?} twice",
                pair.first()
            )));
        }
        let inputs = signature.inputs();
        if let Some(feature) = self.features.iter().find(|f| !inputs.iter().any(|spec| spec.name == f.feature())) {
            return Err(Error::failed_precondition(format!("feature \"{feature}\" is not an input of the model")));
        }
        for key in &self.keys {
            if let Some(input) = inputs.iter().find(|spec| spec.name == key.name && spec.data_type != key.data_type) {
                return Err(Error::failed_precondition(format!(
                    "join key {:?} is {} but the model input of that name is {}",
                    key.name, key.data_type, input.data_type
                )));
            }
        }
        match &self.as_of {
            Some(name) if inputs.iter().any(|spec| spec.name == *name) || names.contains(&name.as_str()) => {
                Err(Error::failed_precondition(format!("the as-of input {name:?} has the name of another input")))
            }
            _ => Ok(()),
        }
    }

    /// Adds the feature columns to what the client sent. `now` is the time of rows without one of their own.
    ///
    /// # Errors
    /// `Unavailable` when the reader is away and the policy is to fail; `InvalidArgument` for a null or too many
    /// distinct times; the reader's errors.
    pub(crate) async fn complete(
        &self,
        sent: &RecordBatch,
        signature: &Signature,
        now: Timestamp,
    ) -> Result<RecordBatch> {
        let keys = self.key_columns(sent)?;
        let times = self.as_of.as_deref().and_then(|name| sent.column_by_name(name));
        let found = match times {
            Some(times) => self.read_at_times(&keys, &micros(times)?, signature).await?,
            None => self.read(&keys, signature, now).await?,
        };
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        let mut add = |field: Arc<arrow_schema::Field>, column: ArrayRef| {
            fields.push(field);
            columns.push(column);
        };
        for (field, column) in sent.schema().fields().iter().zip(sent.columns()) {
            if self.as_of.as_deref() != Some(field.name()) {
                add(Arc::clone(field), Arc::clone(column));
            }
        }
        for (field, column) in found.schema().fields().iter().zip(found.columns()) {
            add(Arc::clone(field), Arc::clone(column));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(sent.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    fn key_columns(&self, sent: &RecordBatch) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(self.keys.len());
        let mut columns = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let column = sent.column_by_name(&key.name).ok_or_else(|| {
                Error::invalid_argument(format!("join key {:?} is missing from the request", key.name))
            })?;
            fields.push(key.to_field().with_nullable(column.null_count() > 0));
            columns.push(Arc::clone(column));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(sent.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    async fn read_at_times(&self, keys: &RecordBatch, times: &[i64], signature: &Signature) -> Result<RecordBatch> {
        let mut groups: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for (row, &time) in (0_u64..).zip(times) {
            groups.entry(time).or_default().push(row);
        }
        if groups.len() > AS_OF_TIMES_MAX {
            return Err(Error::invalid_argument(format!(
                "the request has {} distinct event times; at most {AS_OF_TIMES_MAX} are allowed",
                groups.len()
            )));
        }
        if let (1, Some((&time, _))) = (groups.len(), groups.first_key_value()) {
            return self.read(keys, signature, Timestamp::from_micros(time)).await;
        }
        let mut parts = Vec::with_capacity(groups.len());
        let mut origin = vec![0_u64; times.len()];
        let mut position = 0;
        for (time, rows) in groups {
            for row in &rows {
                if let Some(slot) = usize::try_from(*row).ok().and_then(|row| origin.get_mut(row)) {
                    *slot = position;
                }
                position += 1;
            }
            let subset = take_record_batch(keys, &UInt64Array::from(rows))?;
            parts.push(self.read(&subset, signature, Timestamp::from_micros(time)).await?);
        }
        let Some(first) = parts.first() else { return self.read(keys, signature, Timestamp::default()).await };
        let joined = concat_batches(&first.schema(), &parts)?;
        Ok(take_record_batch(&joined, &UInt64Array::from(origin))?)
    }

    async fn ask(&self, keys: &RecordBatch, as_of: Timestamp) -> Result<RecordBatch> {
        let answer = self.reader.get_online(&self.features, keys, as_of);
        let Some(limit) = self.timeout else { return answer.await };
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let limit = limit.as_millis();
            Err(Error::unavailable(format!("the feature store did not answer within {limit} ms")))
        })
    }

    /// The feature columns alone, one row per key, typed as the model's inputs.
    async fn read(&self, keys: &RecordBatch, signature: &Signature, as_of: Timestamp) -> Result<RecordBatch> {
        let rows = keys.num_rows();
        let answer = match self.ask(keys, as_of).await {
            Ok(answer) => Some(answer),
            Err(error)
                if error.kind() == ErrorKind::Unavailable && self.when_unavailable == WhenUnavailable::NullFeatures =>
            {
                tracing::warn!(error = %error.chain(), "feature store is away; predicting with null features");
                None
            }
            Err(error) => return Err(error).context("looking up features"),
        };
        if let Some(answer) = answer.as_ref().filter(|answer| answer.num_rows() != rows) {
            return Err(Error::internal(format!("the feature reader answered {} rows to {rows}", answer.num_rows())));
        }
        let specs =
            self.features.iter().filter_map(|f| signature.inputs().iter().find(|spec| spec.name == f.feature()));
        let (fields, columns): (Vec<_>, Vec<_>) = specs
            .map(|spec| {
                let field = spec.to_field().with_nullable(true);
                let column = match &answer {
                    Some(answer) => feature_column(spec, answer)?,
                    None => new_null_array(field.data_type(), rows),
                };
                if !spec.nullable && column.null_count() > 0 {
                    return Err(Error::failed_precondition(format!(
                        "feature {:?} is null for {} rows and the model allows no nulls in it",
                        spec.name,
                        column.null_count()
                    )));
                }
                Ok((field, column))
            })
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

/// The column of a feature; numbers of another width are converted, anything else must match.
fn feature_column(spec: &TensorSpec, answer: &RecordBatch) -> Result<ArrayRef> {
    let Some(column) = answer.column_by_name(&spec.name) else {
        return Err(Error::internal(format!("the feature reader did not answer feature {:?}", spec.name)));
    };
    let expected = spec.to_field();
    if column.data_type() == expected.data_type() {
        return Ok(Arc::clone(column));
    }
    let numeric = DataType::from_arrow(column.data_type()).is_ok_and(DataType::is_numeric);
    if numeric && spec.data_type.is_numeric() && spec.row_shape.is_empty() {
        let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
        return Ok(arrow_cast::cast_with_options(column, expected.data_type(), &options)?);
    }
    Err(Error::failed_precondition(format!(
        "feature {:?} is {}, the model wants {}",
        spec.name,
        column.data_type(),
        expected.data_type()
    )))
}

fn micros(times: &ArrayRef) -> Result<Vec<i64>> {
    let plain: Option<Int64Array> = match times.as_primitive_opt::<arrow_array::types::Int64Type>() {
        Some(plain) => Some(plain.clone()),
        None => times
            .as_primitive_opt::<arrow_array::types::TimestampMicrosecondType>()
            .map(arrow_array::PrimitiveArray::reinterpret_cast::<arrow_array::types::Int64Type>),
    };
    match plain {
        Some(plain) if plain.null_count() == 0 => Ok(plain.values().to_vec()),
        _ => Err(Error::invalid_argument("event times must be INT64 microseconds without nulls")),
    }
}

/// The one event time of all rows, when there is one.
pub(crate) fn common_time(times: &ArrayRef) -> Option<Timestamp> {
    let times = micros(times).ok()?;
    let first = *times.first()?;
    times.iter().all(|&time| time == first).then(|| Timestamp::from_micros(first))
}
