//! A search for runs as SQL.
//!
//! Invariant: what the statement finds and in which order is what [`Filter::admits`] and `compare_by` say of the same
//! runs, on both databases, except that a clause may let too much through; then [`Selection::residual`] is set and the
//! filter has the last word. A page begins behind the sort keys of the last run of the page before, so that runs which are
//! added or removed meanwhile neither repeat nor hide others.

use mlops_core::{Error, Result};
use mlops_store::{Dialect, Row, Value};
use serde::{Deserialize, Serialize};

use super::{
    bound::Bound,
    keys::Numbers,
    latest::{MISSING_ORDER, NAN_ORDER, order_of},
};
use crate::{
    limits::truncated,
    search::{Clause, Filter, Literal, OrderKey, Test, View},
    tracking::ExperimentId,
};

/// Most keys to order by, each of which costs a join.
const ORDER_KEYS_MAX: usize = 32;
/// How many characters of a value the indexes of params and tags hold, as in the schema.
const INDEXED_CHARS: usize = 64;

/// A value of a sort key, as a page token keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum SortValue {
    Integer(i64),
    Text(String),
}

impl From<SortValue> for Value {
    fn from(value: SortValue) -> Self {
        match value {
            SortValue::Integer(value) => Self::from(value),
            SortValue::Text(value) => Self::from(value),
        }
    }
}

/// One column to sort by; never NULL.
struct Term {
    sql: String,
    text: bool,
    descending: bool,
}

