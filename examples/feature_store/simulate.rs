//! A market that never was: two years of half hours with a daily rhythm, weekends and noise, a file a month.

use std::{fs, path::Path, sync::Arc};

use mlops::{
    Error, Result,
    core::{
        arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray},
        testing::SplitMix64,
    },
};
use parquet::arrow::ArrowWriter;

use crate::definitions::schema;

/// 2023-01-01T00:00:00Z.
const BEGIN_MICROS: i64 = 1_672_531_200_000_000;
const HALF_HOUR_MICROS: i64 = 1_800_000_000;
const MONTHS: usize = 24;
const HALF_HOURS_PER_MONTH: usize = 48 * 30;

/// Writes the files into `folder`, over those that are there: one seed, the same bytes.
pub(crate) fn write(folder: &Path, seed: u64) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::unavailable(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let random = SplitMix64::new(seed);
    let mut prices: Vec<f64> = Vec::with_capacity(MONTHS * HALF_HOURS_PER_MONTH);
    for month in 0..MONTHS {
        let path = folder.join(format!("{month:02}.parquet"));
        let file = fs::File::create(&path).map_err(|error| failed(&error))?;
        let batch = self::month(month, random, &mut prices)?;
        let mut writer = ArrowWriter::try_new(file, schema(), None).map_err(|error| failed(&error))?;
        writer.write(&batch).and_then(|()| writer.close().map(drop)).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn month(month: usize, random: SplitMix64, prices: &mut Vec<f64>) -> Result<RecordBatch> {
    let (mut numbers, mut times, mut classes) = ([const { Vec::new() }; 6], Vec::new(), Vec::new());
    for at in month * HALF_HOURS_PER_MONTH..(month + 1) * HALF_HOURS_PER_MONTH {
        let draw = 2 * at as u64;
        let noise = random.uniform(draw) - 0.5;
        #[allow(clippy::cast_precision_loss, reason = "there are 48 half hours")]
        let period = (at % 48) as f64 / 47.0;
        let weekend = if (at / 48) % 7 >= 5 { 0.8 } else { 1.0 };
        let demand = weekend * (0.45 + 0.25 * (std::f64::consts::TAU * (period - 0.3)).sin()) + 0.05 * noise;
        let before = prices.last().copied().unwrap_or(0.05);
        let price = (0.7 * before + 0.3 * 0.12 * demand + 0.02 * (random.uniform(draw + 1) - 0.5)).max(0.0);
        prices.push(price);
        let day = prices.get(prices.len().saturating_sub(49)..prices.len() - 1).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "there are at most 48")]
        let mean = day.iter().sum::<f64>() / day.len().max(1) as f64;
        let transfer = 0.5 - 0.3 * (demand - 0.45);
        for (column, value) in numbers.iter_mut().zip([period, price, demand, 0.1 * price, 0.9 * demand, transfer]) {
            column.push(value);
        }
        times.push(BEGIN_MICROS + HALF_HOUR_MICROS * i64::try_from(at).unwrap_or(i64::MAX));
        classes.push(i64::from(price > mean));
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))];
    columns.extend(numbers.map(|values| Arc::new(Float64Array::from(values)) as ArrayRef));
    columns.push(Arc::new(Int64Array::from(classes)));
    Ok(RecordBatch::try_new(schema(), columns)?)
}
