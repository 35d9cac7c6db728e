//! The queue's statements: each function is one transaction.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use mlops_store::{MetaStore as _, Row, Transaction, TransactionExt as _, params};
use serde::Serialize;

use super::{
    LabelQueue,
    task::{Assignment, LabelTask, QueueProgress, Submission, TaskRecord, TaskState},
};

pub(super) async fn add(queue: &LabelQueue, tasks: &[LabelTask]) -> Result<u64> {
    let mut tx = queue.meta.begin().await?;
    let sql = "INSERT INTO label_task (queue, task, data, prediction, reason, priority, state)
        VALUES ($1, $2, $3, $4, $5, $6, 'open') ON CONFLICT (queue, task) DO NOTHING";
    let mut added = 0;
    for task in tasks {
        let prediction = task.prediction.as_ref().map(json).transpose()?;
        let reason = task.reason.as_ref().map(json).transpose()?;
        let values =
            params![queue.name.clone(), task.id.clone(), task.data.to_string(), prediction, reason, task.priority];
        added += tx.execute(sql, values).await?;
    }
    tx.commit().await?;
    Ok(added)
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("no JSON: {error}")))
}

pub(super) async fn assign(queue: &LabelQueue, labeler: &str, count: usize) -> Result<Vec<Assignment>> {
    let mut tx = queue.meta.begin().await?;
    let now = queue.now();
    let held = "SELECT t.task, t.data, t.prediction, t.reason, t.priority, a.lease_until
        FROM label_assignment a JOIN label_task t ON t.queue = a.queue AND t.task = a.task
        WHERE a.queue = $1 AND a.labeler = $2 AND a.label IS NULL AND a.lease_until > $3 AND t.state = 'open'
        ORDER BY t.priority DESC, t.task LIMIT $4";
    let rows = tx.query(held, params![queue.name.clone(), labeler.to_owned(), now, count as i64]).await?;
    let mut work = rows.iter().map(assignment).collect::<Result<Vec<_>>>()?;
    // Places are those of submitted labels and of leases that have not ended.
    let free = "SELECT t.task, t.data, t.prediction, t.reason, t.priority FROM label_task t
        WHERE t.queue = $1 AND t.state = 'open'
          AND NOT EXISTS (SELECT 1 FROM label_assignment a WHERE a.queue = t.queue AND a.task = t.task
              AND a.labeler = $2 AND (a.label IS NOT NULL OR a.lease_until > $3))
          AND (SELECT COUNT(*) FROM label_assignment a WHERE a.queue = t.queue AND a.task = t.task
              AND (a.label IS NOT NULL OR a.lease_until > $3)) < $4
        ORDER BY t.priority DESC, t.task LIMIT $5";
    let left = count.saturating_sub(work.len()) as i64;
    let wanted = i64::from(queue.settings.labelers_per_task);
    let rows = tx.query(free, params![queue.name.clone(), labeler.to_owned(), now, wanted, left]).await?;
    let lease_until = now + queue.settings.lease;
    for row in &rows {
        let task = task_of(row)?;
        // Who comes late finds its place gone.
        let ended = "DELETE FROM label_assignment
            WHERE queue = $1 AND task = $2 AND label IS NULL AND lease_until <= $3";
        tx.execute(ended, params![queue.name.clone(), task.id.clone(), now]).await?;
        let sql = "INSERT INTO label_assignment (queue, task, labeler, lease_until) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, params![queue.name.clone(), task.id.clone(), labeler.to_owned(), lease_until]).await?;
        work.push(Assignment { task, lease_until });
    }
    tx.commit().await?;
    Ok(work)
}

fn task_of(row: &Row) -> Result<LabelTask> {
    let id: String = row.get("task")?;
    let damaged = |error: serde_json::Error| {
        Error::new(mlops_core::ErrorKind::DataLoss, format!("task {id:?} cannot be read: {error}"))
    };
    Ok(LabelTask {
        data: serde_json::from_str(&row.get::<String>("data")?).map_err(damaged)?,
        prediction: row
            .get::<Option<String>>("prediction")?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(damaged)?,
        reason: row
            .get::<Option<String>>("reason")?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(damaged)?,
        priority: row.get("priority")?,
        id,
    })
}

fn assignment(row: &Row) -> Result<Assignment> {
    Ok(Assignment { task: task_of(row)?, lease_until: row.get("lease_until")? })
}

