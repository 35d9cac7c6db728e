//! What a model says on average when only some features of a row are known: the others come from
//! rows of a background, as they are.

use arrow_array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_select::{concat::concat, take::take};
use mlops_core::{Error, Model, Result};

use super::super::{
    background::Background,
    context::ExplainContext,
    groups::{FeatureGroups, Group},
    target::answers,
};

/// For each group whether it is known.
pub(super) type Coalition = Vec<bool>;

/// Rows that are predicted at a time.
const ROWS: usize = 4_096;

/// A model, asked with parts of rows.
pub(super) struct Game<'a> {
    model: &'a dyn Model,
    output: Option<&'a str>,
    background: RecordBatch,
    shares: &'a [f64],
    groups: Vec<Group>,
    pub(super) context: &'a ExplainContext,
}

impl<'a> Game<'a> {
    /// # Errors
    /// `InvalidArgument` when the background or the groups do not fit the model.
    pub(super) fn new(
        model: &'a dyn Model,
        output: Option<&'a str>,
        background: &'a Background,
        groups: &FeatureGroups,
        context: &'a ExplainContext,
    ) -> Result<Self> {
        let signature = model.signature();
        let misfit = |error: Error| Error::invalid_argument(format!("the background: {}", error.message()));
        let rows = signature.project_inputs(background.rows()).map_err(misfit)?;
        let groups = groups.resolve(signature)?;
        if groups.is_empty() {
            return Err(Error::failed_precondition("a model without inputs cannot be explained by them"));
        }
        Ok(Self { model, output, background: rows, shares: background.row_shares(), groups, context })
    }

    /// Names of the groups.
    pub(super) fn names(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.name.clone()).collect()
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// What is said of no row in particular.
    pub(super) fn of_none(&self) -> Result<f64> {
        Ok(self.mean(&answers(self.model, &self.background, self.output)?))
    }

    /// What is said of whole rows.
    pub(super) fn of_all(&self, rows: &RecordBatch) -> Result<Vec<f64>> {
        answers(self.model, rows, self.output)
    }

    /// How many coalitions are asked in one prediction.
    pub(super) fn at_a_time(&self) -> usize {
        (ROWS / self.background.num_rows().max(1)).max(1)
    }

    /// What is said of one row with only some groups known, a number per coalition.
    pub(super) fn of_some(&self, row: &RecordBatch, coalitions: &[Coalition]) -> Result<Vec<f64>> {
        let mixed = self.mixed(row, coalitions)?;
        let answers = answers(self.model, &mixed, self.output)?;
        Ok(answers.chunks(self.background.num_rows()).map(|answers| self.mean(answers)).collect())
    }

    fn mean(&self, answers: &[f64]) -> f64 {
        answers.iter().zip(self.shares).map(|(answer, share)| answer * share).sum()
    }

    /// For each coalition the background with the known groups of the row.
    fn mixed(&self, row: &RecordBatch, coalitions: &[Coalition]) -> Result<RecordBatch> {
        let others = self.background.num_rows() as u32;
        let mut columns = self.background.columns().to_vec();
        for (index, group) in self.groups.iter().enumerate() {
            // The row lies before the background, so zero is the row.
            let known = coalitions.iter().map(|coalition| coalition.get(index).copied().unwrap_or(false));
            let places: UInt32Array =
                known.flat_map(|known| (1..=others).map(move |other| if known { 0 } else { other })).collect();
            for &input in &group.inputs {
                if let Some(column) = columns.get_mut(input) {
                    let source = concat(&[row.column(input).as_ref(), column.as_ref()])?;
                    *column = take(&source, &places, None)?;
                }
            }
        }
        let rows = coalitions.len() * self.background.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.background.schema(), columns, &options)?)
    }
}
