//! Every metric: its names, its unit and what it means.
//!
//! Invariant: names follow Prometheus' conventions (base units, `_ratio` from 0 to 1, `_total` on counters) and
//! OpenTelemetry's (dots, unit apart, in UCUM); `promtool check metrics` has nothing to say about them.

/// What kind of values a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
    Info,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// Its name in OpenMetrics: counters without `_total`, information without `_info`.
    pub(super) name: &'static str,
    /// Its name in OpenTelemetry.
    pub(super) dotted: &'static str,
    pub(super) kind: Kind,
    /// Its unit in OpenMetrics, where the name ends with it.
    pub(super) unit: Option<&'static str>,
    /// Its unit in UCUM.
    pub(super) ucum: &'static str,
    pub(super) help: &'static str,
}

impl Family {
    /// The name that queries use.
    pub(super) fn sample_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $dotted:literal $unit:expr, $ucum:literal, $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family {
            name: $name, dotted: $dotted, kind: Kind::$kind, unit: $unit, ucum: $ucum, help: $help,
        };)*
        /// All of them, in the order in which they are rendered.
        pub(super) const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    SCORE: Gauge "mlops_drift_score" "mlops.drift.score" None, "1",
        "Effect of a drift test of the latest window, in the unit of its threshold.";
    PVALUE: Gauge "mlops_drift_pvalue" "mlops.drift.pvalue" None, "1",
        "Probability of such an effect without drift, before correction for the number of tests.";
    NEG_LOG10_PVALUE: Gauge "mlops_drift_neg_log10_pvalue" "mlops.drift.neg_log10_pvalue" None, "1",
        "Negative decimal logarithm of the p-value, which stays finite where the p-value rounds to zero.";
    DETECTED: Gauge "mlops_drift_detected" "mlops.drift.detected" None, "1",
        "Whether the feature drifted in the latest window: 1 or 0.";
    DRIFTED_RATIO: Gauge "mlops_drifted_features_ratio" "mlops.drift.drifted_features" Some("ratio"), "1",
        "Share of features that drifted in the latest window.";
    MISSING_RATIO: Gauge "mlops_feature_missing_ratio" "mlops.feature.missing" Some("ratio"), "1",
        "Share of rows of the latest window without a usable value.";
    ROWS: Gauge "mlops_window_rows" "mlops.window.rows" Some("rows"), "{row}",
        "Rows of the latest window.";
    DURATION: Histogram "mlops_monitor_run_duration_seconds" "mlops.monitor.run.duration" Some("seconds"), "s",
        "How long monitoring runs took.";
    RUNS: Counter "mlops_monitor_runs" "mlops.monitor.runs" None, "{run}",
        "Monitoring runs by outcome: ok, drift, insufficient or error.";
    VIOLATIONS: Counter "mlops_quality_violations" "mlops.quality.violations" None, "{violation}",
        "Violations of data-quality rules.";
    ESTIMATE: Gauge "mlops_performance_estimate" "mlops.performance.estimate" None, "1",
        "Latest value of a performance metric, estimated without labels (cbpe, dle) or realised.";
    ESTIMATE_LOWER: Gauge "mlops_performance_estimate_lower" "mlops.performance.estimate.lower" None, "1",
        "Lower end of the interval of the performance metric.";
    ESTIMATE_UPPER: Gauge "mlops_performance_estimate_upper" "mlops.performance.estimate.upper" None, "1",
        "Upper end of the interval of the performance metric.";
    LAST_SUCCESS: Gauge "mlops_last_success_timestamp_seconds" "mlops.monitor.last_success" Some("seconds"), "s",
        "When the latest monitoring run ended without error, in seconds since 1970.";
    BUILD: Info "mlops_monitor_build" "mlops.monitor.build" None, "1",
        "The version of the monitoring library.";
}

/// Upper bounds of the buckets of [`DURATION`], in seconds.
pub(super) const DURATION_BOUNDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// One series of a family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

/// Its value; numbers are never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Count(u64),
    Histogram(Durations),
}

/// Run times, bucket by bucket (not cumulative; the last is beyond all bounds).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Durations {
    pub(super) buckets: [u64; DURATION_BOUNDS.len() + 1],
    pub(super) sum: f64,
}

impl Durations {
    pub(super) fn add(&mut self, seconds: f64) {
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.sum += seconds;
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_with_their_unit_and_differ() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|family| [family.name, family.dotted]).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        for family in ALL {
            assert!(family.unit.is_none_or(|unit| family.name.ends_with(unit)), "{}", family.name);
            assert!(!family.name.ends_with("_total") && family.help.ends_with('.'), "{}", family.name);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut durations = Durations::default();
        [0.001, 0.002, 1e9].into_iter().for_each(|seconds| durations.add(seconds));
        assert_eq!((durations.buckets[0], durations.buckets[1], durations.buckets[16]), (1, 1, 1));
        assert_eq!(durations.count(), 3);
    }
}
