//! Many small steps, as a replay does: generous upper bounds that only a wrong algorithm breaks.

use std::time::Duration;

use mlops_core::{Clock, SystemClock};
use mlops_features::{
    Aggregation, Durability, Entity, FeatureStore, FeatureStoreSettings, FeatureView, Function, Table, TableSettings,
    online::RedbSettings,
};

use crate::data::{batch, clock, row, schema};

#[tokio::test]
async fn single_events_are_pushed_fast() {
    let home = tempfile::tempdir().unwrap();
    let hour = 3_600_000_000;
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events")
        .with_event_id("id")
        .with_column("n")
        .with_aggregation(Aggregation::new("mean", Function::Mean, "x", Duration::from_micros(24 * hour as u64)))
        .build()
        .unwrap();
    let online = RedbSettings { durability: Durability::Relaxed, ..RedbSettings::default() };
    let store = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_table("events", schema())
        .with_view(view)
        .with_settings(FeatureStoreSettings { online, ..FeatureStoreSettings::default() })
        .build()
        .await
        .unwrap();
    let (writer, events) = (store.writer(), 3_000);
    let system = SystemClock::new();
    let start = system.monotonic();
    for at in 0..events {
        writer.push("v", &batch(&[row(1, at * hour / 2, at)])).await.unwrap();
    }
    writer.flush().await.unwrap();
    let each = (system.monotonic() - start) / u32::try_from(events).unwrap();
    println!("{} us per pushed event", each.as_micros());
    assert!(each < Duration::from_millis(2), "{each:?} per event");
}

#[tokio::test]
async fn appends_do_not_slow_down_as_the_log_grows() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    let table = Table::create_or_open("t", location, schema(), clock(), TableSettings::default()).await.unwrap();
    let system = SystemClock::new();
    let mut halves = Vec::new();
    for half in 0..2_i64 {
        let start = system.monotonic();
        for at in 0..40 {
            table.append(&format!("b{half}-{at}"), &batch(&[row(1, at, at)])).await.unwrap();
        }
        halves.push((system.monotonic() - start) / 40);
    }
    println!("{} then {} us per append", halves[0].as_micros(), halves[1].as_micros());
    assert!(halves[1] < halves[0] * 3 + Duration::from_millis(20), "{halves:?}");
}
