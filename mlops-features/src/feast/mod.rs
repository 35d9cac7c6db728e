//! Feast's HTTP feature server over a [`FeatureStore`], so that Feast's Python SDK reads and writes it with
//! `online_store: {type: remote, path: http://...}`.
//!
//! Body shapes are Feast 0.67's, and so are its error bodies; what the caller did wrong is a 4xx here where Feast
//! answers 500. Features of on-demand views are computed from request data in `entities`, and `view@v2:feature` is
//! served as Feast serves it. Values older than a view's time to live are `OUTSIDE_MAX_AGE`, and a stored null is
//! `NULL_VALUE`. A push source is a table: `/push` feeds the table offline and the views over it online.
//!
//! ```
//! # use std::sync::Arc;
//! # use mlops_core::arrow_schema::{DataType, Field, Schema, TimeUnit};
//! use mlops_features::{Entity, FeatureService, FeatureStore, FeatureView, feast::FeastServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let schema = Arc::new(Schema::new(vec![
//! #     Field::new("driver_id", DataType::Int64, true),
//! #     Field::new("event_timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
//! #     Field::new("trips", DataType::Int64, true),
//! # ]));
//! let view = FeatureView::builder("drivers", Entity::new("driver", ["driver_id"])?, "driver_stats");
//! let store = FeatureStore::builder(home.path().display().to_string())
//!     .with_table("driver_stats", schema)
//!     .with_view(view.with_column("trips").build()?)
//!     .with_service(FeatureService::new("activity", ["drivers:trips".parse()?])?)
//!     .build()
//!     .await?;
//! let server = FeastServer::builder(store).build();
//! let app: axum::Router = server.router(); // serve it wherever the application listens
//! server.close(std::time::Duration::from_secs(5)).await;
//! # drop(app); Ok(())
//! # }
//! ```

mod convert;
mod error;
mod filter;
mod jobs;
mod materialize;
mod question;
mod render;
mod routes;
mod search;
mod wire;
mod write;

use std::{sync::Arc, time::Duration};

use axum::Router;
use mlops_core::{Authorizer, Clock, Meter, NoMeter};
use serde::{Deserialize, Serialize};

#[cfg(feature = "flight")]
pub(crate) use self::convert::column;
use self::jobs::Jobs;
use crate::FeatureStore;

/// Bounds of a [`FeastServer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct FeastSettings {
    /// Largest request, bytes.
    pub body_bytes_max: usize,
    /// Most rows of entities in one question, and of data in one write.
    pub rows_max: usize,
    /// Most features in one question.
    pub features_max: usize,
    /// Most materializations that run in the background at once.
    pub jobs_max: usize,
}

impl Default for FeastSettings {
    fn default() -> Self {
        Self { body_bytes_max: 16 << 20, rows_max: 10_000, features_max: 1_024, jobs_max: 4 }
    }
}

/// Feast's HTTP API over one store. Clones share everything.
#[derive(Debug, Clone)]
pub struct FeastServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: FeatureStore,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
    authorizer: Option<Arc<dyn Authorizer>>,
    jobs: Jobs,
    settings: FeastSettings,
}

impl FeastServer {
    /// Begins a server over `store`.
    pub fn builder(store: FeatureStore) -> FeastServerBuilder {
        FeastServerBuilder { store, meter: Arc::new(NoMeter), authorizer: None, settings: FeastSettings::default() }
    }

    /// The routes: `POST /get-online-features`, `/write-to-online-store`, `/push`, `/materialize`,
    /// `/materialize-incremental`, `/search` by vector within filters (and as `/retrieve-online-documents`), `GET /health`. It binds
    /// no port.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.inner))
    }

    /// Accepts no more work in the background and waits for what runs, at most for `deadline`; what is cut off
    /// continues at the next materialization.
    pub async fn close(&self, deadline: Duration) {
        self.inner.jobs.close(deadline).await;
    }
}

/// Collects the parts of a [`FeastServer`].
#[derive(Debug)]
#[must_use]
pub struct FeastServerBuilder {
    store: FeatureStore,
    meter: Arc<dyn Meter>,
    authorizer: Option<Arc<dyn Authorizer>>,
    settings: FeastSettings,
}

impl FeastServerBuilder {
    /// Counts requests (`mlops_feast_requests_total`, `mlops_feast_request_seconds` by path) and served values
    /// (`mlops_feast_values_total` by status) in `meter`.
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Asks `authorizer` before anything is read (`Read` on `feature_view`) or written (`Write` on `feature_view` and,
    /// for pushes to the offline table, on `table`). Who asks is the [`mlops_core::Principal`] that a layer of the
    /// application put into the extensions of the request; without one, a request is refused.
    pub fn with_authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Bounds.
    pub fn with_settings(mut self, settings: FeastSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The server.
    #[must_use]
    pub fn build(self) -> FeastServer {
        let Self { store, meter, authorizer, settings } = self;
        let (clock, jobs) = (store.clock(), Jobs::new(settings.jobs_max));
        FeastServer { inner: Arc::new(Inner { store, clock, meter, authorizer, jobs, settings }) }
    }
}
