//! Rollouts in memory, for tests and for servers that start anew.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use mlops_core::{ModelName, Result};

use super::{Rollout, RolloutStore};

/// Keeps rollouts as long as it lives.
#[derive(Debug, Default)]
pub struct MemoryRolloutStore {
    kept: Mutex<BTreeMap<ModelName, Rollout>>,
}

#[async_trait]
impl RolloutStore for MemoryRolloutStore {
    async fn save(&self, rollout: &Rollout) -> Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(rollout.model.clone(), rollout.clone());
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Rollout>> {
        Ok(self.kept.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    async fn remove(&self, model: &ModelName) -> Result<()> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
        Ok(())
    }
}
