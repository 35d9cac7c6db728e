//! Datasets as rows.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Digest, Error, Result, Timestamp};
use mlops_store::{Transaction, TransactionExt as _, params};

use super::SqlEvaluationStore;
use crate::{
    ExperimentId,
    evaluation::{
        CreateEvaluationDataset, EvaluationDataset,
        record::{USER_TAG, check_tags},
    },
    retry::on_conflict,
    rows::{from_json, to_json},
    search::{Fields, Filter, Operand, OrderKey, Page, Search, compare_by, cut},
};

impl Fields for EvaluationDataset {
    const GROUPS: &'static [(&'static str, &'static str)] = &[("tags", "tag")];
    const ATTRIBUTES: &'static [(&'static str, bool)] = &[
        ("name", false),
        ("dataset_id", false),
        ("created_by", false),
        ("last_updated_by", false),
        ("created_time", true),
        ("last_update_time", true),
    ];
    const LISTED: &'static [&'static str] = &["name", "dataset_id"];
    const NULLABLE: &'static [&'static str] = &["tags"];
    const ATTRIBUTE_GROUPS: &'static [&'static str] = &["attributes", "attribute", "attr", "dataset"];

    fn field(&self, group: &str, key: &str) -> Operand {
        let text = |text: Option<&String>| text.map_or(Operand::Missing, |text| Operand::Text(text.clone()));
        match (group, key) {
            ("tags", key) => text(self.tags.get(key)),
            (_, "name") => Operand::Text(self.name.clone()),
            (_, "dataset_id") => Operand::Text(self.id.clone()),
            (_, "created_by") => text(self.created_by.as_ref()),
            (_, "last_updated_by") => text(self.updated_by.as_ref()),
            (_, "created_time") => Operand::Number(self.created.as_millis() as f64),
            (_, _) => Operand::Number(self.updated.as_millis() as f64),
        }
    }
}

fn unknown(id: &str) -> Error {
    Error::not_found(format!("Evaluation dataset with id '{id}' not found")).with("dataset", id)
}

/// Eight digits that change with the name and the time.
pub(super) fn digest(name: &str, at: Timestamp) -> String {
    Digest::of(format!("{name}:{}", at.as_millis()).as_bytes()).to_string().chars().take(8).collect()
}

impl SqlEvaluationStore {
    pub(super) async fn insert(&self, create: CreateEvaluationDataset) -> Result<EvaluationDataset> {
        create.check()?;
        let now = self.now();
        let user = create.tags.get(USER_TAG).cloned();
        let dataset = EvaluationDataset {
            id: self.next_id("d-")?,
            digest: digest(&create.name, now),
            name: create.name,
            tags: create.tags,
            experiments: create.experiments.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
            schema: None,
            records: 0,
            created: now,
            updated: now,
            created_by: user.clone(),
            updated_by: user,
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let values = params![&dataset.id, dataset.created, to_json("dataset", &dataset)?];
            tx.execute("INSERT INTO evaluation_dataset VALUES ($1, $2, $3)", values).await?;
            write_experiments(tx.as_mut(), &dataset).await?;
            tx.commit().await
        })?;
        Ok(dataset)
    }

    pub(super) async fn find_one(&self, id: &str) -> Result<EvaluationDataset> {
        let rows = self.meta.query("SELECT content FROM evaluation_dataset WHERE id = $1", params![id]).await?;
        from_json("dataset", rows.first().ok_or_else(|| unknown(id))?)
    }

    pub(super) async fn find(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<EvaluationDataset>> {
        let filter = Filter::parse::<EvaluationDataset>(&search.filter)?;
        let order = OrderKey::parse_all::<EvaluationDataset>(&search.order_by)?;
        let rows =
            self.meta.query("SELECT content FROM evaluation_dataset ORDER BY created DESC, id DESC", &[]).await?;
        let mut found: Vec<EvaluationDataset> = Vec::new();
        for row in &rows {
            let dataset: EvaluationDataset = from_json("dataset", row)?;
            let within = experiments.is_empty() || dataset.experiments.iter().any(|id| experiments.contains(id));
            if within && filter.admits(&dataset) {
                found.push(dataset);
            }
        }
        found.sort_by(|a, b| compare_by(&order, a, b));
        cut(found, &search.page, &format!("datasets {experiments:?} {} {:?}", search.filter, search.order_by))
    }

    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            for (table, column) in
                [("evaluation_dataset", "id"), ("evaluation_experiment", "dataset"), ("evaluation_record", "dataset")]
            {
                tx.execute(&format!("DELETE FROM {table} WHERE {column} = $1"), params![id]).await?;
            }
            tx.commit().await
        })
    }

    pub(super) async fn tag(&self, id: &str, tags: &BTreeMap<String, Option<String>>) -> Result<EvaluationDataset> {
        check_tags(tags.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))))?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut dataset = read(tx.as_mut(), id).await?;
            for (key, value) in tags {
                match value {
                    Some(value) => drop(dataset.tags.insert(key.clone(), value.clone())),
                    None => drop(dataset.tags.remove(key)),
                }
            }
            dataset.updated_by = tags.get(USER_TAG).cloned().flatten().or(dataset.updated_by);
            write(tx.as_mut(), &dataset).await?;
            tx.commit().await?;
            Ok(dataset)
        })
    }

    pub(super) async fn change_experiments(
        &self,
        id: &str,
        add: &[ExperimentId],
        remove: &[ExperimentId],
    ) -> Result<EvaluationDataset> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut dataset = read(tx.as_mut(), id).await?;
            let mut experiments: BTreeSet<ExperimentId> = dataset.experiments.into_iter().collect();
            experiments.extend(add);
            experiments.retain(|experiment| !remove.contains(experiment));
            dataset.experiments = experiments.into_iter().collect();
            write(tx.as_mut(), &dataset).await?;
            write_experiments(tx.as_mut(), &dataset).await?;
            tx.commit().await?;
            Ok(dataset)
        })
    }
}

pub(super) async fn read(tx: &mut dyn Transaction, id: &str) -> Result<EvaluationDataset> {
    let row = tx.query_opt("SELECT content FROM evaluation_dataset WHERE id = $1", params![id]).await?;
    from_json("dataset", &row.ok_or_else(|| unknown(id))?)
}

pub(super) async fn write(tx: &mut dyn Transaction, dataset: &EvaluationDataset) -> Result<()> {
    let values = params![to_json("dataset", dataset)?, &dataset.id];
    tx.execute("UPDATE evaluation_dataset SET content = $1 WHERE id = $2", values).await.map(drop)
}

async fn write_experiments(tx: &mut dyn Transaction, dataset: &EvaluationDataset) -> Result<()> {
    tx.execute("DELETE FROM evaluation_experiment WHERE dataset = $1", params![&dataset.id]).await?;
    for experiment in &dataset.experiments {
        let values = params![&dataset.id, experiment.0];
        tx.execute("INSERT INTO evaluation_experiment VALUES ($1, $2)", values).await?;
    }
    Ok(())
}
