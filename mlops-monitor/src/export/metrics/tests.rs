//! What is recorded is what is rendered, within bounds, whatever the names.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use mlops_core::{ErrorKind, testing::ManualClock};
use proptest::prelude::*;

use super::*;
use crate::{Monitor, ProfileSettings, ReferenceProfile, export::OtlpResource};

fn model(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

/// A report on columns of these names, of which the first `drifted` have moved, the first one furthest.
fn report(names: &[String], drifted: usize) -> DriftReport {
    let batch = |moved: usize| {
        let columns = names.iter().enumerate().map(|(index, name)| {
            let far = if index < moved { 100.0 + (names.len() - index) as f64 } else { 0.0 };
            let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(|i| f64::from(i) + far)));
            (name.clone(), values)
        });
        RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).unwrap()
    };
    let profile = ReferenceProfile::from_batch(&batch(0), &ProfileSettings::default()).unwrap();
    Monitor::builder(profile).build().unwrap().observe(&batch(drifted), Timestamp::from_millis(0))
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("f{index:03}")).collect()
}

fn metrics(settings: MetricsSettings) -> MonitorMetrics {
    let clock = ManualClock::at(Timestamp::from_millis(1_700_000_000_500));
    MonitorMetrics::builder(clock).with_settings(settings).build().unwrap()
}

/// Metrics with something in every family.
pub(in crate::export) fn full() -> MonitorMetrics {
    let metrics = metrics(MetricsSettings::default());
    let (name, version) = (model("income"), Version(3));
    metrics.record_drift(&name, version, &report(&numbered(4), 2), Duration::from_millis(30));
    metrics.record_failure(&name, version, Duration::from_secs(400));
    metrics.record_quality(&name, version, ("not_null", "error"), 7);
    let estimate =
        PerformanceEstimate { metric: "roc_auc", kind: EstimateKind::Cbpe, value: 0.875, interval: Some((0.85, 0.9)) };
    metrics.record_performance(&name, version, &estimate).unwrap();
    metrics
}

