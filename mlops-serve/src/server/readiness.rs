//! Deep readiness: a server is ready when its models predict, not when its process answers.
//!
//! A full queue does not make it unready: it works, and taking it out of service would only move the load.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mlops_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use super::Server;
use crate::{ambient::Ambient, repository::Entry};
#[cfg(feature = "remote")]
use {crate::model::ServedModel, mlops_core::ResultExt as _};

impl Server {
    /// Lets every model in service predict its example (or a made-up row) on a worker; until the next check the server
    /// is ready only if all did. A server that listens does this by itself every
    /// [`readiness_check_ms`](crate::ServerSettings::readiness_check_ms).
    ///
    /// # Errors
    /// The first failure, naming the model: what the model returned, or `DeadlineExceeded` when no worker came to it,
    /// or its server said nothing, within [`timeout_ms`](crate::ServerSettings::timeout_ms).
    pub async fn check_readiness(&self) -> Result<()> {
        let mut outcome = Ok(());
        for entry in self.inner.repository.entries() {
            if let Err(error) = self.try_out(&entry).await {
                tracing::error!(model = %entry.config.name, error = %error.chain(), "the model does not predict");
                outcome = outcome.and(Err(error));
            }
        }
        self.inner.healthy.store(outcome.is_ok(), Ordering::Relaxed);
        outcome
    }

    async fn try_out(&self, entry: &Entry) -> Result<()> {
        let Some(champion) = entry.state().champion().cloned() else { return Ok(()) };
        let (example, name) = (entry.config.example.clone(), &entry.config.name);
        let limit = Duration::from_millis(self.inner.settings.timeout_ms);
        #[cfg(feature = "remote")]
        if let ServedModel::Remote(model) = &champion.model {
            // Its own word is enough, and costs no prediction there.
            return timeout(limit, model.ready()).await.map_or_else(
                |_| {
                    let limit = limit.as_millis();
                    Err(Error::deadline_exceeded(format!(
                        "model \"{name}\" did not say within {limit} ms that it is ready"
                    )))
                },
                |said| said.context(format!("model \"{name}\"")),
            );
        }
        let ambient = Arc::new(Ambient::within(limit));
        let _waiting = ambient.waiting();
        let work = move || {
            let _here = ambient.enter();
            champion.try_out(example.as_ref())
        };
        let tried = timeout(limit, self.inner.executor.run(work)).await;
        match tried {
            Ok(Err(error)) if error.kind() == ErrorKind::ResourceExhausted => Ok(()),
            Ok(Err(error)) => {
                let text = format!("model \"{name}\" does not predict its example: {}", error.message());
                Err(Error::new(error.kind(), text))
            }
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(Error::deadline_exceeded(format!(
                "model \"{name}\" did not predict its example within {} ms",
                limit.as_millis()
            ))),
        }
    }

    /// Checks again and again; never ends by itself.
    pub(in crate::server) async fn keep_checking(self) {
        let every = Duration::from_millis(self.inner.settings.readiness_check_ms);
        loop {
            // A failure is logged, and shows in the readiness.
            let _ = self.check_readiness().await;
            tokio::time::sleep(every).await;
        }
    }
}
