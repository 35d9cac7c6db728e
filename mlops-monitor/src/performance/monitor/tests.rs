//! A monitor over made traffic: verdicts, windows, slices, fairness, value, bad input.

use std::sync::Arc;

use mlops_core::{
    ErrorKind, ModelName, Version,
    arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt32Array},
    testing::SplitMix64,
};
use mlops_metrics::ConfusionMatrix;
use proptest::prelude::*;

use super::*;
use crate::{
    Correction,
    performance::{
        BaselinePolicy, BinaryValues, BusinessSettings, FairnessSettings, FairnessVerdict, HoldoutSettings,
        PerformanceHeadline, RunCost, SliceSettings, Task, ValueMatrix, ValueSource,
    },
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// Requests of ten rows with labels 0 and 1, a score that knows a part of the label (the higher
/// `skill`, the more), and the inputs `country` (of three) and `age`.
struct Traffic {
    seed: u64,
    skill: f64,
    /// Rows of this country are scored by chance.
    blind_in: Option<&'static str>,
    variant: fn(u64) -> &'static str,
}

const FINE: Traffic = Traffic { seed: 1, skill: 0.5, blind_in: None, variant: |_| "champion" };
const ROWS: usize = 10;

impl Traffic {
    fn uniform(&self, request: u64, row: usize, what: u64) -> f64 {
        SplitMix64::new(self.seed).uniform((request * ROWS as u64 + row as u64) * 8 + what)
    }

    fn label(&self, request: u64, row: usize) -> f64 {
        f64::from(u8::from(self.uniform(request, row, 0) < 0.4))
    }

    fn country(&self, request: u64, row: usize) -> &'static str {
        ["at", "be", "ch"][(self.uniform(request, row, 1) * 3.0) as usize]
    }

    fn score(&self, request: u64, row: usize) -> f64 {
        let skill = if self.blind_in == Some(self.country(request, row)) { 0.0 } else { self.skill };
        skill * self.label(request, row) + (1.0 - skill) * self.uniform(request, row, 2)
    }

    fn predictions(&self, request: u64, seconds: i64) -> PredictionBatch {
        let scores: ArrayRef = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| self.score(request, row))));
        let countries: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| self.country(request, row))));
        let ages = (0..ROWS).map(|row| 20.0 + 50.0 * self.uniform(request, row, 3));
        let ages: ArrayRef = Arc::new(Float64Array::from_iter_values(ages));
        PredictionBatch {
            request_id: format!("r{request}").into(),
            model: ModelName::new("m").unwrap(),
            version: Version(1),
            variant: (self.variant)(request).into(),
            propensity: None,
            at: at(seconds),
            inputs: RecordBatch::try_from_iter([("country", countries), ("age", ages)]).unwrap(),
            outputs: RecordBatch::try_from_iter([("p", scores)]).unwrap(),
        }
    }

    fn labels(&self, request: u64) -> RecordBatch {
        let values = (0..ROWS).map(|row| self.label(request, row));
        label_batch(&format!("r{request}"), Arc::new(Float64Array::from_iter_values(values)))
    }

    /// Everything of a reference in one batch.
    fn validation(&self, requests: u64) -> RecordBatch {
        let cells: Vec<(u64, usize)> = (0..requests).flat_map(|r| (0..ROWS).map(move |row| (r, row))).collect();
        let numbers = |of: &dyn Fn(u64, usize) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(cells.iter().map(|(request, row)| of(*request, *row))))
        };
        let countries: ArrayRef =
            Arc::new(StringArray::from_iter_values(cells.iter().map(|(r, row)| self.country(*r, *row))));
        RecordBatch::try_from_iter([
            ("p", numbers(&|r, row| self.score(r, row))),
            ("label", numbers(&|r, row| self.label(r, row))),
            ("age", numbers(&|r, row| 20.0 + 50.0 * self.uniform(r, row, 3))),
            ("country", countries),
        ])
        .unwrap()
    }
}

