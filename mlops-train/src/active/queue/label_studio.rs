//! Tasks and annotations in Label Studio's JSON, for labelers who work there.
//!
//! The layout is that of Label Studio's basic JSON (version 1.x): a list of tasks with `data`,
//! `predictions` and `annotations`, each annotation a list of results. Classification by one choice
//! is read and written; regions of images and texts are not.

use mlops_core::{Error, Result, Timestamp};
use serde_json::{Value, json};

use super::task::{LabelTask, Submission, TaskRecord};

/// Under this key of `data` a task keeps its id, for Label Studio numbers tasks anew.
const ID_KEY: &str = "mlops_task";
/// Largest file that is read.
const BYTES_MAX: usize = 1 << 30;

/// The names that the labelling configuration gives to its parts, as in
/// `<Choices name="label" toName="text">`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelStudio {
    /// Name of the choices.
    pub from_name: String,
    /// Name of what is shown.
    pub to_name: String,
}

/// A task read from Label Studio with what was said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct StudioTask {
    /// The task.
    pub task: LabelTask,
    /// Labels of annotations that were not cancelled; those without a choice are left out.
    pub submissions: Vec<Submission>,
}

impl LabelStudio {
    /// Tasks as a list that Label Studio imports: with labels as annotations, and a model's proposal
    /// as a prediction.
    ///
    /// ```
    /// use mlops_train::active::queue::{LabelStudio, LabelTask, TaskRecord, TaskState};
    ///
    /// let studio = LabelStudio { from_name: "label".into(), to_name: "text".into() };
    /// let task = LabelTask::new("row-17", serde_json::json!({"text": "I want out"}));
    /// let record = TaskRecord { task, state: TaskState::Open, label: None, settled_by: None, submissions: vec![] };
    /// let read = studio.import(&studio.export(&[record.clone()]).to_string())?;
    /// assert_eq!(read[0].task, record.task);
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    #[must_use]
    pub fn export(&self, records: &[TaskRecord]) -> Value {
        records.iter().map(|record| self.task(record)).collect()
    }

    fn task(&self, record: &TaskRecord) -> Value {
        let task = &record.task;
        let mut data = match &task.data {
            Value::Object(fields) => fields.clone(),
            // Label Studio shows fields, so anything else becomes one.
            other => serde_json::Map::from_iter([(self.to_name.clone(), other.clone())]),
        };
        data.insert(ID_KEY.to_owned(), json!(task.id));
        let annotation = |submission: &Submission| {
            json!({
                "completed_by": { "email": submission.labeler },
                "was_cancelled": false,
                "created_at": submission.at.to_string(),
                "result": [self.result(&submission.label)],
            })
        };
        let settled = record.settled_by.as_ref().zip(record.label.as_ref()).map(|(by, label)| {
            json!({
                "completed_by": { "email": by }, "was_cancelled": false, "ground_truth": true,
                "result": [self.result(label)],
            })
        });
        let annotations: Vec<Value> = record.submissions.iter().map(annotation).chain(settled).collect();
        let prediction = task
            .prediction
            .as_ref()
            .map(|(label, score)| json!({ "model_version": "mlops", "score": score, "result": [self.result(label)] }));
        json!({
            "data": data,
            "meta": { "priority": task.priority, "reason": task.reason },
            "annotations": annotations,
            "predictions": prediction.into_iter().collect::<Vec<_>>(),
        })
    }

    fn result(&self, label: &str) -> Value {
        json!({ "from_name": self.from_name, "to_name": self.to_name, "type": "choices", "value": { "choices": [label] } })
    }

    /// Tasks of an export of Label Studio, or of [`LabelStudio::export`]. A task that did not come
    /// from here is named by its number.
    ///
    /// # Errors
    /// `InvalidArgument` when the text is larger than 1 GiB, no JSON list of tasks, or a task has no
    /// data, no id, or more than one choice where one is expected.
    pub fn import(&self, text: &str) -> Result<Vec<StudioTask>> {
        if text.len() > BYTES_MAX {
            return Err(Error::invalid_argument(format!("files of Label Studio are read up to {BYTES_MAX} bytes")));
        }
        let tasks: Vec<Value> = serde_json::from_str(text)
            .map_err(|error| Error::invalid_argument(format!("no JSON list of Label Studio's tasks: {error}")))?;
        tasks.iter().enumerate().map(|(place, task)| self.read(place, task)).collect()
    }

    fn read(&self, place: usize, value: &Value) -> Result<StudioTask> {
        let wrong = |what: &str| Error::invalid_argument(format!("task {place} of Label Studio's file {what}"));
        let mut data = value.get("data").and_then(Value::as_object).cloned().ok_or_else(|| wrong("has no data"))?;
        let own = data.remove(ID_KEY).as_ref().and_then(Value::as_str).map(str::to_owned);
        let number = || value.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let id = own.or_else(number).ok_or_else(|| wrong("has no id"))?;
        let mut task = LabelTask::new(id, Value::Object(data));
        let meta = value.get("meta");
        task.priority = meta.and_then(|meta| meta.get("priority")).and_then(Value::as_f64).unwrap_or(0.0);
        task.reason =
            meta.and_then(|meta| meta.get("reason")).and_then(|reason| serde_json::from_value(reason.clone()).ok());
        let list = |name: &str| value.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if let Some(prediction) = list("predictions").first()
            && let Some(label) = self.choice(prediction).map_err(wrong)?
        {
            let score = prediction.get("score").and_then(Value::as_f64).unwrap_or(1.0);
            task.prediction = Some((label, score.clamp(0.0, 1.0)));
        }
        let mut submissions = Vec::new();
        for annotation in list("annotations") {
            let cancelled = annotation.get("was_cancelled").and_then(Value::as_bool).unwrap_or(false);
            if let Some(label) = self.choice(annotation).map_err(wrong)?.filter(|_| !cancelled) {
                let at = annotation.get("created_at").and_then(Value::as_str).and_then(|at| at.parse().ok());
                let at = at.unwrap_or(Timestamp::from_micros(0));
                submissions.push(Submission { labeler: labeler(annotation), label, at });
            }
        }
        Ok(StudioTask { task, submissions })
    }

