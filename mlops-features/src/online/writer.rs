//! From event batches to online records: what streaming pushes and materialization share.
//!
//! Both advance the view's watermark to the newest event written, and materialization reads only beyond it, so an
//! event that came by a push is not read again. Should it be, nothing changes: a record knows its events by time and
//! identity (see [`crate::FeatureViewBuilder::with_event_id`]).

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use hashbrown::HashMap;
use mlops_core::{Error, Result, ResultExt, Timestamp};

use super::{
    EntityKey, OnlineStore, ResolvedView, Update, WriteBatch,
    key::entity_keys,
    record::{Latest, LatestHead},
};
use crate::{
    cell::Cell,
    time::{column, micros},
    value::{cell, encode_cell},
    window::Event,
};

/// Largest batch that is worked on in place; larger ones go to a blocking thread.
pub(super) const ROWS_IN_PLACE_MAX: usize = 256;

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushReceipt {
    /// Rows with a key and a time.
    pub rows: u64,
    /// Rows without key or time, which no entity can own; counted, not kept.
    pub skipped: u64,
}

/// Writes events straight into the online store, before or beside the offline table.
#[derive(Debug, Clone)]
pub struct OnlineWriter {
    store: Arc<dyn OnlineStore>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
}

impl OnlineWriter {
    pub(crate) fn new(store: Arc<dyn OnlineStore>, views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>) -> Self {
        Self { store, views }
    }

    /// Applies the events of `batch`, in order, to `view` in one transaction. The batch has the columns that the
    /// view needs; others are ignored. Pushing it again changes nothing.
    ///
    /// # Errors
    /// `NotFound` for an unknown view, `InvalidArgument` for a missing or wrongly typed column, and the errors of
    /// [`OnlineStore::write`].
    pub async fn push(&self, view: &str, batch: &RecordBatch) -> Result<PushReceipt> {
        let unknown = || Error::not_found(format!("feature view \"{view}\" is not defined"));
        let view = Arc::clone(self.views.get(view).ok_or_else(unknown)?);
        write_batch(self.store.as_ref(), view, batch.clone(), None).await
    }

    /// Makes everything pushed so far durable, for a store that is relaxed about it.
    ///
    /// # Errors
    /// As [`OnlineStore::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.store.flush().await
    }
}

/// Applies `batch` and moves the watermark to `watermark`, if one is given.
pub(crate) async fn write_batch(
    store: &dyn OnlineStore,
    view: Arc<ResolvedView>,
    batch: RecordBatch,
    watermark: Option<Timestamp>,
) -> Result<PushReceipt> {
    let (mut changes, receipt) = if batch.num_rows() <= ROWS_IN_PLACE_MAX {
        changes(&view, &batch)?
    } else {
        let work = move || changes(&view, &batch);
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("converting events panicked"))??
    };
    changes.watermark = watermark;
    if !changes.updates.is_empty() || changes.watermark.is_some() {
        store.write(changes).await?;
    }
    Ok(receipt)
}

/// What `batch` writes.
pub(crate) fn changes(view: &ResolvedView, batch: &RecordBatch) -> Result<(WriteBatch, PushReceipt)> {
    try_changes(view, batch).context(format!("feature view \"{}\"", view.view.name()))
}

/// The newest row of an update so far, and where its cells lie.
type Newest = Option<(LatestHead, Range<usize>)>;

fn try_changes(view: &ResolvedView, batch: &RecordBatch) -> Result<(WriteBatch, PushReceipt)> {
    check_types(view, batch)?;
    let keys = entity_keys(batch, view.view.entity().join_keys(), &view.key_types)?;
    let times = micros(batch, view.view.timestamp())?;
    let created = view.view.created().map(|name| micros(batch, name)).transpose()?;
    let columns = named(batch, view.view.columns())?;
    let inputs = named(batch, &view.plan.columns)?;
    let windows = !view.plan.aggregations.is_empty();
    let identities = if windows { view.plan.identities(batch)? } else { Vec::new() };
    let retractions = view.plan.retractions(batch)?;
    let mut updates: Vec<(EntityKey, Update)> = Vec::new();
    // The newest row of each update: its cells, and those of rows that lost, lie in one buffer.
    let (mut newest, mut cells): (Vec<Newest>, _) = (Vec::new(), Vec::new());
    let mut position: HashMap<EntityKey, usize> = HashMap::new();
    let mut rows = 0;
    for (row, (key, time)) in keys.into_iter().zip(&times).enumerate() {
        let Some((key, time)) = key.zip(*time) else { continue };
        rows += 1;
        let at = *position.entry(key.clone()).or_insert_with(|| {
            updates.push((key, Update::new(view.limits.clone())));
            newest.push(None);
            updates.len() - 1
        });
        let (Some((_, update)), Some(newest)) = (updates.get_mut(at), newest.get_mut(at)) else { continue };
        if !columns.is_empty() {
            let created = created.as_ref().and_then(|created| created.get(row).copied().flatten());
            let head = LatestHead { time, created, cells: u32::try_from(columns.len()).unwrap_or(u32::MAX) };
            if newest.as_ref().is_none_or(|(newest, _)| head.replaces(*newest)) {
                let start = cells.len();
                for column in &columns {
                    encode_cell(&Cell::of(column.as_ref(), row)?, &mut cells);
                }
                *newest = Some((head, start..cells.len()));
            }
        }
        if let Some(identity) = identities.get(row).copied() {
            update.add_event(if retractions.get(row) == Some(&true) {
                Event::retraction(time, identity, inputs.len())
            } else {
                let values = inputs.iter().map(|column| cell(column.as_ref(), row)).collect::<Result<_>>()?;
                Event { time, identity, values }
            });
        }
    }
    let cells = Bytes::from(cells);
    for ((_, update), newest) in updates.iter_mut().zip(newest) {
        if let Some((head, span)) = newest {
            update.add_row(Latest { head, cells: cells.slice(span) });
        }
    }
    let skipped = batch.num_rows() as u64 - rows;
    Ok((WriteBatch { table: Arc::clone(&view.online), updates, watermark: None }, PushReceipt { rows, skipped }))
}

fn named<'a>(batch: &'a RecordBatch, names: &[Arc<str>]) -> Result<Vec<&'a ArrayRef>> {
    names.iter().map(|name| column(batch, name)).collect()
}

/// Plain columns must have the table's types, or they would come back as something else.
fn check_types(view: &ResolvedView, batch: &RecordBatch) -> Result<()> {
    let aggregated = view.plan.columns.iter().zip(&view.plan.column_types);
    for (name, wanted) in view.view.columns().iter().zip(&view.column_types).chain(aggregated) {
        let found = column(batch, name)?.data_type();
        if !found.equals_datatype(wanted) {
            return Err(Error::invalid_argument(format!("column \"{name}\" must be {wanted}; it is {found}")));
        }
    }
    Ok(())
}
