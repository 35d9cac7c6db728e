//! Labels from a server to the monitors that wait for them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use mlops_core::{Error, LabelBatch, LabelReceipt, LabelSink, ModelName, Result};

use super::{LabelIntake, PerformanceMonitor};

/// Performance monitors by model, as the [`LabelSink`] of a server: each gets the labels of its model. The application
/// shares a monitor with the task that shows it predictions and polls it.
///
/// Labels come in the columns of [`LabelColumns::default`](super::LabelColumns), so that is what the monitors' settings
/// must say. What a monitor knows is in memory: labels are kept over a restart where the application keeps
/// [`PerformanceMonitor::state`].
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use mlops_monitor::performance::{PerformanceLabels, PerformanceMonitor, PerformanceSettings, Task};
///
/// let monitor = PerformanceMonitor::builder(PerformanceSettings::new(Task::binary("score"))).build()?;
/// let monitor = Arc::new(Mutex::new(monitor));
/// let labels = PerformanceLabels::default().with_monitor("fraud".parse()?, Arc::clone(&monitor));
/// // Then: `Server::builder(repository).with_labels(Arc::new(labels))`, and `monitor` where predictions pass.
/// # drop(labels);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Default, Clone)]
pub struct PerformanceLabels {
    monitors: HashMap<ModelName, Arc<Mutex<PerformanceMonitor>>>,
}

impl fmt::Debug for PerformanceLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerformanceLabels").field("models", &self.monitors.keys()).finish()
    }
}

impl PerformanceLabels {
    /// Gives the labels of `model` to `monitor`, in place of an earlier one.
    #[must_use]
    pub fn with_monitor(mut self, model: ModelName, monitor: Arc<Mutex<PerformanceMonitor>>) -> Self {
        self.monitors.insert(model, monitor);
        self
    }
}

#[async_trait]
impl LabelSink for PerformanceLabels {
    async fn append(&self, batch: LabelBatch) -> Result<LabelReceipt> {
        let nobody = || Error::not_found(format!("nobody waits for labels of model \"{}\"", batch.model));
        let monitor = self.monitors.get(&batch.model).ok_or_else(nobody)?;
        let mut monitor = monitor.lock().unwrap_or_else(PoisonError::into_inner);
        let LabelIntake { joined, corrected, duplicate, early, invalid } = monitor.label(&batch.labels, batch.at)?;
        let taken = joined + corrected + early;
        if taken + duplicate == 0 && invalid > 0 {
            return Err(Error::invalid_argument(format!(
                "none of {invalid} labels can be used: the task of model \"{}\" has no such labels, or no prediction can \
                 have their ids",
                batch.model
            )));
        }
        Ok(LabelReceipt { taken, duplicates: duplicate, refused: invalid })
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::{
        ErrorKind, PredictionBatch, Timestamp, Version,
        arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    };

    use super::*;
    use crate::performance::{PerformanceSettings, Task};

    fn labels(model: &str, ids: &[&str], labels: &[f64], at: i64) -> LabelBatch {
        let times = TimestampMicrosecondArray::from(vec![at; ids.len()]).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 4] = [
            ("request_id", Arc::new(StringArray::from(ids.to_vec()))),
            ("row", Arc::new(Int64Array::from(vec![0; ids.len()]))),
            ("label", Arc::new(Float64Array::from(labels.to_vec()))),
            ("labeled_at", Arc::new(times)),
        ];
        let labels = RecordBatch::try_from_iter(columns).unwrap();
        LabelBatch { model: model.parse().unwrap(), at: Timestamp::from_micros(at), labels }
    }

    #[tokio::test]
    async fn labels_reach_the_monitor_of_their_model_and_say_what_became_of_them() {
        let monitor = PerformanceMonitor::builder(PerformanceSettings::new(Task::binary("p"))).build().unwrap();
        let monitor = Arc::new(Mutex::new(monitor));
        let outputs = RecordBatch::try_from_iter([("p", Arc::new(Float64Array::from(vec![0.9])) as ArrayRef)]).unwrap();
        let answered = PredictionBatch {
            request_id: "a".into(),
            model: "fraud".parse().unwrap(),
            version: Version(1),
            variant: "champion".into(),
            propensity: None,
            at: Timestamp::from_micros(1),
            inputs: outputs.clone(),
            outputs,
        };
        monitor.lock().unwrap().observe(&answered).unwrap();
        let sink = PerformanceLabels::default().with_monitor("fraud".parse().unwrap(), Arc::clone(&monitor));
        let receipt = sink.append(labels("fraud", &["a", "early", "a2"], &[1.0, 0.0, 0.5], 5)).await.unwrap();
        assert_eq!(receipt, LabelReceipt { taken: 2, duplicates: 0, refused: 1 });
        let again = sink.append(labels("fraud", &["a"], &[1.0], 5)).await.unwrap();
        assert_eq!(again, LabelReceipt { taken: 0, duplicates: 1, refused: 0 });
        let useless = sink.append(labels("fraud", &["b"], &[7.0], 5)).await.unwrap_err();
        assert_eq!(useless.kind(), ErrorKind::InvalidArgument);
        let foreign = sink.append(labels("other", &["a"], &[1.0], 5)).await.unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::NotFound);
        assert_eq!(monitor.lock().unwrap().join().counts().joined, 1);
    }
}
