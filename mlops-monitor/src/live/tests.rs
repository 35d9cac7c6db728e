//! The sink and its thread together.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMillisecondArray};
use async_trait::async_trait;
use mlops_core::{
    Delivery, Error, EventBus, EventFilter, FactKind, InProcessBus, ModelName, PredictionBatch, PredictionSink, Result,
    Timestamp, Version,
    testing::{ManualClock, RecordingHandler, SplitMix64},
};
use tokio::sync::Semaphore;

use super::*;
use crate::{Headline, Monitor, ProfileSettings, ReferenceProfile};

fn values(name: &str, seed: u64, rows: usize, shift: f64) -> RecordBatch {
    let values = SplitMix64::new(seed).bell(rows).into_iter().map(|value| value + shift);
    let column: ArrayRef = Arc::new(Float64Array::from_iter_values(values));
    RecordBatch::try_from_iter([(name, column)]).unwrap()
}

fn model() -> ModelName {
    ModelName::new("rides").unwrap()
}

fn monitor() -> Monitor {
    let profile = ReferenceProfile::from_batch(&values("minutes", 1, 2_000, 0.0), &ProfileSettings::default());
    Monitor::builder(profile.unwrap()).build().unwrap()
}

fn batch(seed: u64, rows: usize, shift: f64, at_ms: i64) -> PredictionBatch {
    PredictionBatch {
        request_id: "r".into(),
        model: model(),
        version: Version(1),
        variant: "champion".into(),
        propensity: None,
        at: Timestamp::from_millis(at_ms),
        inputs: values("minutes", seed, rows, shift),
        outputs: values("price", seed, rows, 0.0),
    }
}

/// Keeps what it gets; takes a permit of the semaphore for each report where there is one.
#[derive(Debug, Default)]
struct Kept {
    reports: Mutex<Vec<WindowReport>>,
    gate: Option<Semaphore>,
    fails: bool,
}

impl Kept {
    /// Begin, end, rows and verdict of each window.
    fn windows(&self) -> Vec<(i64, i64, u64, Headline)> {
        let reports = self.reports.lock().unwrap();
        let of = |window: &WindowReport| {
            let (_, rows) = window.report.rows();
            (window.start.as_millis(), window.end.as_millis(), rows, window.report.verdict())
        };
        reports.iter().map(of).collect()
    }
}

#[async_trait]
impl ReportHandler for Kept {
    async fn handle(&self, report: &WindowReport) -> Result<()> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.reports.lock().unwrap().push(report.clone());
        if self.fails { Err(Error::unavailable("the dashboard is away")) } else { Ok(()) }
    }
}

fn builder(settings: LiveSettings, kept: &Arc<Kept>) -> LiveMonitorBuilder {
    LiveMonitor::builder(Arc::new(ManualClock::at(Timestamp::from_millis(10_000))))
        .with_settings(settings)
        .with_monitor(model(), Version(1), monitor())
        .with_handler(Arc::clone(kept))
}

fn tumbling(size_ms: u64, lateness_ms: u64) -> LiveSettings {
    LiveSettings { window: WindowKind::Tumbling { size_ms }, lateness_ms, ..LiveSettings::default() }
}

#[tokio::test]
async fn windows_are_reported_and_drift_is_announced() {
    let (kept, bus, heard) =
        (Arc::new(Kept::default()), Arc::new(InProcessBus::default()), Arc::new(RecordingHandler::default()));
    bus.subscribe(EventFilter::kinds([FactKind::DriftDetected]), Arc::<RecordingHandler>::clone(&heard));
    let live = builder(tumbling(1_000, 0), &kept).with_bus(bus).start().unwrap();
    // Small requests, as a service has them: the second window drifted.
    for request in 0..40 {
        let shift = if request < 20 { 0.0 } else { 1.0 };
        assert_eq!(live.append(batch(request, 25, shift, request.cast_signed() * 50)), Delivery::Accepted);
    }
    let foreign = PredictionBatch { version: Version(9), ..batch(1, 7, 0.0, 0) };
    assert_eq!(live.append(foreign), Delivery::Accepted);
    assert_eq!(live.append(batch(1, 3, 0.0, 500)), Delivery::Accepted);
    assert_eq!(live.append(batch(1, 2, 0.0, 99_999_999_999)), Delivery::Accepted);
    live.finish().await.unwrap();
    assert_eq!(kept.windows(), [(0, 1_000, 500, Headline::Ok), (1_000, 2_000, 500, Headline::Drift)]);
    assert_eq!(heard.events().len(), 1);
    let stats = live.stats();
    assert_eq!((stats.rows, stats.late_rows, stats.ahead_rows, stats.unwatched_rows), (1_000, 3, 2, 7));
    assert_eq!((stats.accepted_batches, stats.windows, live.dropped()), (43, 2, 0));
}

