//! One pass over the sources for one piece of a spine: search, then gather.
//!
//! The work is cut into parts of sources, of all views together, so that all threads have some whatever the sizes.
//! Which thread does what changes nothing: the best of candidates is the same in any order.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use mlops_core::{Result, ResultExt};

use super::{
    JoinSettings, JoinView, KeyIndex, Knowledge,
    candidates::Candidates,
    gather::Picks,
    pieces::bytes,
    resolved::ResolvedView,
    settings::{Costs, Shares},
    timeline::Timeline,
};
use crate::{time::Ticks, workers::spread};

/// What stays the same for all pieces of a spine.
pub(super) struct Pass<'a> {
    views: Vec<ResolvedView<'a>>,
    timestamp: &'a str,
    settings: &'a JoinSettings,
    schema: SchemaRef,
}

/// Columns of keys of the spine, and the unit of its moments.
type Line<'a> = (&'a [Arc<str>], Ticks);

/// A view beside the moments of the spine that it is searched for.
struct Side<'a> {
    view: &'a ResolvedView<'a>,
    timeline: &'a Timeline,
    candidates: Mutex<Candidates>,
}

/// Moment and slot of a spine row beside its key, with what sorting them takes, and what stays of them.
const LINE_BYTES: usize = 64;
const LINE_BYTES_KEPT: usize = 16;

/// The best offer of a slot, and a winner with its place while winners are sorted.
const CANDIDATE_BYTES: usize = 24;
const WINNER_BYTES: usize = 40;

/// A winner and its place once they are sorted.
const PICK_BYTES: usize = 16;

/// Keys, times and offers of a row while a batch is searched.
const OFFER_BYTES: usize = 88;

impl<'a> Pass<'a> {
    pub(super) fn new(
        views: &'a [JoinView],
        spine: &Schema,
        timestamp: &'a str,
        knowledge: Knowledge,
        settings: &'a JoinSettings,
    ) -> Result<Self> {
        let resolve = |view| ResolvedView::new(view, spine, timestamp, knowledge);
        let views = views.iter().map(resolve).collect::<Result<Vec<_>>>()?;
        let outputs = views.iter().flat_map(|view| &view.outputs).map(|(_, field)| Arc::new(field.clone()));
        let fields: Vec<_> = spine.fields().iter().cloned().chain(outputs).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, spine.metadata().clone()));
        Ok(Self { views, timestamp, settings, schema })
    }

    pub(super) fn into_schema(self) -> SchemaRef {
        self.schema
    }

    /// What the memory is used for while rows like those of `spine` are joined.
    pub(super) fn shares(&self, spine: &RecordBatch) -> Result<Shares> {
        let row = bytes(spine) / spine.num_rows().max(1);
        let (lines, views) = (self.lines().0, self.views.len());
        let keys = lines.iter().map(|(keys, _)| KeyIndex::bytes_per_key(spine, keys)).sum::<Result<usize>>()?;
        let outputs: usize = self.views.iter().map(ResolvedView::output_bytes).sum();
        // What a row takes beside itself in each step; the next one begins when it is over.
        let steps = [
            // The piece is put together from batches.
            row,
            keys + LINE_BYTES * lines.len(),
            keys + LINE_BYTES_KEPT * lines.len() + (CANDIDATE_BYTES + WINNER_BYTES) * views,
            // The winners' values, once more while they are put together, and the answer.
            PICK_BYTES * views + 3 * outputs,
        ];
        let thread = |view: &ResolvedView<'_>| {
            let row = 2 * view.search_bytes().max(view.output_bytes()) + OFFER_BYTES;
            self.settings.batch_rows * row + view.buffer_bytes()
        };
        self.settings.shares(Costs {
            spine_row: row + steps.into_iter().max().unwrap_or(0),
            thread: self.views.iter().map(thread).max().unwrap_or(0),
        })
    }

    /// By which columns and in which unit the spine is turned round, and which of these each view goes by.
    fn lines(&self) -> (Vec<Line<'_>>, Vec<usize>) {
        let mut lines: Vec<Line<'_>> = Vec::new();
        let of_view = |view: &ResolvedView<'a>| {
            let line = (view.view.spine_keys.as_slice(), view.unit);
            lines.iter().position(|known| *known == line).unwrap_or_else(|| {
                lines.push(line);
                lines.len() - 1
            })
        };
        let of_view = self.views.iter().map(of_view).collect();
        (lines, of_view)
    }

    /// The joined rows of `spine`, at most `u32::MAX`.
    pub(super) fn run(&self, spine: &RecordBatch, threads: usize) -> Result<RecordBatch> {
        let picks = self.search(spine, threads)?;
        let added = self.gather(&picks, threads)?;
        let columns = spine.columns().iter().cloned().chain(added).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    /// The winners of every view.
    fn search(&self, spine: &RecordBatch, threads: usize) -> Result<Vec<Picks>> {
        let (lines, of_view) = self.lines();
        let timelines = spread(threads, &lines, |(keys, unit)| Timeline::build(spine, keys, self.timestamp, *unit))?;
        let sides = self.views.iter().zip(&of_view).filter_map(|(view, line)| {
            let timeline = timelines.get(*line)?;
            Some(Side { view, timeline, candidates: Mutex::new(Candidates::new(timeline.len())) })
        });
        let sides: Vec<Side<'_>> = sides.collect();
        let tasks: Vec<_> = sides.iter().flat_map(|side| side.parts().map(move |part| (side, part))).collect();
        spread(threads, &tasks, |(side, part)| side.search(*part, self.settings.batch_rows))?;
        spread(threads, &sides, |side| Ok(side.picks()))
    }

    /// The new columns of every view.
    fn gather(&self, picks: &[Picks], threads: usize) -> Result<Vec<ArrayRef>> {
        let both: Vec<_> = self.views.iter().zip(picks).collect();
        let parts = both.iter().flat_map(|(view, picks)| (0..picks.parts()).map(move |index| (*view, *picks, index)));
        let tasks: Vec<_> = parts.collect();
        let read = spread(threads, &tasks, |(view, picks, index)| {
            let batches = picks.read(*index, view, self.settings.batch_rows);
            batches.context(format!("feature view \"{}\"", view.view.name))
        })?;
        let mut read = read.into_iter();
        let pieces: Vec<Vec<RecordBatch>> =
            picks.iter().map(|picks| read.by_ref().take(picks.parts()).flatten().collect()).collect();
        let columns = both.iter().zip(&pieces).flat_map(|((view, picks), pieces)| {
            (0..view.outputs.len()).map(move |column| (*view, *picks, pieces, column))
        });
        let tasks: Vec<_> = columns.collect();
        spread(threads, &tasks, |(view, picks, pieces, column)| picks.column(*column, view, pieces))
    }
}

impl Side<'_> {
    /// The parts of the source that can hold a winner.
    fn parts(&self) -> impl Iterator<Item = usize> + '_ {
        let span = self.timeline.span();
        let all = 0..self.view.view.rows.parts().len();
        all.filter(move |part| span.is_some_and(|span| self.view.may_win(*part, span)))
    }

    fn search(&self, part: usize, batch_rows: usize) -> Result<()> {
        let accept = |offers: &[_]| self.candidates.lock().unwrap_or_else(PoisonError::into_inner).offer(offers);
        let searched = self.view.search(part, self.timeline, batch_rows, accept);
        searched.context(format!("feature view \"{}\"", self.view.view.name))
    }

    fn picks(&self) -> Picks {
        let candidates = self.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        Picks::new(candidates.winners(self.timeline, self.view.ttl()), self.timeline, self.view.firsts())
    }
}