#[test]
fn the_classic_format_line_by_line() {
    let text = full().render(TextFormat::Prometheus);
    let own = "model=\"income\",version=\"3\"";
    for line in [
        "# TYPE mlops_monitor_runs_total counter",
        "# TYPE mlops_monitor_build_info gauge",
        &format!("mlops_drift_score{{{own},feature=\"f000\",method=\"ks\"}} 0.52"),
        &format!("mlops_drift_detected{{{own},feature=\"f002\"}} 0.0"),
        &format!("mlops_drifted_features_ratio{{{own}}} 0.5"),
        &format!("mlops_feature_missing_ratio{{{own},feature=\"f003\"}} 0.0"),
        &format!("mlops_window_rows{{{own}}} 200.0"),
        &format!("mlops_monitor_run_duration_seconds_bucket{{{own},le=\"0.025\"}} 0"),
        &format!("mlops_monitor_run_duration_seconds_bucket{{{own},le=\"0.05\"}} 1"),
        &format!("mlops_monitor_run_duration_seconds_bucket{{{own},le=\"+Inf\"}} 2"),
        &format!("mlops_monitor_run_duration_seconds_sum{{{own}}} 400.03"),
        &format!("mlops_monitor_runs_total{{{own},outcome=\"drift\"}} 1"),
        &format!("mlops_monitor_runs_total{{{own},outcome=\"error\"}} 1"),
        &format!("mlops_quality_violations_total{{{own},rule=\"not_null\",severity=\"error\"}} 7"),
        &format!("mlops_performance_estimate{{{own},metric=\"roc_auc\",kind=\"cbpe\"}} 0.875"),
        &format!("mlops_performance_estimate_lower{{{own},metric=\"roc_auc\",kind=\"cbpe\"}} 0.85"),
        &format!("mlops_last_success_timestamp_seconds{{{own}}} 1700000000.5"),
        "mlops_monitor_build_info{version=\"0.1.0\"} 1.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
    assert_eq!(text.matches("# TYPE").count(), families::ALL.len());
}

#[test]
fn open_metrics_has_units_its_own_names_and_an_end() {
    let text = full().render(TextFormat::OpenMetrics);
    for line in [
        "# TYPE mlops_monitor_runs counter",
        "# TYPE mlops_monitor_build info",
        "# UNIT mlops_monitor_run_duration_seconds seconds",
        "# UNIT mlops_window_rows rows",
        "mlops_monitor_runs_total{model=\"income\",version=\"3\",outcome=\"drift\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn the_worst_features_keep_their_series() {
    let metrics = metrics(MetricsSettings { features_max: 3, ..MetricsSettings::default() });
    let mut names = numbered(10);
    // A feature called like the pool, among the worst.
    names[1] = "other".to_owned();
    metrics.record_drift(&model("m"), Version(1), &report(&names, 5), Duration::ZERO);
    let text = metrics.render(TextFormat::Prometheus);
    let detected: Vec<&str> = text.lines().filter(|line| line.starts_with("mlops_drift_detected{")).collect();
    assert_eq!(
        detected,
        [
            "mlops_drift_detected{model=\"m\",version=\"1\",feature=\"f000\"} 1.0",
            "mlops_drift_detected{model=\"m\",version=\"1\",feature=\"f002\"} 1.0",
            "mlops_drift_detected{model=\"m\",version=\"1\",feature=\"other\"} 1.0",
        ]
    );
    assert!(text.contains("mlops_drifted_features_ratio{model=\"m\",version=\"1\"} 0.5"));
}

#[test]
fn the_model_that_was_silent_longest_goes_first() {
    let metrics = metrics(MetricsSettings { models_max: 2, ..MetricsSettings::default() });
    for name in ["a", "b", "a", "c"] {
        metrics.record_failure(&model(name), Version(1), Duration::ZERO);
    }
    let text = metrics.render(TextFormat::Prometheus);
    assert!(text.contains("model=\"a\"") && text.contains("model=\"c\"") && !text.contains("model=\"b\""));
    metrics.forget(&model("a"), Version(1));
    assert!(!metrics.render(TextFormat::Prometheus).contains("model=\"a\""));
}

#[test]
fn rules_are_pooled_and_estimates_refused_beyond_their_bound() {
    let metrics = metrics(MetricsSettings { rules_max: 2, estimates_max: 1, ..MetricsSettings::default() });
    let (name, version) = (model("m"), Version(1));
    for rule in ["a", "b", "c", "d", "a"] {
        metrics.record_quality(&name, version, (rule, "error"), 5);
    }
    let text = metrics.render(TextFormat::Prometheus);
    assert!(
        text.contains("rule=\"a\",severity=\"error\"} 10") && text.contains("rule=\"other\",severity=\"other\"} 10")
    );
    let estimate = |metric| PerformanceEstimate { metric, kind: EstimateKind::Realised, value: 0.5, interval: None };
    metrics.record_performance(&name, version, &estimate("auc")).unwrap();
    metrics.record_performance(&name, version, &estimate("auc")).unwrap();
    let error = metrics.record_performance(&name, version, &estimate("f1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
}

#[test]
fn settings_out_of_range_are_all_named() {
    let settings = MetricsSettings { features_max: 0, models_max: 100_000, ..MetricsSettings::default() };
    let builder = MonitorMetrics::builder(ManualClock::at(Timestamp::from_millis(0)));
    let error = builder.with_settings(settings).build().unwrap_err();
    assert!(error.message().contains("features_max") && error.message().contains("models_max"), "{error}");
}

#[test]
fn otlp_has_the_same_values_under_its_own_names() {
    let body = full().to_otlp(&OtlpResource::new("income-service", "1.2.3"));
    let resource = &body["resourceMetrics"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "income-service");
    let metrics = resource["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let metric = |name: &str| metrics.iter().find(|metric| metric["name"] == name).unwrap();
    assert_eq!(metrics.len(), families::ALL.len());
    assert_eq!(metric("mlops.window.rows")["unit"], "{row}");
    assert_eq!(metric("mlops.window.rows")["gauge"]["dataPoints"][0]["asDouble"], 200.0);
    let runs = &metric("mlops.monitor.runs")["sum"];
    assert_eq!((&runs["isMonotonic"], &runs["dataPoints"][0]["asInt"]), (&true.into(), &"1".into()));
    assert_eq!(runs["dataPoints"][0]["timeUnixNano"], "1700000000500000000");
    let durations = &metric("mlops.monitor.run.duration")["histogram"]["dataPoints"][0];
    assert_eq!((&durations["count"], &durations["bucketCounts"][5]), (&"2".into(), &"1".into()));
    assert_eq!(durations["bucketCounts"].as_array().unwrap().len(), families::DURATION_BOUNDS.len() + 1);
}

/// A sample line: its series and its value, read as the format says.
fn parse(line: &str) -> Option<(String, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    let open = series.find('{').unwrap_or(series.len());
    let mut rest = series[open..].strip_prefix('{').map_or("", |labels| labels.strip_suffix('}').unwrap_or("?"));
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        assert!(name.chars().all(|c| c.is_ascii_lowercase()), "label {name:?}");
        let mut escaped = false;
        let end = after.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        })?;
        rest = after[end.0 + 1..].trim_start_matches(',');
    }
    Some((series.to_owned(), value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_names_give_well_formed_and_distinct_series(
        names in prop::collection::btree_set(".{0,200}|[\"\\\\\n{}=, ]{0,8}", 1..12),
        rule in ".*",
        features_max in 1..8_usize,
    ) {
        let metrics = metrics(MetricsSettings { features_max, ..MetricsSettings::default() });
        let names: Vec<String> = names.into_iter().collect();
        metrics.record_drift(&model("m"), Version(1), &report(&names, 3), Duration::ZERO);
        metrics.record_quality(&model("m"), Version(1), (&rule, "error"), 1);
        for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
            let text = metrics.render(format);
            let mut seen = std::collections::HashSet::new();
            for line in text.split('\n').filter(|line| !line.starts_with('#') && !line.is_empty()) {
                let (series, value) = parse(line).unwrap_or_else(|| panic!("{line:?}"));
                prop_assert!(!value.is_nan() && seen.insert(series), "{line:?}");
            }
            let detected = text.split('\n').filter(|line| line.starts_with("mlops_drift_detected{")).count();
            prop_assert!(detected <= features_max + 1);
        }
    }
}
