//! How one model is served.

use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use mlops_core::{ModelName, ModelRef, Result};

use super::{Entry, LoadedVersion};
use crate::{explain::Explainer, features::FeatureLookup};

/// Which model, which version by default, and what the server adds to it.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// The registered model and which of its versions answers by default.
    pub reference: ModelRef,
    /// The name clients use.
    pub name: ModelName,
    /// Features that the server looks up.
    pub features: Option<FeatureLookup>,
    /// A shorter limit than the server's for one request.
    pub timeout: Option<Duration>,
    /// Most rows in one request.
    pub rows_max: usize,
    /// Most rows of requests that share a prediction; 1 lets every request be predicted alone.
    pub batch_rows_max: usize,
    /// How long a request may wait for others to share a prediction with. Nobody waits while a worker is idle: it counts
    /// only while another prediction of the same version is running. Zero never waits.
    pub batch_delay: Duration,
    /// Rows with every input of the model, which it must be able to predict for the server to be ready, see
    /// [`Server::check_readiness`](crate::Server::check_readiness); a made-up row otherwise.
    pub example: Option<RecordBatch>,
    /// Explains what its versions say, see [`Server::explain`](crate::Server::explain).
    pub explainer: Option<Arc<dyn Explainer>>,
}

/// How requests share predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batching {
    /// As [`ModelConfig::batch_rows_max`].
    pub(crate) rows_max: usize,
    /// As [`ModelConfig::batch_delay`].
    pub(crate) delay: Duration,
}

/// How the client that loads a model wants its requests to share predictions, as far as a version of it allows that.
pub(crate) type Wish = Box<dyn Fn(&Entry, &LoadedVersion) -> Result<Batching> + Send + Sync>;

impl ModelConfig {
    pub(crate) fn batching(&self) -> Batching {
        Batching { rows_max: self.batch_rows_max, delay: self.batch_delay }
    }

    /// Serves what `reference` resolves to, under the registered name.
    #[must_use]
    pub fn new(reference: ModelRef) -> Self {
        let name = reference.name.clone();
        Self {
            reference,
            name,
            features: None,
            timeout: None,
            rows_max: 1 << 20,
            batch_rows_max: 256,
            batch_delay: Duration::ZERO,
            example: None,
            explainer: None,
        }
    }

    /// Serves it under another name.
    #[must_use]
    pub fn with_name(mut self, name: ModelName) -> Self {
        self.name = name;
        self
    }

    /// Looks up features for each request.
    #[must_use]
    pub fn with_features(mut self, lookup: FeatureLookup) -> Self {
        self.features = Some(lookup);
        self
    }

    /// Limits the time of one request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits the rows of one request.
    #[must_use]
    pub fn with_rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// Limits the rows of requests that share a prediction.
    #[must_use]
    pub fn with_batch_rows_max(mut self, rows_max: usize) -> Self {
        self.batch_rows_max = rows_max;
        self
    }

    /// Lets requests wait for company while another prediction of the version is running.
    #[must_use]
    pub fn with_batch_delay(mut self, delay: Duration) -> Self {
        self.batch_delay = delay;
        self
    }

    /// Tries the model out on these rows when the server checks that it is ready.
    #[must_use]
    pub fn with_example(mut self, rows: RecordBatch) -> Self {
        self.example = Some(rows);
        self
    }

    /// Explains predictions where clients ask for it: `:explain` of KServe v1, `/v2/models/{model}/explain`, and
    /// [`Server::explain`](crate::Server::explain).
    #[must_use]
    pub fn with_explainer(mut self, explainer: Arc<dyn Explainer>) -> Self {
        self.explainer = Some(explainer);
        self
    }
}
