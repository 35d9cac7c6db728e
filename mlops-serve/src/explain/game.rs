//! What the model says on average when only some features of a row are known: the others come from rows of a background.
//!
//! Features that are not known are replaced as they are, not as they would be given the known ones (interventional
//! expectation, Janzing et al. 2020, "Feature relevance quantification in explainable AI").

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float64Array, RecordBatch, RecordBatchOptions, UInt32Array,
    cast::AsArray as _, types::Float64Type,
};
use arrow_cast::cast;
use arrow_schema::{DataType as ArrowType, Field};
use arrow_select::{concat::concat, take::take};
use mlops_core::{DataType, Error, Model, Result, TensorSpec};

use super::coalition::Coalition;
use crate::{executor::guarded, repository::predict_rows};

/// Rows that are predicted at a time.
const ROWS: usize = 4_096;

/// A model, asked with parts of rows.
pub(super) struct Game<'a> {
    model: &'a dyn Model,
    background: RecordBatch,
    given_up: &'a dyn Fn() -> bool,
    /// Names; an input has one for each of its elements, or one.
    pub(super) features: Vec<String>,
    /// How many features each input has.
    widths: Vec<usize>,
    /// Names; an output has one for each of its elements.
    pub(super) targets: Vec<String>,
    outputs: Vec<String>,
}

impl<'a> Game<'a> {
    /// Asks `model` for the output of this name, or for all that are floating-point numbers.
    ///
    /// # Errors
    /// `FailedPrecondition` when the background does not fit the model or there is no such output.
    pub(super) fn new(
        model: &'a dyn Model,
        background: &RecordBatch,
        output: Option<&str>,
        given_up: &'a dyn Fn() -> bool,
    ) -> Result<Self> {
        let signature = model.signature();
        let misfit = |error: Error| Error::failed_precondition(format!("the background: {}", error.message()));
        let background = signature.project_inputs(background).map_err(misfit)?;
        let (mut features, mut widths) = (Vec::new(), Vec::new());
        for spec in signature.inputs() {
            let before = features.len();
            name_elements(spec, splits(spec), &mut features);
            widths.push(features.len() - before);
        }
        let (mut targets, mut outputs) = (Vec::new(), Vec::new());
        for spec in signature.outputs().iter().filter(|spec| is_wanted(spec, output)) {
            name_elements(spec, true, &mut targets);
            outputs.push(spec.name.clone());
        }
        if targets.is_empty() || features.is_empty() {
            let wanted =
                output.map_or("a floating-point output".to_owned(), |name| format!("a number as output {name:?}"));
            return Err(Error::failed_precondition(format!("the model has no inputs, or not {wanted}")));
        }
        Ok(Self { model, background, given_up, features, widths, targets, outputs })
    }

    /// The mean over the background of what is said, a number per target.
    ///
    /// # Errors
    /// What the model returns.
    pub(super) fn said_of_none(&self) -> Result<Vec<f64>> {
        Ok(self.means(&self.answers(&self.background)?))
    }

    /// What is said of whole rows, a number per row and target.
    ///
    /// # Errors
    /// What the model returns.
    pub(super) fn said_of_all(&self, rows: &RecordBatch) -> Result<Vec<f64>> {
        Ok(self.answers(rows)?.concat())
    }

    /// What is said of one row with only some features known, a number per coalition and target.
    ///
    /// # Errors
    /// `Cancelled`; what the model returns.
    pub(super) fn said_of_some(&self, row: &RecordBatch, coalitions: &[Coalition]) -> Result<Vec<f64>> {
        let both = |(known, unknown): (&ArrayRef, &ArrayRef)| concat(&[known.as_ref(), unknown.as_ref()]);
        let sources = row.columns().iter().zip(self.background.columns()).map(both);
        let sources = sources.collect::<std::result::Result<Vec<_>, _>>()?;
        let at_a_time = (ROWS / self.background.num_rows().max(1)).max(1);
        let mut said = Vec::with_capacity(coalitions.len() * self.targets.len());
        for some in coalitions.chunks(at_a_time) {
            if (self.given_up)() {
                return Err(Error::cancelled("nobody waits for the explanation any more"));
            }
            let answers = self.answers(&self.mixed(&sources, some)?)?;
            said.extend(answers.chunks(self.background.num_rows()).flat_map(|answers| self.means(answers)));
        }
        Ok(said)
    }

