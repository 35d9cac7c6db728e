//! A search for runs as SQL.
//!
//! Invariant: as of [`crate::search::sql`]; where a clause may let too much through, [`Selection::residual`] is set.

use mlops_core::Result;
use mlops_store::{Dialect, Row, Value};

use super::keys::Numbers;
use crate::{
    bound::Bound,
    limits::truncated,
    search::{
        Clause, Filter, Literal, OrderKey, Test, View,
        sql::{NEVER, SortValue, Term, all_of, check_order, is_inexact, page, position, text_test, time_test},
        value_order::{MISSING_ORDER, NAN_ORDER, value_test},
    },
    tracking::ExperimentId,
};

/// How many characters of a value the indexes of params and tags hold, as in the schema.
const INDEXED_CHARS: usize = 64;

/// Which part of an order by a metric a statement finds, the first of which walks an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Runs whose first sort key is a number.
    Numbers,
    /// The others.
    Rest,
    /// All.
    Whole,
}

/// What is searched for.
pub(super) struct Selection<'a> {
    pub(super) dialect: Dialect,
    pub(super) experiments: &'a [ExperimentId],
    pub(super) view: View,
    pub(super) filter: &'a Filter,
    pub(super) order: &'a [OrderKey],
    /// The numbers of the metrics that filter and order name.
    pub(super) metrics: Numbers,
    /// The clause that so few runs meet that one begins with them instead of walking in order.
    pub(super) rare: Option<&'a Clause>,
}

impl<'s> Selection<'s> {
    /// The first `most` clauses whose runs an index gives, and a statement that counts them, by the place of the clause, up
    /// to one more than `limit`.
    pub(super) fn indexed(&self, most: usize, limit: u32) -> (Vec<&'s Clause>, String, Vec<Value>) {
        let mut bound = Bound::default();
        let given = |clause: &'s Clause| self.runs_of(clause, &mut bound).map(|runs| (clause, runs));
        let (clauses, runs): (Vec<_>, Vec<_>) = self.filter.clauses().iter().filter_map(given).take(most).unzip();
        let limit = bound.add(limit + 1);
        let count = |(place, runs): (usize, String)| {
            format!("SELECT {place} AS place, COUNT(*) AS found FROM ({runs} LIMIT {limit}) few")
        };
        let counts: Vec<String> = runs.into_iter().enumerate().map(count).collect();
        (clauses, counts.join(" UNION ALL "), bound.0)
    }

    /// A statement for the numbers of the runs that may meet a clause, if an index gives them.
    fn runs_of(&self, clause: &Clause, bound: &mut Bound) -> Option<String> {
        // Longer texts that begin alike are let through, for the conditions test them whole. Asked here for the whole text as
        // well, SQLite would put it in place of the column in `substr` and find no index for that.
        let equal_text = |table: &str, text: &str, bound: &mut Bound| {
            let (key, start) = (bound.add(&clause.key), bound.add(truncated(text, INDEXED_CHARS)));
            format!("SELECT i.run FROM {table} i WHERE i.key = {key} AND substr(i.value, 1, {INDEXED_CHARS}) = {start}")
        };
        match (clause.group, &clause.test) {
            ("params" | "parameters", Test::Compare("=", Literal::Text(text))) => {
                Some(equal_text("tracking_run_param", text, bound))
            }
            ("tags", Test::Compare("=", Literal::Text(text))) => Some(equal_text("tracking_run_tag", text, bound)),
            ("metrics", Test::Compare(operator, Literal::Number(value))) if *operator != "!=" => {
                let [experiment] = self.experiments else { return None };
                let (experiment, key) = (bound.add(experiment.0), bound.add(*self.metrics.get(&clause.key)?));
                let test = value_test("i", operator, *value, bound);
                Some(format!(
                    "SELECT i.run FROM tracking_metric_latest i WHERE i.experiment = {experiment} AND i.key = {key} AND {test}"
                ))
            }
            _ => None,
        }
    }

    /// The metrics that filter and order name.
    pub(super) fn metrics_of<'a>(filter: &'a Filter, order: &'a [OrderKey]) -> Vec<&'a str> {
        let named = filter.clauses().iter().map(|clause| (clause.group, clause.key.as_str()));
        let named = named.chain(order.iter().map(|key| (key.group, key.key.as_str())));
        let mut keys: Vec<&str> = named.filter(|(group, _)| *group == "metrics").map(|(_, key)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether statements may find runs that the filter does not admit.
    pub(super) fn residual(&self) -> bool {
        let inexact = |clause: &Clause| {
            is_inexact(&clause.test) || (clause.group, clause.key.as_str()) == ("datasets", "context")
        };
        self.filter.clauses().iter().any(inexact)
    }

    /// The parts in their order.
    pub(super) fn parts(&self) -> &'static [Part] {
        if self.walked().is_some() { &[Part::Numbers, Part::Rest] } else { &[Part::Whole] }
    }

    /// The first of the parts that are to be read after a position.
    pub(super) fn parts_after(&self, after: Option<&[SortValue]>) -> &'static [Part] {
        match (self.parts(), after.and_then(<[_]>::first)) {
            ([_, rest @ ..], Some(SortValue::Integer(class))) if self.walked().is_some() && *class > 0 => rest,
            (parts, _) => parts,
        }
    }

