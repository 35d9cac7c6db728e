//! The summary of a stream of batches, bounded and mergeable.
//!
//! Invariant: a profile is a set of parts, one for each process that observed data, kept apart up to `parts_max` and
//! ordered by the digest of their bytes. Everything read from it is computed by merging the parts in that order, so
//! neither the order nor the grouping of [`Profile::merge`] can change a number. It is not a sample of rows.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use mlops_core::{Digest, Error, Result};

use super::{
    codec::Writer,
    column::{Column, Header},
    settings::SketchSettings,
    summary::ProfileSummary,
};
use crate::stats::count_of;

/// Rows whose levels are counted before rare ones may be let go.
const SLICE_ROWS: usize = 65_536;
/// Counts beyond this have no exact double.
pub(super) const ROWS_MAX: u64 = 1 << 53;

/// What one process observed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) rows: u64,
    pub(super) columns: Vec<Column>,
}

impl Part {
    fn new(headers: &[Header], settings: &SketchSettings) -> Self {
        Self { rows: 0, columns: headers.iter().map(|header| Column::new(header.class, settings)).collect() }
    }

    fn observe(&mut self, batch: &RecordBatch, order: &[usize]) -> Result<()> {
        for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
            let slice = batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start));
            for (column, index) in self.columns.iter_mut().zip(order) {
                if let Some(values) = slice.columns().get(*index) {
                    column.observe(values)?;
                }
            }
        }
        self.rows += count_of(batch.num_rows());
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.rows += other.rows;
        self.columns.iter_mut().zip(&other.columns).try_for_each(|(mine, other)| mine.merge(other))
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.u64(self.rows);
        self.columns.iter().for_each(|column| column.write(to));
    }
}

/// A part that nothing is added to any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sealed {
    pub(super) digest: Digest,
    pub(super) part: Part,
}

impl Sealed {
    fn new(mut part: Part) -> Result<Self> {
        part.columns.iter_mut().try_for_each(Column::seal)?;
        Ok(Self::of_sealed(part))
    }

    pub(super) fn of_sealed(part: Part) -> Self {
        let mut bytes = Writer::default();
        part.write(&mut bytes);
        Self { digest: Digest::of(&bytes.into_bytes()), part }
    }
}

/// A bounded summary of any number of batches, column by column: moments, quantiles, distinct and frequent values,
/// nulls, NaN and infinities.
///
/// Small data are exact: numeric columns while they have few distinct values (so always below
/// [`SketchSettings::distinct_values_max`] rows), categorical ones while they have few levels. Beyond that every
/// number that is read carries its error.
///
/// Profiles of replicas merge into one. As long as no more than [`SketchSettings::parts_max`] processes took part,
/// any order and grouping gives the same profile, byte for byte; above that the parts are merged into fewer, and
/// numbers may differ between groupings by what the stated errors allow. Exact columns never differ, except for the
/// last digits of mean and moments. Merging the same profile twice counts its rows twice.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::{Profile, SketchSettings};
///
/// let replica = |from: i32| -> mlops_core::Result<Profile> {
///     let amounts: ArrayRef = Arc::new(Float64Array::from_iter_values((from..from + 1000).map(f64::from)));
///     let mut profile = Profile::new(SketchSettings::default())?;
///     profile.observe(&RecordBatch::try_from_iter([("amount", amounts)])?)?;
///     Ok(profile)
/// };
/// let (mut left, mut right) = (replica(0)?, replica(1000)?);
/// left.merge(&right)?;
/// right.merge(&replica(0)?)?;
/// assert_eq!(left.to_bytes()?, right.to_bytes()?);
///
/// let summary = Profile::from_bytes(&left.to_bytes()?)?.summary()?;
/// let amount = summary.column("amount").expect("it was observed");
/// assert_eq!(amount.quantile(0.5).map(|median| median.estimate), Some(999.5));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Profile {
    pub(super) settings: SketchSettings,
    pub(super) headers: Vec<Header>,
    /// What this process observed since it began or read the profile.
    open: Option<Part>,
    /// In order of their digests.
    pub(super) parts: Vec<Sealed>,
}

