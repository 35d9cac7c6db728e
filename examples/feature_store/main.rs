//! A feature store from files to serving, in one program and one directory.
//!
//! ```text
//! cargo run --release --example feature_store                          # simulated data
//! cargo run --release --example feature_store -- --data elec.parquet   # the electricity data set
//! ```
//!
//! It defines tables, views, a view computed on demand and a service; takes the files in; makes a training set as of each
//! row's time; materializes; serves the same features, which must be those of the training set bit for bit; and answers
//! Feast's clients by HTTP. Every line it prints is measured. A second run over the same home finds nothing to do.

#![allow(clippy::disallowed_methods, reason = "the program tells how long things took")]

#[path = "../common/program.rs"]
mod program;
#[path = "../common/stop_signal.rs"]
mod stop_signal;

mod definitions;
mod feast_call;
mod simulate;

use std::{
    path::{PathBuf, absolute},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_select::concat::concat_batches;
use clap::Parser;
use mlops::{
    Error, Result,
    core::{
        Timestamp,
        arrow_array::{
            Array, RecordBatch,
            cast::AsArray,
            types::{Float64Type, Int64Type, TimestampMicrosecondType},
        },
        arrow_schema::Schema,
        testing::ManualClock,
    },
    features::{
        FeatureStore, OfflineStore as _, Permission, Scan,
        feast::FeastServer,
        offline::{HistoricalOptions, TrainingSet},
    },
};
use tokio::{net::TcpListener, runtime::Builder};

use self::{
    definitions::{SERVICE, TABLE, TIME},
    program::end,
    stop_signal::stop_signal,
};

/// How often one entity is read for the latencies.
const READS: usize = 10_000;

/// A feature store from files to serving.
#[derive(Debug, Parser)]
#[command(name = "feature_store")]
struct Options {
    /// Directory of the store; created when absent. A temporary one unless given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Parquet file of the electricity data set; simulated data unless given.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Port of the Feast endpoint; 0 takes a free one.
    #[arg(long, value_name = "P", default_value_t = 0)]
    port: u16,
    /// Goes on serving until Ctrl-C.
    #[arg(long)]
    serve: bool,
}

fn main() -> ExitCode {
    end(&mut Builder::new_multi_thread(), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let temporary =
        tempfile::tempdir().map_err(|error| Error::unavailable("no temporary directory").with_source(error))?;
    let home = options.home.clone().unwrap_or_else(|| temporary.path().join("store"));
    let url = data_url(options, &home)?;

    // The data ended long ago: the clock of this store stands where they end.
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let builder = definitions::builder(&home, &url, Arc::<ManualClock>::clone(&clock) as _)?;
    let plan = builder.plan().await?;
    print!("{plan}");
    let store = builder.apply(&plan, Permission::Safe).await?;

    let begin = Instant::now();
    let taken = store.source(TABLE)?.run().await?;
    let (files, known, rows) = (taken.files, taken.files_known, taken.rows);
    println!("ingested     {rows} rows of {files} files in {:.2?}, {known} files were there", begin.elapsed());

    let spine = spine(&store).await?;
    let now = last_time(&spine)?;
    clock.set(now);
    let set = train(&store, &spine).await?;

    for view in ["market", "half_hour"] {
        let begin = Instant::now();
        let receipt = store.refresh(view, now).await?.materialized;
        println!("materialized {} rows of \"{view}\" up to {now} in {:.2?}", receipt.rows, begin.elapsed());
    }
    serve(&store, &spine, &set, now).await?;
    answer_feast(&store, options).await
}

/// Where the files are; simulated ones are written first.
fn data_url(options: &Options, home: &std::path::Path) -> Result<String> {
    let absolute = |path: &std::path::Path| {
        absolute(path).map_err(|error| Error::invalid_argument(format!("{}: {error}", path.display())))
    };
    match &options.data {
        Some(file) => Ok(absolute(file)?.display().to_string()),
        None => {
            let folder = absolute(home)?.with_extension("incoming");
            simulate::write(&folder, 7)?;
            Ok(format!("{}/*.parquet", folder.display()))
        }
    }
}

/// For every half hour its time, its key, the price that was quoted and what came of it.
async fn spine(store: &FeatureStore) -> Result<RecordBatch> {
    let scan = Scan::latest().with_columns([TIME, "period", "nswprice", "class"]);
    let table = store.table(TABLE)?;
    let batch = concat_batches(&table.scan_schema(&scan)?, &table.scan_all(scan).await?)?;
    let fields = batch.schema_ref().fields().iter().map(|field| match field.name().as_str() {
        "nswprice" => field.as_ref().clone().with_name("quoted_price"),
        _ => field.as_ref().clone(),
    });
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), batch.columns().to_vec())?)
}

