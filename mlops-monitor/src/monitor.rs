//! Compares windows of live data with the reference of a model, column by column.
//!
//! Invariant: every column of the reference gets a verdict in every report; a column that cannot
//! be compared never keeps another from being compared. It holds no state between windows and
//! does no I/O; [`Monitor::observe`] is pure CPU work, to be called from a worker thread.

use arrow_array::RecordBatch;
use mlops_core::{Error, Result, Timestamp};

use crate::{
    detector::{ChiSquared, DriftDetector, DriftTest, KolmogorovSmirnov, NullShare, Psi},
    extract,
    multivariate::{RowReport, RowTests},
    profile::{ColumnProfile, Profile, ProfileSummary, ReferenceProfile},
    report::{ColumnReport, ColumnVerdict, DriftReport, Histogram, SchemaChange},
    sample::{ColumnKind, ColumnSample, Values},
    settings::MonitorSettings,
    stats::{Tail, count_of},
};

/// Watches the data that one model version sees.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{Timestamp, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
/// use mlops_monitor::{Headline, Monitor, ProfileSettings, ReferenceProfile};
///
/// let window = |shift: f64| {
///     let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(|i| f64::from(i) + shift)));
///     RecordBatch::try_from_iter([("amount", values)])
/// };
/// let profile = ReferenceProfile::from_batch(&window(0.0)?, &ProfileSettings::default())?;
/// let monitor = Monitor::builder(profile).build()?;
/// let end = Timestamp::from_millis(0);
/// assert_eq!(monitor.observe(&window(0.5)?, end).verdict(), Headline::Ok);
/// assert_eq!(monitor.observe(&window(250.0)?, end).verdict(), Headline::Drift);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    profile: ReferenceProfile,
    settings: MonitorSettings,
    detectors: Vec<Box<dyn DriftDetector>>,
    rows: Option<RowTests>,
}

/// Puts a [`Monitor`] together.
#[derive(Debug)]
pub struct MonitorBuilder {
    profile: ReferenceProfile,
    settings: MonitorSettings,
    more: Vec<Box<dyn DriftDetector>>,
    rows: Option<RowTests>,
}