fn not_held(labeler: &str, task: &str) -> Error {
    Error::failed_precondition(format!(
        "labeler {labeler:?} does not hold task {task:?}: the lease has ended and the place went to another, or it was \
         never assigned; ask for new work"
    ))
    .with("task", task)
}

pub(super) async fn renew(queue: &LabelQueue, labeler: &str, task: &str) -> Result<Timestamp> {
    let mut tx = queue.meta.begin().await?;
    let lease_until = queue.now() + queue.settings.lease;
    let sql = "UPDATE label_assignment SET lease_until = $4
        WHERE queue = $1 AND task = $2 AND labeler = $3 AND label IS NULL AND lease_until > $5";
    let values = params![queue.name.clone(), task.to_owned(), labeler.to_owned(), lease_until, queue.now()];
    if tx.execute(sql, values).await? == 0 {
        return Err(not_held(labeler, task));
    }
    tx.commit().await?;
    Ok(lease_until)
}

pub(super) async fn release(queue: &LabelQueue, labeler: &str, task: &str) -> Result<()> {
    let mut tx = queue.meta.begin().await?;
    let sql = "DELETE FROM label_assignment WHERE queue = $1 AND task = $2 AND labeler = $3 AND label IS NULL";
    tx.execute(sql, params![queue.name.clone(), task.to_owned(), labeler.to_owned()]).await?;
    tx.commit().await
}

async fn state_of(tx: &mut dyn Transaction, queue: &LabelQueue, task: &str) -> Result<TaskState> {
    let sql = "SELECT state FROM label_task WHERE queue = $1 AND task = $2";
    let row = tx.query_opt(sql, params![queue.name.clone(), task.to_owned()]).await?;
    let unknown = || Error::not_found(format!("queue {:?} has no task {task:?}", queue.name)).with("task", task);
    row.ok_or_else(unknown)?.get::<String>("state")?.parse()
}

pub(super) async fn submit(
    queue: &LabelQueue,
    labeler: &str,
    task: &str,
    label: &str,
    made_elsewhere: Option<Timestamp>,
) -> Result<TaskState> {
    let mut tx = queue.meta.begin().await?;
    let state = state_of(tx.as_mut(), queue, task).await?;
    let own = "SELECT label FROM label_assignment WHERE queue = $1 AND task = $2 AND labeler = $3";
    let row = tx.query_opt(own, params![queue.name.clone(), task.to_owned(), labeler.to_owned()]).await?;
    let before = row.as_ref().map(|row| row.get::<Option<String>>("label")).transpose()?;
    if before == Some(Some(label.to_owned())) {
        // Said already: the answer was lost on its way.
        return Ok(state);
    }
    if state != TaskState::Open {
        return Err(Error::failed_precondition(format!("task {task:?} is {state}; its labels do not change any more"))
            .with("task", task));
    }
    let at = made_elsewhere.unwrap_or_else(|| queue.now());
    if before.is_none() {
        if made_elsewhere.is_none() {
            return Err(not_held(labeler, task));
        }
        let sql = "INSERT INTO label_assignment (queue, task, labeler, lease_until) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, params![queue.name.clone(), task.to_owned(), labeler.to_owned(), at]).await?;
    }
    let sql = "UPDATE label_assignment SET label = $4, submitted_at = $5
        WHERE queue = $1 AND task = $2 AND labeler = $3";
    let values = params![queue.name.clone(), task.to_owned(), labeler.to_owned(), label.to_owned(), at];
    tx.execute(sql, values).await?;
    let state = judged(tx.as_mut(), queue, task).await?;
    tx.commit().await?;
    Ok(state)
}

