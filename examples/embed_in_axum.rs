//! An existing axum backend gains features, a model and drift monitoring. `cargo run --example embed_in_axum [DIR]`,
//! then `curl -X POST localhost:3000/pay/7/250` a few times and open localhost:3000/drift; /v2 is Open Inference.

use std::{sync::Arc, time::Duration};

use arrow_array::{cast::AsArray as _, types::Float64Type, *};
use axum::{extract::Path, http::StatusCode, response::Html, routing};
use mlops::{core::*, features::*, monitor::*, serve::*};

type Answer<T> = std::result::Result<T, (StatusCode, String)>;

fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn payments(cards: Vec<i64>, micros: Vec<i64>, amounts: Vec<f64>) -> Result<RecordBatch> {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"));
    let (cards, amounts): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(cards)), Arc::new(Float64Array::from(amounts)));
    let columns = [("card", cards, true), ("event_timestamp", times, true), ("amount", amounts, true)];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let home = std::env::args().nth(1).unwrap_or_else(|| "./embed-home".into());
    let history = payments(vec![1; 500], (0..500).collect(), (0..500).map(|i| f64::from(i % 90)).collect())?;

    // Features: what each card spent within an hour.
    let hour = Aggregation::new("spent_1h", Function::Sum, "amount", Duration::from_secs(3600));
    let spend = FeatureView::builder("spend", Entity::new("card", ["card"])?, "payments").with_aggregation(hour);
    let store = FeatureStore::builder(&home).with_table("payments", history.schema()).with_view(spend.build()?);
    let store = store.build().await?;

    // A model; here a closure, in earnest `ModelRepository::with_source(registry, ..)` and an alias.
    let column = |name| TensorSpec::column(name, DataType::Float64);
    let signature = Signature::new([column("amount"), column("spent_1h").nullable()], [column("risk")])?;
    let (inputs, outputs) = (signature.input_schema(), signature.output_schema());
    let model = ClosureModel::new(signature, |rows| {
        let (amounts, spent) = (rows["amount"].as_primitive::<Float64Type>(), rows["spent_1h"].as_primitive());
        let risk = |(amount, spent): (&f64, Option<f64>)| (amount + spent.unwrap_or(0.0)) / 1e3;
        let risk = Float64Array::from_iter_values(amounts.values().iter().zip(spent as &Float64Array).map(risk));
        Ok(RecordBatch::try_from_iter([("risk", Arc::new(risk) as ArrayRef)])?)
    });
    let (repository, card) = (Arc::new(ModelRepository::new()), TensorSpec::column("card", DataType::Int64));
    let lookup = FeatureLookup::new(Arc::new(store.reader()), ["spend:spent_1h".parse()?], [card]);
    repository.configure(ModelConfig::new("fraud@champion".parse()?).with_features(lookup))?;
    repository.register(&"fraud".parse()?, Version(1), Arc::new(model))?;

    // Every answer is logged; the log is compared with the history.
    let (log, clock) = (format!("{home}/predictions"), Arc::new(SystemClock::default()));
    let log = Arc::new(PredictionLog::open(&log, inputs, outputs, Arc::clone(&clock) as _, Default::default()).await?);
    let _writer = LogWriter::start(Arc::clone(&log), &Default::default())?;
    let server = Server::builder(repository).with_predictions(Arc::clone(&log) as _).build()?;
    let reference = ReferenceProfile::from_batch(&history.project(&[2])?, &ProfileSettings::default())?;
    let monitor = Arc::new(Monitor::builder(reference).build()?);

    let (writer, fraud, now) = (store.writer(), server.clone(), Arc::clone(&clock));
    let pay = async move |Path((card, amount)): Path<(i64, f64)>| -> Answer<String> {
        let payment = payments(vec![card], vec![now.now().as_micros()], vec![amount]).map_err(failed)?;
        let model = "fraud".parse().map_err(failed)?;
        let answer = fraud.infer(&model, payment.clone(), InferOptions::default()).await.map_err(failed)?;
        writer.push("spend", &payment).await.map_err(failed)?;
        Ok(format!("risk {:.3}\n", answer.outputs["risk"].as_primitive::<Float64Type>().value(0)))
    };
    let drift = async move || -> Answer<Html<String>> {
        log.flush().await.map_err(failed)?;
        let answered = log.read(None, None).await.map_err(failed)?;
        Ok(Html(monitor.observe(&answered, clock.now()).to_html()))
    };
    let app =
        axum::Router::new().route("/pay/{card}/{amount}", routing::post(pay)).route("/drift", routing::get(drift));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app.merge(server.into_router())).await?)
}
