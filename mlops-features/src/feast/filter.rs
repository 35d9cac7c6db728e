//! Filters of a search: comparisons of a feature or join key with a value, and what joins them.
//!
//! A row whose value is null passes no comparison, whichever. Values are read as the type of their column, so a text is
//! no number here either.

use std::collections::BTreeSet;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use arrow_ord::cmp;
use mlops_core::{Error, Result};
use serde_json::Value as Json;

use super::convert;
use crate::time::column;

/// Filters within filters.
const DEPTH_MAX: usize = 16;

/// Comparisons and values of one search.
const PARTS_MAX: usize = 1_024;

/// What a row must be like.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    Compare { how: Comparison, key: String, value: Json },
    In { key: String, values: Vec<Json>, is_in: bool },
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Filter {
    /// Reads Feast's form: `{"type": "gt", "key": "price", "value": 5}` with `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`,
    /// `nin`, or `{"type": "and", "filters": [...]}` with `and`, `or`.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else, too much of it, and null as a value.
    pub(super) fn parse(json: &Json) -> Result<Self> {
        Self::part(json, DEPTH_MAX, &mut 0)
    }

    fn part(json: &Json, depth: usize, parts: &mut usize) -> Result<Self> {
        let wrong = |what: &str| Error::invalid_argument(format!("a filter of the search {what}"));
        let depth =
            depth.checked_sub(1).ok_or_else(|| wrong(&format!("has more than {DEPTH_MAX} filters in filters")))?;
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        let list = |name: &str| {
            json.get(name).and_then(Json::as_array).ok_or_else(|| wrong(&format!("has no list \"{name}\"")))
        };
        let kind = text("type").ok_or_else(|| wrong("has no \"type\""))?;
        *parts += 1;
        let filter = match kind {
            "and" | "or" => {
                let filters = list("filters")?.iter().map(|part| Self::part(part, depth, parts));
                let filters = filters.collect::<Result<Vec<_>>>()?;
                if filters.is_empty() {
                    return Err(wrong("joins no filters"));
                }
                if kind == "and" { Self::All(filters) } else { Self::Any(filters) }
            }
            "in" | "nin" => {
                let key = text("key").ok_or_else(|| wrong("has no \"key\""))?.to_owned();
                let values = list("value")?.clone();
                *parts += values.len();
                Self::In { key, values, is_in: kind == "in" }
            }
            _ => {
                let key = text("key").ok_or_else(|| wrong("has no \"key\""))?.to_owned();
                let value = json.get("value").cloned().unwrap_or(Json::Null);
                let how = Comparison::named(kind).ok_or_else(|| wrong(&format!("has the unknown type {kind:?}")))?;
                Self::Compare { how, key, value }
            }
        };
        if *parts > PARTS_MAX {
            return Err(wrong(&format!("has more than {PARTS_MAX} parts")));
        }
        let null = match &filter {
            Self::Compare { value, .. } => value.is_null(),
            Self::In { values, .. } => values.iter().any(Json::is_null),
            _ => false,
        };
        if null { Err(wrong("compares with null, which nothing equals")) } else { Ok(filter) }
    }

    /// The features and join keys that it speaks of.
    pub(super) fn keys(&self) -> BTreeSet<&str> {
        match self {
            Self::Compare { key, .. } | Self::In { key, .. } => [key.as_str()].into(),
            Self::All(filters) | Self::Any(filters) => filters.iter().flat_map(Self::keys).collect(),
        }
    }

    /// Which of `rows`, which have its keys as columns, pass.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that is not of its column's type, and for a column that has no order or equality.
    pub(super) fn passes(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        match self {
            Self::Compare { how, key, value } => {
                let found = column(rows, key)?;
                check(key, found)?;
                let value = Scalar::new(convert::column(key, std::slice::from_ref(value), found.data_type())?);
                Ok(known(&how.of(found, &value)?))
            }
            Self::In { key, values, is_in } => {
                let found = column(rows, key)?;
                check(key, found)?;
                let values = convert::column(key, values, found.data_type())?;
                let mut any = vec![false; found.len()];
                for index in 0..values.len() {
                    let equal = cmp::eq(found, &Scalar::new(values.slice(index, 1)))?;
                    any.iter_mut().zip(&equal).for_each(|(any, equal)| *any |= equal == Some(true));
                }
                let passes = any.iter().enumerate().map(|(row, any)| Some(found.is_valid(row) && any == is_in));
                Ok(passes.collect())
            }
            Self::All(filters) => joined(filters, rows, true),
            Self::Any(filters) => joined(filters, rows, false),
        }
    }
}

impl Comparison {
    fn named(kind: &str) -> Option<Self> {
        Some(match kind {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "gt" => Self::Greater,
            "gte" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "lte" => Self::LessOrEqual,
            _ => return None,
        })
    }

