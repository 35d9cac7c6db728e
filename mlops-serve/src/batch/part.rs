//! One part from its first row to its place in the output.

use std::{sync::Arc, thread};

use arrow_array::RecordBatch;
use mlops_core::{Error, ErrorKind, Result};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{
    fault::{about, of_reading, of_rows},
    job::{Job, PartReport},
    plan::{Planned, open},
    progress::Tracker,
    record::{Mark, Record},
    score::{Scored, Scorer},
    staged::Staged,
};

/// Predicts the rows of `planned` on `lanes` threads and puts them into their place. Computation and files.
///
/// # Errors
/// `Cancelled`; `Conflict` when the file changed meanwhile; `DataLoss` when it is damaged; what the model or the disk
/// refuses.
pub(super) fn run(job: &Job, planned: &Planned, lanes: usize, tracker: &Tracker) -> Result<PartReport> {
    let path = planned.part.path.as_path();
    let ((file, metadata), (_, shape)) = open(job, path)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let needed = ProjectionMask::roots(builder.parquet_schema(), shape.columns.iter().copied());
    let reader = builder.with_projection(needed).with_batch_size(job.settings.rows_per_batch).build();
    let mut batches = reader.map_err(|error| of_reading(path, error))?;
    let mut staged = Staged::create(&job.output, &planned.part.name, Arc::clone(&shape.output), &job.settings)?;
    let scorer = Scorer { model: &*job.model, shape: &shape, keys: &job.keys, bad_rows: job.settings.bad_rows, path };
    let (mut rows, mut bad_rows) = (0, 0);
    loop {
        job.check()?;
        let group: std::result::Result<Vec<RecordBatch>, _> = batches.by_ref().take(lanes).collect();
        let group = group.map_err(|error| of_rows(path, error))?;
        if group.is_empty() {
            break;
        }
        for scored in score_beside(&scorer, &group, rows)? {
            let count = scored.rows.num_rows() as u64;
            staged.write(&scored.rows)?;
            (rows, bad_rows) = (rows + count, bad_rows + scored.bad_rows);
            tracker.rows(count, scored.bad_rows);
        }
    }
    if Mark::of(path, job.settings.fingerprint)? != planned.origin.input {
        return Err(about(ErrorKind::Conflict, path, "was changed while it was read"));
    }
    if rows != planned.rows {
        let text = format!("is damaged: its footer tells of {} rows, it has {rows}", planned.rows);
        return Err(about(ErrorKind::DataLoss, path, text));
    }
    staged.commit(&Record::new(planned.origin.clone(), rows, bad_rows))?;
    tracker.part();
    Ok(PartReport::new(&planned.part.name, rows, bad_rows, false))
}

/// Predicts each batch on a thread of its own.
fn score_beside(scorer: &Scorer<'_>, group: &[RecordBatch], mut first: u64) -> Result<Vec<Scored>> {
    if let [alone] = group {
        return Ok(vec![scorer.score(alone, first)?]);
    }
    thread::scope(|scope| {
        let begin = |batch| {
            let row = first;
            first += RecordBatch::num_rows(batch) as u64;
            thread::Builder::new().spawn_scoped(scope, move || scorer.score(batch, row))
        };
        let running: Vec<_> = group.iter().map(begin).collect();
        let ended = running.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(Error::internal("a thread of the batch job panicked"))),
            Err(error) => Err(Error::resource_exhausted("no thread for a batch").with_source(error)),
        });
        ended.collect()
    })
}
