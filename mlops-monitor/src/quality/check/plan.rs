//! From rules to checks: which scans they share, which filters they have.

use super::{
    Check,
    aggregates::{self, ScanCheck},
    association::Association,
    exception::{Checked, ExceptionKind, RuleException},
    frame::FilterId,
    identity::{CompoundUnique, Unique, WithinRecord},
    nulls::Presence,
    order::{Monotonic, ZScore},
    pairs::RecordCheck,
    reference::{DatasetMatch, References, Tables},
    rows::{Predicate, RowCheck, Tolerance},
    scan::{Needs, Scan},
    sets::Membership,
    shape::{RowCount, ShapeCheck},
    text::TextTest,
};
use crate::quality::{condition::Condition, expectation::Expectation, rule::Rule, settings::ValidationSettings};

/// What the checks of a suite share.
#[derive(Debug, Default)]
pub(in crate::quality) struct Plan {
    pub(in crate::quality) scans: Vec<Scan>,
    pub(in crate::quality) filters: Vec<Condition>,
}

impl Plan {
    /// The check of a rule.
    pub(in crate::quality) fn check(
        &mut self,
        rule: &Rule,
        tables: &Tables,
        settings: &ValidationSettings,
    ) -> Checked<Box<dyn Check>> {
        let filter = rule.filter.as_ref().map(|condition| self.filter(condition));
        let mostly = rule.mostly;
        let expectation = &rule.expectation;
        if let Some((column, needs)) = aggregates::needs(expectation) {
            let scan = self.scan(column, filter, needs, settings);
            return Ok(match expectation {
                Expectation::Unique { .. } => Box::new(Unique { scan, tolerance: Tolerance::of(rule) }),
                other => Box::new(ScanCheck::new(other, scan)),
            });
        }
        let by_value = |column: &str, predicate: Box<dyn Predicate>| -> Box<dyn Check> {
            Box::new(RowCheck::new(column, filter, rule, predicate, settings))
        };
        if let Some(test) = TextTest::of(expectation) {
            return Ok(by_value(expectation.column().unwrap_or(""), Box::new(test?)));
        }
        if let Some(check) = RecordCheck::of(expectation, filter, mostly, settings) {
            return Ok(Box::new(check));
        }
        if let Some(check) = Association::of(expectation, filter, settings) {
            return Ok(Box::new(check));
        }
        if let Some(check) = ShapeCheck::of(expectation) {
            return Ok(Box::new(check));
        }
        let row_count = |min, max| -> Box<dyn Check> { Box::new(RowCount { min, max, filter, kept: 0 }) };
        Ok(match expectation {
            Expectation::NotNull { column, nan_as_null } => {
                Box::new(Presence::not_null(column, filter, rule, *nan_as_null, settings))
            }
            Expectation::IsNull { column } => Box::new(Presence::is_null(column, filter, rule, settings)),
            Expectation::InSet { column, values } => by_value(column, Box::new(Membership::new(values, true))),
            Expectation::NotInSet { column, values } => by_value(column, Box::new(Membership::new(values, false))),
            Expectation::Between(limits) => by_value(&limits.column, Box::new(limits.clone())),
            Expectation::Increasing { column, strictly } => by_value(column, Box::new(Monotonic::new(true, *strictly))),
            Expectation::Decreasing { column, strictly } => {
                by_value(column, Box::new(Monotonic::new(false, *strictly)))
            }
            Expectation::ZScoreLess { column, threshold, double_sided } => {
                Box::new(ZScore::new(column, filter, rule, (*threshold, *double_sided), settings))
            }
            Expectation::CompoundUnique { columns, ignore_row_if } => {
                Box::new(CompoundUnique::new(columns, *ignore_row_if, filter, mostly, settings))
            }
            Expectation::UniqueWithinRecord { columns, ignore_row_if } => {
                Box::new(WithinRecord::new(columns, *ignore_row_if, filter, mostly, settings))
            }
            Expectation::RowCountBetween { min, max } => row_count(*min, *max),
            Expectation::RowCountEquals { count } => row_count(Some(*count), Some(*count)),
            Expectation::RowCountEqualsTable { table } => {
                let count = tables.rows(table)?;
                row_count(Some(count), Some(count))
            }
            Expectation::References { columns, table, table_columns } => {
                Box::new(References::new((columns, table, table_columns), filter, mostly, tables, settings))
            }
            Expectation::DatasetMatch { keys, columns, table, min } => {
                Box::new(DatasetMatch::new((keys, columns, table), *min, filter, tables, settings))
            }
            other => {
                let message = format!("rule {} has no check", other.name());
                return Err(RuleException::new(ExceptionKind::UnsupportedType, message));
            }
        })
    }

    fn filter(&mut self, condition: &Condition) -> FilterId {
        match self.filters.iter().position(|known| known == condition) {
            Some(known) => known,
            None => {
                self.filters.push(condition.clone());
                self.filters.len() - 1
            }
        }
    }

    fn scan(&mut self, column: &str, filter: Option<FilterId>, needs: Needs, settings: &ValidationSettings) -> usize {
        let index = match self.scans.iter().position(|scan| scan.is_for(column, filter)) {
            Some(known) => known,
            None => {
                self.scans.push(Scan::new(column, filter, settings));
                self.scans.len() - 1
            }
        };
        if let Some(scan) = self.scans.get_mut(index) {
            scan.add_needs(needs, settings);
        }
        index
    }
}
