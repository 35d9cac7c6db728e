//! Metric points on their way into segments.
//!
//! A series (one key of one run) has an open segment, number 0, that single points are added to, and closed ones, numbered
//! from 1 in the order they were made, that never change. [`MERGED_TOGETHER`] closed ones of a level become one of the next, so
//! a series of n points has O(log n) small segments and each point is rewritten O(log n) times.
//!
//! Invariant: a number of a closed segment is never given twice within a series, so who has seen its number and reads it later
//! finds the same points or none.

use std::collections::BTreeMap;

use mlops_core::Result;
use mlops_store::{Row, Transaction, TransactionExt as _, Value, params};

use super::run::RunNumber;
use crate::{
    bound::{insert_rows, listing},
    tracking::segment::{Point, decode, encode, normalize},
};

/// An open segment of so many points is closed, and so many points at once make a segment of their own.
const OPEN_MAX: usize = 128;
/// How many segments of one level are merged.
const MERGED_TOGETHER: usize = 16;
/// Most points that merging makes a segment of.
const MERGED_MAX: usize = 32_768;
const HEAD: &str = "INSERT INTO tracking_segment
    (run, key, number, level, count, first_at, first_step, last_at, last_step, points)";

/// Adds points to the series of a run, by key.
pub(super) async fn append(tx: &mut dyn Transaction, run: i64, points: &BTreeMap<i64, Vec<Point>>) -> Result<()> {
    let few: Vec<Value> =
        points.iter().filter(|(_, points)| points.len() < OPEN_MAX).map(|(key, _)| Value::from(*key)).collect();
    let mut open: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    let sql = "SELECT key, points FROM tracking_segment WHERE run = $1 AND number = 0 AND key IN ({list})";
    for (sql, values) in listing(sql, &[Value::from(run)], &few) {
        for row in tx.query(&sql, &values).await? {
            open.insert(row.get("key")?, row.get("points")?);
        }
    }
    let mut rows = Vec::new();
    for (key, points) in points {
        let before = open.get(key).map_or(Ok(Vec::new()), |bytes| decode(bytes))?;
        let mut all = [before.as_slice(), points].concat();
        normalize(&mut all);
        if all.len() >= OPEN_MAX {
            if !before.is_empty() {
                let sql = "DELETE FROM tracking_segment WHERE run = $1 AND key = $2 AND number = 0";
                tx.execute(sql, params![run, *key]).await?;
            }
            close(tx, run, *key, all).await?;
        } else if all.len() > before.len() {
            rows.push(row(run, *key, 0, 0, &all)?);
        }
    }
    let tail = "ON CONFLICT (run, key, number) DO UPDATE SET count = excluded.count, first_at = excluded.first_at,
        first_step = excluded.first_step, last_at = excluded.last_at, last_step = excluded.last_step,
        points = excluded.points";
    insert_rows(tx, HEAD, rows, tail).await
}

/// Makes a closed segment of points that ascend, merging it with those before it when there are many.
pub(super) async fn close(tx: &mut dyn Transaction, run: i64, key: i64, mut points: Vec<Point>) -> Result<()> {
    let sql = "SELECT number, level, count FROM tracking_segment WHERE run = $1 AND key = $2 AND number > 0
        ORDER BY number DESC LIMIT $3";
    let (mut level, mut number) = (0, None);
    loop {
        let last = i64::try_from(MERGED_TOGETHER - 1).unwrap_or(i64::MAX);
        let rows = tx.query(sql, params![run, key, last]).await?;
        let newest = rows.first().map_or(Ok(0), |row| row.get::<i64>("number"))?;
        let number = *number.get_or_insert(newest + 1);
        if !to_be_merged(&rows, level, points.len())? {
            let row = row(run, key, number, level, &points)?;
            return insert_rows(tx, HEAD, vec![row], "").await;
        }
        let oldest: i64 = rows.last().map_or(Ok(0), |row| row.get("number"))?;
        let sql = "DELETE FROM tracking_segment WHERE run = $1 AND key = $2 AND number >= $3 RETURNING points";
        for row in tx.query(sql, params![run, key, oldest]).await? {
            points.extend(decode(&row.get::<Vec<u8>>("points")?)?);
        }
        normalize(&mut points);
        level += 1;
    }
}

/// Whether the newest closed segments and one more of `count` points become one of the next level.
fn to_be_merged(rows: &[Row], level: i64, count: usize) -> Result<bool> {
    let mut sum = count;
    for row in rows {
        if row.get::<i64>("level")? != level {
            return Ok(false);
        }
        sum += usize::try_from(row.get::<u32>("count")?).unwrap_or(usize::MAX / MERGED_TOGETHER);
    }
    Ok(rows.len() + 1 == MERGED_TOGETHER && sum <= MERGED_MAX)
}

fn row(run: i64, key: i64, number: i64, level: i64, points: &[Point]) -> Result<Vec<Value>> {
    let bytes = encode(points)?;
    let at = |point: Option<&Point>| point.map_or((0, 0), |point| (point.at, point.step));
    let (first, last) = (at(points.first()), at(points.last()));
    let count = points.len() as u64;
    Ok(params![run, key, number, level, count, first.0, first.1, last.0, last.1, bytes].to_vec())
}

/// How many points of version 1 are moved by one transaction.
const CONVERTED_AT_ONCE: i64 = 20_000;

/// Moves some points of version 1 into segments; false when there are none left.
pub(super) async fn convert_some(tx: &mut dyn Transaction) -> Result<bool> {
    let sql = "SELECT run_id, key FROM tracking_metric ORDER BY run_id, key LIMIT 1";
    let Some(series) = tx.query_opt(sql, &[]).await? else { return Ok(false) };
    let (id, name): (String, String) = (series.get("run_id")?, series.get("key")?);
    let sql =
        "SELECT at, step, bits FROM tracking_metric WHERE run_id = $1 AND key = $2 ORDER BY at, step, bits LIMIT $3";
    let rows = tx.query(sql, params![&id, &name, CONVERTED_AT_ONCE]).await?;
    let point = |row: &Row| -> Result<Point> {
        Ok(Point { at: row.get("at")?, step: row.get("step")?, bits: row.get::<i64>("bits")?.cast_unsigned() })
    };
    let mut points = rows.iter().map(point).collect::<Result<Vec<_>>>()?;
    if let Some(last) = points.last() {
        let sql = "DELETE FROM tracking_metric WHERE run_id = $1 AND key = $2 AND (at, step, bits) <= ($3, $4, $5)";
        tx.execute(sql, params![&id, &name, last.at, last.step, last.bits.cast_signed()]).await?;
    }
    normalize(&mut points);
    let run = RunNumber::of(tx, &id).await?;
    if let Some(run) = run {
        let sql = "INSERT INTO tracking_metric_key (key) VALUES ($1)
            ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING id";
        let key = tx.query_one(sql, params![&name]).await?.get("id")?;
        close(tx, run.seq, key, points).await?;
    }
    Ok(true)
}
