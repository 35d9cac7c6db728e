//! Clauses, sort keys and pages as SQL: what is the same for everything that is searched for in a database.
//!
//! Invariant: what a statement finds and in which order is what [`Filter::admits`](super::Filter) and `compare_by` say of
//! the same records, on both databases, except that a clause may let too much through; then [`is_inexact`] says so and
//! the filter has the last word. A page begins behind the sort keys of the last record of the page before, so that
//! records which are added or removed meanwhile neither repeat nor hide others.

use mlops_core::{Error, Result};
use mlops_store::{Dialect, Row, Value};
use serde::{Deserialize, Serialize};

use super::{Literal, Test, page::foreign};
use crate::bound::Bound;

/// Most keys to order by.
const ORDER_KEYS_MAX: usize = 32;
pub(crate) const NEVER: &str = "1 = 0";

/// A value of a sort key, as a page token keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SortValue {
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
pub(crate) struct Term {
    pub(crate) sql: String,
    pub(crate) text: bool,
    pub(crate) descending: bool,
}

impl Term {
    /// What all records have in common: nothing to sort by.
    const CONSTANT: &str = "0";

    pub(crate) fn constant() -> Self {
        Self::integer(Self::CONSTANT, false)
    }

    pub(crate) fn integer(sql: impl Into<String>, descending: bool) -> Self {
        Self { sql: sql.into(), text: false, descending }
    }

    pub(crate) fn text(sql: impl Into<String>, descending: bool) -> Self {
        Self { sql: sql.into(), text: true, descending }
    }

    /// A text that may be NULL, which comes last.
    pub(crate) fn nullable_text(sql: &str, descending: bool) -> [Self; 2] {
        [Self::missing(sql), Self::text(format!("COALESCE({sql}, '')"), descending)]
    }

    /// A time by its milliseconds; NULL comes last.
    pub(crate) fn time(column: &str, descending: bool) -> [Self; 2] {
        [Self::missing(column), Self::integer(format!("COALESCE({}, 0)", millis(column)), descending)]
    }

    fn missing(sql: &str) -> Self {
        Self::integer(format!("CASE WHEN {sql} IS NULL THEN 1 ELSE 0 END"), false)
    }

    fn fits(&self, value: &SortValue) -> bool {
        matches!(value, SortValue::Text(_)) == self.text
    }

    fn collated(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Postgres if self.text => format!("{} COLLATE \"C\"", self.sql),
            _ => self.sql.clone(),
        }
    }
}

/// Refuses an order by too many keys, each of which costs a join.
pub(crate) fn check_order(keys: usize) -> Result<()> {
    if keys <= ORDER_KEYS_MAX {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("order_by can name at most {ORDER_KEYS_MAX} keys, found {keys}")))
}

/// The statement for `columns` and sort keys (`s0`, `s1`...) of up to `limit` records behind `after`.
pub(crate) fn page(
    dialect: Dialect,
    (columns, from): (&str, &str),
    mut conditions: Vec<String>,
    (terms, after): (&[Term], Option<&[SortValue]>),
    limit: usize,
    mut bound: Bound,
) -> Result<(String, Vec<Value>)> {
    if let Some(after) = after {
        if after.len() != terms.len() || !after.iter().zip(terms).all(|(value, term)| term.fits(value)) {
            return Err(foreign());
        }
        conditions.push(behind(dialect, terms, after, &mut bound));
    }
    let keys = terms.iter().enumerate().map(|(i, term)| format!("{} AS s{i}", term.collated(dialect)));
    let keys = keys.collect::<Vec<_>>().join(", ");
    let limit = bound.add(limit as u64);
    let (conditions, order) = (all_of(&conditions), order_by(terms));
    Ok((format!("SELECT {columns}, {keys} FROM {from} WHERE {conditions} ORDER BY {order} LIMIT {limit}"), bound.0))
}

/// The order of the columns `s0`, `s1`... of [`page`].
pub(crate) fn order_by(terms: &[Term]) -> String {
    let direction = |term: &Term| if term.descending { "DESC" } else { "ASC" };
    let sorted = terms.iter().enumerate().filter(|(_, term)| term.sql != Term::CONSTANT);
    sorted.map(|(i, term)| format!("s{i} {}", direction(term))).collect::<Vec<_>>().join(", ")
}

/// The sort keys of a row of [`page`].
pub(crate) fn position(terms: &[Term], row: &Row) -> Result<Vec<SortValue>> {
    let value = |(i, term): (usize, &Term)| {
        let column = format!("s{i}");
        if term.text { row.get(&column).map(SortValue::Text) } else { row.get(&column).map(SortValue::Integer) }
    };
    terms.iter().enumerate().map(value).collect()
}

