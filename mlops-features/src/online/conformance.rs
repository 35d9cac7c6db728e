//! The promises of an [`OnlineStore`], one function each. Every back end and decorator passes [`all`].

use std::future::Future;

use bytes::Bytes;
use mlops_core::{Error, Result, Timestamp};

use super::{
    OnlineStore, ReadKeys, WriteBatch,
    record::{Latest, Record, Update},
};
use crate::{value::Value, window::StateLimits};

fn update(time: i64, value: i64) -> Update {
    let mut update = Update::new(StateLimits { window_max: 100, events_max: 10 });
    update.add_row(Latest { time, created: None, values: vec![Value::Int(value)] });
    update
}

fn batch(table: &str, updates: &[(&'static str, i64, i64)], watermark: Option<i64>) -> WriteBatch {
    let updates = updates.iter().map(|(key, time, value)| (Bytes::from(*key), update(*time, *value))).collect();
    WriteBatch { table: table.into(), updates, watermark: watermark.map(Timestamp::from_micros) }
}

fn keys(table: &str, keys: &[&'static str]) -> ReadKeys {
    ReadKeys { table: table.into(), keys: keys.iter().map(|key| Bytes::from(*key)).collect() }
}

async fn values(store: &impl OnlineStore, table: &str, names: &[&'static str]) -> Result<Vec<Option<i64>>> {
    let records = store.read(vec![keys(table, names)]).await?.into_iter().flatten();
    let value = |record: Option<Bytes>| {
        let Some(bytes) = record else { return Ok(None) };
        let latest = Record::decode(&bytes)?.latest;
        Ok(latest.and_then(|row| if let Some(Value::Int(int)) = row.values.first() { Some(*int) } else { None }))
    };
    records.map(value).collect()
}

fn expect<T: PartialEq + std::fmt::Debug>(promise: &str, found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::internal(format!(
        "online store breaks its promise \"{promise}\": expected {expected:?}, found {found:?}"
    )))
}

/// Checks every promise on fresh stores from `make`.
///
/// # Errors
/// The first promise that is broken, or an error of the store.
pub async fn all<S: OnlineStore, F: Future<Output = Result<S>>>(make: impl Fn() -> F) -> Result<()> {
    reads_what_was_written(&make().await?).await?;
    older_never_overwrites_newer(&make().await?).await?;
    views_do_not_mix(&make().await?).await?;
    watermark_never_moves_back(&make().await?).await?;
    a_failed_write_changes_nothing(&make().await?).await
}

/// Keys come back in order of the question, repeated ones repeated, unknown ones as none.
///
/// # Errors
/// When the promise is broken.
pub async fn reads_what_was_written(store: &impl OnlineStore) -> Result<()> {
    expect("an unknown view is empty", &values(store, "v", &["a"]).await?, &vec![None])?;
    store.write(batch("v", &[("a", 1, 10), ("b", 1, 20)], None)).await?;
    let found = values(store, "v", &["b", "x", "a", "b"]).await?;
    expect("order of keys", &found, &vec![Some(20), None, Some(10), Some(20)])?;
    let many: Vec<_> = std::iter::repeat_n("a", 1_000).collect();
    expect("many keys", &values(store, "v", &many).await?, &vec![Some(10); 1_000])
}

/// The newest event wins in any order of arrival, and repeating a write changes nothing.
///
/// # Errors
/// When the promise is broken.
pub async fn older_never_overwrites_newer(store: &impl OnlineStore) -> Result<()> {
    for (time, value) in [(5, 50), (3, 30), (5, 50), (4, 40)] {
        store.write(batch("v", &[("a", time, value)], None)).await?;
        expect("monotone", &values(store, "v", &["a"]).await?, &vec![Some(50)])?;
    }
    Ok(())
}

/// The same key in two views is two records, read in one call.
///
/// # Errors
/// When the promise is broken.
pub async fn views_do_not_mix(store: &impl OnlineStore) -> Result<()> {
    store.write(batch("v", &[("a", 1, 1)], Some(1))).await?;
    store.write(batch("w", &[("a", 1, 2)], None)).await?;
    let both = store.read(vec![keys("v", &["a"]), keys("w", &["a", "b"])]).await?;
    let shape: Vec<Vec<bool>> = both.iter().map(|view| view.iter().map(Option::is_some).collect()).collect();
    expect("one answer per view", &shape, &vec![vec![true], vec![true, false]])?;
    expect("separate records", &values(store, "w", &["a"]).await?, &vec![Some(2)])?;
    expect("separate watermarks", &store.watermark("w").await?, &None)
}

/// A watermark only grows.
///
/// # Errors
/// When the promise is broken.
pub async fn watermark_never_moves_back(store: &impl OnlineStore) -> Result<()> {
    expect("no watermark at first", &store.watermark("v").await?, &None)?;
    for watermark in [Some(5), Some(3), None] {
        store.write(batch("v", &[], watermark)).await?;
        expect("watermark", &store.watermark("v").await?, &Some(Timestamp::from_micros(5)))?;
    }
    store.flush().await
}

/// A write of which one update fails applies none, and leaves the watermark.
///
/// # Errors
/// When the promise is broken.
pub async fn a_failed_write_changes_nothing(store: &impl OnlineStore) -> Result<()> {
    store.write(batch("v", &[("a", 1, 1)], Some(1))).await?;
    let mut good = batch("v", &[("a", 2, 2)], Some(2));
    good.updates.push((Bytes::from("b"), Update::failing()));
    expect("the error is reported", &store.write(good).await.is_err(), &true)?;
    expect("no update is applied", &values(store, "v", &["a", "b"]).await?, &vec![Some(1), None])?;
    expect("the watermark stays", &store.watermark("v").await?, &Some(Timestamp::from_micros(1)))
}
