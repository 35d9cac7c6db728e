//! Processes that fit one network together and end with the bits of one process.
//!
//! ```sh
//! cargo build -p mlops-train --features mpi --example mpi_fit
//! target/debug/examples/mpi_fit
//! mpirun -n 2 target/debug/examples/mpi_fit --checkpoints /shared/fit
//! ```
//!
//! Both print the same losses and the same digest. Killed and started again, with any number of processes, the second
//! goes on from its last checkpoint.

use std::{env, sync::Arc};

use mlops_core::{
    Error, Result,
    arrow_array::{ArrayRef, Float64Array, RecordBatch},
    testing::SplitMix64,
};
use mlops_train::{
    BurnSettings, Checkpoints, Collective, FitContext, MlpSettings, MlpTrainer, MpiGroup, TableDataset, TrainedModel,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let checkpoints = match arguments.as_slice() {
        [] => None,
        [name, path] if name == "--checkpoints" => Some(Checkpoints::new(path)),
        _ => return Err(Error::invalid_argument("usage: mpi_fit [--checkpoints DIRECTORY]")),
    };
    let group = Arc::new(MpiGroup::join()?);
    let mut context = FitContext::new(7).with_collective(Arc::clone(&group) as Arc<dyn Collective>);
    if let Some(checkpoints) = checkpoints {
        context = context.with_checkpoints(checkpoints);
    }
    // Eight batches make one step, however many processes share them.
    let training = BurnSettings { epochs: 10, batch_rows: 64, accumulate: 8, ..BurnSettings::default() };
    let settings = MlpSettings { training, ..MlpSettings::default() };
    let model = MlpTrainer.fit_settings(&rows(8_000)?, &settings, &context)?;
    group.end()?;
    if group.rank() == 0 {
        for epoch in model.history() {
            println!("epoch {:2}  loss {:.6}  held out {:.6?}", epoch.epoch, epoch.train_loss, epoch.valid_loss);
        }
        println!("digest {}", model.to_package()?.digest()?);
    }
    Ok(())
}

/// Ten columns of which two say the label.
fn rows(count: usize) -> Result<TableDataset> {
    let random = SplitMix64::new(1);
    let cell = |row: usize, column: usize| 2.0 * random.uniform((10 * row + column) as u64) - 1.0;
    let column =
        |column: usize| Arc::new((0..count).map(|row| Some(cell(row, column))).collect::<Float64Array>()) as ArrayRef;
    let label = (0..count).map(|row| Some(f64::from(u8::from(cell(row, 0) * cell(row, 1) > 0.0))));
    let mut named: Vec<(String, ArrayRef)> = (0..10).map(|at| (format!("x{at}"), column(at))).collect();
    named.push(("label".to_owned(), Arc::new(label.collect::<Float64Array>())));
    let batch = RecordBatch::try_from_iter(named)
        .map_err(|error| Error::internal("columns of one length make a batch").with_source(error))?;
    TableDataset::classification(batch, "label").build()
}
