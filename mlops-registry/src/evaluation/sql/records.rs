//! Records as rows.

use mlops_core::{Error, Result};
use mlops_store::{TransactionExt as _, Value, params};

use super::{
    SqlEvaluationStore,
    dataset::{digest, read, write},
};
use crate::{
    evaluation::{
        EvaluationRecord, PutRecord, Upserted,
        record::{check_tags, schema_with},
    },
    retry::on_conflict,
    rows::{from_json, places, texts, to_json},
    search::{Page, PageRequest},
};

/// Most records in one call.
const RECORDS_MAX: usize = 10_000;
/// How many ids one statement names.
const IDS_AT_ONCE: usize = 500;

fn check_count(what: &str, count: usize) -> Result<()> {
    if count > RECORDS_MAX {
        return Err(Error::invalid_argument(format!("at most {RECORDS_MAX} {what} at once, found {count}")));
    }
    Ok(())
}

impl SqlEvaluationStore {
    pub(super) async fn upsert(&self, id: &str, records: &[PutRecord]) -> Result<Upserted> {
        check_count("records", records.len())?;
        records.iter().filter_map(|record| record.tags.as_ref()).try_for_each(check_tags)?;
        on_conflict!(self.try_upsert(id, records))
    }

    async fn try_upsert(&self, id: &str, records: &[PutRecord]) -> Result<Upserted> {
        let mut tx = self.meta.begin().await?;
        let mut dataset = read(tx.as_mut(), id).await?;
        let (mut done, now) = (Upserted::default(), self.now());
        for record in records {
            let key = record.key();
            let sql = "SELECT seq, content FROM evaluation_record WHERE dataset = $1 AND inputs = $2";
            match tx.query_opt(sql, params![id, &key]).await? {
                Some(row) => {
                    let known: EvaluationRecord = from_json("record", &row)?;
                    let content = to_json("record", &known.merged(record.clone(), now))?;
                    let values = params![content, row.get::<i64>("seq")?];
                    tx.execute("UPDATE evaluation_record SET content = $1 WHERE seq = $2", values).await?;
                    done.updated += 1;
                }
                None => {
                    let fresh = EvaluationRecord::new(record.clone(), self.next_id("dr-")?, now);
                    let values = params![id, &key, &fresh.id, to_json("record", &fresh)?];
                    let sql = "INSERT INTO evaluation_record (dataset, inputs, id, content) VALUES ($1, $2, $3, $4)";
                    tx.execute(sql, values).await?;
                    done.inserted += 1;
                }
            }
        }
        let user = records.iter().rev().find_map(PutRecord::user).cloned();
        dataset.updated_by = user.or(dataset.updated_by);
        dataset.schema = Some(schema_with(dataset.schema, records));
        dataset.records += done.inserted;
        dataset.updated = dataset.updated.max(now);
        dataset.digest = digest(&dataset.name, now);
        write(tx.as_mut(), &dataset).await?;
        tx.commit().await?;
        Ok(done)
    }

    pub(super) async fn list(&self, id: &str, page: &PageRequest) -> Result<Page<EvaluationRecord>> {
        self.find_one(id).await?;
        let (size, mark) = (page.size()?, format!("records of {id}"));
        let after: i64 = page.position(&mark)?.unwrap_or(0);
        let sql = "SELECT seq, content FROM evaluation_record WHERE dataset = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let rows = self.meta.query(sql, params![id, after, size as u64 + 1]).await?;
        let shown = rows.get(..size).unwrap_or(&rows);
        let next = match shown.last() {
            Some(last) if rows.len() > size => Some(PageRequest::token(&mark, &last.get::<i64>("seq")?)?),
            _ => None,
        };
        let items = shown.iter().map(|row| from_json("record", row)).collect::<Result<_>>()?;
        Ok(Page { items, next_page_token: next })
    }

    pub(super) async fn remove_records(&self, id: &str, records: &[String]) -> Result<u64> {
        check_count("record ids", records.len())?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut dataset = read(tx.as_mut(), id).await?;
            let mut removed = 0;
            for ids in records.chunks(IDS_AT_ONCE) {
                let list = places(2, ids.len());
                let sql = format!("DELETE FROM evaluation_record WHERE dataset = $1 AND id IN ({list})");
                let values: Vec<Value> = std::iter::once(id.into()).chain(texts(ids)).collect();
                removed += tx.execute(&sql, &values).await?;
            }
            if removed > 0 {
                dataset.records = dataset.records.saturating_sub(removed);
                let now = self.now();
                dataset.updated = dataset.updated.max(now);
                dataset.digest = digest(&dataset.name, now);
                write(tx.as_mut(), &dataset).await?;
                tx.commit().await?;
            }
            Ok(removed)
        })
    }
}
