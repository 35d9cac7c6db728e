//! The values of winning rows, brought to the rows of the spine.
//!
//! Values are read late: only columns that are asked for, only row groups that hold a winner, each row once however
//! many spine rows it serves.

use arrow_array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow_select::{concat::concat, take::take};
use mlops_core::{Error, Result};

use super::{resolved::ResolvedView, rows::Request, timeline::Timeline};

/// The distinct winners of one view, and which of them each spine row gets.
pub(super) struct Picks {
    /// Numbers of winning source rows, ascending.
    rows: Vec<u64>,
    /// For each spine row the place in `rows`.
    places: UInt32Array,
    /// The parts that hold winners, and where their winners begin and end in `rows`.
    parts: Vec<(usize, std::ops::Range<usize>)>,
}

impl Picks {
    /// Of `winners`, source row and slot. The parts of the source begin at the rows `firsts`.
    pub(super) fn new(mut winners: Vec<(u64, u32)>, timeline: &Timeline, firsts: &[u64]) -> Self {
        winners.sort_unstable();
        let (mut rows, mut of_slot): (Vec<u64>, _) = (Vec::with_capacity(winners.len()), vec![None; timeline.len()]);
        for (row, slot) in winners {
            if rows.last() != Some(&row) {
                rows.push(row);
            }
            if let Some(place) = of_slot.get_mut(slot as usize) {
                *place = Some((rows.len() - 1) as u32);
            }
        }
        let place = |slot: &Option<u32>| of_slot.get((*slot)? as usize).copied().flatten();
        let places = timeline.slots().iter().map(place).collect();
        rows.shrink_to_fit();
        let bounds = firsts.iter().map(|first| rows.partition_point(|row| row < first)).chain([rows.len()]);
        let bounds: Vec<usize> = bounds.collect();
        let parts = bounds.iter().zip(bounds.iter().skip(1)).map(|(begin, end)| *begin..*end).enumerate();
        let parts = parts.filter(|(_, range)| !range.is_empty()).collect();
        Self { rows, places, parts }
    }

    /// How many parts hold winners.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The output columns of the winners in the `index`-th part that holds any.
    pub(super) fn read(&self, index: usize, view: &ResolvedView<'_>, batch_rows: usize) -> Result<Vec<RecordBatch>> {
        let lost = || Error::internal("a join lost track of the parts of a source");
        let (part, range) = self.parts.get(index).ok_or_else(lost)?;
        let (rows, first) = self.rows.get(range.clone()).zip(view.firsts().get(*part)).ok_or_else(lost)?;
        let rows: Vec<u32> = rows.iter().map(|row| (row - first) as u32).collect();
        let columns: Vec<usize> = view.outputs.iter().map(|(place, _)| *place).collect();
        let request = Request { columns: &columns, rows: Some(&rows), batch_rows };
        let batches = view.view.rows.read(*part, request)?.collect::<Result<Vec<_>>>()?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if found == rows.len() {
            return Ok(batches);
        }
        let message =
            format!("a source has {found} of {} rows that it had before; it changed during the join", rows.len());
        Err(Error::data_loss(message))
    }

    /// Output column `column` for the spine, from its `pieces` in order of parts.
    pub(super) fn column(&self, column: usize, view: &ResolvedView<'_>, pieces: &[RecordBatch]) -> Result<ArrayRef> {
        let lost = || Error::internal("a join lost a column of a view");
        let (_, field) = view.outputs.get(column).ok_or_else(lost)?;
        if pieces.is_empty() {
            return Ok(new_null_array(field.data_type(), self.places.len()));
        }
        let arrays = pieces.iter().map(|piece| piece.columns().get(column).map(AsRef::as_ref).ok_or_else(lost));
        let winners = concat(&arrays.collect::<Result<Vec<_>>>()?)?;
        Ok(take(&winners, &self.places, None)?)
    }
}