fn label_batch(id: &str, labels: ArrayRef) -> RecordBatch {
    let ids: ArrayRef = Arc::new(StringArray::from(vec![id; labels.len()]));
    let rows: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..labels.len() as u32));
    RecordBatch::try_from_iter([("request_id", ids), ("row", rows), ("label", labels)]).unwrap()
}

fn settings() -> PerformanceSettings {
    PerformanceSettings::new(Task::binary("p")).with_window(WindowSettings::Seconds(1_000)).with_label_wait_s(500)
}

fn reference(settings: &PerformanceSettings, requests: u64) -> PerformanceReference {
    let rows =
        LabeledRows::from_batch(&settings.columns(), &Traffic { seed: 99, ..FINE }.validation(requests)).unwrap();
    PerformanceReference::from_rows(settings, &rows).unwrap()
}

/// Requests 0.. at seconds 0, 5, 10, ... each labeled at once.
fn serve(monitor: &mut PerformanceMonitor, traffic: &Traffic, requests: u64) {
    for request in 0..requests {
        let seconds = 5 * request as i64;
        monitor.observe(&traffic.predictions(request, seconds)).unwrap();
        monitor.label(&traffic.labels(request), at(seconds + 60)).unwrap();
    }
}

fn only_report(settings: &PerformanceSettings, traffic: &Traffic) -> PerformanceReport {
    let reference = reference(settings, 200);
    let mut monitor = PerformanceMonitor::builder(settings.clone()).with_reference(reference).build().unwrap();
    serve(&mut monitor, traffic, 200);
    let mut reports = monitor.poll(at(1_000)).unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

#[test]
fn a_worse_model_is_degraded_a_better_one_improved_and_the_same_ok() {
    let verdicts = |traffic: &Traffic| {
        let report = only_report(&settings(), traffic);
        (report.verdict, report.metrics.iter().map(|metric| metric.verdict).collect::<Vec<_>>())
    };
    let worse = verdicts(&Traffic { skill: 0.3, ..FINE });
    assert_eq!(worse.0, PerformanceHeadline::Degraded);
    assert!(worse.1.iter().all(|verdict| *verdict == PerformanceVerdict::Degraded), "{worse:?}");
    let better = verdicts(&Traffic { skill: 0.7, ..FINE });
    assert_eq!(better.0, PerformanceHeadline::Ok);
    assert!(better.1.contains(&PerformanceVerdict::Improved), "{better:?}");
    let same = verdicts(&FINE);
    assert_eq!(same, (PerformanceHeadline::Ok, vec![PerformanceVerdict::Ok; 5]));
}

#[test]
fn a_report_says_all_there_is() {
    let report = only_report(&settings(), &Traffic { skill: 0.3, ..FINE });
    assert!(report.settled && report.closed && report.maturity == 1.0);
    assert_eq!(report.label_delay.unwrap(), LabelDelay { p50_s: 60.0, p90_s: 60.0, p99_s: 60.0, max_s: 60.0 });
    for metric in &report.metrics {
        let (value, reference) = (metric.value.unwrap(), metric.reference.unwrap());
        assert!(metric.interval.unwrap().contains(value));
        assert!((metric.difference.unwrap() - (value - reference)).abs() < 1e-12);
        assert!(!metric.difference_interval.unwrap().contains(0.0), "{}", metric.metric);
        assert!(
            metric.mde.unwrap() > 0.0 && metric.mde.unwrap() < metric.difference.unwrap().abs(),
            "{}",
            metric.metric
        );
        assert!(metric.log10_q.unwrap() >= metric.log10_p.unwrap());
    }
    let model = ModelName::new("m").unwrap();
    let event = serde_json::to_value(report.event(&model, Version(1)).unwrap()).unwrap();
    assert_eq!((&event["kind"], &event["alert"]), (&"alert_raised".into(), &"performance of m version 1".into()));
    assert!(only_report(&settings(), &FINE).event(&model, Version(1)).is_none());
    let headline = report.to_string();
    assert!(headline.starts_with("degraded: roc_auc 0.") && headline.ends_with("2000 of 2000 labeled, settled"));
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    for key in ["verdict", "window_start", "maturity", "joined", "pending", "evicted", "metrics", "counts"] {
        assert!(!json[key].is_null(), "{key}");
    }
    for key in ["metric", "verdict", "value", "interval", "reference", "difference", "p", "log10_q", "mde"] {
        assert!(!json["metrics"][0][key].is_null(), "{key}");
    }
    assert_eq!(json["metrics"][0]["interval"]["method"], "de_long_logit");
    assert_eq!(serde_json::from_value::<PerformanceReport>(json).unwrap(), report);
}

#[test]
fn few_rows_and_undefined_metrics_have_no_verdict() {
    let settings = settings().with_metrics(["accuracy", "roc_auc"]).unwrap();
    let mut monitor =
        PerformanceMonitor::builder(settings.clone()).with_reference(reference(&settings, 50)).build().unwrap();
    monitor.observe(&FINE.predictions(0, 1)).unwrap();
    let ones: ArrayRef = Arc::new(BooleanArray::from(vec![true; ROWS]));
    monitor.label(&label_batch("r0", ones), at(2)).unwrap();
    let report = monitor.provisional().unwrap().unwrap();
    assert!(!report.closed && !report.settled && report.verdict == PerformanceHeadline::Insufficient);
    assert_eq!(report.metrics[0].verdict, PerformanceVerdict::Insufficient { n: 10, min_n: 100 });
    assert_eq!(report.metrics[1].verdict, PerformanceVerdict::Undefined);
    assert!(report.metrics[1].note.as_ref().unwrap().contains("one class"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["metrics"][0]["verdict"], &json["metrics"][0]["min_n"]), (&"insufficient".into(), &100.into()));
}

#[test]
fn windows_wait_for_labels_but_not_for_ever() {
    let mut monitor = PerformanceMonitor::builder(settings()).build().unwrap();
    for request in 0..300 {
        monitor.observe(&FINE.predictions(request, 5 * request as i64)).unwrap();
        if request % 4 != 0 {
            monitor.label(&FINE.labels(request), at(1_600)).unwrap();
        }
    }
    assert!(monitor.poll(at(1_499)).unwrap().is_empty());
    let reports = monitor.poll(at(1_500)).unwrap();
    let [report] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((report.window_start, report.window_end), (at(0), at(1_000)));
    assert_eq!(report.window, JoinWindow { joined: 1_500, pending: 500, evicted: 0 });
    assert_eq!((report.maturity, report.settled, report.closed), (0.75, false, true));
    assert_eq!(report.counts.evicted, 500);
    assert!(report.metrics.iter().all(|metric| metric.verdict == PerformanceVerdict::NoReference));
    assert_eq!(monitor.join().counts(), report.counts);
    // A label for a closed window comes too late.
    assert_eq!(monitor.label(&FINE.labels(0), at(1_501)).unwrap().early, 10);
    assert_eq!(monitor.poll(at(9_999)).unwrap().len(), 1);
    assert!(monitor.provisional().unwrap().is_none());
}

#[test]
fn absurd_times_end() {
    for window in [WindowSettings::Seconds(1_000), WindowSettings::Seconds(u64::MAX), WindowSettings::Rows(1)] {
        let mut monitor = PerformanceMonitor::builder(settings().with_window(window)).build().unwrap();
        let mut taken = 0;
        for (request, micros) in [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX].into_iter().enumerate() {
            let at = Timestamp::from_micros(micros);
            let seen = monitor.observe(&PredictionBatch { at, ..FINE.predictions(request as u64, 0) }).unwrap();
            monitor.label(&FINE.labels(request as u64), Timestamp::MAX).unwrap();
            taken += seen.taken;
        }
        assert_eq!((taken, monitor.join().counts().predictions_invalid), (40, 10));
        let reports = monitor.poll(Timestamp::MAX).unwrap();
        assert_eq!(reports.iter().map(|report| report.window.joined).sum::<u64>(), 40, "{window:?}");
        assert!(monitor.provisional().unwrap().is_none());
    }
}

#[test]
fn windows_of_rows_hold_as_many() {
    let mut monitor = PerformanceMonitor::builder(settings().with_window(WindowSettings::Rows(500))).build().unwrap();
    serve(&mut monitor, &FINE, 120);
    let reports = monitor.poll(at(100_000)).unwrap();
    assert_eq!(reports.iter().map(|report| report.window.joined).collect::<Vec<_>>(), [500, 500]);
    assert_eq!(monitor.join().window(at(100_000)).joined, 200);
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let settings = settings().with_fairness(FairnessSettings::new(["country"]));
    let mut straight = PerformanceMonitor::builder(settings.clone()).build().unwrap();
    serve(&mut straight, &FINE, 300);
    straight.poll(at(1_000)).unwrap();
    let state = straight.state().unwrap();
    let mut restarted = PerformanceMonitor::builder(settings.clone()).with_state(state.clone()).build().unwrap();
    assert_eq!(straight.poll(at(9_000)).unwrap(), restarted.poll(at(9_000)).unwrap());
    let series = |monitor: &PerformanceMonitor| -> Vec<FairnessPoint> {
        monitor.fairness_series("country", FairnessMetric::EqualizedOddsDifference).copied().collect()
    };
    assert_eq!(series(&straight).len(), 2);
    assert_eq!(series(&straight), series(&restarted));
    let other = PerformanceSettings { task: Task::regression("p"), fairness: None, ..settings };
    for (settings, state) in [(other.clone(), state.as_str()), (other, "{}")] {
        let error = PerformanceMonitor::builder(settings).with_state(state).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn the_slice_that_is_scored_by_chance_is_the_worst() {
    let settings = settings().with_slices(SliceSettings::new(["country", "age"]));
    let slices = only_report(&settings, &Traffic { blind_in: Some("be"), ..FINE }).slices.unwrap();
    assert_eq!(slices.metric.to_string(), "roc_auc");
    // Three countries, four ages, and twelve pairs.
    assert_eq!((slices.tested, slices.small, slices.skipped), (19, 0, 0));
    let worst = &slices.worst[0];
    assert!(worst.significant && worst.value < 0.6 && worst.gap < -0.3, "{worst:?}");
    assert!(worst.conditions.iter().any(|condition| condition.level == "be"), "{worst:?}");
    let alone = slices.worst.iter().find(|slice| slice.conditions.len() == 1 && slice.significant).unwrap();
    assert_eq!(alone.conditions[0].level, "be");
    assert!(alone.interval.unwrap().contains(alone.gap) && alone.interval.unwrap().high < 0.0);

    let even = only_report(&settings, &FINE).slices.unwrap();
    assert!(even.worst.iter().all(|slice| !slice.significant), "{even:?}");

    let few = SliceSettings { slices_max: 5, support_min: 1_000, ..SliceSettings::new(["country", "age"]) };
    let report = only_report(&self::settings().with_slices(few), &FINE).slices.unwrap();
    // Three countries and two of four ages; the ages are not all there and the pair is not at all.
    assert_eq!((report.tested, report.small, report.skipped), (0, 5, 2));
}

#[test]
fn p_values_are_corrected_as_the_settings_say() {
    let slices = SliceSettings { pairs: false, ..SliceSettings::new(["country", "age"]) };
    let found = |correction| {
        let settings = settings().with_slices(slices.clone()).with_correction(correction);
        let report = only_report(&settings, &Traffic { skill: 0.45, ..FINE });
        let logs = report.metrics.iter().filter_map(|metric| metric.log10_p.zip(metric.log10_q));
        let metrics: Vec<(f64, f64)> = logs.collect();
        let slices = report.slices.unwrap();
        (metrics, slices.worst.iter().map(|slice| (slice.p.log10(), slice.log10_q)).collect(), slices.tested)
    };
    let bonferroni: (Vec<_>, Vec<(f64, f64)>, _) = found(Correction::Bonferroni);
    for (pairs, count) in [(&bonferroni.0, bonferroni.0.len() as f64), (&bonferroni.1, bonferroni.2 as f64)] {
        assert!(pairs.len() > 1 && pairs.iter().any(|(log10_p, log10_q)| log10_p < log10_q), "{pairs:?}");
        for (log10_p, log10_q) in pairs {
            assert!((log10_q - (log10_p + count.log10()).min(0.0)).abs() < 1e-9, "{log10_p} {log10_q} {count}");
        }
    }
    // Never above it, and below it for all but the smallest.
    let default = found(settings().correction);
    assert_eq!(default, found(Correction::BenjaminiHochberg));
    for (all, each) in [(&bonferroni.0, &default.0), (&bonferroni.1, &default.1)] {
        assert!(all.iter().zip(each).all(|(all, each)| each.1 <= all.1 + 1e-12), "{all:?} {each:?}");
        assert!(all.iter().zip(each).any(|(all, each)| each.1 < all.1 - 0.1), "{all:?} {each:?}");
    }
}

#[test]
fn groups_that_are_treated_unlike_raise_an_alert() {
    let settings = settings().with_fairness(FairnessSettings::new(["country", "age"]));
    let fair = only_report(&settings, &FINE);
    assert_eq!(fair.unfair().count(), 0);
    assert_eq!(fair.fairness[1].groups.len(), 4);
    let report = only_report(&settings, &Traffic { blind_in: Some("be"), skill: 0.6, ..FINE });
    let unfair: Vec<_> = report.unfair().collect();
    assert!(unfair.contains(&("country", FairnessMetric::EqualOpportunityDifference)), "{unfair:?}");
    assert!(unfair.iter().all(|(attribute, _)| *attribute == "country"), "{unfair:?}");
    let value = report.fairness[0].metrics.iter().find(|v| v.metric == FairnessMetric::EqualOpportunityDifference);
    let gap = value.unwrap().gap.as_ref().unwrap();
    assert_eq!(gap.lowest, "be");
    assert!(report.to_string().contains("equal_opportunity_difference by country beyond its limit"));

    let strict = FairnessSettings { rows_min: 1_000_000, ..FairnessSettings::new(["country"]) };
    let report = only_report(&self::settings().with_fairness(strict), &FINE);
    let verdicts = report.fairness[0].metrics.iter().map(|value| value.verdict);
    assert!(verdicts.clone().count() == 7 && verdicts.into_iter().all(|v| v == FairnessVerdict::Insufficient));
    assert!(report.fairness[0].groups.iter().all(|group| !group.compared && group.n > 0));
}

#[test]
fn value_return_and_uplift_come_with_the_window() {
    let values = BinaryValues { true_positive: 10.0, false_positive: -4.0, false_negative: -10.0, true_negative: 0.0 };
    let business = BusinessSettings::new(ValueSource::Matrix(ValueMatrix::from(values)), BaselinePolicy::Class(0))
        .with_cost(RunCost { per_prediction: 0.1, per_label: 0.05, per_day: 864.0 })
        .with_holdout(HoldoutSettings { variant: "holdout".into(), share: 0.1 });
    let settings = settings().with_business(business);
    let traffic = Traffic { variant: |request| if request % 10 == 0 { "holdout" } else { "champion" }, ..FINE };
    let report = only_report(&settings, &traffic).business.unwrap();
    assert_eq!(report.valued, 2_000);
    assert!((report.run_cost - (200.0 + 100.0 + 10.0)).abs() < 1e-9, "{}", report.run_cost);
    let (value, baseline) = (report.value_total.unwrap(), report.baseline_total.unwrap());
    assert!((report.roi.unwrap() - (value - baseline - 310.0) / 310.0).abs() < 1e-9);
    assert!(report.roi_interval.unwrap().contains(report.roi.unwrap()) && report.roi_interval.unwrap().low > 0.0);
    // The holdout earns the baseline, which the reference did not have to.
    assert!(report.loss_per_day.unwrap() > 0.0);
    let uplift = report.uplift.unwrap();
    assert!(uplift.trusted && uplift.per_row > 0.0 && uplift.p < 1e-6, "{uplift:?}");
    assert_eq!((uplift.treated, uplift.held_out), (1_800, 200));
}

#[test]
fn classes_lists_and_numbers_have_reports_too() {
    let report = |task: Task, outputs: RecordBatch, labels: ArrayRef| {
        let mut monitor = PerformanceMonitor::builder(PerformanceSettings::new(task)).build().unwrap();
        let batch = PredictionBatch { inputs: outputs.clone(), outputs, ..FINE.predictions(0, 0) };
        monitor.observe(&batch).unwrap();
        monitor.label(&label_batch("r0", labels), at(1)).unwrap();
        monitor.provisional().unwrap().unwrap()
    };
    let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let words = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let classes = ["cat", "dog", "owl"].map(str::to_owned).to_vec();

    let probabilities = ["a", "b", "c"].map(str::to_owned).to_vec();
    let task = Task::Multiclass { classes: classes.clone(), probabilities, predicted: None };
    let outputs = [("a", floats(&[0.8, 0.1, 0.3])), ("b", floats(&[0.1, 0.8, 0.3])), ("c", floats(&[0.1, 0.1, 0.4]))];
    let found = report(task, RecordBatch::try_from_iter(outputs).unwrap(), words(&["cat", "dog", "dog"]));
    assert_eq!((found.metrics[0].value, found.metrics[3].metric.to_string().as_str()), (Some(2.0 / 3.0), "log_loss"));

    let task = Task::Multiclass { classes, probabilities: Vec::new(), predicted: Some("class".into()) };
    let outputs = RecordBatch::try_from_iter([("class", words(&["cat", "dog", "bat", "owl"]))]).unwrap();
    let found = report(task, outputs, Arc::new(Int64Array::from(vec![0, 2, 1, 2])));
    assert_eq!((found.metrics[0].value, found.counts.predictions_invalid), (Some(2.0 / 3.0), 1));

    let task = Task::Ranking { score: "s".into(), relevant_min: 1.0 };
    let outputs = RecordBatch::try_from_iter([("s", floats(&[0.9, 0.5, 0.1]))]).unwrap();
    let found = report(task, outputs, floats(&[0.0, 2.0, 1.0]));
    assert_eq!((found.metrics[1].metric.to_string().as_str(), found.metrics[1].value), ("mrr_at_10", Some(0.5)));

    let outputs = RecordBatch::try_from_iter([("y", floats(&[1.0, 2.0, 3.0]))]).unwrap();
    let found = report(Task::regression("y"), outputs, floats(&[1.0, 1.0, 5.0]));
    assert_eq!((found.metrics[0].value, found.metrics[3].value), (Some(1.0), Some(-1.0 / 3.0)));
}

#[test]
fn references_read_back_and_need_rows() {
    let settings = settings().with_slices(SliceSettings::new(["age"]));
    let reference = reference(&settings, 20);
    let json = reference.to_json().unwrap();
    assert_eq!(PerformanceReference::from_json(&json).unwrap(), reference);
    assert!(PerformanceReference::from_json(&json.replacen("\"format\":1", "\"format\":2", 1)).is_err());
    assert!(PerformanceReference::from_json("[]").is_err());
    let empty = LabeledRows::from_batch(&settings.columns(), &FINE.validation(0)).unwrap();
    assert!(empty.is_empty());
    assert_eq!(PerformanceReference::from_rows(&settings, &empty).unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn equal_models_are_seldom_called_degraded() {
    let settings = settings();
    let reference = reference(&settings, 200);
    let alarms = (0..100_u64).filter(|seed| {
        let mut monitor =
            PerformanceMonitor::builder(settings.clone()).with_reference(reference.clone()).build().unwrap();
        serve(&mut monitor, &Traffic { seed: 1_000 + seed, ..FINE }, 60);
        let report = monitor.provisional().unwrap().unwrap();
        report.metrics.iter().any(|m| matches!(m.verdict, PerformanceVerdict::Degraded | PerformanceVerdict::Improved))
    });
    // At most 5 % by design; 12 is three standard errors above, and one reference serves all.
    let alarms = alarms.count();
    assert!(alarms <= 12, "{alarms}");
}

type Numbers = (Option<f64>, Option<f64>, Option<f64>);

fn any_number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (0..5_i32).prop_map(|i| Some(f64::from(i) / 4.0)),
        1 => Just(None),
        1 => any::<f64>().prop_map(Some),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0, 1e308]).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_batch_breaks_a_monitor(
        rows in prop::collection::vec((any_number(), any_number(), any_number()), 0..40),
        kind in 0..4_usize,
        when in any::<i64>(),
        labeled in any::<i64>(),
        now in any::<i64>(),
    ) {
        let task = [
            Task::binary("p"),
            Task::regression("p"),
            Task::Ranking { score: "p".into(), relevant_min: 1.0 },
            Task::Multiclass { classes: vec!["0".into(), "1".into()], probabilities: Vec::new(), predicted: Some("p".into()) },
        ][kind].clone();
        let mut settings = PerformanceSettings::new(task);
        settings.estimates.resamples = 20;
        if kind != 2 {
            settings = settings.with_slices(SliceSettings { support_min: 2, ..SliceSettings::new(["x", "missing"]) });
        }
        if kind == 0 {
            settings = settings.with_fairness(FairnessSettings { rows_min: 1, ..FairnessSettings::new(["x"]) });
        }
        let value = BusinessSettings::new(ValueSource::Column("x".into()), BaselinePolicy::ValuePerRow(0.5));
        settings = settings.with_business(value.with_cost(RunCost { per_day: 1.0, ..RunCost::default() }));
        let column = |of: fn(&Numbers) -> Option<f64>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<Float64Array>())
        };
        let outputs = RecordBatch::try_from_iter([("p", column(|row| row.0))]).unwrap();
        let inputs = RecordBatch::try_from_iter([("x", column(|row| row.1))]).unwrap();
        let batch = PredictionBatch { inputs, outputs, at: Timestamp::from_micros(when), ..FINE.predictions(0, 0) };
        let mut monitor = PerformanceMonitor::builder(settings).build().unwrap();
        let seen = monitor.observe(&batch).unwrap();
        prop_assert_eq!(seen.taken + seen.invalid + seen.late, rows.len() as u64);
        monitor.label(&label_batch("r0", column(|row| row.2)), Timestamp::from_micros(labeled)).unwrap();
        let state = monitor.state().unwrap();
        let report = monitor.provisional().unwrap();
        if let Some(report) = &report {
            let _ = (report.to_string(), report.to_json().unwrap());
        }
        for report in monitor.poll(Timestamp::from_micros(now)).unwrap() {
            prop_assert!(report.closed);
        }
        let counts = monitor.join().counts();
        prop_assert_eq!(counts.predictions, counts.joined + monitor.join().pending() + counts.evicted);
        prop_assert!(PerformanceMonitor::builder(monitor.settings.clone()).with_state(state).build().is_ok());
    }

    #[test]
    fn counts_of_two_windows_are_those_of_their_rows_together(
        rows in prop::collection::vec((0..3_usize, 0..3_usize), 1..60),
        cut in 0..60_usize,
    ) {
        let matrix = |rows: &[(usize, usize)]| {
            let (labels, calls): (Vec<usize>, Vec<usize>) = rows.iter().copied().unzip();
            ConfusionMatrix::from_classes(3, &labels, &calls).unwrap()
        };
        let (first, second) = rows.split_at(cut.min(rows.len()));
        let mut merged = matrix(first);
        merged.merge(&matrix(second)).unwrap();
        let whole = matrix(&rows);
        prop_assert_eq!(merged.mcc(), whole.mcc());
        prop_assert_eq!(merged.averaged_f1(mlops_metrics::Average::Macro), whole.averaged_f1(mlops_metrics::Average::Macro));
        prop_assert_eq!(merged, whole);
    }
}
