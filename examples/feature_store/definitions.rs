//! What the store holds: one table of an electricity market, two views over it, one view computed on demand, a service.

use std::{path::Path, sync::Arc, time::Duration};

use mlops::{
    Error, Result,
    core::{
        Clock,
        arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, cast::AsArray, types::Float64Type},
        arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit},
    },
    features::{
        Aggregation, Entity, FeatureService, FeatureStore, FeatureStoreBuilder, FeatureView, FileFormat, Function,
        OnDemandView, Source,
    },
};

pub(crate) const TABLE: &str = "market";
pub(crate) const TIME: &str = "event_time";
pub(crate) const SERVICE: &str = "price_direction";

const HOUR: Duration = Duration::from_secs(3_600);

/// Columns as the public data set has them; `class` says whether the price rose against the day before.
pub(crate) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let numbers = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"];
    let numbers = numbers.map(|name| Field::new(name, DataType::Float64, true));
    let mut fields = vec![Field::new(TIME, time, true)];
    fields.extend(numbers);
    fields.push(Field::new("class", DataType::Int64, true));
    Arc::new(Schema::new(fields))
}

/// A store in `home` whose market comes from the Parquet files at `url`.
pub(crate) fn builder(home: &Path, url: &str, clock: Arc<dyn Clock>) -> Result<FeatureStoreBuilder> {
    let source = Source::files(TABLE, url, FileFormat::Parquet).with_timestamp(TIME).build()?;
    let market = FeatureView::builder("market", Entity::global(), TABLE)
        .with_timestamp(TIME)
        .with_column("nswdemand")
        .with_column("transfer")
        .with_ttl(2 * HOUR)
        .with_aggregation(Aggregation::new("price_mean_24h", Function::Mean, "nswprice", 24 * HOUR))
        .with_aggregation(Aggregation::new("price_max_24h", Function::Max, "nswprice", 24 * HOUR))
        .with_owner("energy desk")
        .build()?;
    // The half hour of the day, from 0 to 1, is what the second view is of.
    let half_hour = FeatureView::builder("half_hour", Entity::new("half_hour", ["period"])?, TABLE)
        .with_timestamp(TIME)
        .with_aggregation(Aggregation::new("price_mean_7d", Function::Mean, "nswprice", 7 * 24 * HOUR))
        .with_owner("energy desk")
        .build()?;
    let quote = OnDemandView::builder("quote", "2025-06-01")
        .with_input("market:price_mean_24h".parse()?)
        .with_input("half_hour:price_mean_7d".parse()?)
        .with_request("quoted_price", DataType::Float64)
        .with_output("above_day", DataType::Float64)
        .with_output("above_usual", DataType::Float64)
        .build()?;
    let features = [
        "market:nswdemand",
        "market:transfer",
        "market:price_max_24h",
        "half_hour:price_mean_7d",
        "quote:above_day",
        "quote:above_usual",
    ];
    let features = features.into_iter().map(str::parse).collect::<Result<Vec<_>>>()?;
    Ok(FeatureStore::builder(home.display().to_string())
        .with_clock(clock)
        .with_table(TABLE, schema())
        .with_source(source)
        .with_view(market)
        .with_view(half_hour)
        .with_on_demand_view(quote, quote_code)
        .with_service(FeatureService::new(SERVICE, features)?))
}

/// How far the quoted price is above the mean of the day, and above what is usual at this half hour.
fn quote_code(inputs: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let column = |name: &str| {
        let column = inputs.column_by_name(name).ok_or_else(|| Error::internal(format!("no input {name}")))?;
        Ok::<_, Error>(column.as_primitive::<Float64Type>())
    };
    let quoted = column("quoted_price")?;
    let above = |mean: &Float64Array| -> ArrayRef {
        let both =
            |row: usize| (quoted.is_valid(row) && mean.is_valid(row)).then(|| quoted.value(row) - mean.value(row));
        Arc::new((0..quoted.len()).map(both).collect::<Float64Array>())
    };
    Ok(vec![above(column("price_mean_24h")?), above(column("price_mean_7d")?)])
}
