//! One batch as the rules see it: columns read once, filters evaluated once, whoever asks.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;

use super::{
    column::Column,
    exception::{Checked, ExceptionKind, RuleException},
    filter,
};
use crate::quality::{condition::Condition, settings::ValidationSettings};

/// Which of the run's filters a rule has.
pub(super) type FilterId = usize;

#[derive(Debug)]
pub(in crate::quality) struct Frame<'a> {
    pub(super) batch: &'a RecordBatch,
    /// Rows observed before this batch.
    pub(super) offset: u64,
    pub(super) settings: &'a ValidationSettings,
    conditions: &'a [Condition],
    columns: RefCell<HashMap<String, Checked<Rc<Column>>>>,
    masks: RefCell<HashMap<FilterId, Checked<Rc<BooleanBuffer>>>>,
}

impl<'a> Frame<'a> {
    pub(in crate::quality) fn new(
        batch: &'a RecordBatch,
        offset: u64,
        settings: &'a ValidationSettings,
        conditions: &'a [Condition],
    ) -> Self {
        let (columns, masks) = (RefCell::default(), RefCell::default());
        Self { batch, offset, settings, conditions, columns, masks }
    }

    pub(super) fn column(&self, name: &str) -> Checked<Rc<Column>> {
        if let Some(known) = self.columns.borrow().get(name) {
            return known.clone();
        }
        let read = match self.batch.column_by_name(name) {
            Some(array) => Column::read(array, self.settings.nan_as_null).map(Rc::new),
            None => {
                let message = format!("the batch has no column {name:?}");
                Err(RuleException::new(ExceptionKind::MissingColumn, message))
            }
        };
        self.columns.borrow_mut().insert(name.to_owned(), read.clone());
        read
    }

    /// The rows that a filter keeps; `None` is all.
    pub(super) fn filter(&self, id: Option<FilterId>) -> Checked<Option<Rc<BooleanBuffer>>> {
        let Some(id) = id else { return Ok(None) };
        if let Some(known) = self.masks.borrow().get(&id) {
            return known.clone().map(Some);
        }
        let mask = match self.conditions.get(id) {
            Some(condition) => filter::rows(condition, self).map(Rc::new),
            None => Ok(Rc::new(BooleanBuffer::new_set(self.rows()))),
        };
        self.masks.borrow_mut().insert(id, mask.clone());
        mask.map(Some)
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }
}
