//! The thread that does the work: places rows, closes windows, compares, hands reports on.
//!
//! Invariant: everything accepted is processed in order; whatever goes wrong with one batch or one report is counted and
//! never keeps the next from its turn.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{Field, Schema};
use arrow_select::take::take_record_batch;
use mlops_core::{Error, ModelName, PredictionBatch, Result, Timestamp, Version};
use tokio::sync::{mpsc, watch};

use super::{
    handler::WindowReport,
    monitor::Shared,
    pane::ProfilePane,
    settings::LiveSettings,
    stats::Fate,
    time::times,
    windows::{Complete, Placement, Windows},
};
use crate::monitor::Monitor;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Message {
    Batch(PredictionBatch),
    /// Close what ends at this time or before.
    Advance(Timestamp),
    /// Close everything.
    Finish,
}

/// One model version: its reference and its open windows.
#[derive(Debug)]
struct Stream {
    monitor: Arc<Monitor>,
    windows: Windows<ProfilePane>,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: LiveSettings,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) progress: watch::Sender<u64>,
    streams: HashMap<(ModelName, Version), Stream>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: LiveSettings,
        runtime: tokio::runtime::Handle,
        progress: watch::Sender<u64>,
    ) -> Self {
        Self { shared, settings, runtime, progress, streams: HashMap::new() }
    }

    /// Works until the last sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(message) = queue.blocking_recv() {
            match message {
                Message::Batch(batch) => self.take(&batch),
                Message::Advance(time) => {
                    let now = self.shared.clock.now();
                    self.each_stream(|stream| stream.windows.advance(time, now));
                }
                Message::Finish => self.finish(),
            }
            self.progress.send_modify(|processed| *processed += 1);
        }
    }

    fn take(&mut self, batch: &PredictionBatch) {
        let rows = batch.inputs.num_rows() as u64;
        self.shared.queued_rows.fetch_sub(rows, Ordering::Relaxed);
        let key = (batch.model.clone(), batch.version);
        if !self.streams.contains_key(&key) {
            let Some(monitor) = self.shared.watched(&key) else { return self.count(Fate::Unwatched, rows) };
            self.streams.insert(key.clone(), Stream { monitor, windows: Windows::new(&self.settings) });
        }
        let Ok(whole) = joined(&batch.inputs, &batch.outputs) else { return self.count(Fate::Rejected, rows) };
        let times = self.settings.time_column.as_ref().map(|name| match batch.inputs.column_by_name(name) {
            Some(column) => times(column),
            None => vec![None; batch.inputs.num_rows()],
        });
        match times {
            None => self.place(&key, whole, batch.at),
            Some(times) => {
                for (time, part) in by_time(&times, &whole) {
                    match time {
                        Some(time) => self.place(&key, part, time),
                        None => self.count(Fate::Undated, part.num_rows() as u64),
                    }
                }
            }
        }
    }

    /// Puts rows of one time into their pane and reports what is complete then.
    fn place(&mut self, key: &(ModelName, Version), mut rows: RecordBatch, at: Timestamp) {
        let now = self.shared.clock.now();
        while rows.num_rows() > 0 {
            let Some(stream) = self.streams.get_mut(key) else { return };
            let room = usize::try_from(stream.windows.room()).unwrap_or(usize::MAX).min(rows.num_rows());
            let part = rows.slice(0, room);
            rows = rows.slice(room, rows.num_rows() - room);
            let count = part.num_rows() as u64;
            let (fate, pane) = match stream.windows.place(at, now) {
                Placement::Pane(pane) => (Fate::Kept, Some(pane)),
                Placement::Late(pane) => (Fate::Late, pane),
                Placement::Ahead => (Fate::Ahead, None),
                Placement::Jumped => (Fate::Jumped, None),
            };
            if let Some(pane) = pane {
                // Settings were checked when the monitor was built.
                let Ok(new) = ProfilePane::new(&self.settings.sketch) else { return };
                match stream.windows.pane(pane, at, count, || new) {
                    Ok(pane) => pane.push(part),
                    Err(error) => self.shared.fail(error),
                }
            }
            self.count(fate, count);
            self.report_complete(key, Windows::complete);
        }
    }

    fn count(&self, fate: Fate, rows: u64) {
        self.shared.counters.count_rows(&*self.shared.meter, fate, rows);
    }

    fn each_stream(&mut self, change: impl Fn(&mut Stream)) {
        let keys: Vec<_> = self.streams.keys().cloned().collect();
        for key in keys {
            if let Some(stream) = self.streams.get_mut(&key) {
                change(stream);
            }
            self.report_complete(&key, Windows::complete);
        }
    }

    fn finish(&mut self) {
        let keys: Vec<_> = self.streams.keys().cloned().collect();
        for key in keys {
            self.report_complete(&key, Windows::finish);
            self.streams.remove(&key);
        }
    }

    fn report_complete(
        &mut self,
        key: &(ModelName, Version),
        next: fn(&mut Windows<ProfilePane>) -> Result<Option<Complete<ProfilePane>>>,
    ) {
        while let Some(stream) = self.streams.get_mut(key) {
            match next(&mut stream.windows) {
                Ok(Some(complete)) => {
                    let monitor = Arc::clone(&stream.monitor);
                    self.report(key, complete, &monitor);
                }
                Ok(None) => return,
                Err(error) => self.shared.fail(error),
            }
        }
    }

    fn report(&self, (model, version): &(ModelName, Version), complete: Complete<ProfilePane>, monitor: &Monitor) {
        let Complete { start, end, pane } = complete;
        let (profile, rejected) = pane.into_profile();
        self.count(Fate::Rejected, rejected);
        let started = self.shared.clock.now();
        let report = match monitor.observe_profile(&profile, end) {
            Ok(report) => report,
            Err(error) => return self.shared.fail(error),
        };
        self.shared.counters.count_window();
        let labels = [("verdict", report.verdict().as_str())];
        self.shared.meter.count("mlops_monitor_live_windows_total", &labels, 1);
        let event = report.event(model, *version);
        let elapsed = self.shared.clock.now().duration_since(started);
        let report = WindowReport { model: model.clone(), version: *version, start, end, report, elapsed };
        let delivered = self.runtime.block_on(async {
            let mut outcome = Ok(());
            for handler in &self.shared.handlers {
                outcome = outcome.and(handler.handle(&report).await);
            }
            if let (Some(bus), Some(event)) = (&self.shared.bus, event) {
                outcome = outcome.and(bus.publish(event).await);
            }
            outcome
        });
        if let Err(error) = delivered {
            self.shared.fail(error);
        }
    }
}