    /// The metric whose index gives the order, and its direction.
    fn walked(&self) -> Option<(i64, bool)> {
        let walks = self.rare.is_none() && self.experiments.len() == 1;
        let first = self.order.first().filter(|key| key.group == "metrics" && walks)?;
        Some((*self.metrics.get(&first.key)?, first.descending))
    }

    /// The statement for the numbers, revisions and sort keys of up to `limit` runs behind `after`.
    pub(super) fn page(&self, part: Part, after: Option<&[SortValue]>, limit: usize) -> Result<(String, Vec<Value>)> {
        check_order(self.order.len())?;
        let mut bound = Bound::default();
        let (mut from, terms) = self.order(part, &mut bound);
        let mut conditions = self.conditions(&mut bound);
        match (part, terms.first()) {
            (Part::Numbers, _) => {
                let (experiment, number) = (self.experiments.first(), self.walked().map_or(0, |(number, _)| number));
                let (experiment, number) = (bound.add(experiment.map_or(0, |id| id.0)), bound.add(number));
                from = format!("tracking_metric_latest w CROSS JOIN {from}");
                conditions.push(format!(
                    "w.experiment = {experiment} AND w.key = {number} AND w.value_order < {NAN_ORDER} AND r.seq = w.run"
                ));
            }
            (Part::Rest, Some(class)) => conditions.push(format!("{} > 0", class.sql)),
            _ => {}
        }
        page(self.dialect, ("r.seq, r.revision", &from), conditions, (&terms, after), limit, bound)
    }

    /// The statement that counts.
    pub(super) fn count(&self) -> (String, Vec<Value>) {
        let mut bound = Bound::default();
        let conditions = self.conditions(&mut bound);
        (format!("SELECT COUNT(*) AS found FROM tracking_run r WHERE {}", all_of(&conditions)), bound.0)
    }

    /// The sort keys of a row.
    pub(super) fn position(&self, part: Part, row: &Row) -> Result<Vec<SortValue>> {
        let (_, terms) = self.order(part, &mut Bound::default());
        position(&terms, row)
    }

    fn conditions(&self, bound: &mut Bound) -> Vec<String> {
        let experiments = bound.list(self.experiments.iter().map(|id| id.0));
        // The sign keeps SQLite from walking by experiment and start.
        let sign = if self.rare.is_some() { "+" } else { "" };
        let mut conditions = vec![format!("{sign}r.experiment IN ({experiments})")];
        conditions
            .extend(self.rare.and_then(|clause| self.runs_of(clause, bound)).map(|runs| format!("r.seq IN ({runs})")));
        match self.view {
            View::ActiveOnly => conditions.push("r.deleted = 0".to_owned()),
            View::DeletedOnly => conditions.push("r.deleted <> 0".to_owned()),
            View::All => {}
        }
        conditions.extend(self.filter.clauses().iter().map(|clause| self.condition(clause, bound)));
        conditions
    }

    fn condition(&self, clause: &Clause, bound: &mut Bound) -> String {
        let (key, test) = (clause.key.as_str(), &clause.test);
        let logged = |table: &str, bound: &mut Bound| {
            let key = bound.add(key);
            match test {
                Test::Null { is_null } => {
                    let not = if *is_null { "NOT " } else { "" };
                    format!("{not}EXISTS (SELECT 1 FROM {table} c WHERE c.run = r.seq AND c.key = {key})")
                }
                test => {
                    let test = text_test(self.dialect, "c.value", test, bound);
                    format!("EXISTS (SELECT 1 FROM {table} c WHERE c.run = r.seq AND c.key = {key} AND {test})")
                }
            }
        };
        match (clause.group, key) {
            ("metrics", _) => self.metric_test(key, test, bound),
            ("params" | "parameters", _) => logged("tracking_run_param", bound),
            ("tags", _) => logged("tracking_run_tag", bound),
            ("datasets", "context") => "EXISTS (SELECT 1 FROM tracking_input d WHERE d.run_id = r.id)".to_owned(),
            ("datasets", _) => {
                let column = if key == "digest" { "d.digest" } else { "d.name" };
                let test = text_test(self.dialect, column, test, bound);
                format!("EXISTS (SELECT 1 FROM tracking_input d WHERE d.run_id = r.id AND {test})")
            }
            (_, key) => match attribute(key) {
                Attribute::Text(column) => text_test(self.dialect, column, test, bound),
                Attribute::Time(column) => time_test(column, test, bound),
            },
        }
    }

    fn metric_test(&self, key: &str, test: &Test, bound: &mut Bound) -> String {
        let (Some(number), Test::Compare(operator, Literal::Number(value))) = (self.metrics.get(key), test) else {
            return NEVER.to_owned();
        };
        let (number, test) = (bound.add(*number), value_test("m", operator, *value, bound));
        format!("EXISTS (SELECT 1 FROM tracking_metric_latest m WHERE m.run = r.seq AND m.key = {number} AND {test})")
    }

