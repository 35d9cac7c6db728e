//! Why the model says what it says, as pictures.

use arrow_array::RecordBatch;
use mlops::{
    core::{Error, Model, Result},
    train::{
        FitContext, GbdtModel, GbdtTrainer, Params, TableDataset,
        explain::{
            Attribution, Background, ExplainContext, KernelSettings, PathDependentTreeShap, ShapleyExplainer, Summary,
            plot,
        },
        search::{Study, plot as search_plot},
    },
};

/// Rows that are explained: trees take microseconds a row, other models thousands of predictions.
const TREE_ROWS: usize = 400;
const KERNEL_ROWS: usize = 20;
const BACKGROUND_ROWS: usize = 20;
const KERNEL_COALITIONS: usize = 256;

/// Pictures of a study.
pub fn study_page(study: &Study) -> String {
    search_plot::html(study)
}

/// Contributions to the raw score of trees, exactly.
pub fn of_trees(model: &GbdtModel, rows: &TableDataset) -> Result<Attribution> {
    let rows = rows.batch().slice(0, rows.rows().min(TREE_ROWS));
    PathDependentTreeShap::new(&model.trees(&rows)?).explain(&model.tree_rows(&rows)?)
}

/// Contributions to the probability of any model, estimated against typical rows.
pub fn of_any(model: &dyn Model, learnt: &TableDataset, rows: &TableDataset, seed: u64) -> Result<Attribution> {
    let first = |data: &TableDataset, count: usize| -> RecordBatch { data.batch().slice(0, data.rows().min(count)) };
    let explainer = ShapleyExplainer::new(Background::new(first(learnt, BACKGROUND_ROWS))?);
    let settings = KernelSettings { coalitions_max: KERNEL_COALITIONS };
    let found = explainer.kernel(model, &first(rows, KERNEL_ROWS), &settings, &ExplainContext::new(seed))?;
    Ok(found.attribution)
}

/// Importance, all rows, and one row.
pub fn page(title: &str, attribution: &Attribution) -> Result<(Summary, String)> {
    let summary = Summary::of_attribution(attribution);
    let first = plot::waterfall(attribution, 0).ok_or_else(|| Error::internal("no row was explained"))?;
    let plots = [plot::importance(&summary), plot::beeswarm(attribution, None), first];
    Ok((summary, plot::page(title, &plots)))
}

/// The trees themselves rather than what any trained model offers.
pub fn fit_trees(data: &TableDataset, params: &Params, context: &FitContext) -> Result<GbdtModel> {
    GbdtTrainer.fit_settings(data, &params.to_settings()?, context)
}