/// Inputs and outputs as one batch; an output with the name of an input gets the prefix `output.`.
fn joined(inputs: &RecordBatch, outputs: &RecordBatch) -> Result<RecordBatch> {
    if inputs.num_rows() != outputs.num_rows() {
        return Err(Error::invalid_argument("a prediction has as many outputs as inputs"));
    }
    let (left, right) = (inputs.schema(), outputs.schema());
    let mut fields: Vec<Field> = left.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(right.fields().iter().map(|field| {
        let taken = left.column_with_name(field.name()).is_some();
        let field = field.as_ref().clone();
        if taken { field.clone().with_name(format!("output.{}", field.name())) } else { field }
    }));
    let columns = inputs.columns().iter().chain(outputs.columns()).cloned().collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The rows of each time, earliest first; those without one first of all.
fn by_time(times: &[Option<Timestamp>], whole: &RecordBatch) -> Vec<(Option<Timestamp>, RecordBatch)> {
    let mut order: Vec<(Option<Timestamp>, u32)> = times.iter().copied().zip(0..).collect();
    order.sort_by_key(|(time, _)| *time);
    let part = |rows: &[(Option<Timestamp>, u32)]| {
        let time = rows.first().and_then(|(time, _)| *time);
        let indices = UInt32Array::from_iter_values(rows.iter().map(|(_, row)| *row));
        take_record_batch(whole, &indices).ok().map(|part| (time, part))
    };
    order.chunk_by(|a, b| a.0 == b.0).filter_map(part).collect()
}
