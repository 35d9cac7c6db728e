//! The numbers of metric keys.
//!
//! Invariant: a number once committed belongs to its key for ever, so it can be remembered without asking again. Numbers of
//! a transaction that is still open are not remembered.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use mlops_core::Result;
use mlops_store::{MetaStore, Row, Transaction, Value};

use crate::bound::{insert_returning, listing};

/// Most keys that are remembered; with more, all are forgotten and asked for again.
const REMEMBERED_MAX: usize = 20_000;

/// Keys and their numbers.
pub(super) type Numbers = HashMap<String, i64>;

/// Remembers numbers of keys.
#[derive(Debug, Default)]
pub(super) struct KeyNumbers(Mutex<Numbers>);

impl KeyNumbers {
    /// The numbers that are remembered, and the keys whose are not.
    fn recall<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> (Numbers, Vec<Value>) {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut known, mut unknown) = (Numbers::new(), Vec::new());
        for key in keys {
            match remembered.get(key) {
                Some(number) => drop(known.insert(key.to_owned(), *number)),
                None => unknown.push(Value::from(key)),
            }
        }
        (known, unknown)
    }

    /// Remembers committed numbers.
    pub(super) fn remember(&self, numbers: Numbers) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() + numbers.len() > REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.extend(numbers.into_iter().take(REMEMBERED_MAX));
    }

    /// The numbers of distinct keys; those that have none yet get one. To be [`KeyNumbers::remember`]ed after the commit.
    pub(super) async fn assign(&self, tx: &mut dyn Transaction, keys: &[&str]) -> Result<Numbers> {
        let (mut numbers, unknown) = self.recall(keys.iter().copied());
        for (sql, values) in listing(SELECT, &[], &unknown) {
            read(&tx.query(&sql, &values).await?, &mut numbers)?;
        }
        let fresh: Vec<Vec<Value>> =
            keys.iter().filter(|key| !numbers.contains_key(**key)).map(|key| vec![Value::from(*key)]).collect();
        let head = "INSERT INTO tracking_metric_key (key)";
        read(&insert_returning(tx, head, &fresh, "RETURNING id, key").await?, &mut numbers)?;
        Ok(numbers)
    }

    /// The numbers of keys that have one.
    pub(super) async fn find(&self, meta: &dyn MetaStore, keys: &[&str]) -> Result<Numbers> {
        let (mut numbers, unknown) = self.recall(keys.iter().copied());
        for (sql, values) in listing(SELECT, &[], &unknown) {
            let mut found = Numbers::new();
            read(&meta.query(&sql, &values).await?, &mut found)?;
            numbers.extend(found.clone());
            self.remember(found);
        }
        Ok(numbers)
    }
}

const SELECT: &str = "SELECT id, key FROM tracking_metric_key WHERE key IN ({list})";

fn read(rows: &[Row], numbers: &mut Numbers) -> Result<()> {
    for row in rows {
        numbers.insert(row.get("key")?, row.get("id")?);
    }
    Ok(())
}