impl MonitorBuilder {
    /// Replaces the default settings.
    #[must_use]
    pub fn with_settings(mut self, settings: MonitorSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a detector to the standard ones; it runs on every column that it applies to.
    #[must_use]
    pub fn with_detector(mut self, detector: impl DriftDetector) -> Self {
        self.more.push(Box::new(detector));
        self
    }

    /// Runs tests of whole rows as well, corrected together with those of columns.
    #[must_use]
    pub fn with_multivariate(mut self, tests: RowTests) -> Self {
        self.rows = Some(tests);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range, a detector name used twice, or a test of whole rows whose
    /// least p-value is not small enough to count after the correction.
    pub fn build(self) -> Result<Monitor> {
        self.settings.validate()?;
        let mut detectors = standard_detectors(&self.settings);
        for detector in self.more {
            let name = detector.name();
            if detectors.iter().any(|known| known.name() == name) {
                return Err(Error::invalid_argument(format!("detector {name:?} is there already; names must differ")));
            }
            detectors.push(detector);
        }
        let rows = self.rows.map(RowTests::bounded).transpose()?;
        let monitor = Monitor { profile: self.profile, settings: self.settings, detectors, rows };
        monitor.check_row_tests()?;
        Ok(monitor)
    }
}

fn standard_detectors(settings: &MonitorSettings) -> Vec<Box<dyn DriftDetector>> {
    let thresholds = |effect_min| settings.thresholds(effect_min);
    vec![
        Box::new(KolmogorovSmirnov { mode: settings.ks_mode, thresholds: thresholds(settings.ks_d_min) }),
        Box::new(ChiSquared {
            continuity: settings.continuity,
            expected_min: settings.expected_min,
            thresholds: thresholds(settings.cramers_v_min),
        }),
        Box::new(Psi {
            binning: settings.psi_binning.clone(),
            zero_rule: settings.psi_zero_rule,
            thresholds: thresholds(settings.psi_min),
        }),
        Box::new(NullShare { thresholds: thresholds(settings.null_share_min) }),
    ]
}

impl Monitor {
    /// Starts from the reference, usually read from a model's package.
    #[must_use]
    pub fn builder(profile: ReferenceProfile) -> MonitorBuilder {
        MonitorBuilder { profile, settings: MonitorSettings::default(), more: Vec::new(), rows: None }
    }

    /// The reference.
    #[must_use]
    pub fn profile(&self) -> &ReferenceProfile {
        &self.profile
    }

    /// Compares a window that ended at `window_end` with the reference.
    ///
    /// Numeric columns get KS and PSI, categorical ones chi-squared and PSI, all the share of
    /// missing values, and whole rows the tests of [`MonitorBuilder::with_multivariate`]; p-values are corrected over
    /// the whole run, see [`MonitorSettings::correction`]. Columns
    /// that are missing, new or of another type are reported as changes of the schema.
    #[must_use]
    pub fn observe(&self, window: &RecordBatch, window_end: Timestamp) -> DriftReport {
        self.observe_batches(std::slice::from_ref(window), window_end)
    }

    /// As [`Monitor::observe`], of a window that lies in several batches of one schema, as readers of files hand them out.
    /// They are put together column by column, so the window is never in memory twice. A column that a batch lacks, or has
    /// with another type, counts as missing.
    #[must_use]
    pub fn observe_batches(&self, window: &[RecordBatch], window_end: Timestamp) -> DriftReport {
        self.observe_window(&Window::Rows(window), window_end)
    }

    /// Compares the profile of a window that ended at `window_end` with the reference, as [`Monitor::observe`].
    ///
    /// Where either side is known by sketches, each test carries the error of its effect: it finds drift only if the
    /// least effect possible is beyond the threshold, at the p-value of that effect. Columns that the profile still
    /// holds exactly give the same numbers as the rows would.
    ///
    /// # Errors
    /// As [`Profile::summary`].
    pub fn observe_profile(&self, window: &Profile, window_end: Timestamp) -> Result<DriftReport> {
        Ok(self.observe_window(&Window::Summary(&window.summary()?), window_end))
    }

    fn observe_window(&self, window: &Window<'_>, window_end: Timestamp) -> DriftReport {
        let mut changes = Vec::new();
        let mut columns: Vec<ColumnReport> =
            self.profile.columns().iter().map(|column| self.compare(column, window, &mut changes)).collect();
        let new = window.columns().into_iter().filter(|(name, _)| self.profile.column(name).is_none());
        changes.extend(new.map(|(column, found)| SchemaChange::New { column, found }));
        let mut rows = match (window, &self.rows) {
            (Window::Rows(batches), Some(tests)) => tests.run(batches),
            _ => Vec::new(),
        };
        self.correct(&mut columns, &mut rows);
        columns.iter_mut().for_each(ColumnReport::conclude);
        DriftReport::new(window_end, (self.profile.rows(), window.rows()), changes, columns, rows)
    }

    fn compare(&self, reference: &ColumnProfile, window: &Window<'_>, changes: &mut Vec<SchemaChange>) -> ColumnReport {
        let (name, expected) = (reference.name().to_owned(), reference.data_type().to_owned());
        let kind = reference.sample().kind();
        let Some((found, current)) = window.column(&name, kind) else {
            changes.push(SchemaChange::Missing { column: name, expected });
            return ColumnReport::uncompared(reference, ColumnVerdict::Missing);
        };
        let comparable = current.kind() == kind;
        if found != expected {
            changes.push(SchemaChange::Retyped { column: name, expected, found, comparable });
        }
        if !comparable {
            return ColumnReport::uncompared(reference, ColumnVerdict::Retyped);
        }
        let (known, current) = (reference.sample().with_bounded_levels(), current.with_bounded_levels());
        let (known, current) = (known.as_ref(), current.as_ref());
        let detectors = self.detectors.iter().filter(|detector| detector.applies_to(kind));
        let tests = detectors.map(|detector| detector.test(known, current)).collect();
        let unseen = unseen_levels(known, current, self.settings.unseen_levels_max);
        let histogram = Histogram::of(known, current, &unseen);
        ColumnReport::compared(reference, current, tests, (histogram, unseen))
    }

    /// Refuses tests by permutations that could find nothing however much rows differ.
    fn check_row_tests(&self) -> Result<()> {
        let Some(rows) = &self.rows else { return Ok(()) };
        let of_columns = self.profile.columns().iter().map(|column| {
            let kind = column.sample().kind();
            self.detectors.iter().filter(|detector| detector.applies_to(kind)).count()
        });
        let count = of_columns.sum::<usize>() + rows.detectors().count();
        for (name, p_min) in rows.detectors() {
            // The test stands out alone: all others see nothing.
            let mut tails = vec![Tail::from_ln(0.0); count.saturating_sub(1)];
            tails.push(Tail::from_ln(p_min.ln()));
            let least = self.settings.correction.adjust(&tails).last().map_or(1.0, |tail| tail.p());
            if least > self.settings.fdr {
                return Err(Error::invalid_argument(format!(
                    "detector {name:?}: its least p-value of {p_min:.2e} is {least:.2} after correction for {count} tests, \
                     above fdr {}; it needs more permutations",
                    self.settings.fdr
                )));
            }
        }
        Ok(())
    }

    /// Corrects over every test of the run that could have found something.
    fn correct(&self, columns: &mut [ColumnReport], rows: &mut [RowReport]) {
        let able = |test: &DriftTest| if test.counts() { test.tail } else { None };
        let of_rows = rows.iter_mut().filter_map(|report| report.outcome.as_mut().ok()).map(|found| &mut found.test);
        let of_columns = columns.iter_mut().flat_map(|column| &mut column.tests);
        let mut tests: Vec<&mut DriftTest> = of_columns.chain(of_rows).collect();
        let tails: Vec<Tail> = tests.iter().filter_map(|test| able(test)).collect();
        let mut corrected = self.settings.correction.adjust(&tails).into_iter();
        for test in &mut tests {
            if able(test).is_some()
                && let Some(tail) = corrected.next()
            {
                **test = test.clone().judge(tail, self.settings.fdr);
            }
        }
    }
}

/// What a window is known by.
enum Window<'a> {
    Rows(&'a [RecordBatch]),
    Summary(&'a ProfileSummary),
}

impl Window<'_> {
    fn rows(&self) -> u64 {
        match self {
            Self::Rows(batches) => batches.iter().map(|batch| count_of(batch.num_rows())).sum(),
            Self::Summary(summary) => summary.rows(),
        }
    }

    /// Names and types.
    fn columns(&self) -> Vec<(String, String)> {
        match self {
            Self::Rows(batches) => {
                let schema = batches.first().map(RecordBatch::schema);
                let fields = schema.iter().flat_map(|schema| schema.fields());
                fields.map(|field| (field.name().clone(), extract::type_name(field.data_type()))).collect()
            }
            Self::Summary(summary) => {
                let columns = summary.columns().iter();
                columns.map(|column| (column.name().to_owned(), column.data_type().to_owned())).collect()
            }
        }
    }

    /// The type of a column and its values, compared as `kind` or else opaque.
    fn column(&self, name: &str, kind: ColumnKind) -> Option<(String, ColumnSample)> {
        match self {
            Self::Rows(batches) => {
                let column = extract::joined_column(batches, name)?;
                Some((extract::type_name(column.data_type()), extract::sample(&column, kind)))
            }
            Self::Summary(summary) => {
                let column = summary.column(name)?;
                Some((column.data_type().to_owned(), column.sample(kind)))
            }
        }
    }
}

/// Names of current levels that the reference does not have, most frequent first. None when the
/// reference has pooled levels, for then nobody knows.
fn unseen_levels(reference: &ColumnSample, current: &ColumnSample, limit: usize) -> Vec<String> {
    let (Values::Categorical(reference), Values::Categorical(current)) = (reference.values(), current.values()) else {
        return Vec::new();
    };
    if reference.other() > 0 {
        return Vec::new();
    }
    let mut unseen: Vec<(&str, u64)> = current.levels().filter(|(level, _)| reference.count(level) == 0).collect();
    unseen.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    unseen.into_iter().take(limit).map(|(level, _)| level.to_owned()).collect()
}