fn last_time(spine: &RecordBatch) -> Result<Timestamp> {
    let times = spine.column(0).as_primitive::<TimestampMicrosecondType>();
    let last = times.iter().flatten().max().ok_or_else(|| Error::invalid_argument("the data have no row"))?;
    Ok(Timestamp::from_micros(last))
}

/// The training set of the whole history, and whether one of its features tells something.
async fn train(store: &FeatureStore, spine: &RecordBatch) -> Result<TrainingSet> {
    let begin = Instant::now();
    let options = HistoricalOptions { timestamp: TIME.to_owned(), ..HistoricalOptions::default() };
    let set = store.offline().get_historical_opts(spine, store.service(SERVICE)?, &options).await?;
    let (rows, columns) = (set.batch.num_rows(), set.batch.num_columns());
    println!(
        "training set {rows} rows x {columns} columns in {:.2?}; every value as of its row's time",
        begin.elapsed()
    );
    for (table, version) in &set.data_versions {
        println!("             made of {table} version {} ({})", version.version, version.digest.short());
    }
    let missing = || Error::internal("the training set lacks a column");
    let above = set.batch.column_by_name("above_day").ok_or_else(missing)?.as_primitive::<Float64Type>();
    let class = set.batch.column_by_name("class").ok_or_else(missing)?.as_primitive::<Int64Type>();
    let share = |is_above: bool| {
        let chosen =
            above.iter().zip(class.iter()).filter(|(above, _)| above.is_some_and(|above| (above > 0.0) == is_above));
        let (count, up) =
            chosen.fold((0_u32, 0_u32), |(count, up), (_, class)| (count + 1, up + u32::from(class == Some(1))));
        100.0 * f64::from(up) / f64::from(count.max(1))
    };
    println!(
        "             price went up in {:.1} % of the rows with above_day > 0, in {:.1} % of the others",
        share(true),
        share(false)
    );
    Ok(set)
}

/// Reads the features of the last row online, again and again, and holds them against the training set's.
async fn serve(store: &FeatureStore, spine: &RecordBatch, set: &TrainingSet, now: Timestamp) -> Result<()> {
    let (reader, plan) = (store.reader(), store.service_plan(SERVICE)?);
    let times = spine.column(0).as_primitive::<TimestampMicrosecondType>();
    let row = (0..spine.num_rows()).rev().find(|row| times.value(*row) == now.as_micros());
    let row = row.ok_or_else(|| Error::internal("the last row is gone"))?;
    let request = spine.slice(row, 1);
    let mut latencies = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begin = Instant::now();
        reader.read(plan, &request, now).await?;
        latencies.push(begin.elapsed());
    }
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(READS * share / 100).copied().unwrap_or_default();
    println!("served       1 entity, {} features: p50 {:.1?}, p99 {:.1?}", plan.features().len(), at(50), at(99));
    let served = reader.read(plan, &request, now).await?;
    let mut equal = 0;
    for (feature, column) in plan.features().iter().zip(served.columns()) {
        let trained = set.batch.column_by_name(feature.feature()).map(|trained| trained.slice(row, 1).to_data());
        equal += usize::from(trained.is_some_and(|trained| trained == column.to_data()));
    }
    println!("             {equal} of {} equal those of the training set bit for bit", plan.features().len());
    if equal == plan.features().len() {
        return Ok(());
    }
    Err(Error::internal("what is served is not what would be trained on"))
}

/// Answers Feast's clients, and asks as one of them.
async fn answer_feast(store: &FeatureStore, options: &Options) -> Result<()> {
    let failed = |error: std::io::Error| Error::unavailable("the Feast endpoint cannot listen").with_source(error);
    let server = FeastServer::builder(store.clone()).build();
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    println!("Feast        online_store: {{type: remote, path: \"http://{address}\"}}");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let stop = async move { drop(ended.await) };
    let serving = tokio::spawn(axum::serve(listener, server.router()).with_graceful_shutdown(stop).into_future());
    let body = format!(r#"{{"feature_service":"{SERVICE}","entities":{{"period":[0.0],"quoted_price":[0.1]}}}}"#);
    println!("             {}", feast_call::post(address, "/get-online-features", &body).await?);
    let body = format!(r#"{{"feature_service":"{SERVICE}","entities":{{"period":[0.0]}}}}"#);
    println!("             {}", feast_call::post(address, "/get-online-features", &body).await?);
    if options.serve {
        stop_signal().await;
    }
    drop(end);
    server.close(Duration::from_secs(5)).await;
    serving.await.map_err(|_| Error::internal("the Feast endpoint panicked"))?.map_err(failed)
}
