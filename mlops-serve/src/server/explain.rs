//! From a request for reasons to reasons: choose the version, complete the features, explain on a worker.

use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use mlops_core::{Error, ModelName, Result, Version};

use super::{
    Server,
    infer::{Asked, Wanted, gather, project},
};
use crate::{
    ambient::Ambient,
    explain::{Explainer, Explanation},
    model::ServedModel,
    rollout::Variant,
    tensor::Tensor,
};

/// Reasons with the version whose answers they explain.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) explanation: Explanation,
    pub(crate) version: Version,
}

impl Server {
    /// Explains what `version`, or the version in service, says of the rows of `batch`, which has the columns that
    /// [`Server::infer`] takes.
    ///
    /// # Errors
    /// `Unimplemented` for a model without an explainer, see [`ModelConfig::with_explainer`](crate::ModelConfig);
    /// what the explainer refuses; otherwise as [`Server::infer`].
    pub async fn explain(&self, name: &ModelName, batch: RecordBatch, version: Option<Version>) -> Result<Explanation> {
        let wanted = self.inner.awake(name.as_str(), version).await?;
        let explainer = wanted.explainer()?;
        let sent = project(&wanted.described_by, &batch)?;
        Ok(self.explain_rows(wanted, explainer, sent).await?.explanation)
    }

    /// Explains validated tensors; they come in any order.
    pub(crate) async fn explain_tensors(&self, Asked { wanted, .. }: Asked, tensors: &[Tensor]) -> Result<Explained> {
        let explainer = wanted.explainer()?;
        let sent = gather(&wanted.described_by, tensors, tensors.first().map_or(1, Tensor::rows))?;
        self.explain_rows(wanted, explainer, sent).await
    }

    async fn explain_rows(
        &self,
        wanted: Wanted,
        explainer: Arc<dyn Explainer>,
        sent: RecordBatch,
    ) -> Result<Explained> {
        let (inner, config) = (&self.inner, &wanted.entry.config);
        let Some(model) = wanted.described_by.model.to_rows() else { return Err(no_rows(&config.name)) };
        let limit = Duration::from_millis(inner.settings.timeout_ms);
        let limit = limit.min(config.timeout.unwrap_or(limit));
        let work = async {
            let completed = match &config.features {
                Some(lookup) => lookup.complete(&sent, model.signature(), inner.clock.now()).await?,
                None => sent,
            };
            let inputs = model.signature().project_inputs(&completed)?;
            let ambient = Arc::new(Ambient::within(limit));
            let _waiting = ambient.waiting();
            let explain = move || {
                let _here = Arc::clone(&ambient).enter();
                explainer.explain(&*model, &inputs, &|| ambient.is_given_up())
            };
            inner.executor.run(explain).await
        };
        let explained = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let (name, limit) = (&config.name, limit.as_millis());
            Err(Error::deadline_exceeded(format!("model \"{name}\" was not explained within {limit} ms")))
        });
        let code = explained.as_ref().err().map_or(200, |error| error.kind().http_status()).to_string();
        let labels = [("model", config.name.as_str()), ("code", code.as_str())];
        inner.meter.count("mlops_serve_explanations_total", &labels, 1);
        Ok(Explained { explanation: explained?, version: wanted.described_by.version })
    }
}

impl super::Inner {
    /// Finds the version that is to be explained; of a rollout the side that was asked for.
    ///
    /// # Errors
    /// As [`super::Inner::awake`].
    pub(crate) async fn awake_side(
        &self,
        name: &str,
        version: Option<Version>,
        side: Option<Variant>,
    ) -> Result<Wanted> {
        let wanted = self.awake(name, version).await?;
        let rollout = wanted.state.rollout.as_ref().map(|active| &active.rollout);
        let candidate = rollout.filter(|rollout| rollout.is_active() && version.is_none()).and_then(|rollout| {
            let arm = rollout.arm(side?)?;
            rollout.candidates.get(arm.checked_sub(1)?).copied()
        });
        match candidate {
            Some(candidate) => self.wanted(name, Some(candidate)),
            None => Ok(wanted),
        }
    }
}

impl Wanted {
    /// What explains the model's answers.
    ///
    /// # Errors
    /// `Unimplemented` when nothing does.
    pub(crate) fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        let config = &self.entry.config;
        if matches!(self.described_by.model, ServedModel::Tensors(_)) {
            return Err(no_rows(&config.name));
        }
        let none = || Error::unimplemented(format!("model \"{}\" has no explainer", config.name));
        config.explainer.clone().ok_or_else(none)
    }
}

fn no_rows(name: &ModelName) -> Error {
    Error::unimplemented(format!("model \"{name}\" works on raw tensors, whose answers are not explained"))
}
