//! The rows: of a file, or simulated; parted into those to learn from, to set thresholds by, and to judge by.

use std::{path::Path, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray};
use mlops::{
    core::{Digest, Error, Result},
    train::TableDataset,
};
use mlops_core::testing::SplitMix64;

use crate::table_file;

pub const LABEL: &str = "income";
/// Attributes by which people must not fare worse.
pub const SEX: &str = "sex";
pub const RACE: &str = "race";

/// A column of the file that says which rows others judge by; no feature.
const SPLIT: &str = "split";

/// All rows in three parts.
pub struct People {
    /// To search, to validate and to learn from: three fifths.
    pub learn: TableDataset,
    /// To set thresholds by.
    pub tune: TableDataset,
    /// To judge by; nothing else sees them.
    pub judge: TableDataset,
    /// Of what the rows were made.
    pub digest: Digest,
}

impl People {
    pub fn of_file(path: &Path) -> Result<Self> {
        let (schema, batches) = table_file::read(path)?;
        let batch = arrow_select::concat::concat_batches(&schema, &batches)?;
        for needed in [LABEL, SEX, RACE] {
            if batch.column_by_name(needed).is_none() {
                return Err(Error::invalid_argument(format!(
                    "{} has no column {needed:?}; this program reads the UCI adult data",
                    path.display()
                )));
            }
        }
        let bytes = std::fs::read(path)
            .map_err(|error| Error::unavailable(format!("{} cannot be read: {error}", path.display())))?;
        Self::of_batch(batch, Digest::of(&bytes))
    }

    pub fn simulated(rows: usize, seed: u64) -> Result<Self> {
        let made_from = format!("simulated people 1, seed {seed}, rows {rows}");
        Self::of_batch(simulate(rows, seed)?, Digest::of(made_from.as_bytes()))
    }

    fn of_batch(batch: RecordBatch, digest: Digest) -> Result<Self> {
        let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let features = names.into_iter().filter(|name| name != LABEL && name != SPLIT);
        let data = TableDataset::classification(batch, LABEL).with_features(features).build()?;
        let part = |wanted: &[usize]| {
            data.take(&(0..data.rows()).filter(|row| wanted.contains(&(row % 5))).collect::<Vec<_>>())
        };
        Ok(Self { learn: part(&[0, 1, 2])?, tune: part(&[3])?, judge: part(&[4])?, digest })
    }
}

/// The group of each row by a column of text.
pub fn groups(data: &TableDataset, name: &str) -> Result<Vec<String>> {
    let column = data.batch().column_by_name(name).cloned();
    let column = column.ok_or_else(|| Error::internal(format!("column {name:?} is missing")))?;
    let texts = arrow_cast::cast(&column, &arrow_schema::DataType::Utf8)?;
    Ok(texts.as_string::<i32>().iter().map(|text| text.unwrap_or("unknown").to_owned()).collect())
}

/// People whose chances depend on schooling, age, hours and trade, and on their sex, which is unfair.
fn simulate(rows: usize, seed: u64) -> Result<RecordBatch> {
    let random = SplitMix64::new(seed);
    let draw = |row: usize, what: u64| random.uniform(16 * row as u64 + what);
    let pick = |row: usize, what: u64, names: &[&'static str]| names[(draw(row, what) * names.len() as f64) as usize];
    let age = |row: usize| 18.0 + (draw(row, 0) * 60.0).floor();
    let schooling = |row: usize| 6 + (draw(row, 1) * 11.0) as i64;
    let hours = |row: usize| 20.0 + 20.0 * (draw(row, 2) + draw(row, 3));
    let sex = |row: usize| if draw(row, 4) < 0.34 { "Female" } else { "Male" };
    let race = |row: usize| if draw(row, 5) < 0.8 { "White" } else { pick(row, 6, &["Black", "Asian", "Other"]) };
    let trades = ["Sales", "Craft-repair", "Exec-managerial", "Prof-specialty", "Adm-clerical", "Other-service"];
    let trade = |row: usize| pick(row, 7, &trades);
    let income = |row: usize| {
        let worth = match trade(row) {
            "Exec-managerial" | "Prof-specialty" => 1.2,
            "Other-service" => -1.5,
            _ => 0.0,
        };
        let prime = 1.0 - ((age(row) - 48.0) / 22.0).powi(2);
        let odds = 0.35 * (schooling(row) as f64 - 11.0) + prime + (hours(row) - 40.0) / 12.0 + worth
            - if sex(row) == "Female" { 1.6 } else { 0.4 };
        i64::from(draw(row, 8) < 1.0 / (1.0 + (-odds).exp()))
    };
    let text = |missing: f64, of: &dyn Fn(usize) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter((0..rows).map(|row| (draw(row, 9) >= missing).then(|| of(row)))))
    };
    let whole = |of: &dyn Fn(usize) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..rows).map(of))) };
    let columns: [(&str, ArrayRef); 7] = [
        ("age", Arc::new(Float64Array::from_iter_values((0..rows).map(age)))),
        ("education_num", whole(&schooling)),
        ("hours_per_week", Arc::new(Float64Array::from_iter_values((0..rows).map(hours)))),
        ("occupation", text(0.02, &trade)),
        (SEX, text(0.0, &sex)),
        (RACE, text(0.0, &race)),
        (LABEL, whole(&income)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))?)
}
