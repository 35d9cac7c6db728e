//! An on-demand view resolved against the views that it reads, and its code, if the program brought it.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use mlops_core::{Error, Result, ResultExt};

use super::Transformation;
use crate::{
    definition::{OnDemandView, all_faults},
    online::ResolvedView,
    value::is_supported,
};

/// On-demand views by name, and by name and version where they have one.
pub(crate) type OnDemandViews = BTreeMap<Arc<str>, Arc<ResolvedOnDemand>>;

/// Code that was handed in.
#[derive(Clone)]
pub(crate) struct Code(pub(crate) Arc<dyn Transformation>);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

/// An on-demand view with everything that is known once the views that it reads are.
#[derive(Debug)]
pub(crate) struct ResolvedOnDemand {
    pub(crate) view: OnDemandView,
    /// What the code is handed: inputs, then request data.
    pub(crate) input: SchemaRef,
    /// For every input the join keys of its view.
    pub(crate) keys: Vec<Vec<Arc<str>>>,
    code: Option<Code>,
}

impl ResolvedOnDemand {
    /// Checks `view` against the views that it reads.
    pub(crate) fn new(
        view: OnDemandView,
        views: &BTreeMap<Arc<str>, Arc<ResolvedView>>,
        code: Option<Code>,
    ) -> Result<Self> {
        let (mut faults, mut fields, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for input in view.inputs() {
            let unknown = || Error::not_found(format!("it reads {}, which no feature view defines", input.feature));
            let of = views.get(input.feature.view_key()).ok_or_else(unknown);
            match of.and_then(|of| Ok((of, of.place(input.feature.feature())?.1))) {
                Ok((of, data_type)) => {
                    fields.push(Field::new(input.name.as_ref(), data_type, true));
                    keys.push(of.view.entity().join_keys().to_vec());
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
        for field in view.request().iter().chain(view.outputs()).filter(|field| !is_supported(field.data_type())) {
            faults.push(format!("\"{}\" is {}, which no feature can be", field.name(), field.data_type()));
        }
        all_faults(&format!("on-demand view \"{}\"", view.name()), &faults)?;
        fields.extend(view.request().iter().cloned());
        Ok(Self { input: Arc::new(Schema::new(fields)), view, keys, code })
    }

    /// Which output `feature` is, and its type.
    pub(crate) fn place(&self, feature: &str) -> Result<(usize, &DataType)> {
        let position = self.view.output_names().position(|name| name == feature);
        let found = position.and_then(|at| Some((at, self.view.outputs().get(at)?.data_type())));
        found.ok_or_else(|| {
            let names: Vec<_> = self.view.output_names().collect();
            Error::not_found(format!(
                "on-demand view \"{}\" has no feature \"{feature}\"; it has {}",
                self.view.name(),
                names.join(", ")
            ))
        })
    }

    /// Refuses `request` when it lacks request data of the view, or has it in another type.
    pub(crate) fn check_request(&self, request: &Schema) -> Result<()> {
        let mut faults = Vec::new();
        for field in self.view.request() {
            match request.field_with_name(field.name()) {
                Err(_) => faults.push(format!("request data \"{}\" ({}) is missing", field.name(), field.data_type())),
                Ok(found) if !found.data_type().equals_datatype(field.data_type()) => faults.push(format!(
                    "request data \"{}\" must be {}; it is {}",
                    field.name(),
                    field.data_type(),
                    found.data_type()
                )),
                Ok(_) => {}
            }
        }
        all_faults(&format!("on-demand view \"{}\"", self.view.name()), &faults)
    }

    /// The outputs for rows of `inputs` and of `request`, which was checked.
    pub(crate) fn compute(&self, inputs: Vec<ArrayRef>, request: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let view = &self.view;
        let code = self.code.as_ref().ok_or_else(|| {
            Error::failed_precondition(format!(
                "this program has no code \"{}\" of on-demand view \"{}\"; add the view to the store's builder",
                view.code_version(),
                view.name()
            ))
        })?;
        let rows = request.num_rows();
        let mut columns = inputs;
        columns.extend(view.request().iter().filter_map(|field| request.column_by_name(field.name()).cloned()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.input), columns, &options)?;
        let what = || format!("on-demand view \"{}\"", view.name());
        // The code is handed a shared batch and gives a new value: nothing of ours is half-done when it panics.
        let outputs = catch_unwind(AssertUnwindSafe(|| code.0.apply(&batch)))
            .unwrap_or_else(|_| Err(Error::internal("its code panicked")))
            .context(what())?;
        self.check_outputs(&outputs, rows).context(what())?;
        Ok(outputs)
    }

    fn check_outputs(&self, outputs: &[ArrayRef], rows: usize) -> Result<()> {
        let (wanted, found) = (self.view.outputs().len(), outputs.len());
        if found != wanted {
            return Err(Error::internal(format!("its code gave {found} columns; it is to give {wanted}")));
        }
        for (field, output) in self.view.outputs().iter().zip(outputs) {
            let (name, wanted, found) = (field.name(), field.data_type(), output.data_type());
            if !found.equals_datatype(wanted) {
                return Err(Error::internal(format!("its code gave \"{name}\" as {found}; it is to be {wanted}")));
            }
            if output.len() != rows {
                let found = output.len();
                return Err(Error::internal(format!("its code gave {found} values of \"{name}\" for {rows} rows")));
            }
        }
        Ok(())
    }
}
