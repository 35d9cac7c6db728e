//! Rows and columns as a whole: counts, names, types, schema drift.

use std::collections::HashMap;

use arrow_schema::{DataType as ArrowType, Schema};
use serde_json::{Value as Json, json};

use super::{
    Check, Finding,
    exception::{Checked, ExceptionKind, RuleException},
    frame::{FilterId, Frame},
    scan::Scan,
};
use crate::{
    extract::type_name,
    quality::expectation::{Expectation, SchemaField},
    stats::count_of,
};

/// A rule about the schema. Every batch is judged; the first that fails is the one reported.
#[derive(Debug)]
pub(super) struct ShapeCheck {
    expectation: Expectation,
    finding: Option<Finding>,
}

impl ShapeCheck {
    /// The check of a rule about the schema; `None` for other rules.
    pub(super) fn of(expectation: &Expectation) -> Option<Self> {
        let shape = matches!(
            expectation,
            Expectation::ColumnPresent { .. }
                | Expectation::ColumnType { .. }
                | Expectation::TypeIn { .. }
                | Expectation::ColumnCountBetween { .. }
                | Expectation::ColumnsOrdered { .. }
                | Expectation::ColumnSet { .. }
                | Expectation::Schema { .. }
        );
        shape.then(|| Self { expectation: expectation.clone(), finding: None })
    }
}

impl Check for ShapeCheck {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        if self.finding.as_ref().is_none_or(|finding| finding.success) {
            self.finding = Some(judge(&self.expectation, frame.batch.schema_ref()));
        }
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        self.finding.take().ok_or_else(|| RuleException::new(ExceptionKind::NoData, "no batch was observed"))
    }
}

fn judge(expectation: &Expectation, schema: &Schema) -> Finding {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let verdict = |fault: Option<String>, observed: Json| {
        let finding = Finding::of_figure(fault.is_none(), observed);
        fault.map_or_else(Finding::default, |fault| Finding::default().with_detail(fault)).merge(finding)
    };
    match expectation {
        Expectation::ColumnPresent { column, index } => {
            let at = names.iter().position(|name| name == column);
            let fault = match (at, index) {
                (None, _) => Some("the column is missing".to_owned()),
                (Some(at), Some(index)) if at != *index => Some(format!("the column is at position {at}, not {index}")),
                _ => None,
            };
            verdict(fault, Json::Null)
        }
        Expectation::ColumnType { column, data_type } => {
            let (fault, found) = type_fault(schema, column, &[data_type.to_string()]);
            verdict(fault, found)
        }
        Expectation::TypeIn { column, data_types } => {
            let (fault, found) = type_fault(schema, column, data_types);
            verdict(fault, found)
        }
        Expectation::ColumnCountBetween { min, max } => {
            let found = count_of(names.len());
            verdict(count_fault(found, *min, *max, "columns"), found.into())
        }
        Expectation::ColumnsOrdered { columns } => {
            let fault = (names != *columns).then(|| {
                let at = names.iter().zip(columns).take_while(|(found, wanted)| found == wanted).count();
                format!("{} columns expected, {} found; they part at position {at}", columns.len(), names.len())
            });
            verdict(fault, json!(names))
        }
        Expectation::ColumnSet { columns, exact } => {
            let fields: Vec<SchemaField> =
                columns.iter().map(|name| SchemaField { name: name.clone(), data_type: None }).collect();
            verdict(schema_fault(schema, &fields, false, !exact), json!(names))
        }
        Expectation::Schema { fields, ordered, new_allowed } => {
            let found: Vec<Json> = schema
                .fields()
                .iter()
                .map(|field| json!({ "name": field.name(), "data_type": type_name(field.data_type()) }))
                .collect();
            verdict(schema_fault(schema, fields, *ordered, *new_allowed), found.into())
        }
        _ => Finding::default(),
    }
}

impl Finding {
    /// This one's detail with the other's verdict.
    fn merge(self, other: Self) -> Self {
        Self { detail: self.detail, ..other }
    }
}

/// Whether a type is the one of this name, in any case: ours, or Arrow's own.
fn is_type(found: &ArrowType, name: &str) -> bool {
    type_name(found).eq_ignore_ascii_case(name) || found.to_string().eq_ignore_ascii_case(name)
}

fn type_fault(schema: &Schema, column: &str, wanted: &[String]) -> (Option<String>, Json) {
    let Ok(field) = schema.field_with_name(column) else {
        return (Some("the column is missing".to_owned()), Json::Null);
    };
    let found = type_name(field.data_type());
    let fits = wanted.iter().any(|name| is_type(field.data_type(), name));
    let fault = (!fits).then(|| format!("the column must be {}, found {found}", wanted.join(" or ")));
    (fault, found.into())
}

/// What is wrong with a count.
pub(super) fn count_fault(found: u64, min: Option<u64>, max: Option<u64>, what: &str) -> Option<String> {
    match (min, max) {
        (Some(min), _) if found < min => Some(format!("{found} {what}, at least {min} expected")),
        (_, Some(max)) if found > max => Some(format!("{found} {what}, at most {max} expected")),
        _ => None,
    }
}

/// Every way in which a schema drifted.
fn schema_fault(schema: &Schema, fields: &[SchemaField], ordered: bool, new_allowed: bool) -> Option<String> {
    let found: HashMap<&str, &ArrowType> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let wanted: HashMap<&str, &SchemaField> = fields.iter().map(|field| (field.name.as_str(), field)).collect();
    let mut faults = Vec::new();
    for field in fields {
        match (found.get(field.name.as_str()), &field.data_type) {
            (None, _) => faults.push(format!("column {:?} is missing", field.name)),
            (Some(found), Some(data_type)) if !is_type(found, data_type) => {
                faults.push(format!("column {:?} must be {data_type}, found {}", field.name, type_name(found)));
            }
            _ => {}
        }
    }
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    if !new_allowed {
        faults.extend(names().filter(|name| !wanted.contains_key(name)).map(|name| format!("column {name:?} is new")));
    }
    if ordered {
        let known = names().filter(|name| wanted.contains_key(name));
        let expected = fields.iter().map(|field| field.name.as_str()).filter(|name| found.contains_key(name));
        if let Some((found, _)) = known.zip(expected).find(|(found, wanted)| found != wanted) {
            faults.push(format!("column {found:?} is out of order"));
        }
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// A rule about the number of rows.
#[derive(Debug)]
pub(super) struct RowCount {
    pub(super) min: Option<u64>,
    pub(super) max: Option<u64>,
    pub(super) filter: Option<FilterId>,
    /// Rows that the filter kept.
    pub(super) kept: u64,
}

impl Check for RowCount {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let kept = frame.filter(self.filter)?;
        self.kept += count_of(kept.map_or(frame.rows(), |mask| mask.count_set_bits()));
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let fault = count_fault(self.kept, self.min, self.max, "rows");
        let finding = Finding::of_figure(fault.is_none(), self.kept.into());
        Ok(Finding { detail: fault, ..finding })
    }
}
