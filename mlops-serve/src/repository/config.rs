//! How one model is served.

use std::time::Duration;

use mlops_core::{ModelName, ModelRef};

use crate::features::FeatureLookup;

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
}

impl ModelConfig {
    /// Serves what `reference` resolves to, under the registered name.
    #[must_use]
    pub fn new(reference: ModelRef) -> Self {
        let name = reference.name.clone();
        Self { reference, name, features: None, timeout: None, rows_max: 1 << 20, batch_rows_max: 256 }
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
}
