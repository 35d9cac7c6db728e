//! One statement on one connection: parameters in, rows out.
//!
//! Invariant: `$3` is the third parameter wherever it stands. The text of every statement is ours; values travel as
//! parameters only.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use mlops_core::{Error, Result};
use rusqlite::{
    Batch, Connection, Error as SqliteError, Statement, fallible_iterator::FallibleIterator as _, types::ToSqlOutput,
    types::ValueRef,
};

use super::error::from_sqlite;
use crate::meta::value::{Row, Type, Value};

/// Parameters from which a statement is worth a look into what is known of it.
const LONG: usize = 32;

/// Prepared statements that a connection keeps; a crate of ours has some dozens.
pub(super) const STATEMENTS_MAX: usize = 256;

/// Runs a statement to its end and returns how many rows it changed.
pub(super) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64> {
    let before = connection.total_changes();
    each(connection, sql, params, drain)?;
    Ok(changed_since(connection, before))
}

/// Runs one statement for each list of parameters and returns how many rows all of them changed.
pub(super) fn execute_many(connection: &Connection, sql: &str, rows: &[Vec<Value>]) -> Result<u64> {
    let mut statement = connection.prepare_cached(sql).map_err(from_sqlite)?;
    let positions = positions(&statement, Some(sql));
    let mut changed = 0;
    for params in rows {
        let before = connection.total_changes();
        bind(&mut statement, &positions, params)?;
        drain(&mut statement)?;
        changed += changed_since(connection, before);
    }
    Ok(changed)
}

/// Runs a statement and collects its rows.
pub(super) fn query(connection: &Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    each(connection, sql, params, |statement| collect(statement, &mut all))?;
    Ok(all)
}

/// One statement comes from the cache; of several each is prepared in turn.
fn each(
    connection: &Connection,
    sql: &str,
    params: &[Value],
    mut run: impl FnMut(&mut Statement<'_>) -> Result<()>,
) -> Result<()> {
    let mut bound = |statement: &mut Statement<'_>, sql: Option<&str>| {
        let positions = positions(statement, sql);
        bind(statement, &positions, params)?;
        run(statement)
    };
    match connection.prepare_cached(sql) {
        Ok(mut statement) => bound(&mut statement, Some(sql)),
        Err(SqliteError::MultipleStatement) => {
            let mut batch = Batch::new(connection, sql);
            while let Some(mut statement) = batch.next().map_err(from_sqlite)? {
                bound(&mut statement, None)?;
            }
            Ok(())
        }
        Err(error) => Err(from_sqlite(error)),
    }
}

/// SQLite counts the rows of the last statement that changed any, so a statement that changes none must not ask.
fn changed_since(connection: &Connection, before: u64) -> u64 {
    if connection.total_changes() == before { 0 } else { connection.changes() }
}

/// Positions by the text of their statement.
type Known = HashMap<Box<str>, Arc<[usize]>>;

/// For each place in the statement, the number of its parameter from 1. To SQLite `$2` is a name, and it looks for the
/// name of a place by walking past all names before it: of long statements the answer is kept, by their text.
fn positions(statement: &Statement<'_>, sql: Option<&str>) -> Arc<[usize]> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let number = |place| statement.parameter_name(place)?.get(1..)?.parse().ok();
    let find = || (1..=statement.parameter_count()).map(|place| number(place).unwrap_or(place)).collect();
    let Some(sql) = sql.filter(|_| statement.parameter_count() >= LONG) else { return find() };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(sql) {
        return Arc::clone(found);
    }
    let found: Arc<[usize]> = find();
    if known.len() >= STATEMENTS_MAX {
        known.clear();
    }
    known.insert(sql.into(), Arc::clone(&found));
    found
}

fn bind(statement: &mut Statement<'_>, positions: &[usize], params: &[Value]) -> Result<()> {
    for (place, number) in (1..).zip(positions) {
        let value = number.checked_sub(1).and_then(|index| params.get(index)).ok_or_else(|| {
            Error::internal(format!("metadata statement wants parameter ${number}, {} were given", params.len()))
        })?;
        statement.raw_bind_parameter(place, Bound(value)).map_err(from_sqlite)?;
    }
    Ok(())
}

struct Bound<'a>(&'a Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, SqliteError> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null(_) => ValueRef::Null,
            Value::Int(v) => ValueRef::Integer(*v),
            Value::Real(v) => ValueRef::Real(*v),
            Value::Text(v) => ValueRef::Text(v.as_bytes()),
            Value::Blob(v) => ValueRef::Blob(v),
        }))
    }
}

fn drain(statement: &mut Statement<'_>) -> Result<()> {
    let mut rows = statement.raw_query();
    while rows.next().map_err(from_sqlite)?.is_some() {}
    Ok(())
}

fn collect(statement: &mut Statement<'_>, all: &mut Vec<Row>) -> Result<()> {
    let mut rows = statement.raw_query();
    let mut names: Option<Arc<[String]>> = None;
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        // Asked for only now: the first step prepares the statement anew where the tables have changed since.
        let columns = names.get_or_insert_with(|| row.as_ref().column_names().into_iter().map(str::to_owned).collect());
        let value = |index| row.get_ref(index).map_err(from_sqlite).and_then(owned);
        let values = (0..columns.len()).map(value).collect::<Result<_>>()?;
        all.push(Row::new(Arc::clone(columns), values));
    }
    Ok(())
}

fn owned(value: ValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null(Type::Text),
        ValueRef::Integer(v) => Value::Int(v),
        ValueRef::Real(v) => Value::Real(v),
        ValueRef::Blob(v) => Value::Blob(v.to_vec()),
        ValueRef::Text(v) => {
            let text = std::str::from_utf8(v);
            Value::Text(text.map_err(|_| Error::data_loss("metadata database: a text is not UTF-8"))?.to_owned())
        }
    })
}
