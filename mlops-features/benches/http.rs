//! Feast's HTTP server over three views, for a load program from outside, which `benches/compare/features_http.py` is:
//! `cargo bench -p mlops-features --bench http -- --home DIR --port 6566`. It ends when its input ends; run with nothing
//! to listen to, it does nothing.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{path::PathBuf, sync::Arc};

use mlops_core::arrow_schema::{DataType, Field, Schema, TimeUnit};
use mlops_features::{Entity, FeatureStore, FeatureView, feast::FeastServer};
use tokio::{net::TcpListener, runtime::Runtime};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let named = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let (Some(home), Some(port)) = (named("--home"), named("--port")) else { return };
    let runtime = Runtime::new().unwrap();
    runtime.spawn(serve(PathBuf::from(home), port.parse().unwrap()));
    // Whoever started it holds the other end.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

async fn serve(home: PathBuf, port: u16) {
    let mut builder = FeatureStore::builder(home.display().to_string());
    for view in ["fv1", "fv2", "fv3"] {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields =
            vec![Field::new("driver_id", DataType::Int64, true), Field::new("event_timestamp", time, true)];
        let types = [DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64, DataType::Utf8];
        let features = ["a", "b", "c", "d", "e"].map(|letter| format!("{view}_{letter}"));
        fields.extend(features.iter().zip(types).map(|(name, data_type)| Field::new(name, data_type, true)));
        let definition = FeatureView::builder(view, Entity::new("driver", ["driver_id"]).unwrap(), view);
        let definition = features.iter().fold(definition, |definition, name| definition.with_column(name));
        builder = builder.with_table(view, Arc::new(Schema::new(fields))).with_view(definition.build().unwrap());
    }
    let server = FeastServer::builder(builder.build().await.unwrap()).build();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, server.router()).await.unwrap();
}
