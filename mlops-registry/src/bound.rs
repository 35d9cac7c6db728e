//! Statements whose length depends on data.
//!
//! Invariant: they come in a few fixed lengths, so that the database prepares each of them once and not anew for every
//! number of rows.

use mlops_core::Result;
use mlops_store::{Dialect, Row, Transaction, Value};

use crate::retry::Statement;

/// How many rows one INSERT takes.
const INSERTED_AT_ONCE: [usize; 3] = [64, 8, 1];
/// How many values one list takes; a shorter one is filled up by repeating its last value.
const LISTED_AT_ONCE: [usize; 5] = [1, 8, 32, 128, 512];

/// The values of a statement that is being written.
#[derive(Debug, Default)]
pub(crate) struct Bound(pub(super) Vec<Value>);

impl Bound {
    /// The place of one more value, such as `$3`.
    pub(crate) fn add(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    /// The places of more values, with commas.
    pub(crate) fn list<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> String {
        values.into_iter().map(|value| self.add(value)).collect::<Vec<_>>().join(", ")
    }
}

/// Inserts rows of equal length: `head VALUES (...) tail`.
pub(crate) async fn insert_rows(tx: &mut dyn Transaction, head: &str, rows: Vec<Vec<Value>>, tail: &str) -> Result<()> {
    match tx.dialect() {
        // Looks places up by name, so many in one statement cost more than one row again and again does, in one call.
        Dialect::Sqlite => {
            let Some(row) = rows.first() else { return Ok(()) };
            let (sql, _) = insert(head, std::slice::from_ref(row), tail);
            tx.execute_many(&sql, rows).await?;
        }
        // Each statement is a way to the server and back.
        Dialect::Postgres => {
            for (sql, values) in inserts(head, &rows, tail) {
                tx.execute(&sql, &values).await?;
            }
        }
    }
    Ok(())
}

/// The same, and gives what the RETURNING clause in `tail` says.
pub(crate) async fn insert_returning(
    tx: &mut dyn Transaction,
    head: &str,
    rows: &[Vec<Value>],
    tail: &str,
) -> Result<Vec<Row>> {
    let mut returned = Vec::new();
    for (sql, values) in inserts(head, rows, tail) {
        returned.extend(tx.query(&sql, &values).await?);
    }
    Ok(returned)
}

/// The statements that insert rows.
fn inserts(head: &str, rows: &[Vec<Value>], tail: &str) -> Vec<Statement> {
    let (mut rest, mut statements) = (rows, Vec::new());
    while !rest.is_empty() {
        let length = INSERTED_AT_ONCE.into_iter().find(|length| *length <= rest.len()).unwrap_or(1);
        let (now, later) = rest.split_at(length);
        statements.push(insert(head, now, tail));
        rest = later;
    }
    statements
}

fn insert(head: &str, rows: &[Vec<Value>], tail: &str) -> Statement {
    let mut bound = Bound::default();
    let places: Vec<String> = rows.iter().map(|row| format!("({})", bound.list(row.iter().cloned()))).collect();
    (format!("{head} VALUES {} {tail}", places.join(", ")), bound.0)
}

/// The statements that `sql` becomes when `{list}` stands for the places of `listed`, after the `fixed` values.
pub(crate) fn listing(sql: &str, fixed: &[Value], listed: &[Value]) -> Vec<Statement> {
    let longest = LISTED_AT_ONCE.into_iter().max().unwrap_or(1);
    let statement = |now: &[Value]| {
        let length = LISTED_AT_ONCE.into_iter().find(|length| *length >= now.len()).unwrap_or(longest);
        let mut bound = Bound(fixed.to_vec());
        let repeated = now.last().into_iter().cycle().take(length - now.len());
        let places = bound.list(now.iter().chain(repeated).cloned());
        (sql.replace("{list}", &places), bound.0)
    };
    listed.chunks(longest).map(statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_in_few_lengths() {
        let values: Vec<Value> = (0..600_i64).map(Value::from).collect();
        let statements = listing("run = $1 AND key IN ({list})", &[Value::from(9_i64)], &values);
        let lengths: Vec<usize> = statements.iter().map(|(_, values)| values.len()).collect();
        assert_eq!(lengths, [513, 129]);
        let (sql, values) = listing("run = $1 AND key IN ({list})", &[Value::from(9_i64)], &values[..3]).remove(0);
        assert_eq!(sql, "run = $1 AND key IN ($2, $3, $4, $5, $6, $7, $8, $9)");
        assert_eq!(values[3..], vec![Value::from(2_i64); 6]);
        assert!(listing("x", &[], &[]).is_empty());
    }
}
