//! One fit of a network to the rows of a table.

use mlops_core::{Error, Result};
use serde::Serialize;

use super::{
    inputs::Inputs,
    rows::{Examples, Rows, TableBatch},
    target::{OutputScale, row_weights},
};
use crate::{
    data::TableDataset,
    neural::{BurnSettings, BurnTrainer, Learner, Loader, Trained},
    split::holdout,
    trainer::FitContext,
};

/// What a fit needs besides the network.
#[derive(Debug)]
pub(crate) struct TableFit<'a, S> {
    /// The flavor of the model.
    pub(crate) flavor: &'static str,
    pub(crate) data: &'a TableDataset,
    pub(crate) inputs: &'a Inputs,
    pub(crate) output: OutputScale,
    pub(crate) settings: BurnSettings,
    /// All settings of the flavor, by which a checkpoint is told from that of another fit.
    pub(crate) whole: &'a S,
    /// Share of rows that early stopping judges by: the latest where rows have times, else drawn by the
    /// seed.
    pub(crate) validation_share: f64,
    pub(crate) balance_classes: bool,
}

impl<S: Serialize> TableFit<'_, S> {
    /// Trains. Without early stopping all rows are learnt from.
    pub(crate) fn run<L: Learner<Batch = TableBatch>>(
        &self,
        learner: &L,
        context: &FitContext,
    ) -> Result<Trained<L::Module>> {
        let Self { data, inputs, .. } = *self;
        if inputs.width + inputs.coded == 0 {
            return Err(Error::invalid_argument("the columns of the dataset give a network no numbers"));
        }
        let (train, valid) = match self.settings.early_stopping_epochs {
            0 => ((0..data.rows() as u32).collect(), Vec::new()),
            _ => holdout(data, self.validation_share, context.seed()),
        };
        let examples =
            Examples { inputs, targets: self.output.targets(data), weights: row_weights(data, self.balance_classes) };
        let side = |rows| Rows { examples: &examples, rows };
        let (train, valid) = (side(train), Some(side(valid)).filter(|rows| !rows.rows.is_empty()));
        let valid = valid.as_ref().map(|rows| rows as &dyn Loader<Batch = TableBatch>);
        let whole = serde_json::to_value(self.whole)
            .map_err(|error| Error::internal("settings cannot be written as JSON").with_source(error))?;
        let trainer = BurnTrainer::new(self.settings.clone()).with_name(self.flavor).with_network(whole);
        trainer.fit(learner, &train, valid, context)
    }
}
