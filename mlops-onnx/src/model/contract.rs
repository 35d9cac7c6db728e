//! From columns to the inputs of a plan, and from its outputs to columns.
//!
//! The signature is what a caller sees; feeds say which columns make which input. Types and shapes of outputs are found
//! by running made-up rows, two and then three, so that the row dimension shows.

use mlops_core::{
    DataType, Error, Result, Signature, TensorSpec,
    arrow_array::{RecordBatch, RecordBatchOptions},
};

use super::{
    INPUT_VALUE,
    columns::{to_array, to_tensor},
    declared::{Declared, Input},
};
use crate::{
    Tensor,
    graph::Plan,
    limits::Operations,
    tensor::{Data, cast},
};

/// How one input of the plan is made.
#[derive(Debug, Clone)]
struct Feed {
    /// Positions of the columns, side by side when there are several.
    columns: Vec<usize>,
    data_type: DataType,
    row: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Contract {
    signature: Signature,
    feeds: Vec<Feed>,
    /// The file's own inputs, which a signature may name otherwise.
    own: Vec<TensorSpec>,
    /// Names of the plan's outputs, in order.
    outputs: Vec<String>,
    single: bool,
}

/// Dimensions of a whole input.
fn shaped(rows: usize, row: &[usize]) -> Vec<usize> {
    std::iter::once(rows).chain(row.iter().copied()).collect()
}

/// The input as rows, and whether it takes exactly one of them.
fn own_spec(input: &Input) -> Result<(TensorSpec, bool)> {
    let name = &input.name;
    let Some([first, row @ ..]) = input.shape.as_deref() else {
        return Err(Error::invalid_argument(format!(
            "input {name:?} has no row dimension; declare its shape as [None, ...] when exporting"
        )));
    };
    if let Some(rows) = first.filter(|&rows| rows != 1) {
        return Err(Error::invalid_argument(format!(
            "input {name:?} takes exactly {rows} rows; export the model with a dynamic first dimension"
        )));
    }
    let open = || {
        Error::invalid_argument(format!(
            "input {name:?} has an open dimension besides the rows; export it with the number of features, such as \
             [None, 20]"
        ))
    };
    let row = row.iter().copied().collect::<Option<Vec<usize>>>().ok_or_else(open)?;
    Ok((TensorSpec::tensor(name, input.data_type, row), first.is_some()))
}

impl Contract {
    pub(super) fn derive(plan: &Plan, declared: &Declared) -> Result<Self> {
        let inputs = declared.inputs.iter().map(own_spec).collect::<Result<Vec<_>>>()?;
        let (own, singles): (Vec<TensorSpec>, Vec<bool>) = inputs.into_iter().unzip();
        let single = singles.contains(&true);
        let specs = probe(plan, declared, &own, single)?;
        let feeds = own.iter().enumerate().map(|(i, spec)| feed(vec![i], spec)).collect();
        let signature = Signature::new(own.clone(), specs)?;
        let outputs = declared.outputs.iter().map(|output| output.name.clone()).collect();
        Ok(Self { signature, feeds, own, outputs, single })
    }

    pub(super) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The same behind another signature.
    pub(super) fn adapted(&self, signature: Signature) -> Result<Self> {
        let feeds = if let ([own], true) = (self.own.as_slice(), signature.inputs().len() > 1) {
            vec![side_by_side(own, signature.inputs())?]
        } else {
            self.own.iter().map(|own| one_to_one(own, signature.inputs())).collect::<Result<Vec<_>>>()?
        };
        for output in signature.outputs() {
            let own = self.signature.outputs().iter().find(|own| own.name == output.name);
            let fits = own.is_some_and(|own| {
                own.data_type == output.data_type && width(&own.row_shape) == width(&output.row_shape)
            });
            if !fits {
                return Err(Error::invalid_argument(format!(
                    "output {:?} ({} {:?}) is not what the model answers: {:?}",
                    output.name,
                    output.data_type,
                    output.row_shape,
                    self.signature.outputs()
                )));
            }
        }
        Ok(Self { signature, feeds, ..self.clone() })
    }