    /// The choice of an annotation or prediction; none when nothing was chosen.
    fn choice(&self, annotation: &Value) -> std::result::Result<Option<String>, &'static str> {
        let results = annotation.get("result").and_then(Value::as_array);
        let own = |result: &&Value| {
            result.get("type").and_then(Value::as_str) == Some("choices")
                && result.get("from_name").and_then(Value::as_str) == Some(self.from_name.as_str())
        };
        let mut choices = results
            .into_iter()
            .flatten()
            .filter(own)
            .filter_map(|result| result.get("value")?.get("choices")?.as_array())
            .flatten();
        let Some(first) = choices.next() else { return Ok(None) };
        if choices.next().is_some() {
            return Err("has several choices where one label is expected");
        }
        first.as_str().map(|label| Some(label.to_owned())).ok_or("has a choice that is no text")
    }
}

/// Who made an annotation: a number, or an object with an email or a number.
fn labeler(annotation: &Value) -> String {
    let by = annotation.get("completed_by");
    let email = by.and_then(|by| by.get("email")).and_then(Value::as_str);
    let number = by.and_then(|by| by.get("id").or(Some(by))).and_then(Value::as_i64);
    email.map(str::to_owned).or_else(|| number.map(|number| number.to_string())).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::active::{Reason, queue::TaskState};

    fn studio() -> LabelStudio {
        LabelStudio { from_name: "sentiment".to_owned(), to_name: "text".to_owned() }
    }

    #[test]
    fn an_export_of_label_studio_is_read() {
        // The layout of Label Studio's documentation, "Label Studio JSON format of annotated tasks".
        let text = r#"[{"id": 3, "created_at": "2021-03-09T21:52:49.513742Z", "project": 83,
            "data": {"text": "great"},
            "annotations": [
                {"id": 1001, "completed_by": {"id": 7, "email": "ann@example.com"}, "was_cancelled": false,
                 "created_at": "2021-03-09T22:16:08.728353Z", "lead_time": 4.2,
                 "result": [{"id": "x", "from_name": "sentiment", "to_name": "text", "type": "choices",
                             "value": {"choices": ["Positive"]}}]},
                {"id": 1002, "completed_by": 8, "was_cancelled": true, "result": []},
                {"id": 1003, "completed_by": 9, "result": [{"from_name": "sentiment", "to_name": "text",
                 "type": "choices", "value": {"choices": ["Negative"]}}]}],
            "predictions": [{"model_version": "m", "score": 0.8, "result": [{"from_name": "sentiment",
                "to_name": "text", "type": "choices", "value": {"choices": ["Positive"]}}]}]}]"#;
        let read = studio().import(text).unwrap();
        assert_eq!((read[0].task.id.as_str(), &read[0].task.data), ("3", &json!({"text": "great"})));
        assert_eq!(read[0].task.prediction, Some(("Positive".to_owned(), 0.8)));
        let said: Vec<(&str, &str)> =
            read[0].submissions.iter().map(|said| (said.labeler.as_str(), said.label.as_str())).collect();
        assert_eq!(said, [("ann@example.com", "Positive"), ("9", "Negative")]);
        assert_eq!(read[0].submissions[0].at.to_string(), "2021-03-09T22:16:08.728353Z");
    }

    #[test]
    fn what_is_written_reads_back() {
        let task = LabelTask {
            priority: 0.25,
            reason: Some(Reason::Random),
            prediction: Some(("no".to_owned(), 0.6)),
            ..LabelTask::new("row-1", json!({"text": "so so", "n": 3}))
        };
        let submissions =
            vec![Submission { labeler: "bob".into(), label: "yes".into(), at: Timestamp::from_micros(1_500_000) }];
        let record =
            TaskRecord { task, state: TaskState::Labeled, label: Some("yes".into()), settled_by: None, submissions };
        let read = studio().import(&studio().export(std::slice::from_ref(&record)).to_string()).unwrap();
        assert_eq!((&read[0].task, &read[0].submissions), (&record.task, &record.submissions));
    }

    #[test]
    fn wrong_files_are_refused() {
        for wrong in [
            "{}",
            "[{}]",
            r#"[{"data": {}}]"#,
            r#"[{"id": 1, "data": {}, "annotations": [{"result": [{"type": "choices", "from_name": "sentiment", "value": {"choices": ["a", "b"]}}]}]}]"#,
        ] {
            assert!(studio().import(wrong).is_err(), "{wrong}");
        }
    }
}
