//! Labels of more than two classes, learnt by a model for each.

use arrow_array::{ArrayRef, RecordBatch};
use mlops_core::{Clock, Error, Model, Result, ResultExt, SystemClock};
use mlops_metrics::{Average, ClassMetric, ClassRows};
use mlops_train::{FitContext, OneVsRestModel, OneVsRestTrainer, Params, TrainedModel, data::label_classes};
use serde_json::{Map, Value, json};

use crate::{Arguments, ModelKind, Spent, TaskKind, costs, cpu, table};

/// Whether the label of the training rows has more than two values that are to be told apart: always those of a text,
/// and numbers where classes are asked for.
pub(crate) fn several(arguments: &Arguments, train: &RecordBatch) -> bool {
    let Some(label) = train.column_by_name(&arguments.label) else { return false };
    let is_number = label.data_type().is_numeric();
    let asked = match arguments.task {
        TaskKind::Regression => false,
        TaskKind::Classification => true,
        TaskKind::Auto => !is_number,
    };
    let told_apart = asked && arguments.model != ModelKind::Autoencoder;
    // A label that cannot be read is refused, with the reason, where two classes are expected.
    told_apart && label_classes(&arguments.label, label).is_ok_and(|classes| classes.len() > 2)
}

/// Fits, predicts, and reports.
pub(crate) fn run(
    arguments: &Arguments,
    [train, test]: &[RecordBatch; 2],
    params: &Params,
    context: &FitContext,
) -> Result<Value> {
    // The rows of the test in the columns and types of the training.
    let both = table::stack(train, test, &arguments.test)?;
    let (train, test) = (both.slice(0, train.num_rows()), both.slice(train.num_rows(), test.num_rows()));
    check_test(&arguments.label, &train, &test)?;
    let clock = SystemClock::default();
    let (fit_clock, fit_cpu) = (clock.monotonic(), cpu::seconds());
    let model = OneVsRestTrainer::new(arguments.model.trainer())
        .fit(&train, &arguments.label, params, context)
        .context(format!("training on label column {:?}", arguments.label))?;
    let fit = Spent::since(&clock, fit_clock, fit_cpu);
    let (predict_clock, predict_cpu) = (clock.monotonic(), cpu::seconds());
    let output = model.predict(&test)?;
    let predict = Spent::since(&clock, predict_clock, predict_cpu);
    if let Some(path) = &arguments.predictions {
        table::write(path, &output)?;
    }
    let fields = json!({
        "task": "classification",
        "classes": model.classes(),
        "rows_train": train.num_rows(),
        "rows_test": test.num_rows(),
        "steps": model.steps(),
        "package_digest": model.to_package()?.digest()?.to_string(),
        "metrics": metrics(&arguments.label, &model, &test)?,
    });
    let Value::Object(mut report) = fields else { return Err(Error::internal("the report is not an object")) };
    // Every model saw each training row once in each of its steps.
    let samples = train.num_rows() as f64 * model.steps().max(1) as f64;
    report.extend(costs(arguments, context.device(), samples, &fit, &predict));
    Ok(Value::Object(report))
}

/// Refuses labels that the fits could not be judged by, before them.
fn check_test(label: &str, train: &RecordBatch, test: &RecordBatch) -> Result<()> {
    let classes = |batch: &RecordBatch| label_classes(label, column(label, batch)?);
    let (learnt, found) = (classes(train)?, classes(test).context("the test file")?);
    match found.iter().find(|class| !learnt.contains(class)) {
        None => Ok(()),
        Some(class) => Err(Error::invalid_argument(format!(
            "label column {label:?} has class {class:?} in the test file and not in the training file"
        ))),
    }
}

fn column<'a>(label: &str, batch: &'a RecordBatch) -> Result<&'a ArrayRef> {
    batch.column_by_name(label).ok_or_else(|| Error::invalid_argument(format!("label column {label:?} is missing")))
}

/// A metric that does not exist on these rows, such as the area of a class without rows, is null.
fn metrics(label: &str, model: &OneVsRestModel, test: &RecordBatch) -> Result<Map<String, Value>> {
    let labels = model.class_indices(label, column(label, test)?)?;
    let probabilities = model.probabilities(test)?;
    let rows = ClassRows::from_probabilities(model.classes().len(), &labels, &probabilities)?;
    let of = |metric: ClassMetric| json!(metric.compute(&rows).ok());
    let found = [
        ("accuracy", json!(rows.confusion()?.accuracy())),
        ("log_loss", json!(rows.log_loss()?)),
        ("roc_auc_ovr_macro", of(ClassMetric::RocAucOvr(Average::Macro))),
        ("f1_macro", of(ClassMetric::F1(Average::Macro))),
    ];
    Ok(found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