/// That the sort keys come behind others: greater in the first, or equal there and behind in the remaining.
fn behind(dialect: Dialect, terms: &[Term], after: &[SortValue], bound: &mut Bound) -> String {
    let mut condition = NEVER.to_owned();
    for (term, value) in terms.iter().zip(after).rev() {
        if term.sql == Term::CONSTANT {
            continue;
        }
        let (place, operator) = (bound.add(value.clone()), if term.descending { "<" } else { ">" });
        let column = term.collated(dialect);
        // The first comparison says nothing new, but an index can begin there.
        condition = format!("({column} {operator}= {place} AND ({column} {operator} {place} OR {condition}))");
    }
    condition
}

/// Conditions joined by AND as a balanced tree: a chain as long as a filter can be is too deep for SQLite.
pub(crate) fn all_of(conditions: &[String]) -> String {
    match conditions {
        [] => "1 = 1".to_owned(),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} AND {})", all_of(left), all_of(right))
        }
    }
}

/// Whether a database may find what the test does not admit.
pub(crate) fn is_inexact(test: &Test) -> bool {
    matches!(test, Test::Like { fold_case: true, .. } | Test::Matches(_))
}

/// A test of a column of texts.
pub(crate) fn text_test(dialect: Dialect, column: &str, test: &Test, bound: &mut Bound) -> String {
    match test {
        Test::Compare("=", Literal::Text(text)) => format!("{column} = {}", bound.add(text)),
        Test::Compare(_, Literal::Text(text)) => format!("{column} <> {}", bound.add(text)),
        Test::Compare(..) => NEVER.to_owned(),
        Test::In { texts, negated } => {
            let not = if *negated { "NOT " } else { "" };
            format!("{column} {not}IN ({})", bound.list(texts.iter()))
        }
        Test::Like { pattern, fold_case: false } => like(dialect, column, pattern, bound),
        Test::Like { pattern, fold_case: true } => {
            // Databases fold the case of ASCII alike; the filter decides about other text.
            let lower = match dialect {
                Dialect::Sqlite => format!("lower({column})"),
                Dialect::Postgres => format!("lower({column} COLLATE \"C\")"),
            };
            let like = like(dialect, &lower, &pattern.to_lowercase(), bound);
            format!("(octet_length({column}) <> length({column}) OR {like})")
        }
        // Databases differ in regular expressions; the filter decides.
        Test::Matches(_) => format!("{column} IS NOT NULL"),
        Test::Null { is_null } => format!("{column} IS {}NULL", if *is_null { "" } else { "NOT " }),
    }
}

/// LIKE that minds the case and has no escape character.
fn like(dialect: Dialect, column: &str, pattern: &str, bound: &mut Bound) -> String {
    match dialect {
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

/// Microseconds as milliseconds, rounded towards the past.
fn millis(column: &str) -> String {
    format!("(({column} - (({column} % 1000) + 1000) % 1000) / 1000)")
}

/// A comparison of whole milliseconds with any number, as one of microseconds with whole ones.
pub(crate) fn time_test(column: &str, test: &Test, bound: &mut Bound) -> String {
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

/// A comparison of a column of whole numbers, which is never NULL.
pub(crate) fn integer_test(column: &str, test: &Test, bound: &mut Bound) -> String {
    let Test::Compare(operator, Literal::Number(value)) = test else { return NEVER.to_owned() };
    let operator = if *operator == "!=" { "<>" } else { operator };
    format!("{column} {operator} {}", bound.add(*value))
}

/// A query for all `items` of `from` as one JSON text; NULL where there are none, or an empty list. Rows cost more than
/// bytes do.
pub(crate) fn gathered(dialect: Dialect, items: &str, from: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("(SELECT json_group_array({}) FROM {from})", array(dialect, items)),
        Dialect::Postgres => format!("(SELECT json_agg({})::text FROM {from})", array(dialect, items)),
    }
}

/// One value as it is, several as a list.
fn array(dialect: Dialect, items: &str) -> String {
    match dialect {
        _ if !items.contains(',') => items.to_owned(),
        Dialect::Sqlite => format!("json_array({items})"),
        Dialect::Postgres => format!("json_build_array({items})"),
    }
}

/// What [`gathered`] has put in a column.
pub(crate) fn ungathered<T: serde::de::DeserializeOwned + Default>(row: &Row, column: &str) -> Result<T> {
    match row.get::<Option<String>>(column)? {
        Some(text) => serde_json::from_str(&text).map_err(unreadable(column)),
        None => Ok(T::default()),
    }
}

/// Says that what is in a column is damaged.
pub(crate) fn unreadable(column: &str) -> impl Fn(serde_json::Error) -> Error + '_ {
    move |error| Error::data_loss(format!("stored {column} cannot be read")).with_source(error)
}