    fn of(self, found: &ArrayRef, value: &Scalar<ArrayRef>) -> Result<BooleanArray> {
        Ok(match self {
            Self::Equal => cmp::eq(found, value),
            Self::NotEqual => cmp::neq(found, value),
            Self::Greater => cmp::gt(found, value),
            Self::GreaterOrEqual => cmp::gt_eq(found, value),
            Self::Less => cmp::lt(found, value),
            Self::LessOrEqual => cmp::lt_eq(found, value),
        }?)
    }
}

fn check(key: &str, found: &ArrayRef) -> Result<()> {
    if found.data_type().is_nested() {
        let data_type = found.data_type();
        return Err(Error::invalid_argument(format!("\"{key}\" is {data_type}, which a filter does not compare")));
    }
    Ok(())
}

/// Null as no.
fn known(passes: &BooleanArray) -> BooleanArray {
    passes.iter().map(|passes| Some(passes == Some(true))).collect()
}

/// Rows that pass all of `filters`, or any of them.
fn joined(filters: &[Filter], rows: &RecordBatch, all: bool) -> Result<BooleanArray> {
    let mut passes = vec![all; rows.num_rows()];
    for filter in filters {
        let one = filter.passes(rows)?;
        passes.iter_mut().zip(&one).for_each(|(passes, one)| {
            let one = one == Some(true);
            *passes = if all { *passes && one } else { *passes || one };
        });
    }
    Ok(passes.into_iter().map(Some).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, ListArray, StringArray, types::Int32Type};
    use serde_json::json;

    use super::*;

    fn passing(filter: &Json) -> Result<Vec<usize>> {
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(-7)])) as ArrayRef, true),
            ("x", Arc::new(Float64Array::from(vec![Some(0.5), Some(0.25), None, Some(2.0)])), true),
            ("t", Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), None])), true),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![None::<Vec<Option<i32>>>; 4])), true),
        ]);
        let passes = Filter::parse(filter)?.passes(&rows.unwrap())?;
        Ok((0..passes.len()).filter(|row| passes.value(*row)).collect())
    }

    #[test]
    fn comparisons_go_by_the_columns_type_and_null_passes_none() {
        let one =
            |kind: &str, key: &str, value: Json| passing(&json!({"type": kind, "key": key, "value": value})).unwrap();
        assert_eq!(one("eq", "n", json!(3)), [2]);
        assert_eq!(one("ne", "n", json!(3)), [0, 3]);
        assert_eq!(one("gt", "n", json!(-7)), [0, 2]);
        assert_eq!(one("gte", "n", json!(-7.0)), [0, 2, 3]);
        assert_eq!(one("lt", "x", json!(2)), [0, 1]);
        assert_eq!(one("lte", "x", json!(2)), [0, 1, 3]);
        assert_eq!(one("in", "t", json!(["c", "a", "z"])), [0, 2]);
        assert_eq!(one("nin", "t", json!(["c", "a"])), [1]);
        assert_eq!(one("in", "t", json!([])), Vec::<usize>::new());
        let both = json!({"type": "and", "filters": [
            {"type": "gt", "key": "x", "value": 0.3},
            {"type": "or", "filters": [{"type": "eq", "key": "t", "value": "a"}, {"type": "lt", "key": "n", "value": 0}]},
        ]});
        assert_eq!(passing(&both).unwrap(), [0, 3]);
        assert_eq!(Filter::parse(&both).unwrap().keys().into_iter().collect::<Vec<_>>(), ["n", "t", "x"]);
    }

    #[test]
    fn what_is_no_filter_is_told() {
        let refused = |filter: Json, says: &str| {
            let error = passing(&filter).unwrap_err();
            assert!(error.message().contains(says), "{error}");
        };
        refused(json!({"key": "n", "value": 1}), "no \"type\"");
        refused(json!({"type": "like", "key": "t", "value": "a"}), "unknown type \"like\"");
        refused(json!({"type": "eq", "value": 1}), "no \"key\"");
        refused(json!({"type": "eq", "key": "n"}), "compares with null");
        refused(json!({"type": "in", "key": "n", "value": 1}), "no list \"value\"");
        refused(json!({"type": "and", "filters": []}), "joins no filters");
        refused(json!({"type": "eq", "key": "n", "value": "1"}), "column \"n\" must be Int64");
        refused(json!({"type": "eq", "key": "l", "value": [1]}), "does not compare");
        let mut deep = json!({"type": "eq", "key": "n", "value": 1});
        for _ in 0..DEPTH_MAX {
            deep = json!({"type": "and", "filters": [deep]});
        }
        refused(deep, "filters in filters");
        refused(json!({"type": "in", "key": "n", "value": vec![1; PARTS_MAX]}), "parts");
    }
}