    /// For each coalition the background with the known features of the row, which is the first of `sources`.
    fn mixed(&self, sources: &[ArrayRef], coalitions: &[Coalition]) -> Result<RecordBatch> {
        let others = u32::try_from(self.background.num_rows()).map_err(|_| too_large())?;
        let (mut columns, mut feature) = (Vec::with_capacity(sources.len()), 0);
        for (source, &width) in sources.iter().zip(&self.widths) {
            let wide = u32::try_from(width).map_err(|_| too_large())?;
            let mut places = Vec::with_capacity(coalitions.len() * self.background.num_rows() * width);
            for coalition in coalitions {
                let known = coalition.get(feature..feature + width).unwrap_or_default();
                for other in 1..=others {
                    places
                        .extend(known.iter().zip(0..wide).map(|(known, e)| if *known { e } else { other * wide + e }));
                }
            }
            columns.push(taken(source, width, &UInt32Array::from(places))?);
            feature += width;
        }
        let rows = coalitions.len() * self.background.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.background.schema(), columns, &options)?)
    }

    /// What the model says of rows: for each the numbers of its targets.
    fn answers(&self, rows: &RecordBatch) -> Result<Vec<Vec<f64>>> {
        let outputs = guarded(|| predict_rows(self.model, rows))?;
        let mut answers = vec![Vec::with_capacity(self.targets.len()); rows.num_rows()];
        for name in &self.outputs {
            let column = outputs.column_by_name(name).map(flat_numbers).transpose()?;
            let column = column.ok_or_else(|| Error::internal(format!("output {name:?} of the model is missing")))?;
            let width = column.len().checked_div(rows.num_rows()).unwrap_or(0).max(1);
            for (answer, values) in answers.iter_mut().zip(column.values().chunks(width)) {
                answer.extend(values);
            }
        }
        if answers.iter().flatten().any(|said: &f64| !said.is_finite()) {
            return Err(Error::failed_precondition("the model's answer is not finite, so nothing can be attributed"));
        }
        Ok(answers)
    }

    fn means(&self, answers: &[Vec<f64>]) -> Vec<f64> {
        let sum = |target: usize| answers.iter().filter_map(|said| said.get(target)).sum::<f64>();
        (0..self.targets.len()).map(|target| sum(target) / answers.len() as f64).collect()
    }
}

fn too_large() -> Error {
    Error::invalid_argument("the background has too many values")
}

/// Whether each element of an input is a feature. Nulls are values of whole inputs.
fn splits(spec: &TensorSpec) -> bool {
    spec.row_shape.len() == 1 && !spec.nullable
}

fn name_elements(spec: &TensorSpec, split: bool, names: &mut Vec<String>) {
    match spec.row_shape.iter().product::<usize>() {
        count if split && !spec.row_shape.is_empty() => {
            names.extend((0..count).map(|element| format!("{}[{element}]", spec.name)));
        }
        _ => names.push(spec.name.clone()),
    }
}

fn is_wanted(spec: &TensorSpec, output: Option<&str>) -> bool {
    let number = !matches!(spec.data_type, DataType::String | DataType::Binary | DataType::Timestamp);
    let float = matches!(spec.data_type, DataType::Float16 | DataType::Float32 | DataType::Float64);
    output.map_or(float, |name| name == spec.name && number)
}

/// The values at `places`; for an input of several features they are places of elements.
fn taken(source: &ArrayRef, width: usize, places: &UInt32Array) -> Result<ArrayRef> {
    let Some(list) = source.as_fixed_size_list_opt().filter(|list| usize::try_from(list.value_length()) == Ok(width))
    else {
        return Ok(take(source, places, None)?);
    };
    if list.value_length() == 1 && list.null_count() > 0 {
        return Ok(take(source, places, None)?);
    }
    let values = take(list.values(), places, None)?;
    let field = match source.data_type() {
        ArrowType::FixedSizeList(field, _) => Arc::clone(field),
        other => Arc::new(Field::new_list_field(other.clone(), true)),
    };
    Ok(Arc::new(FixedSizeListArray::try_new(field, list.value_length(), values, None)?))
}

fn flat_numbers(column: &ArrayRef) -> Result<Float64Array> {
    let mut values = Arc::clone(column);
    while let Some(list) = values.as_fixed_size_list_opt() {
        values = Arc::clone(list.values());
    }
    Ok(cast(&values, &ArrowType::Float64)?.as_primitive::<Float64Type>().clone())
}
