//! How long a model takes per row, by a clock that is handed in.

use std::time::Duration;

use arrow_array::RecordBatch;
use mlops_core::{Clock, Error, Model, Result};

/// Repetitions at most.
const REPETITIONS_MAX: u32 = 10_000;

/// The median over `repetitions` predictions of `batch`, divided by its rows. The first prediction
/// warms caches and does not count.
///
/// # Errors
/// `InvalidArgument` for no rows, or repetitions not from 1 to 10,000; those of the model.
pub fn latency_per_row(
    model: &dyn Model,
    batch: &RecordBatch,
    repetitions: u32,
    clock: &dyn Clock,
) -> Result<Duration> {
    let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
    if rows == 0 || !(1..=REPETITIONS_MAX).contains(&repetitions) {
        return Err(Error::invalid_argument(format!(
            "latency needs rows and from 1 to {REPETITIONS_MAX} repetitions, found {rows} rows and {repetitions} \
             repetitions"
        )));
    }
    model.predict(batch)?;
    let mut times = Vec::with_capacity(repetitions as usize);
    for _ in 0..repetitions {
        let start = clock.monotonic();
        model.predict(batch)?;
        times.push(clock.monotonic().saturating_sub(start));
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default() / rows)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use arrow_array::{ArrayRef, Float64Array};
    use mlops_core::{DataType, Signature, TensorSpec, Timestamp, testing::ManualClock};

    use super::*;

    /// Takes one more millisecond with every call.
    #[derive(Debug)]
    struct Slowing {
        signature: Signature,
        clock: Arc<ManualClock>,
        calls: AtomicU64,
    }

    impl Model for Slowing {
        fn signature(&self) -> &Signature {
            &self.signature
        }
        fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
            let calls = self.calls.fetch_add(1, Ordering::Relaxed);
            self.clock.advance(Duration::from_millis(calls));
            Ok(inputs.clone())
        }
    }

    #[test]
    fn the_median_counts_and_the_warm_up_does_not() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
        let signature = Signature::new([], [TensorSpec::column("x", DataType::Float64)]).unwrap();
        let model = Slowing { signature, clock: Arc::clone(&clock), calls: AtomicU64::new(0) };
        let column: ArrayRef = Arc::new(Float64Array::from(vec![0.0; 4]));
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        // Calls take 0 (not counted), then 1, 2, 3, 4 and 5 ms.
        assert_eq!(latency_per_row(&model, &batch, 5, &clock).unwrap(), Duration::from_micros(750));
        assert!(latency_per_row(&model, &batch.slice(0, 0), 5, &clock).is_err());
        assert!(latency_per_row(&model, &batch, 0, &clock).is_err());
    }
}
