//! Everything that monitoring says of one model and one window, on one page.
//!
//! Invariant: drift comes first, sections in the order in which they were added; the verdict is the worst of all.

use std::borrow::Cow;

use mlops_core::{ModelName, Version};
use serde_json::{Value, json};

use super::{DriftReport, Headline, SECTIONS_MAX, Section, Status, format::plural, html, markdown, rows};

/// A drift report together with further sections (quality, performance...), for one page.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{ModelName, Timestamp, Version, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
/// use mlops_monitor::{Monitor, MonitoringReport, ProfileSettings, ReferenceProfile, report::{Section, Status}};
///
/// let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(f64::from)));
/// let window = RecordBatch::try_from_iter([("amount", values)])?;
/// let profile = ReferenceProfile::from_batch(&window, &ProfileSettings::default())?;
/// let drift = Monitor::builder(profile).build()?.observe(&window, Timestamp::from_millis(0));
///
/// let quality = Section::new("Data quality", Status::Attention).with_summary("2 rows have no amount.");
/// let report = MonitoringReport::new(drift).with_model(&ModelName::new("rides")?, Version(3)).with_section(quality);
/// assert_eq!(report.status(), Status::Attention);
/// assert!(report.to_html().contains("2 rows have no amount."));
/// assert!(report.to_markdown().starts_with("## "));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MonitoringReport {
    drift: DriftReport,
    subject: Option<String>,
    sections: Vec<Section>,
}

/// What a page is made of: one drift report with or without company.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents<'a> {
    pub(super) drift: &'a DriftReport,
    pub(super) subject: Option<&'a str>,
    pub(super) sections: &'a [Section],
}

impl MonitoringReport {
    /// A report on drift alone.
    #[must_use]
    pub fn new(drift: DriftReport) -> Self {
        Self { drift, subject: None, sections: Vec::new() }
    }

    /// Says which model the data belongs to.
    #[must_use]
    pub fn with_model(mut self, model: &ModelName, version: Version) -> Self {
        self.subject = Some(format!("{model}, version {version}"));
        self
    }

    /// Adds a section after those there are; beyond [`SECTIONS_MAX`] it is not shown, but still counts for the
    /// status.
    #[must_use]
    pub fn with_section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The part on drift.
    #[must_use]
    pub fn drift(&self) -> &DriftReport {
        &self.drift
    }

    /// The other parts.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The worst of all parts.
    #[must_use]
    pub fn status(&self) -> Status {
        self.contents().status()
    }

    /// The whole report as one self-contained HTML page, as [`DriftReport::to_html`].
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(self.contents())
    }

    /// The whole report as Markdown of at most [`super::MARKDOWN_BYTES_MAX`] bytes.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::document(self.contents())
    }

    /// The keys of [`DriftReport::to_json`] and besides `status`, `model` and `sections`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut value = self.drift.json_value();
        if let Value::Object(object) = &mut value {
            object.insert("status".to_owned(), json!(self.status()));
            object.insert("model".to_owned(), json!(self.subject));
            object.insert("sections".to_owned(), json!(self.sections));
        }
        format!("{value:#}")
    }

    fn contents(&self) -> Contents<'_> {
        Contents { drift: &self.drift, subject: self.subject.as_deref(), sections: &self.sections }
    }
}

impl Contents<'_> {
    pub(super) fn status(&self) -> Status {
        let drift = drift_status(self.drift.verdict());
        self.sections.iter().map(|section| section.status).fold(drift, Status::max)
    }

    /// Whole rows, which are part of drift, then the sections that were added.
    pub(super) fn shown_sections(&self) -> Vec<Cow<'_, Section>> {
        let rows = rows::section(self.drift.row_reports()).map(Cow::Owned);
        rows.into_iter().chain(self.sections.iter().take(SECTIONS_MAX).map(Cow::Borrowed)).collect()
    }

    pub(super) fn sections_left_out(&self) -> usize {
        self.sections.len().saturating_sub(SECTIONS_MAX)
    }

    /// The verdict as a title: drift first, then the sections that are not well.
    pub(super) fn title(&self) -> String {
        let drifted = self.drift.drifted().count();
        let all = plural(self.drift.columns().len(), "column");
        let mut title = match self.drift.verdict() {
            Headline::Drift if drifted == 0 => "Whole rows drifted".to_owned(),
            Headline::Drift => format!("{drifted} of {all} drifted"),
            Headline::Ok => format!("No drift in {all}"),
            Headline::Insufficient => "Too few rows for a verdict".to_owned(),
        };
        let unwell = self.sections.iter().filter(|section| section.status >= Status::Attention);
        let names: Vec<String> = unwell.take(3).map(|section| section.title.to_lowercase()).collect();
        if !names.is_empty() {
            title.push_str("; see ");
            title.push_str(&names.join(", "));
        }
        title
    }
}

pub(super) fn drift_status(verdict: Headline) -> Status {
    match verdict {
        Headline::Drift => Status::Bad,
        Headline::Ok => Status::Good,
        Headline::Insufficient => Status::Attention,
    }
}
