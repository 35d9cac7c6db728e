//! Swapping the version in service under load.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mlops_core::{
    DataType, ModelName, Signature, TensorSpec, Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch},
};
use mlops_serve::{ClosureModel, InferOptions, ModelRepository, Server};

fn column(value: f64) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![value])) as ArrayRef)]).unwrap()
}

/// Answers with its own number.
fn numbered(number: f64) -> Arc<ClosureModel<impl Fn(&RecordBatch) -> mlops_core::Result<RecordBatch>>> {
    let spec = TensorSpec::column("x", DataType::Float64);
    let signature = Signature::new([spec.clone()], [spec]).unwrap();
    Arc::new(ClosureModel::new(signature, move |batch: &RecordBatch| {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![number; batch.num_rows()]));
        Ok(RecordBatch::try_from_iter([("x", values)])?)
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_and_none_is_answered_by_the_old_version_afterwards() {
    let name: ModelName = "swap".parse().unwrap();
    let repository = Arc::new(ModelRepository::new());
    repository.register(&name, Version(1), numbered(1.0)).unwrap();
    let server = Server::builder(Arc::clone(&repository)).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (server, name, stop) = (server.clone(), name.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut answered = 0_u32;
                while answered == 0 || !stop.load(Ordering::SeqCst) {
                    let reply = server.infer(&name, column(0.0), InferOptions::default()).await.unwrap();
                    let number = reply.outputs["x"].to_data().buffers()[0].typed_data::<f64>()[0];
                    assert_eq!(number, reply.version.0 as f64, "an answer names the version that computed it");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for version in 2..=30_u32 {
        repository.register(&name, Version(version.into()), numbered(version.into())).unwrap();
        repository.set_default(&name, Version(version.into())).unwrap();
        let reply = server.infer(&name, column(0.0), InferOptions::default()).await.unwrap();
        assert_eq!(reply.version, Version(version.into()));
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}
