//! The promises of an [`OnlineStore`], one function each. Every back end and decorator passes [`all`].

use std::{collections::BTreeMap, future::Future};

use bytes::Bytes;
use futures::future::try_join_all;
use mlops_core::{Error, Result, Timestamp};

use super::{
    OnlineStore, ReadKeys, ScanPage, WriteBatch,
    record::{Latest, Record, Update},
};
use crate::{
    value::Value,
    window::{Event, Parts, StateLimits},
};

fn update(time: i64, value: i64) -> Update {
    let mut update = Update::new(StateLimits::new(100, 10, Parts::NONE));
    update.add_row(Latest::of(time, None, &[Value::Int(value)]));
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
    numbers(store.read(vec![keys(table, names)]).await?)
}

/// The number in the newest row of each record.
fn numbers(records: Vec<Vec<Option<Bytes>>>) -> Result<Vec<Option<i64>>> {
    let value = |record: Option<Bytes>| {
        let Some(bytes) = record else { return Ok(None) };
        let latest = Record::decode(&bytes)?.latest;
        Ok(latest.and_then(|row| if let Some(Value::Int(int)) = row.first() { Some(*int) } else { None }))
    };
    records.into_iter().flatten().map(value).collect()
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
    a_large_write_is_applied_whole(&make().await?).await?;
    writers_at_once_lose_nothing(&make().await?).await?;
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

/// A write of many records is there, all of it, and so is what it replaced.
///
/// # Errors
/// When the promise is broken.
pub async fn a_large_write_is_applied_whole(store: &impl OnlineStore) -> Result<()> {
    const KEYS: i64 = 3_000;
    // A view without keys has one record, of the empty key.
    let key = |number: i64| match number.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) {
        0 => Bytes::new(),
        spread => Bytes::from(format!("{spread:x}")),
    };
    for time in [1, 2] {
        let updates = (0..KEYS).map(|number| (key(number), update(time, 10 * number + time))).collect();
        store.write(WriteBatch { table: "v".into(), updates, watermark: Some(Timestamp::from_micros(time)) }).await?;
    }
    let asked = ReadKeys { table: "v".into(), keys: (0..KEYS).map(key).collect() };
    let found = numbers(store.read(vec![asked]).await?)?;
    expect("every record", &found, &(0..KEYS).map(|number| Some(10 * number + 2)).collect())?;
    let mut scanned = BTreeMap::new();
    let mut from = None;
    loop {
        let ScanPage { records, next } = store.scan("v", from, 700).await?;
        scanned.extend(records);
        from = next;
        if from.is_none() {
            break;
        }
    }
    let scanned = (0..KEYS).map(|number| scanned.get(&key(number)).cloned()).collect();
    expect("a scan sees every record", &numbers(vec![scanned])?, &found)?;
    expect("of one view", &store.scan("w", None, 700).await?.records.len(), &0)?;
    expect("its watermark", &store.watermark("v").await?, &Some(Timestamp::from_micros(2)))
}

/// Of writes to one record at the same time each adds its events, and the newest row wins.
///
/// # Errors
/// When the promise is broken.
pub async fn writers_at_once_lose_nothing(store: &impl OnlineStore) -> Result<()> {
    const TURNS: i64 = 10;
    let write = |writer: i64| async move {
        for turn in 0..TURNS {
            let time = 100 * turn + writer;
            let mut update = Update::new(StateLimits::new(1_000_000, 1_000, Parts::NONE));
            update.add_row(Latest::of(time, None, &[Value::Int(time)]));
            update.add_event(Event { time, identity: writer.cast_unsigned(), values: vec![Value::Int(turn)] });
            let updates = vec![(Bytes::from("a"), update.clone()), (Bytes::from(format!("own {writer}")), update)];
            store
                .write(WriteBatch { table: "v".into(), updates, watermark: Some(Timestamp::from_micros(time)) })
                .await?;
        }
        Ok::<_, Error>(())
    };
    try_join_all((0..4).map(write)).await?;
    let found = store.read(vec![keys("v", &["a", "own 3"])]).await?;
    let events = |record: &Bytes| -> Result<usize> { Ok(Record::decode(record)?.events) };
    let events = found.iter().flatten().flatten().map(events);
    expect("every event", &events.collect::<Result<Vec<_>>>()?, &vec![40, 10])?;
    expect("the newest row", &values(store, "v", &["a"]).await?, &vec![Some(100 * (TURNS - 1) + 3)])?;
    expect("the watermark", &store.watermark("v").await?, &Some(Timestamp::from_micros(100 * (TURNS - 1) + 3)))
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