impl Profile {
    /// Starts without columns; the first batch brings them.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range.
    pub fn new(settings: SketchSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings, headers: Vec::new(), open: None, parts: Vec::new() })
    }

    pub(super) fn of_parts(settings: SketchSettings, headers: Vec<Header>, mut parts: Vec<Sealed>) -> Self {
        parts.sort_by_key(|part| part.digest);
        Self { settings, headers, open: None, parts }
    }

    /// The bounds it keeps.
    #[must_use]
    pub fn settings(&self) -> &SketchSettings {
        &self.settings
    }

    /// Rows observed, by all parts.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|sealed| &sealed.part).chain(&self.open).map(|part| part.rows).sum()
    }

    /// Adds the rows of a batch. Columns are found by name; layouts of one type (large, view or dictionary text) mix.
    ///
    /// # Errors
    /// `InvalidArgument` naming a column that is missing, new, there twice or of another type; then nothing of the
    /// batch is counted. `ResourceExhausted` beyond 2^53 rows.
    pub fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        let headers = headers_of(&batch.schema())?;
        if self.headers.is_empty() {
            self.adopt(&headers)?;
        }
        let order = self.order(&headers)?;
        room(self.rows(), count_of(batch.num_rows()))?;
        let open = self.open.get_or_insert_with(|| Part::new(&self.headers, &self.settings));
        open.observe(batch, &order)
    }

    /// Takes over columns when there are none yet.
    fn adopt(&mut self, headers: &[Header]) -> Result<()> {
        if self.open.is_some() || !self.parts.is_empty() {
            return match headers.first() {
                Some(new) => {
                    Err(Error::invalid_argument(format!("column {:?} is new; the profile has none", new.name)))
                }
                None => Ok(()),
            };
        }
        self.headers = headers.to_vec();
        Ok(())
    }

    /// Where each column of this profile is among others.
    fn order(&self, others: &[Header]) -> Result<Vec<usize>> {
        let order = self.headers.iter().map(|mine| {
            let at = others
                .iter()
                .position(|other| other.name == mine.name)
                .ok_or_else(|| Error::invalid_argument(format!("column {:?} of the profile is missing", mine.name)))?;
            match others.get(at) {
                Some(other) if other.data_type != mine.data_type || other.class != mine.class => {
                    Err(Error::invalid_argument(format!(
                        "column {:?} is {} in the profile, found {}",
                        mine.name, mine.data_type, other.data_type
                    )))
                }
                _ => Ok(at),
            }
        });
        let order = order.collect::<Result<Vec<usize>>>()?;
        match others.iter().find(|other| self.headers.iter().all(|mine| mine.name != other.name)) {
            Some(new) => Err(Error::invalid_argument(format!("column {:?} is not in the profile", new.name))),
            None => Ok(order),
        }
    }

    /// Adds all that another profile has seen. The columns' order is that of the names when it differs.
    ///
    /// # Errors
    /// `InvalidArgument` when settings differ, or columns as in [`Profile::observe`]; then nothing changes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.rows() == 0 && other.headers.is_empty() {
            return Ok(());
        }
        if self.settings != other.settings {
            return Err(Error::invalid_argument("profiles merge only when their sketch settings are equal"));
        }
        if self.headers.is_empty() {
            self.adopt(&other.headers)?;
        }
        self.order(&other.headers)?;
        room(self.rows(), other.rows())?;
        self.seal()?;
        let mut other = other.clone();
        other.seal()?;
        if self.headers != other.headers {
            self.sort_columns();
            other.sort_columns();
        }
        self.parts.append(&mut other.parts);
        self.parts.sort_by_key(|part| part.digest);
        self.bound_parts()
    }

    fn sort_columns(&mut self) {
        let mut order: Vec<usize> = (0..self.headers.len()).collect();
        order.sort_by_key(|index| self.headers.get(*index).map(|header| header.name.clone()));
        let headers = order.iter().filter_map(|index| self.headers.get(*index).cloned()).collect();
        self.headers = headers;
        for sealed in &mut self.parts {
            let columns = order.iter().filter_map(|index| sealed.part.columns.get(*index).cloned()).collect();
            *sealed = Sealed::of_sealed(Part { rows: sealed.part.rows, columns });
        }
        self.parts.sort_by_key(|part| part.digest);
    }

    /// Merges the first half of too many parts into one.
    fn bound_parts(&mut self) -> Result<()> {
        let most = self.settings.parts_max as usize;
        while self.parts.len() > most {
            let rest = self.parts.split_off((self.parts.len() / 2 + 1).min(self.parts.len()));
            let merged = fold(&self.parts)?;
            self.parts = rest;
            self.parts.extend(merged.map(Sealed::new).transpose()?);
            self.parts.sort_by_key(|part| part.digest);
        }
        Ok(())
    }

    /// Ends the open part.
    fn seal(&mut self) -> Result<()> {
        if let Some(open) = self.open.take().filter(|open| open.rows > 0) {
            self.parts.push(Sealed::new(open)?);
            self.parts.sort_by_key(|part| part.digest);
        }
        Ok(())
    }

    /// The profile with its open part ended and parts within their bound.
    pub(super) fn sealed(&self) -> Result<Self> {
        let mut sealed = self.clone();
        sealed.seal()?;
        sealed.bound_parts()?;
        Ok(sealed)
    }

    /// Merges the parts and lets the result be read. Takes time in the size of the profile, not of the data.
    ///
    /// # Errors
    /// `Internal` when a sketch cannot be made, which does not happen with valid settings.
    pub fn summary(&self) -> Result<ProfileSummary> {
        let sealed = self.sealed()?;
        let merged = fold(&sealed.parts)?;
        let merged = merged.unwrap_or_else(|| Part::new(&self.headers, &self.settings));
        Ok(ProfileSummary::new(self.headers.clone(), merged))
    }
}

/// All parts as one, merged in the order given.
fn fold(parts: &[Sealed]) -> Result<Option<Part>> {
    let Some((first, rest)) = parts.split_first() else { return Ok(None) };
    let mut merged = first.part.clone();
    rest.iter().try_for_each(|sealed| merged.merge(&sealed.part))?;
    Ok(Some(merged))
}

fn headers_of(schema: &Schema) -> Result<Vec<Header>> {
    let mut seen = HashSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
        return Err(Error::invalid_argument(format!("column {:?} appears twice", twice.name())));
    }
    Ok(schema.fields().iter().map(|field| Header::of(field)).collect())
}

fn room(rows: u64, more: u64) -> Result<()> {
    if rows.saturating_add(more) <= ROWS_MAX {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!("a profile counts at most {ROWS_MAX} rows, found {rows} and {more} more")))
}
