//! One column of a stream, whatever its type.
//!
//! Invariant: every row is counted once: as null, or in the state that its type has. A type without a comparison still
//! has its nulls counted.

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType as ArrowType, Field};
use mlops_core::Result;

use super::{
    codec::{Reader, Writer, damaged},
    levels::Levels,
    numbers::Numbers,
    settings::SketchSettings,
};
use crate::{extract, sample::ColumnKind, stats::count_of};

/// How the values of a type are summarized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Opaque,
    Numbers,
    Integers,
    Levels,
}

impl Class {
    fn of(data_type: &ArrowType) -> Self {
        match data_type {
            ArrowType::Dictionary(_, values) if matches!(**values, ArrowType::Dictionary(..)) => Self::Opaque,
            ArrowType::Dictionary(_, values) => Self::of(values),
            other => match extract::natural_kind(other) {
                ColumnKind::Numeric if extract::is_integer(other) => Self::Integers,
                ColumnKind::Numeric => Self::Numbers,
                ColumnKind::Categorical => Self::Levels,
                ColumnKind::Opaque => Self::Opaque,
            },
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Opaque => 0,
            Self::Numbers => 1,
            Self::Integers => 2,
            Self::Levels => 3,
        }
    }
}

/// What is known of a column beside its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) data_type: String,
    pub(super) class: Class,
}

impl Header {
    pub(super) fn of(field: &Field) -> Self {
        let data_type = field.data_type();
        Self { name: field.name().clone(), data_type: extract::type_name(data_type), class: Class::of(data_type) }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.counted(self.name.as_bytes());
        to.counted(self.data_type.as_bytes());
        to.u8(self.class.code());
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self> {
        let (name, data_type) = (from.text()?.to_owned(), from.text()?.to_owned());
        let class = match from.u8()? {
            0 => Class::Opaque,
            1 => Class::Numbers,
            2 => Class::Integers,
            3 => Class::Levels,
            _ => return Err(damaged("a column of an unknown class")),
        };
        Ok(Self { name, data_type, class })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Opaque,
    Numbers(Box<Numbers>),
    Levels(Levels),
}

/// The values of a column so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) nulls: u64,
    pub(super) state: State,
}

impl Column {
    pub(super) fn new(class: Class, settings: &SketchSettings) -> Self {
        let state = match class {
            Class::Opaque => State::Opaque,
            Class::Numbers => State::Numbers(Box::new(Numbers::new(false, settings))),
            Class::Integers => State::Numbers(Box::new(Numbers::new(true, settings))),
            Class::Levels => State::Levels(Levels::new(settings.levels_max as usize)),
        };
        Self { nulls: 0, state }
    }

    pub(super) fn observe(&mut self, column: &ArrayRef) -> Result<()> {
        self.nulls += count_of(column.logical_null_count());
        match &mut self.state {
            State::Opaque => Ok(()),
            State::Numbers(numbers) => numbers.observe(column),
            State::Levels(levels) => levels.observe(column),
        }
    }

    pub(super) fn seal(&mut self) -> Result<()> {
        match &mut self.state {
            State::Opaque => Ok(()),
            State::Numbers(numbers) => numbers.seal(),
            State::Levels(levels) => levels.seal(),
        }
    }

    /// Adds another of the same class; both are sealed.
    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        self.nulls += other.nulls;
        match (&mut self.state, &other.state) {
            (State::Numbers(mine), State::Numbers(other)) => mine.merge(other),
            (State::Levels(mine), State::Levels(other)) => mine.merge(other),
            _ => Ok(()),
        }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.u64(self.nulls);
        match &self.state {
            State::Opaque => {}
            State::Numbers(numbers) => numbers.write(to),
            State::Levels(levels) => levels.write(to),
        }
    }

    pub(super) fn read(from: &mut Reader<'_>, class: Class, settings: &SketchSettings, rows: u64) -> Result<Self> {
        let nulls = from.u64()?;
        let values = rows.checked_sub(nulls).ok_or_else(|| damaged("a column has more nulls than rows"))?;
        let state = match class {
            Class::Opaque => State::Opaque,
            Class::Numbers | Class::Integers => {
                State::Numbers(Box::new(Numbers::read(from, class == Class::Integers, settings, values)?))
            }
            Class::Levels => State::Levels(Levels::read(from, settings.levels_max as usize, values)?),
        };
        Ok(Self { nulls, state })
    }
}
