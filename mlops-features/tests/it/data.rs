//! Batches for tests.

use std::sync::Arc;

use mlops_core::{
    Clock, Timestamp,
    arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray},
    arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit},
    testing::ManualClock,
};

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(Timestamp::from_micros(1_735_689_600_000_000)))
}

pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("event_timestamp", time_type(), true),
        Field::new("id", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

/// Key, time, id, value, number.
pub(crate) type Row = (Option<i64>, Option<i64>, i64, Option<f64>, Option<i64>);

pub(crate) fn times(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

pub(crate) fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let x: Float64Array = rows.iter().map(|row| row.3).collect();
    RecordBatch::try_new(
        schema(),
        vec![
            ints(rows.iter().map(|row| row.0)),
            times(rows.iter().map(|row| row.1)),
            ints(rows.iter().map(|row| Some(row.2))),
            Arc::new(x),
            ints(rows.iter().map(|row| row.4)),
        ],
    )
    .unwrap()
}

pub(crate) fn row(key: i64, time: i64, id: i64) -> Row {
    (Some(key), Some(time), id, Some(id as f64 / 3.0), Some(id))
}