    /// The tables with those joined for the order, and the columns to sort by; the start, newest first, and the id are
    /// always the last.
    fn order(&self, part: Part, bound: &mut Bound) -> (String, Vec<Term>) {
        let (mut from, mut terms) = ("tracking_run r".to_owned(), Vec::new());
        for (i, key) in self.order.iter().enumerate() {
            let descending = key.descending;
            match (key.group, key.key.as_str()) {
                ("metrics", _) if part == Part::Numbers && i == 0 => {
                    terms.push(Term::constant());
                    terms.push(Term::integer("w.value_order", descending));
                }
                ("metrics", name) => {
                    let Some(number) = self.metrics.get(name) else { continue };
                    let number = bound.add(*number);
                    from +=
                        &format!(" LEFT JOIN tracking_metric_latest o{i} ON o{i}.run = r.seq AND o{i}.key = {number}");
                    let value = format!("COALESCE(o{i}.value_order, {MISSING_ORDER})");
                    terms.push(Term::integer(
                        format!("CASE WHEN {value} < {NAN_ORDER} THEN 0 ELSE {value} - {} END", NAN_ORDER - 1),
                        false,
                    ));
                    terms.push(Term::integer(value, descending));
                }
                ("params" | "parameters" | "tags", name) => {
                    let table = if key.group == "tags" { "tracking_run_tag" } else { "tracking_run_param" };
                    let name = bound.add(name);
                    from += &format!(" LEFT JOIN {table} o{i} ON o{i}.run = r.seq AND o{i}.key = {name}");
                    terms.extend(Term::nullable_text(&format!("o{i}.value"), descending));
                }
                // All datasets of a run compare as equal.
                ("datasets", _) => {}
                (_, name) => match attribute(name) {
                    Attribute::Text(column) => terms.push(Term::text(column, descending)),
                    // The start by itself, which comes last anyhow, says more than its milliseconds.
                    Attribute::Time("r.started") if descending && i + 1 == self.order.len() => {}
                    Attribute::Time(column) => terms.extend(Term::time(column, descending)),
                },
            }
        }
        terms.push(Term::integer("r.started", true));
        terms.push(Term::text("r.id", false));
        (from, terms)
    }
}

enum Attribute {
    Text(&'static str),
    Time(&'static str),
}

/// The column of an attribute, by the names that `Fields` of a run lists.
fn attribute(key: &str) -> Attribute {
    match key {
        "run_id" => Attribute::Text("r.id"),
        "run_name" | "run name" | "Run name" | "Run Name" => Attribute::Text("r.name"),
        "user_id" => Attribute::Text("r.user_name"),
        "status" => Attribute::Text("r.status"),
        "artifact_uri" => Attribute::Text("r.artifact_uri"),
        "end_time" => Attribute::Time("r.ended"),
        _ => Attribute::Time("r.started"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mlops_store::{MetaStore, SqliteMetaStore};

    use super::*;
    use crate::{RunRecord, tracking::sql::SqlTrackingStore};

    const EXPERIMENTS: [ExperimentId; 1] = [ExperimentId(0)];

    fn selection<'a>(filter: &'a Filter, order: &'a [OrderKey]) -> Selection<'a> {
        let metrics = [("acc".to_owned(), 1)].into();
        let view = View::ActiveOnly;
        Selection { dialect: Dialect::Sqlite, experiments: &EXPERIMENTS, view, filter, order, metrics, rare: None }
    }

    /// How SQLite carries a statement out.
    async fn plan((sql, values): (String, Vec<Value>)) -> String {
        let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
        SqlTrackingStore::builder(Arc::clone(&meta)).build().await.unwrap();
        let rows = meta.query(&format!("EXPLAIN QUERY PLAN {sql}"), &values).await.unwrap();
        rows.iter().map(|row| row.get::<String>("detail").unwrap()).collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn runs_with_a_text_are_counted_by_an_index_of_its_key_and_value() {
        let filter = Filter::parse::<RunRecord>("params.model = 'Net7' AND tags.kind = 'odd'").unwrap();
        let (clauses, sql, values) = selection(&filter, &[]).indexed(8, 256);
        assert_eq!(clauses.len(), 2);
        let plan = plan((sql, values)).await;
        for table in ["tracking_run_param", "tracking_run_tag"] {
            assert!(plan.contains(&format!("INDEX {table}_by_value (key=? AND <expr>=?)")), "{plan}");
        }
    }

    #[tokio::test]
    async fn a_walk_by_start_needs_no_sorting() {
        let filter = Filter::parse::<RunRecord>("metrics.acc > 0.9").unwrap();
        let plan = plan(selection(&filter, &[]).page(Part::Whole, None, 100).unwrap()).await;
        assert!(plan.contains("INDEX tracking_run_in_order (experiment=?)") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