    pub(super) fn predict(&self, plan: &Plan, inputs: &RecordBatch) -> Result<RecordBatch> {
        let inputs = self.signature.project_inputs(inputs)?;
        let rows = inputs.num_rows();
        let tensors = self.feeds.iter().map(|feed| feed.tensor(&inputs, self.signature.inputs()));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let outputs = if self.single { row_by_row(plan, &tensors, rows)? } else { plan.run(tensors)? };
        let mut columns = Vec::with_capacity(outputs.len());
        let mut outputs: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
        let schema = self.signature.output_schema();
        for (spec, field) in self.signature.outputs().iter().zip(schema.fields()) {
            let taken = self.own_output(&spec.name).and_then(|at| outputs.get_mut(at)).and_then(Option::take);
            let tensor = taken.ok_or_else(|| Error::internal(format!("output {:?} was not computed", spec.name)))?;
            columns.push(to_array(spec, field, tensor, rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    fn own_output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|own| own == name)
    }
}

fn width(row: &[usize]) -> usize {
    row.iter().product()
}

fn feed(columns: Vec<usize>, spec: &TensorSpec) -> Feed {
    Feed { columns, data_type: spec.data_type, row: spec.row_shape.clone() }
}

fn numbers_or_same(from: DataType, to: DataType) -> bool {
    let number = |data_type: DataType| data_type.is_numeric() || data_type == DataType::Bool;
    from == to || (number(from) && number(to))
}

fn one_to_one(own: &TensorSpec, specs: &[TensorSpec]) -> Result<Feed> {
    let found = specs.iter().enumerate().find(|(_, spec)| spec.name == own.name);
    let found = found.or(if let [_] = specs { specs.iter().enumerate().next() } else { None });
    match found {
        Some((at, spec))
            if width(&spec.row_shape) == width(&own.row_shape) && numbers_or_same(spec.data_type, own.data_type) =>
        {
            Ok(feed(vec![at], own))
        }
        _ => Err(Error::invalid_argument(format!(
            "the signature has nothing that fits the model's input {:?} ({} {:?})",
            own.name, own.data_type, own.row_shape
        ))),
    }
}

fn side_by_side(own: &TensorSpec, specs: &[TensorSpec]) -> Result<Feed> {
    let total: usize = specs.iter().map(|spec| width(&spec.row_shape)).sum();
    let misfit = specs.iter().find(|spec| spec.row_shape.len() > 1 || !numbers_or_same(spec.data_type, own.data_type));
    if let Some(misfit) = misfit {
        return Err(Error::invalid_argument(format!(
            "column {:?} cannot be a part of the model's input {:?} of {}",
            misfit.name, own.name, own.data_type
        )));
    }
    if own.row_shape != [total] {
        return Err(Error::invalid_argument(format!(
            "the signature's {total} columns do not make the model's input {:?} of shape {:?} a row",
            own.name, own.row_shape
        )));
    }
    Ok(feed((0..specs.len()).collect(), own))
}

impl Feed {
    fn tensor(&self, inputs: &RecordBatch, specs: &[TensorSpec]) -> Result<Tensor> {
        let rows = inputs.num_rows();
        let part = |&at: &usize| -> Result<Tensor> {
            let (Some(column), Some(spec)) = (inputs.columns().get(at), specs.get(at)) else {
                return Err(Error::internal("an input column is missing"));
            };
            let data = cast(&to_tensor(spec, column)?, self.data_type)?;
            Tensor::new([rows, width(&spec.row_shape)], data)
        };
        let shape = shaped(rows, &self.row);
        if let [one] = self.columns.as_slice() {
            return Tensor::new(shape, part(one)?.into_data());
        }
        let parts = self.columns.iter().map(part).collect::<Result<Vec<_>>>()?;
        crate::ops::concat(&parts.iter().collect::<Vec<_>>(), 1)?.reshaped(shape)
    }
}

/// Runs a model that takes one row on each, and puts the answers together. All rows share the operations of one run.
fn row_by_row(plan: &Plan, inputs: &[Tensor], rows: usize) -> Result<Vec<Tensor>> {
    let mut answers: Vec<Vec<Tensor>> = vec![Vec::with_capacity(rows); plan.outputs.len()];
    let operations = Operations::new(&plan.limits);
    for row in 0..rows {
        let one = inputs.iter().map(|input| crate::ops::along(input, 0, &[row])).collect::<Result<Vec<_>>>()?;
        for (all, tensor) in answers.iter_mut().zip(plan.run_within(one, &operations)?) {
            all.push(tensor);
        }
    }
    answers.iter().map(|all| crate::ops::concat(&all.iter().collect::<Vec<_>>(), 0)).collect()
}

/// Type and row shape of each output, found by running rows of zeros and empty texts.
fn probe(plan: &Plan, declared: &Declared, own: &[TensorSpec], single: bool) -> Result<Vec<TensorSpec>> {
    let run = |rows: usize| -> Result<Vec<Tensor>> {
        let blank = |spec: &TensorSpec| {
            let shape = shaped(rows, &spec.row_shape);
            let zeros = Data::zeros(spec.data_type, plan.limits.elements(&shape)?);
            Tensor::new(shape, zeros.ok_or_else(|| Error::internal("an input has a type without zero"))?)
        };
        plan.run(own.iter().map(blank).collect::<Result<Vec<_>>>()?)
    };
    let (few, more) = if single { (1, 1) } else { (2, 3) };
    let outcome = run(few).and_then(|first| Ok((first, run(more)?)));
    let (first, second) = match outcome {
        Ok(outcome) => outcome,
        // A model may refuse made-up values; then what the file states must do.
        Err(error) if error.context().iter().any(|(key, _)| *key == INPUT_VALUE) => return stated(declared, error),
        Err(error) => return Err(error),
    };
    let found = declared.outputs.iter().zip(first.iter().zip(&second));
    found.map(|(output, (a, b))| output_spec(&output.name, (a, few), (b, more))).collect()
}

fn stated(declared: &Declared, error: Error) -> Result<Vec<TensorSpec>> {
    let specs = declared.outputs.iter().map(|output| {
        let (data_type, row) = output.stated.clone()?;
        Some(TensorSpec::tensor(&output.name, data_type, row))
    });
    specs.collect::<Option<_>>().ok_or(error)
}

fn output_spec(name: &str, (a, few): (&Tensor, usize), (b, more): (&Tensor, usize)) -> Result<TensorSpec> {
    match (a.shape(), b.shape()) {
        ([rows_a, row_a @ ..], [rows_b, row_b @ ..]) if (*rows_a, *rows_b) == (few, more) && row_a == row_b => {
            Ok(TensorSpec::tensor(name, a.data_type(), row_a))
        }
        (a, b) => Err(Error::invalid_argument(format!(
            "output {name:?} is not one row for each input row: {few} rows give shape {a:?}, {more} give {b:?}"
        ))),
    }
}