impl Term {
    fn integer(sql: impl Into<String>, descending: bool) -> Self {
        Self { sql: sql.into(), text: false, descending }
    }
}

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
    /// The clauses whose runs an index gives, each with a statement that counts them up to one more than `limit`.
    pub(super) fn indexed(&self, limit: u32) -> Vec<(&'s Clause, String, Vec<Value>)> {
        let counted = |clause: &'s Clause| {
            let mut bound = Bound::default();
            let runs = self.runs_of(clause, &mut bound)?;
            let limit = bound.add(limit + 1);
            Some((clause, format!("SELECT COUNT(*) AS found FROM ({runs} LIMIT {limit}) few"), bound.0))
        };
        self.filter.clauses().iter().filter_map(counted).collect()
    }

    /// A statement for the numbers of the runs that meet a clause, if an index gives them.
    fn runs_of(&self, clause: &Clause, bound: &mut Bound) -> Option<String> {
        let equal_text = |table: &str, text: &str, bound: &mut Bound| {
            let (key, text) = (bound.add(&clause.key), (bound.add(truncated(text, INDEXED_CHARS)), bound.add(text)));
            format!(
                "SELECT i.run FROM {table} i WHERE i.key = {key} AND substr(i.value, 1, {INDEXED_CHARS}) = {} AND i.value = {}",
                text.0, text.1
            )
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
            matches!(clause.test, Test::Like { fold_case: true, .. })
                || (clause.group, clause.key.as_str()) == ("datasets", "context")
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

    /// The statement for the numbers and sort keys of up to `limit` runs behind `after`.
    pub(super) fn page(&self, part: Part, after: Option<&[SortValue]>, limit: usize) -> Result<(String, Vec<Value>)> {
        if self.order.len() > ORDER_KEYS_MAX {
            return Err(Error::invalid_argument(format!(
                "order_by can name at most {ORDER_KEYS_MAX} keys, found {}",
                self.order.len()
            )));
        }
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
        if let Some(after) = after {
            if after.len() != terms.len() || !after.iter().zip(&terms).all(|(value, term)| fits(value, term)) {
                return Err(Error::invalid_argument("page token is not one of this search; begin without a token"));
            }
            conditions.push(self.behind(&terms, after, &mut bound));
        }
        let columns: Vec<String> =
            terms.iter().enumerate().map(|(i, term)| format!("{} AS s{i}", self.collated(term))).collect();
        let direction = |term: &Term| if term.descending { "DESC" } else { "ASC" };
        let order: Vec<String> = terms
            .iter()
            .enumerate()
            .filter(|(_, term)| term.sql != CONSTANT)
            .map(|(i, term)| format!("s{i} {}", direction(term)))
            .collect();
        let limit = bound.add(limit as u64);
        let sql = format!(
            "SELECT r.seq, {} FROM {from} WHERE {} ORDER BY {} LIMIT {limit}",
            columns.join(", "),
            all_of(&conditions),
            order.join(", ")
        );
        Ok((sql, bound.0))
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
        let value = |(i, term): (usize, &Term)| {
            let column = format!("s{i}");
            if term.text { row.get(&column).map(SortValue::Text) } else { row.get(&column).map(SortValue::Integer) }
        };
        terms.iter().enumerate().map(value).collect()
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
                    let test = self.text_test("c.value", test, bound);
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
                let test = self.text_test(column, test, bound);
                format!("EXISTS (SELECT 1 FROM tracking_input d WHERE d.run_id = r.id AND {test})")
            }
            (_, key) => match attribute(key) {
                Attribute::Text(column) => self.text_test(column, test, bound),
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

    fn text_test(&self, column: &str, test: &Test, bound: &mut Bound) -> String {
        match test {
            Test::Compare("=", Literal::Text(text)) => format!("{column} = {}", bound.add(text)),
            Test::Compare(_, Literal::Text(text)) => format!("{column} <> {}", bound.add(text)),
            Test::Compare(..) => NEVER.to_owned(),
            Test::In { texts, negated } => {
                let not = if *negated { "NOT " } else { "" };
                format!("{column} {not}IN ({})", bound.list(texts.iter()))
            }
            Test::Like { pattern, fold_case: false } => self.like(column, pattern, bound),
            Test::Like { pattern, fold_case: true } => {
                // Databases fold the case of ASCII alike; the filter decides about other text.
                let lower = match self.dialect {
                    Dialect::Sqlite => format!("lower({column})"),
                    Dialect::Postgres => format!("lower({column} COLLATE \"C\")"),
                };
                let like = self.like(&lower, &pattern.to_lowercase(), bound);
                format!("(octet_length({column}) <> length({column}) OR {like})")
            }
            // Databases differ in regular expressions; the filter decides.
            Test::Matches(_) => format!("{column} IS NOT NULL"),
            Test::Null { is_null } => format!("{column} IS {}NULL", if *is_null { "" } else { "NOT " }),
        }
    }

    /// LIKE that minds the case and has no escape character.
    fn like(&self, column: &str, pattern: &str, bound: &mut Bound) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{column} LIKE {} ESCAPE ''", bound.add(pattern)),
            Dialect::Sqlite => {
                let mut glob = String::with_capacity(pattern.len());
                for c in pattern.chars() {
                    match c {
                        '%' => glob.push('*'),
                        '_' => glob.push('?'),
                        '*' | '?' | '[' => glob.extend(['[', c, ']']),
                        c => glob.push(c),
                    }
                }
                format!("{column} GLOB {}", bound.add(glob))
            }
        }
    }

    /// The tables with those joined for the order, and the columns to sort by; the start, newest first, and the id are
    /// always the last.
    fn order(&self, part: Part, bound: &mut Bound) -> (String, Vec<Term>) {
        let (mut from, mut terms) = ("tracking_run r".to_owned(), Vec::new());
        for (i, key) in self.order.iter().enumerate() {
            let descending = key.descending;
            match (key.group, key.key.as_str()) {
                ("metrics", _) if part == Part::Numbers && i == 0 => {
                    terms.push(Term::integer(CONSTANT, false));
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
                    terms.push(Term::integer(format!("CASE WHEN o{i}.value IS NULL THEN 1 ELSE 0 END"), false));
                    terms.push(Term { sql: format!("COALESCE(o{i}.value, '')"), text: true, descending });
                }
                // All datasets of a run compare as equal.
                ("datasets", _) => {}
                (_, name) => match attribute(name) {
                    Attribute::Text(column) => terms.push(Term { sql: column.to_owned(), text: true, descending }),
                    // The start by itself, which comes last anyhow, says more than its milliseconds.
                    Attribute::Time("r.started") if descending && i + 1 == self.order.len() => {}
                    Attribute::Time(column) => {
                        terms.push(Term::integer(format!("CASE WHEN {column} IS NULL THEN 1 ELSE 0 END"), false));
                        terms.push(Term::integer(format!("COALESCE({}, 0)", millis(column)), descending));
                    }
                },
            }
        }
        terms.push(Term::integer("r.started", true));
        terms.push(Term { sql: "r.id".to_owned(), text: true, descending: false });
        (from, terms)
    }

    /// That the sort keys come behind others: greater in the first, or equal there and behind in the remaining.
    fn behind(&self, terms: &[Term], after: &[SortValue], bound: &mut Bound) -> String {
        let mut condition = NEVER.to_owned();
        for (term, value) in terms.iter().zip(after).rev() {
            if term.sql == CONSTANT {
                continue;
            }
            let (place, operator) = (bound.add(value.clone()), if term.descending { "<" } else { ">" });
            let column = self.collated(term);
            // The first comparison says nothing new, but an index can begin there.
            condition = format!("({column} {operator}= {place} AND ({column} {operator} {place} OR {condition}))");
        }
        condition
    }

    fn collated(&self, term: &Term) -> String {
        match self.dialect {
            Dialect::Postgres if term.text => format!("{} COLLATE \"C\"", term.sql),
            _ => term.sql.clone(),
        }
    }
}

