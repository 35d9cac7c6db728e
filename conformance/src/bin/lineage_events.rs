//! Lineage of a small feature store, as JSON lines: `lineage_events HOME OUT.jsonl`. Every kind of job succeeds and
//! fails once. Exit 2 with one sentence on bad input.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use clap::Parser;
use mlops_core::{BatchCheck, CheckFailure, CheckOutcome, Result, Timestamp};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureView, Function, OfflineStore as _,
    lineage::{FileTransport, Lineage},
};

/// Writes lineage events.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory for the store.
    home: PathBuf,
    /// Where to write the events.
    out: PathBuf,
}

/// No amount is negative.
#[derive(Debug)]
struct NotNegative;

impl BatchCheck for NotNegative {
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        let amounts = batch.column_by_name("amount").and_then(|column| column.as_any().downcast_ref::<Float64Array>());
        let negative = amounts.is_some_and(|amounts| amounts.iter().flatten().any(|amount| amount < 0.0));
        let failure = CheckFailure {
            rule: "range".into(),
            column: Some("amount".into()),
            message: "an amount is negative".into(),
            rows: Vec::new(),
        };
        Ok(CheckOutcome { failures: if negative { vec![failure] } else { Vec::new() }, ..CheckOutcome::default() })
    }
}

fn main() -> ExitCode {
    mlops_conformance::end_of_async("lineage_events", run(&Arguments::parse()))
}

fn payments(schema: &Arc<Schema>, amounts: Vec<f64>) -> Result<RecordBatch> {
    let rows = amounts.len();
    let times = (1..).take(rows).map(|second| second * 1_000_000).collect::<Vec<i64>>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![7; rows])),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(Float64Array::from(amounts)),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

async fn run(arguments: &Arguments) -> Result<()> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type: &DataType| Field::new(name, data_type.clone(), true);
    let schema = Arc::new(Schema::new(vec![
        field("card", &DataType::Int64),
        field("event_timestamp", &time),
        field("amount", &DataType::Float64),
    ]));
    let view = FeatureView::builder("spend", Entity::new("card", ["card"])?, "payments")
        .with_column("amount")
        .with_aggregation(Aggregation::new("spent_1h", Function::Sum, "amount", Duration::from_secs(3600)))
        .build()?;
    let service = FeatureService::new("fraud", ["spend:amount".parse()?, "spend:spent_1h".parse()?])?;
    let store = FeatureStore::builder(arguments.home.display().to_string())
        .with_table("payments", Arc::clone(&schema))
        .with_view(view)
        .with_service(service.clone())
        .with_check("payments", Arc::new(NotNegative))
        .build()
        .await?;
    let lineage = Lineage::builder("demo").with_transport(Arc::new(FileTransport::open(&arguments.out)?)).build();
    let job = lineage.begin("ingest.nightly", "PIPELINE", Vec::new(), Vec::new()).await;
    let traced = store.traced(lineage.with_parent(job.as_parent()));
    let ingestor = traced.ingestor("payments")?;
    ingestor.append("batch-1", &payments(&schema, vec![1.5, 2.0, f64::NAN])?).await?;
    ingestor.append("batch-2", &payments(&schema, vec![-1.0])?).await?;
    let wrong = payments(&schema, vec![1.0])?.project(&[0, 1])?;
    let failed = ingestor.append("batch-3", &wrong).await;
    traced.materializer().run("spend", Timestamp::from_micros(60_000_000)).await?;
    let unknown = traced.materializer().run("nothing", Timestamp::from_micros(60_000_000)).await;
    let spine = payments(&schema, vec![0.0])?.project(&[0, 1])?;
    traced.offline().get_historical(&spine, &service).await?;
    let clash = traced.offline().get_historical(&payments(&schema, vec![0.0])?, &service).await;
    job.complete(Vec::new(), Vec::new()).await;
    if failed.is_ok() || unknown.is_ok() || clash.is_ok() || lineage.lost() > 0 {
        return Err(mlops_core::Error::internal("what must fail did not, or events were lost"));
    }
    Ok(())
}
