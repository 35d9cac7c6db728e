//! Tests of whole rows beside those of columns, as a monitor runs them.
//!
//! Invariant: at most `rows_max` rows of either side are kept or compared, drawn by the seed; a test that cannot run says
//! why and keeps no other from running. Correction and verdict are the monitor's.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use mlops_core::{Error, Result};

use super::{
    MultivariateDetector, MultivariateTest,
    encoder::{drawn, taken},
};
use crate::random::Draws;

/// Rows of each side that take part unless set otherwise.
const ROWS_MAX: usize = 20_000;

/// Tests of whole rows over one reference, for [`crate::MonitorBuilder::with_multivariate`].
///
/// They need rows, so a window that is known by its [`crate::Profile`] alone has columns compared only. Their p-values
/// are corrected together with those of the columns; a test by permutations needs enough of them to have a p-value that
/// is small even then, which [`crate::MonitorBuilder::build`] checks.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{Timestamp, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
/// use mlops_monitor::{Headline, Monitor, ProfileSettings, ReferenceProfile};
/// use mlops_monitor::multivariate::{PcaReconstruction, PcaSettings, RowTests};
///
/// // Two columns that go together, then against each other: alone, each looks the same.
/// let window = |sign: f64| {
///     let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..400).map(|i| f64::from(i * 37 % 400))));
///     let y: ArrayRef = Arc::new(Float64Array::from_iter_values((0..400).map(|i| sign * f64::from(i * 37 % 400 - 200) + f64::from(i % 7))));
///     RecordBatch::try_from_iter([("x", x), ("y", y)])
/// };
/// let profile = ReferenceProfile::from_batch(&window(1.0)?, &ProfileSettings::default())?;
/// let rows = RowTests::over(window(1.0)?).with_detector(PcaReconstruction::new(PcaSettings::default())?);
/// let monitor = Monitor::builder(profile).with_multivariate(rows).build()?;
///
/// let report = monitor.observe(&window(-1.0)?, Timestamp::from_millis(0));
/// assert_eq!((report.verdict(), report.drifted().count()), (Headline::Drift, 0));
/// assert!(report.to_markdown().contains("Whole rows"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RowTests {
    reference: RecordBatch,
    detectors: Vec<Box<dyn MultivariateDetector>>,
    rows_max: usize,
    seed: u64,
}

/// What one test of whole rows came to.
#[derive(Debug, Clone, PartialEq)]
pub struct RowReport {
    /// The name of the detector.
    pub name: &'static str,
    /// What it found; when it could not run, why.
    pub outcome: std::result::Result<MultivariateTest, String>,
}

impl RowTests {
    /// Compares windows with these rows, all of whose columns take part. Up to 20,000 rows of each side do, drawn
    /// without replacement.
    #[must_use]
    pub fn over(reference: RecordBatch) -> Self {
        Self { reference, detectors: Vec::new(), rows_max: ROWS_MAX, seed: 0 }
    }

    /// Adds a test. Its settings say which rows and effects count; the level is that of the monitor.
    #[must_use]
    pub fn with_detector(mut self, detector: impl MultivariateDetector) -> Self {
        self.detectors.push(Box::new(detector));
        self
    }