#[tokio::test]
async fn a_date_far_ahead_of_the_newest_row_is_counted_and_closes_nothing() {
    let kept = Arc::new(Kept::default());
    let settings = LiveSettings { jump_max_ms: Some(2_000), ..tumbling(1_000, 0) };
    let live = builder(settings, &kept).start().unwrap();
    for at in [100, 9_000, 200] {
        assert_eq!(live.append(batch(1, 250, 0.0, at)), Delivery::Accepted);
    }
    live.finish().await.unwrap();
    assert_eq!(kept.windows(), [(0, 1_000, 500, Headline::Ok)]);
    let stats = live.stats();
    assert_eq!((stats.rows, stats.jumped_rows, stats.late_rows, stats.ahead_rows), (500, 250, 0, 0));
}

#[tokio::test]
async fn a_full_queue_sheds_and_loses_nothing_that_it_took() {
    let kept = Arc::new(Kept { gate: Some(Semaphore::new(0)), ..Kept::default() });
    let window = WindowKind::Count { rows: 10, step: 10 };
    let settings = LiveSettings { window, queue_batches_max: 4, queue_rows_max: 25, ..LiveSettings::default() };
    let live = builder(settings, &kept).start().unwrap();
    // Every batch fills a window, and the handler holds the first one up.
    let taken = (0..50).filter(|seed| live.append(batch(*seed, 10, 0.0, 0)) == Delivery::Accepted).count();
    assert!((1..50).contains(&taken), "{taken}");
    assert_eq!(live.dropped(), 50 - taken as u64);
    kept.gate.as_ref().unwrap().add_permits(100);
    live.flush().await.unwrap();
    assert_eq!((live.stats().windows, live.stats().rows), (taken as u64, 10 * taken as u64));
    assert_eq!(live.append(batch(1, 1_000, 0.0, 0)), Delivery::Accepted, "a large batch is taken by an idle monitor");
}

#[tokio::test]
async fn what_a_handler_could_not_take_is_told_once() {
    let kept = Arc::new(Kept { fails: true, ..Kept::default() });
    let live = builder(tumbling(1_000, 0), &kept).start().unwrap();
    let _ = live.append(batch(1, 300, 0.0, 10));
    let _ = live.append(batch(2, 300, 0.0, 1_500));
    assert_eq!(live.flush().await.unwrap_err().message(), "the dashboard is away");
    live.flush().await.unwrap();
    live.advance_to(Timestamp::from_millis(2_000)).await.unwrap();
    assert!(live.flush().await.is_err());
    assert_eq!(live.stats().failures, 2);
}

#[tokio::test]
async fn rows_may_have_times_of_their_own() {
    let kept = Arc::new(Kept::default());
    let settings = LiveSettings { time_column: Some("at".to_owned()), ..tumbling(1_000, 5_000) };
    let live = builder(settings, &kept).start().unwrap();
    let at: ArrayRef =
        Arc::new(TimestampMillisecondArray::from(vec![Some(1_500), None, Some(20), Some(999), Some(1_000)]));
    let minutes: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 5]));
    let inputs = RecordBatch::try_from_iter_with_nullable([("at", at, true), ("minutes", minutes, true)]).unwrap();
    let _ = live.append(PredictionBatch { inputs, ..batch(1, 5, 0.0, 0) });
    live.finish().await.unwrap();
    let windows: Vec<_> = kept.windows().into_iter().map(|(start, end, rows, _)| (start, end, rows)).collect();
    assert_eq!(windows, [(0, 1_000, 2), (1_000, 2_000, 2)]);
    assert_eq!((live.stats().rows, live.stats().undated_rows), (4, 1));
}

#[tokio::test]
async fn rows_that_do_not_fit_their_window_are_counted_and_the_rest_goes_on() {
    let kept = Arc::new(Kept::default());
    let live = builder(tumbling(1_000, 0), &kept).start().unwrap();
    let _ = live.append(batch(1, 300, 0.0, 10));
    let _ = live.append(PredictionBatch { inputs: values("seconds", 3, 40, 0.0), ..batch(2, 40, 0.0, 20) });
    let _ = live.append(PredictionBatch { outputs: values("price", 3, 39, 0.0), ..batch(2, 40, 0.0, 20) });
    let _ = live.append(batch(4, 300, 0.0, 30));
    live.finish().await.unwrap();
    assert_eq!(kept.windows().len(), 1);
    assert_eq!(kept.windows()[0].2, 600);
    assert_eq!(live.stats().rejected_rows, 80);
}

#[test]
fn starting_needs_a_runtime_and_sound_settings() {
    let kept = Arc::new(Kept::default());
    let error = builder(tumbling(1_000, 0), &kept).start().unwrap_err();
    assert!(error.message().contains("Tokio runtime"), "{error}");
    let error = builder(tumbling(0, 0), &kept).start().unwrap_err();
    assert!(error.message().contains("size_ms"), "{error}");
}

#[tokio::test]
async fn an_idle_stream_is_closed_by_time() {
    let kept = Arc::new(Kept::default());
    let live = builder(tumbling(1_000, 100), &kept).start().unwrap();
    let _ = live.append(batch(1, 300, 0.0, 10));
    live.advance_to(Timestamp::from_millis(1_099)).await.unwrap();
    live.flush().await.unwrap();
    assert_eq!(live.stats().windows, 0);
    live.advance_to(Timestamp::from_millis(1_100)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), live.flush()).await.unwrap().unwrap();
    assert_eq!(live.stats().windows, 1);
}