/// Closes a task that has labels enough: by agreement, or as disputed.
async fn judged(tx: &mut dyn Transaction, queue: &LabelQueue, task: &str) -> Result<TaskState> {
    let sql = "SELECT label, COUNT(*) AS votes FROM label_assignment
        WHERE queue = $1 AND task = $2 AND label IS NOT NULL GROUP BY label ORDER BY 2 DESC, 1";
    let rows = tx.query(sql, params![queue.name.clone(), task.to_owned()]).await?;
    let votes = rows
        .iter()
        .map(|row| Ok((row.get::<String>("label")?, row.get::<i64>("votes")?)))
        .collect::<Result<Vec<(String, i64)>>>()?;
    let all: i64 = votes.iter().map(|(_, votes)| votes).sum();
    if all < i64::from(queue.settings.labelers_per_task) {
        return Ok(TaskState::Open);
    }
    let agreed = votes.into_iter().next().filter(|(_, most)| *most as f64 >= queue.settings.agreement_min * all as f64);
    let state = if agreed.is_some() { TaskState::Labeled } else { TaskState::Disputed };
    let sql = "UPDATE label_task SET state = $3, label = $4 WHERE queue = $1 AND task = $2";
    let label = agreed.map(|(label, _)| label);
    tx.execute(sql, params![queue.name.clone(), task.to_owned(), state.to_string(), label]).await?;
    Ok(state)
}

pub(super) async fn adjudicate(queue: &LabelQueue, adjudicator: &str, task: &str, label: &str) -> Result<()> {
    let mut tx = queue.meta.begin().await?;
    let state = state_of(tx.as_mut(), queue, task).await?;
    if state != TaskState::Disputed {
        return Err(Error::failed_precondition(format!("task {task:?} is {state}, not disputed")).with("task", task));
    }
    let own = "SELECT 1 AS own FROM label_assignment
        WHERE queue = $1 AND task = $2 AND labeler = $3 AND label IS NOT NULL";
    let row = tx.query_opt(own, params![queue.name.clone(), task.to_owned(), adjudicator.to_owned()]).await?;
    if row.is_some() {
        return Err(Error::permission_denied(format!(
            "{adjudicator:?} has labelled task {task:?}; somebody else must settle it"
        )));
    }
    let sql = "UPDATE label_task SET state = 'labeled', label = $3, settled_by = $4 WHERE queue = $1 AND task = $2";
    let values = params![queue.name.clone(), task.to_owned(), label.to_owned(), adjudicator.to_owned()];
    tx.execute(sql, values).await?;
    tx.commit().await
}

pub(super) async fn records(
    queue: &LabelQueue,
    state: TaskState,
    after: &str,
    count: usize,
) -> Result<Vec<TaskRecord>> {
    let sql = "SELECT task, data, prediction, reason, priority, label, settled_by FROM label_task
        WHERE queue = $1 AND state = $2 AND task > $3 ORDER BY task LIMIT $4";
    let values = params![queue.name.clone(), state.to_string(), after.to_owned(), count as i64];
    let rows = queue.meta.query(sql, values).await?;
    let Some(last) = rows.last().map(|row| row.get::<String>("task")).transpose()? else { return Ok(Vec::new()) };
    let sql = "SELECT a.task, a.labeler, a.label, a.submitted_at FROM label_assignment a
        JOIN label_task t ON t.queue = a.queue AND t.task = a.task
        WHERE a.queue = $1 AND t.state = $2 AND a.task > $3 AND a.task <= $4 AND a.label IS NOT NULL
        ORDER BY a.task, a.submitted_at, a.labeler";
    let values = params![queue.name.clone(), state.to_string(), after.to_owned(), last];
    let mut submissions: BTreeMap<String, Vec<Submission>> = BTreeMap::new();
    for row in queue.meta.query(sql, values).await? {
        let submission =
            Submission { labeler: row.get("labeler")?, label: row.get("label")?, at: row.get("submitted_at")? };
        submissions.entry(row.get("task")?).or_default().push(submission);
    }
    let record = |row: &Row| {
        let task = task_of(row)?;
        Ok(TaskRecord {
            state,
            label: row.get("label")?,
            settled_by: row.get("settled_by")?,
            submissions: submissions.remove(&task.id).unwrap_or_default(),
            task,
        })
    };
    rows.iter().map(record).collect()
}

pub(super) async fn progress(queue: &LabelQueue) -> Result<QueueProgress> {
    let sql = "SELECT state, COUNT(*) AS tasks FROM label_task WHERE queue = $1 GROUP BY state";
    let mut progress = QueueProgress::default();
    for row in queue.meta.query(sql, params![queue.name.clone()]).await? {
        let tasks = row.get::<i64>("tasks")?.unsigned_abs();
        match row.get::<String>("state")?.parse()? {
            TaskState::Open => progress.open = tasks,
            TaskState::Disputed => progress.disputed = tasks,
            TaskState::Labeled => progress.labeled = tasks,
        }
    }
    Ok(progress)
}