    /// Sets how many rows of each side take part at most, from 2.
    #[must_use]
    pub fn with_rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// Sets the seed of the drawn rows. Default 0.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Lets go of the reference rows beyond the bound.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that is wrong.
    pub(crate) fn bounded(mut self) -> Result<Self> {
        let mut faults = Vec::new();
        if self.detectors.is_empty() {
            faults.push("there is no detector".to_owned());
        }
        if self.rows_max < 2 {
            faults.push(format!("rows_max must be at least 2, found {}", self.rows_max));
        }
        let mut names: Vec<&str> = self.detectors.iter().map(|detector| detector.name()).collect();
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair.first() == pair.last()).filter_map(|pair| pair.first());
        faults.extend(twice.map(|name| format!("detector {name:?} is there twice; names must differ")));
        if !faults.is_empty() {
            return Err(Error::invalid_argument(format!("tests of whole rows: {}", faults.join("; "))));
        }
        self.reference = drawn(&self.reference, self.rows_max, &mut Draws::new(self.seed))?;
        Ok(self)
    }

    /// Names and least p-values.
    pub(crate) fn detectors(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.detectors.iter().map(|detector| (detector.name(), detector.p_min()))
    }

    pub(crate) fn run(&self, window: &[RecordBatch]) -> Vec<RowReport> {
        let current = self.sample(window);
        let run = |detector: &dyn MultivariateDetector| match &current {
            Ok(current) => detector.test(&self.reference, current).map_err(|error| error.message().to_owned()),
            Err(error) => Err(error.message().to_owned()),
        };
        self.detectors.iter().map(|detector| RowReport { name: detector.name(), outcome: run(&**detector) }).collect()
    }

    /// At most `rows_max` rows of a window in several batches, which is never put together as a whole.
    fn sample(&self, window: &[RecordBatch]) -> Result<RecordBatch> {
        let mut draws = Draws::new(self.seed);
        let (first, batches) = match window {
            [] => return Ok(self.reference.slice(0, 0)),
            [only] => return drawn(only, self.rows_max, &mut draws),
            [first, ..] => (first, window),
        };
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let chosen = draws.choose(self.rows_max, rows);
        let (mut parts, mut begin) = (Vec::with_capacity(batches.len()), 0);
        for batch in batches {
            let end = begin + batch.num_rows();
            let (from, to) = (chosen.partition_point(|row| *row < begin), chosen.partition_point(|row| *row < end));
            let inside: Vec<usize> = chosen.get(from..to).unwrap_or_default().iter().map(|row| row - begin).collect();
            parts.push(taken(batch, &inside)?);
            begin = end;
        }
        Ok(concat_batches(&first.schema(), &parts)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, cast::AsArray, types::Float64Type};
    use mlops_core::{ModelName, Timestamp, Version, testing::SplitMix64};

    use super::*;
    use crate::{
        Correction, Headline, Monitor, MonitorSettings, MonitoringReport, ProfileSettings, ReferenceProfile,
        alert::{DriftAlerts, Granularity},
        detector::{DriftTest, Thresholds, Verdict},
        multivariate::{Mmd, MmdSettings, PcaReconstruction, PcaSettings},
    };

    /// Two numbers that go together with `sign`.
    fn window(seed: u64, rows: usize, sign: f64) -> RecordBatch {
        let (x, noise) = (SplitMix64::new(seed).bell(rows), SplitMix64::new(seed + 1).bell(rows));
        let y: ArrayRef =
            Arc::new(Float64Array::from_iter_values(x.iter().zip(&noise).map(|(x, e)| sign * x + 0.3 * e)));
        RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(x)) as ArrayRef), ("y", y)]).unwrap()
    }

    fn at() -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn mmd(permutations: usize) -> Mmd {
        Mmd::new(MmdSettings { permutations, rows_max: 300, ..MmdSettings::default() }).unwrap()
    }

    fn monitor(rows: RowTests) -> Result<Monitor> {
        let profile = ReferenceProfile::from_batch(&window(1, 1_000, 1.0), &ProfileSettings::default())?;
        Monitor::builder(profile).with_multivariate(rows).build()
    }

    fn rows() -> RowTests {
        RowTests::over(window(1, 1_000, 1.0)).with_detector(PcaReconstruction::new(PcaSettings::default()).unwrap())
    }

    #[test]
    fn what_no_column_shows_alone_is_found_and_told_everywhere() {
        let monitor = monitor(rows().with_detector(mmd(199))).unwrap();
        let quiet = monitor.observe(&window(11, 800, 1.0), at());
        assert_eq!((quiet.verdict(), quiet.row_reports().len()), (Headline::Ok, 2));
        let turned = monitor.observe(&window(11, 800, -1.0), at());
        assert_eq!((turned.verdict(), turned.drifted().count()), (Headline::Drift, 0));
        assert!(turned.headline().contains("whole rows"), "{}", turned.headline());
        assert!(turned.why().starts_with("No column drifted alone, but whole rows did: "), "{}", turned.why());
        let whole = MonitoringReport::new(turned.clone());
        let (page, markdown) = (whole.to_html(), whole.to_markdown());
        for word in ["Whole rows", "MMD", "PCA reconstruction"] {
            assert!(page.contains(word) && markdown.contains(word), "{word}");
        }
        let json: serde_json::Value = serde_json::from_str(&turned.to_json()).unwrap();
        assert_eq!(
            (&json["rows"][0]["name"], &json["rows"][0]["verdict"]),
            (&"pca_reconstruction".into(), &"drift".into())
        );
        assert!(turned.event(&ModelName::new("m").unwrap(), Version(1)).is_some());
        assert!(turned.tail().unwrap().p() < 1e-6);
        for (granularity, count, feature) in [(Granularity::Column, 3, "(rows)"), (Granularity::Model, 1, "")] {
            let alerts = DriftAlerts::new(ModelName::new("m").unwrap(), Version(1)).with_granularity(granularity);
            let told = |report| alerts.observations(report).unwrap();
            let (quiet, turned) = (told(&quiet), told(&turned));
            assert_eq!((turned.len(), turned[count - 1].labels.get("feature").unwrap_or_default()), (count, feature));
            assert!(turned[count - 1].significant && turned[count - 1].value >= 1.0, "{turned:?}");
            assert!(!quiet[count - 1].significant && quiet[count - 1].value < 1.0, "{quiet:?}");
        }
    }

    #[test]
    fn columns_and_rows_are_corrected_together() {
        let profile = ReferenceProfile::from_batch(&window(1, 1_000, 1.0), &ProfileSettings::default()).unwrap();
        let settings = MonitorSettings { correction: Correction::Bonferroni, ..MonitorSettings::default() };
        let monitor = Monitor::builder(profile).with_settings(settings).with_multivariate(rows()).build().unwrap();
        let report = monitor.observe(&window(11, 800, -1.0), at());
        let of_columns: Vec<&DriftTest> = report.columns().iter().flat_map(|column| &column.tests).collect();
        let of_rows = &report.row_reports()[0].outcome.as_ref().unwrap().test;
        let tests = of_columns.iter().filter(|test| test.counts()).count() + 1;
        assert_eq!(tests, 5, "KS and PSI of two columns, none of which misses values, and the rows");
        assert!((of_rows.corrected.unwrap().ln() - of_rows.tail.unwrap().ln() - 5_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn a_test_that_cannot_run_says_why() {
        let monitor = monitor(rows()).unwrap();
        let lacks = window(11, 800, 1.0).project(&[0]).unwrap();
        let report = monitor.observe(&lacks, at());
        let why = report.row_reports()[0].outcome.as_ref().unwrap_err();
        assert!(why.contains('y'), "{why}");
        assert!(report.to_html().contains("cannot run") && report.to_json().contains("\"error\""));
        let few = monitor.observe(&window(11, 20, 1.0), at());
        let few = &few.row_reports()[0].outcome.as_ref().unwrap().test;
        assert!(matches!(few.verdict, Verdict::Insufficient { .. }), "{few:?}");
        assert_eq!(monitor.observe_batches(&[], at()).row_reports().len(), 1);
    }

    #[test]
    fn what_can_find_nothing_is_refused() {
        let error = monitor(rows().with_detector(mmd(19))).unwrap_err();
        assert!(error.message().contains("mmd") && error.message().contains("permutations"), "{error}");
        let error = monitor(RowTests::over(window(1, 10, 1.0)).with_rows_max(1)).unwrap_err();
        assert!(error.message().contains("no detector") && error.message().contains("rows_max"), "{error}");
        let error = monitor(rows().with_detector(mmd(999)).with_detector(mmd(999))).unwrap_err();
        assert!(error.message().contains("twice"), "{error}");
    }

    /// Keeps the values it is given as its columns.
    #[derive(Debug)]
    struct Seen;

    impl MultivariateDetector for Seen {
        fn name(&self) -> &'static str {
            "seen"
        }

        fn test(&self, reference: &RecordBatch, current: &RecordBatch) -> Result<MultivariateTest> {
            let n = (reference.num_rows() as u64, current.num_rows() as u64);
            let names: Vec<String> =
                current.column(0).as_primitive::<Float64Type>().values().iter().map(f64::to_string).collect();
            Ok(MultivariateTest::degenerate("seen", n, Thresholds::effect(0.1), &names))
        }
    }

    #[test]
    fn no_more_rows_than_the_bound_are_compared_however_they_come() {
        let rows = RowTests::over(window(1, 1_000, 1.0)).with_detector(Seen).with_rows_max(100).bounded().unwrap();
        let whole = window(5, 700, 1.0);
        let parts = [whole.slice(0, 3), whole.slice(3, 0), whole.slice(3, 600), whole.slice(603, 97)];
        let (at_once, in_parts) = (rows.run(std::slice::from_ref(&whole)), rows.run(&parts));
        let (found, in_parts) = (at_once[0].outcome.as_ref().unwrap(), in_parts[0].outcome.as_ref().unwrap());
        assert_eq!(found.skipped, in_parts.skipped);
        assert_eq!((found.test.n_ref, found.test.n_cur, found.skipped.len()), (100, 100, 100));
    }
}
