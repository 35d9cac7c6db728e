//! Issues as rows.
//!
//! Invariant: what searches look at are columns, told again in the content; they change together.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mlops_core::{Error, Result};
use mlops_store::{MetaStore, MetaStoreExt as _, Row, TransactionExt as _, Value, params};

use super::SqlEvaluationStore;
use crate::{
    ExperimentId,
    bound::{Bound, listing},
    evaluation::{CreateIssue, Issue, IssueSeverity, IssueUpdate},
    retry::on_conflict,
    rows::{from_json, to_json},
    search::{
        Fields, Filter, Operand, Page, Search,
        sql::{SortValue, Term, is_inexact, page, position, text_test},
        walk::{Candidates, walk},
    },
};

const ONE: &str = "SELECT content FROM evaluation_issue WHERE id = $1";

fn unknown(id: &str) -> Error {
    Error::not_found(format!("Issue with ID '{id}' not found")).with("issue", id)
}

impl SqlEvaluationStore {
    pub(super) async fn add_issue(&self, create: CreateIssue) -> Result<Issue> {
        create.check()?;
        let now = self.now();
        let issue = Issue { id: self.next_id("iss-")?, content: create, created: now, updated: now };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let sql = "INSERT INTO evaluation_issue (id, experiment, status, severity, source_run, created, content)
                VALUES ($1, $2, $3, $4, $5, $6, $7)";
            let content = &issue.content;
            let values = params![
                &issue.id,
                content.experiment.0,
                content.status.name(),
                rank(content.severity),
                content.source_run.as_ref().map(ToString::to_string),
                issue.created,
                to_json("issue", &issue)?
            ];
            tx.execute(sql, values).await?;
            tx.commit().await
        })?;
        Ok(issue)
    }

    pub(super) async fn one_issue(&self, id: &str) -> Result<Issue> {
        let row = self.meta.query_opt(ONE, params![id]).await?;
        from_json("issue", &row.ok_or_else(|| unknown(id))?)
    }

    pub(super) async fn change_issue(&self, id: &str, update: IssueUpdate) -> Result<Issue> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let row = tx.query_opt(ONE, params![id]).await?.ok_or_else(|| unknown(id))?;
            let found: Issue = from_json("issue", &row)?;
            let changed = found.updated(update.clone(), self.now())?;
            let (status, severity) = (changed.content.status.name(), rank(changed.content.severity));
            let values = params![to_json("issue", &changed)?, status, severity, id];
            let sql = "UPDATE evaluation_issue SET content = $1, status = $2, severity = $3 WHERE id = $4";
            tx.execute(sql, values).await?;
            tx.commit().await?;
            Ok(changed)
        })
    }

    pub(super) async fn find_issues(&self, of: Option<ExperimentId>, search: &Search) -> Result<Page<Issue>> {
        let filter = Filter::parse::<Listed>(&search.filter)?;
        let found = Found { meta: self.meta.as_ref(), of, filter: &filter };
        let listed = walk(&found, &search.page, &format!("issues {of:?} {}", search.filter)).await?;
        let seqs: Vec<Value> = listed.items.iter().map(|issue| issue.seq.into()).collect();
        let mut issues: BTreeMap<i64, Issue> = BTreeMap::new();
        for (sql, values) in listing("SELECT seq, content FROM evaluation_issue WHERE seq IN ({list})", &[], &seqs) {
            for row in self.meta.query(&sql, &values).await? {
                issues.insert(row.get("seq")?, from_json("issue", &row)?);
            }
        }
        let items = listed.items.iter().filter_map(|issue| issues.remove(&issue.seq)).collect();
        Ok(Page { items, next_page_token: listed.next_page_token })
    }
}

/// What a search looks at of an issue.
struct Listed {
    seq: i64,
    status: String,
    source_run: Option<String>,
}

impl Fields for Listed {
    const GROUPS: &'static [(&'static str, &'static str)] = &[];
    const ATTRIBUTES: &'static [(&'static str, bool)] = &[("status", false), ("source_run_id", false)];
    const LISTED: &'static [&'static str] = &[];
    const NULLABLE: &'static [&'static str] = &[];

    fn field(&self, _: &str, key: &str) -> Operand {
        match key {
            "status" => Operand::Text(self.status.clone()),
            _ => self.source_run.clone().map_or(Operand::Missing, Operand::Text),
        }
    }
}

/// What a filter finds of one experiment or of all.
struct Found<'a> {
    meta: &'a dyn MetaStore,
    of: Option<ExperimentId>,
    filter: &'a Filter,
}

#[async_trait]
impl Candidates for Found<'_> {
    type Record = Listed;

    fn residual(&self) -> bool {
        self.filter.clauses().iter().any(|clause| is_inexact(&clause.test))
    }

    async fn behind(&self, after: Option<&[SortValue]>, limit: usize) -> Result<Vec<(Listed, Vec<SortValue>)>> {
        let (dialect, mut bound) = (self.meta.dialect(), Bound::default());
        let mut conditions: Vec<String> =
            self.of.iter().map(|of| format!("i.experiment = {}", bound.add(of.0))).collect();
        for clause in self.filter.clauses() {
            let column = if clause.key == "status" { "i.status" } else { "i.source_run" };
            conditions.push(text_test(dialect, column, &clause.test, &mut bound));
        }
        // Of those of one millisecond, the one that was put last.
        let terms = ["i.severity", "i.created", "i.seq"].map(|column| Term::integer(column, true));
        let from = ("i.seq AS seq, i.status AS status, i.source_run AS source_run", "evaluation_issue i");
        let (sql, values) = page(dialect, from, conditions, (&terms, after), limit, bound)?;
        let read = |row: &Row| {
            let listed =
                Listed { seq: row.get("seq")?, status: row.get("status")?, source_run: row.get("source_run")? };
            Ok((listed, position(&terms, row)?))
        };
        self.meta.query(&sql, &values).await?.iter().map(read).collect()
    }

    fn admits(&self, record: &Listed) -> bool {
        self.filter.admits(record)
    }
}

/// How bad an issue is, as a number: one of which nobody has said so comes behind the others.
fn rank(severity: Option<IssueSeverity>) -> i64 {
    severity.map_or(-1, |severity| severity as i64)
}
