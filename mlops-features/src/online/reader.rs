//! Reading features for serving: one snapshot, time to live applied, aggregates evaluated at the time asked about.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, FeatureReader, FeatureRef, Result, Timestamp};

use super::{EntityKey, OnlineStore, ReadKeys, ResolvedView, key::entity_keys, record::Record, resolved::Place};
use crate::{
    definition::first_duplicate,
    value::{Value, array},
};

/// Reads features from an online store.
///
/// The latest row counts when its event is at or before the time asked about and within the view's time to live;
/// windows count the events in `(as_of - window, as_of]`. An entity that was never seen has null columns and empty
/// windows, so its counts are 0, as offline; an entity with a null key has nulls throughout.
#[derive(Debug, Clone)]
pub struct OnlineReader {
    store: Arc<dyn OnlineStore>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
}

/// The features of one view within a question.
struct Asked {
    view: Arc<ResolvedView>,
    /// Position in the answer, place in the view, type.
    features: Vec<(usize, Place, DataType)>,
    /// For every entity row, which of the keys read is its.
    rows: Vec<Option<usize>>,
}

impl OnlineReader {
    pub(crate) fn new(store: Arc<dyn OnlineStore>, views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>) -> Self {
        Self { store, views }
    }

    /// Groups the features by view and finds the keys to read.
    fn ask(&self, features: &[FeatureRef], entities: &RecordBatch) -> Result<(Vec<Asked>, Vec<ReadKeys>)> {
        let (mut asked, mut reads): (Vec<Asked>, Vec<ReadKeys>) = (Vec::new(), Vec::new());
        for (position, feature) in features.iter().enumerate() {
            let unknown = || Error::not_found(format!("feature view \"{}\" is not defined", feature.view()));
            let view = self.views.get(feature.view()).ok_or_else(unknown)?;
            let (place, data_type) = view.place(feature.feature())?;
            let entry = (position, place, data_type);
            if let Some(known) = asked.iter_mut().find(|asked| Arc::ptr_eq(&asked.view, view)) {
                known.features.push(entry);
                continue;
            }
            let found = entity_keys(entities, view.view.entity().join_keys(), &view.key_types)?;
            let mut keys: Vec<EntityKey> = Vec::with_capacity(found.len());
            let number = |key: Option<EntityKey>| {
                keys.push(key?);
                Some(keys.len() - 1)
            };
            let rows = found.into_iter().map(number).collect();
            asked.push(Asked { view: Arc::clone(view), features: vec![entry], rows });
            reads.push(ReadKeys { table: Arc::clone(&view.online), keys });
        }
        Ok((asked, reads))
    }
}

impl Asked {
    /// The values of this view's features for every entity row, one list per feature.
    fn values(&self, records: &[Option<Bytes>], as_of: i64) -> Result<Vec<Vec<Value>>> {
        let mut columns = vec![Vec::with_capacity(self.rows.len()); self.features.len()];
        for row in &self.rows {
            let values = match row {
                None => vec![Value::Null; self.features.len()],
                Some(at) => self.row(records.get(*at).and_then(Option::as_deref), as_of)?,
            };
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
        }
        Ok(columns)
    }

    fn row(&self, record: Option<&[u8]>, as_of: i64) -> Result<Vec<Value>> {
        let record = record.map(Record::decode).transpose()?.unwrap_or_default();
        let ttl = self.view.view.ttl().map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
        let alive = |time: i64| time <= as_of && ttl.is_none_or(|ttl| time >= as_of.saturating_sub(ttl));
        let latest = record.latest.as_ref().filter(|latest| alive(latest.time));
        let asks_windows = self.features.iter().any(|(_, place, _)| matches!(place, Place::Window(_)));
        let windows = if asks_windows { record.events.evaluate(&self.view.plan, as_of)? } else { Vec::new() };
        let value = |place: Place| match place {
            Place::Column(at) => latest.and_then(|latest| latest.values.get(at).cloned()),
            Place::Window(at) => windows.get(at).cloned(),
        };
        Ok(self.features.iter().map(|(_, place, _)| value(*place).unwrap_or_default()).collect())
    }
}

#[async_trait]
impl FeatureReader for OnlineReader {
    async fn get_online(
        &self,
        features: &[FeatureRef],
        entities: &RecordBatch,
        as_of: Timestamp,
    ) -> Result<RecordBatch> {
        let names = entities.schema_ref().fields().iter().map(|field| field.name().as_str());
        if let Some(twice) = first_duplicate(names.chain(features.iter().map(FeatureRef::feature))) {
            return Err(Error::invalid_argument(format!("column \"{twice}\" would occur twice in the answer")));
        }
        let (asked, reads) = self.ask(features, entities)?;
        let records = self.store.read(reads).await?;
        let mut columns: Vec<(usize, DataType, ArrayRef)> = Vec::with_capacity(features.len());
        for (asked, records) in asked.iter().zip(&records) {
            let values = asked.values(records, as_of.as_micros())?;
            for ((position, _, data_type), values) in asked.features.iter().zip(values) {
                let values: Vec<&Value> = values.iter().collect();
                columns.push((*position, data_type.clone(), array(&values, data_type)?));
            }
        }
        columns.sort_by_key(|(position, _, _)| *position);
        answer(features, entities, columns)
    }
}

fn answer(
    features: &[FeatureRef],
    entities: &RecordBatch,
    columns: Vec<(usize, DataType, ArrayRef)>,
) -> Result<RecordBatch> {
    let mut fields: Vec<_> = entities.schema_ref().fields().iter().cloned().collect();
    let mut arrays = entities.columns().to_vec();
    for (feature, (_, data_type, column)) in features.iter().zip(columns) {
        fields.push(Arc::new(Field::new(feature.feature(), data_type, true)));
        arrays.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(entities.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}
