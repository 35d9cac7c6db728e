//! Feast's HTTP feature server in one program: Delta tables and one online store in one directory.
//!
//! ```text
//! cargo run --release --example feature_server -- --home features --port 6566 --demo
//! ```
//!
//! Feast's Python SDK reads and writes it with this in `feature_store.yaml`:
//!
//! ```yaml
//! online_store: {type: remote, path: "http://127.0.0.1:6566"}
//! ```
//!
//! Built with the feature `flight`, it answers Arrow Flight on the same port: `grpc://127.0.0.1:6566`.
//!
//! A program of yours defines its own views here; `--demo` defines the view `drv` of drivers and the service `svc`.
//! Counters are at `/metrics`. Ctrl-C or a termination signal ends it after the last answer and what is written.

#[path = "common/program.rs"]
mod program;
#[path = "common/stop_signal.rs"]
mod stop_signal;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use clap::Parser;
use mlops::{
    Error, Result,
    core::{
        Exposition, PrometheusMeter,
        arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit},
    },
    features::{Entity, FeatureService, FeatureStore, FeatureStoreBuilder, FeatureView, feast::FeastServer},
};
use tokio::{net::TcpListener, runtime::Builder};

use self::{program::end, stop_signal::stop_signal};

/// How long work in the background may go on after the last answer.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves features to Feast's clients.
#[derive(Debug, Parser)]
#[command(name = "feature_server")]
struct Options {
    /// Directory of the tables and the online store; created when absent.
    #[arg(long, value_name = "DIR", default_value = "features")]
    home: PathBuf,
    /// Port on this machine; 0 takes a free one.
    #[arg(long, value_name = "P", default_value_t = 6566)]
    port: u16,
    /// Defines the view `drv` (key driver_id; a, b, s, t) and the service `svc`.
    #[arg(long)]
    demo: bool,
}

fn main() -> ExitCode {
    end(&mut Builder::new_multi_thread(), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let mut builder = FeatureStore::builder(options.home.display().to_string());
    if options.demo {
        builder = demo(builder)?;
    }
    let meter = Arc::new(PrometheusMeter::default());
    let store = builder.build().await?;
    let server = FeastServer::builder(store.clone()).with_meter(Arc::<PrometheusMeter>::clone(&meter)).build();
    let metrics = get(move || async move { ([(CONTENT_TYPE, Exposition::CONTENT_TYPE)], meter.render()) });
    let app: Router = server.router().merge(flight(store)).route("/metrics", metrics);

    let listener = TcpListener::bind(("127.0.0.1", options.port)).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on port {}; choose another --port", options.port)).with_source(error)
    })?;
    let address =
        listener.local_addr().map_err(|error| Error::unavailable("the socket has no address").with_source(error))?;
    println!("http://{address}");
    let served = axum::serve(listener, app).with_graceful_shutdown(stop_signal()).await;
    server.close(DRAIN).await;
    served.map_err(|error| Error::unavailable("the server ended").with_source(error))
}

#[cfg(feature = "flight")]
fn flight(store: FeatureStore) -> Router {
    mlops::features::flight::FlightServer::builder(store).build().router()
}

#[cfg(not(feature = "flight"))]
fn flight(_: FeatureStore) -> Router {
    Router::new()
}

/// A table of drivers, its view and a service over it.
fn demo(builder: FeatureStoreBuilder) -> Result<FeatureStoreBuilder> {
    let view =
        FeatureView::builder("drv", Entity::new("driver", ["driver_id"])?, "driver_stats").with_created("created");
    let view = ["a", "b", "s", "t"].iter().fold(view, |view, column| view.with_column(column)).build()?;
    let features = view.feature_names().map(|name| format!("drv:{name}").parse()).collect::<Result<Vec<_>>>()?;
    let service = FeatureService::new("svc", features)?;
    Ok(builder.with_table("driver_stats", demo_schema()).with_view(view).with_service(service))
}

fn demo_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let columns = [
        ("driver_id", DataType::Int64),
        ("event_timestamp", time.clone()),
        ("created", time.clone()),
        ("a", DataType::Float64),
        ("b", DataType::Int64),
        ("s", DataType::Utf8),
        ("t", time),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}