/// What runs that are ordered by an index all have for their first sort key.
const CONSTANT: &str = "0";
const NEVER: &str = "1 = 0";

/// Conditions joined by AND as a balanced tree: a chain as long as a filter can be is too deep for SQLite.
fn all_of(conditions: &[String]) -> String {
    match conditions {
        [] => "1 = 1".to_owned(),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} AND {})", all_of(left), all_of(right))
        }
    }
}

/// A comparison of the value of a row of `tracking_metric_latest`.
fn value_test(row: &str, operator: &str, value: f64, bound: &mut Bound) -> String {
    let order = bound.add(order_of(value));
    match operator {
        "!=" => format!("{row}.value_order <> {order}"),
        // NaN differs from every number and compares with none.
        ">" | ">=" => format!("({row}.value_order {operator} {order} AND {row}.value_order < {NAN_ORDER})"),
        _ => format!("{row}.value_order {operator} {order}"),
    }
}

fn fits(value: &SortValue, term: &Term) -> bool {
    matches!(value, SortValue::Text(_)) == term.text
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

/// Microseconds as milliseconds, rounded towards the past.
fn millis(column: &str) -> String {
    format!("(({column} - (({column} % 1000) + 1000) % 1000) / 1000)")
}

/// A comparison of whole milliseconds with any number, as one of microseconds with whole ones.
fn time_test(column: &str, test: &Test, bound: &mut Bound) -> String {
    let Test::Compare(operator, Literal::Number(value)) = test else { return NEVER.to_owned() };
    // Saturates, which is right: no time lies beyond.
    let micros = |millis: f64| (millis * 1_000.0) as i64;
    let (floor, ceiling) = (value.floor(), value.ceil());
    match *operator {
        "<" => format!("{column} < {}", bound.add(micros(ceiling))),
        "<=" => format!("{column} < {}", bound.add(micros(floor + 1.0))),
        ">" => format!("{column} >= {}", bound.add(micros(floor + 1.0))),
        ">=" => format!("{column} >= {}", bound.add(micros(ceiling))),
        equality => {
            let (from, to) = (bound.add(micros(floor)), bound.add(micros(floor + 1.0)));
            match (equality == "=", floor == ceiling) {
                (true, true) => format!("({column} >= {from} AND {column} < {to})"),
                (true, false) => NEVER.to_owned(),
                (false, true) => format!("({column} < {from} OR {column} >= {to})"),
                (false, false) => format!("{column} IS NOT NULL"),
            }
        }
    }
}
