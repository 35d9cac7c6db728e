//! Training sets and online features over Arrow Flight, as record batches rather than JSON.
//!
//! A client says what it wants in a [`FlightTicket`], a small JSON document. `GetFlightInfo` and `GetSchema` take it as
//! the command of their descriptor and answer with the schema and the same ticket, in which the versions of all tables
//! are now written down; `DoGet` takes the ticket, from there or made by hand, and streams the rows. Other calls of the
//! protocol are `UNIMPLEMENTED`: this path only reads.
//!
//! A training set over a table of rows is joined and sent piece by piece. An open stream holds one piece with its
//! features and one batch of the table beyond it; while a piece is joined it is there twice, its batches and the whole,
//! beside what the store's join settings allow. Neither is a bound in bytes, as rows may be long.
//!
//! ```json
//! {"online": {"service": "activity", "entities": {"driver_id": [1001, 1002]}}}
//! {"online": {"features": ["drivers:trips"], "entities": {"driver_id": [1001]}, "as_of": 1735689600000000}}
//! {"training_set": {"service": "activity",
//!     "spine": {"rows": {"driver_id": [1001], "event_timestamp": ["2025-01-01T00:00:00Z"]}}}}
//! {"training_set": {"service": "activity", "knowledge": "known",
//!     "spine": {"table": {"name": "outcomes", "version": 7}}}}
//! ```
//!
//! ```
//! # use std::sync::Arc;
//! # use mlops_core::arrow_schema::{DataType, Field, Schema, TimeUnit};
//! use mlops_features::{Entity, FeatureService, FeatureStore, FeatureView, flight::FlightServer};
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
//! let app: axum::Router = FlightServer::builder(store).build().router(); // HTTP/2 without TLS, or behind it
//! # drop(app); Ok(())
//! # }
//! ```

mod pieces;
mod question;
mod service;
mod spine;
mod ticket;

pub use ticket::{FlightTicket, OnlineTicket, Spine, SpineTable, TrainingSetTicket};

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;
use mlops_core::{Authorizer, Clock};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use self::service::Service;
use crate::FeatureStore;

/// Bounds of a [`FlightServer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct FlightSettings {
    /// Largest ticket or command, bytes.
    pub ticket_bytes_max: usize,
    /// Most rows in a ticket.
    pub rows_max: usize,
    /// Most features in a ticket.
    pub features_max: usize,
    /// Rows of a table that are joined and sent at a time; every such piece reads the tables of the features again.
    pub piece_rows: usize,
    /// About how large a message is, bytes.
    pub message_bytes: usize,
    /// Most training sets, or pieces of them, that are made at once, at least one; each takes the memory of the store's
    /// join settings. The others wait for their turn.
    pub training_sets_max: usize,
    /// Most training sets that are sent at once, whether or not their clients take the rows; further ones are refused.
    pub streams_max: usize,
}

impl Default for FlightSettings {
    fn default() -> Self {
        Self {
            ticket_bytes_max: 1 << 20,
            rows_max: 10_000,
            features_max: 1_024,
            piece_rows: 262_144,
            message_bytes: 1 << 20,
            training_sets_max: 2,
            streams_max: 64,
        }
    }
}

/// A store's features over Arrow Flight. Clones share everything.
#[derive(Debug, Clone)]
pub struct FlightServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: FeatureStore,
    clock: Arc<dyn Clock>,
    authorizer: Option<Arc<dyn Authorizer>>,
    training_sets: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    settings: FlightSettings,
}

impl FlightServer {
    /// Begins a server over `store`.
    pub fn builder(store: FeatureStore) -> FlightServerBuilder {
        FlightServerBuilder { store, authorizer: None, settings: FlightSettings::default() }
    }

    /// The routes of the protocol, all `POST /arrow.flight.protocol.FlightService/...` over HTTP/2. It binds no port;
    /// merge it with other routes to serve both from one.
    pub fn router(&self) -> Router {
        // What the ticket's fields take around it.
        let request_max = self.inner.settings.ticket_bytes_max.saturating_add(1 << 10);
        let service = FlightServiceServer::new(Service::new(Arc::clone(&self.inner)));
        let service = service.max_decoding_message_size(request_max).max_encoding_message_size(usize::MAX);
        Router::new().route_service("/arrow.flight.protocol.FlightService/{method}", service)
    }
}

/// Collects the parts of a [`FlightServer`].
#[derive(Debug)]
#[must_use]
pub struct FlightServerBuilder {
    store: FeatureStore,
    authorizer: Option<Arc<dyn Authorizer>>,
    settings: FlightSettings,
}

impl FlightServerBuilder {
    /// Asks `authorizer` before anything is told or read: `Read` on `feature_view` and `label_view` for all that a
    /// ticket names, and on `table` for the table of a spine. Who asks is the [`mlops_core::Principal`] that a layer of
    /// the application put into the extensions of the request; without one, a request is refused. A service that is not
    /// defined is refused like one with a view that may not be read.
    pub fn with_authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Bounds.
    pub fn with_settings(mut self, settings: FlightSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The server.
    #[must_use]
    pub fn build(self) -> FlightServer {
        let Self { store, authorizer, settings } = self;
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let (training_sets, streams) = (permits(settings.training_sets_max.max(1)), permits(settings.streams_max));
        let clock = store.clock();
        FlightServer { inner: Arc::new(Inner { store, clock, authorizer, training_sets, streams, settings }) }
    }
}
