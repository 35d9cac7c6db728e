//! Whatever bytes describe an ensemble, ours or Triton's, they are refused with a reason, or it predicts.
//!
//! ```text
//! cargo +nightly fuzz run ensemble corpus/ensemble seeds/ensemble -- -timeout=10 -rss_limit_mb=1024
//! ```

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mlops_core::{Model as _, arrow_array::RecordBatch};
use mlops_serve::{EnsembleRuntime, ModelRepository, Runtimes};
use mlops_serve_fuzz::models;

static HERE: LazyLock<(Arc<ModelRepository>, Runtimes)> =
    LazyLock::new(|| (models(), Runtimes::new().with_runtime(Arc::new(EnsembleRuntime::default()))));

fuzz_target!(|bytes: &[u8]| {
    let (repository, runtimes) = &*HERE;
    let loaded =
        EnsembleRuntime::package(bytes.to_vec()).and_then(|package| runtimes.load(&package, &repository.peers()));
    match loaded {
        Err(error) => assert!(!error.message().is_empty()),
        Ok(mlops_serve::ServedModel::Ensemble(model)) => {
            let none = RecordBatch::new_empty(model.signature().input_schema());
            if let Err(error) = model.predict(&none) {
                assert!(!error.message().is_empty());
            }
        }
        Ok(other) => panic!("an ensemble was loaded as {other:?}"),
    }
});
