//! What is served is what would be trained on: for any history, online values equal point-in-time values bit for bit,
//! whether events were pushed, materialized, or both.

use std::{sync::Arc, time::Duration};

use mlops_core::{
    FeatureReader, FeatureRef, Timestamp,
    arrow_array::{Array, RecordBatch},
};
use mlops_features::{
    Aggregation, Durability, Entity, FeatureService, FeatureStore, FeatureStoreSettings, FeatureView, Function,
    MemoryOnlineStore, OfflineStore, OnlineStore, Quantile, online::RedbSettings,
};
use proptest::prelude::*;

use crate::data::{Row, batch, clock, ints, schema, times};

fn functions() -> [Function; 13] {
    use Function as F;
    let quantile = |share| F::ApproxQuantile(Quantile::new(share).unwrap());
    let moments = [F::Count, F::Sum, F::Mean, F::Min, F::Max, F::Std, F::Var];
    let others = [F::Last, F::First, F::LastN(3), F::ApproxDistinct, quantile(0.5), quantile(0.99)];
    std::array::from_fn(|at| moments.into_iter().chain(others).nth(at).unwrap())
}

fn view(ttl: u64) -> FeatureView {
    let mut view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events")
        .with_event_id("id")
        .with_column("x")
        .with_column("n")
        .with_ttl(Duration::from_micros(ttl));
    for (function, window) in functions().into_iter().flat_map(|function| [(function, 5), (function, 17)]) {
        for column in ["x", "n"] {
            let name = format!("{function}_{column}_{window}");
            view = view.with_aggregation(Aggregation::new(name, function, column, Duration::from_micros(window)));
        }
    }
    view.build().unwrap()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number = proptest::option::weighted(0.8, -1_000_000_i64..1_000_000);
    let float = proptest::option::weighted(0.8, -1e6..1e6);
    let row = (proptest::option::weighted(0.95, 0_i64..3), 0_i64..40, float, number);
    proptest::collection::vec(row, 0..60).prop_map(|rows| {
        let numbered = rows.into_iter().zip(0..);
        numbered.map(|((key, time, x, n), id)| (key, Some(time), id, x, n)).collect()
    })
}

/// What path the events take.
#[derive(Debug, Clone, Copy)]
enum Path {
    Push,
    Materialize,
    Both,
}

async fn online(store: &FeatureStore, batches: &[RecordBatch], path: Path, steps: &[i64]) {
    if matches!(path, Path::Push | Path::Both) {
        for events in batches {
            store.writer().push("v", events).await.unwrap();
            store.writer().push("v", events).await.unwrap();
        }
    }
    let end = Timestamp::from_micros(40);
    match path {
        Path::Push => {}
        Path::Both => drop(store.materializer().backfill("v", None, end).await.unwrap()),
        Path::Materialize => {
            for step in steps {
                store.materializer().run("v", Timestamp::from_micros(*step)).await.unwrap();
            }
            store.materializer().run("v", end).await.unwrap();
        }
    }
}

async fn check(rows: &[Row], cut: usize, ttl: u64, at: i64, steps: &[i64]) {
    let home = tempfile::tempdir().unwrap();
    let batches: Vec<RecordBatch> = rows.chunks(cut).map(batch).collect();
    let view = view(ttl);
    let features: Vec<FeatureRef> = view.feature_names().map(|name| FeatureRef::new("v", name).unwrap()).collect();
    for (number, path) in [Path::Push, Path::Materialize, Path::Both].into_iter().enumerate() {
        let settings = FeatureStoreSettings {
            online: RedbSettings { durability: Durability::Relaxed, ..RedbSettings::default() },
            materialize_rows_per_write: 5,
            ..FeatureStoreSettings::default()
        };
        let mut builder = FeatureStore::builder(home.path().to_str().unwrap())
            .with_clock(clock())
            .with_table("events", schema())
            .with_view(view.clone())
            .with_settings(settings);
        if number > 0 {
            builder = builder.with_online(Arc::new(MemoryOnlineStore::default()) as Arc<dyn OnlineStore>);
        }
        let store = builder.build().await.unwrap();
        for (id, events) in batches.iter().enumerate() {
            store.ingestor("events").unwrap().append(&format!("b{id}"), events).await.unwrap();
        }
        online(&store, &batches, path, steps).await;
        let keys = [Some(0), Some(1), Some(2), Some(3), None];
        let entities = RecordBatch::try_from_iter([("k", ints(keys))]).unwrap();
        let spine = RecordBatch::try_from_iter([("k", ints(keys)), ("event_timestamp", times([Some(at); 5]))]).unwrap();
        let served = store.get_online(&features, &entities, Timestamp::from_micros(at)).await.unwrap();
        let service = FeatureService::new("s", features.clone()).unwrap();
        let trained = store.offline().get_historical(&spine, &service).await.unwrap().batch;
        for feature in &features {
            let (served, trained) =
                (served.column_by_name(feature.feature()), trained.column_by_name(feature.feature()));
            let (served, trained) = (served.unwrap().to_data(), trained.unwrap().to_data());
            assert_eq!(served, trained, "{feature} by {path:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn served_equals_trained(
        rows in rows(), cut in 5_usize..30, ttl in 0_u64..25, at in 40_i64..60,
        steps in proptest::collection::vec(0_i64..40, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&rows, cut, ttl, at, &steps));
    }
}
