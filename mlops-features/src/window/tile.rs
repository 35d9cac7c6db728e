//! Partial aggregates of neighbouring events: what a window takes from a tile that lies wholly inside it.
//!
//! For every column of a plan a tile keeps how many cells are not null and, where a function wants it of that column,
//! the exact sum, the exact sum of squares, the least and the greatest value, the numbers in order, the different values.
//! All of these can be put together in any order without a change of a bit, and none of them estimates. Values by place
//! (first, last, last n) are taken from the events.

use std::{cmp::Ordering, sync::Arc};

use mlops_core::Result;

use super::{
    different::{Different, DifferentBuilder},
    exact::{Accumulator, Digits},
    sorted::{self, Run},
};
use crate::{
    cell::Cell,
    definition::Function,
    value::{Decoder, encode_cell},
};

/// Fewer events than this have no partial aggregates: to read them is as cheap.
pub(super) const TILE_EVENTS_MIN: usize = 8;

/// What the tiles of a plan keep of each column beside its count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parts(Option<Arc<[u8]>>);

/// What the tiles keep of one column, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Part(u8);

impl Parts {
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) const NONE: Self = Self(None);

    /// What any of `functions` wants of its column, which is one of `columns`.
    pub(crate) fn of(columns: usize, functions: impl Iterator<Item = (usize, Function)>) -> Self {
        let mut parts = vec![0; columns];
        for (column, function) in functions {
            if let Some(part) = parts.get_mut(column) {
                *part |= Part::of(function).0;
            }
        }
        Self(Some(parts.into()))
    }

    /// About how many bytes of an event the lists take that grow with their tile, as they are made.
    pub(crate) fn bytes_per_event(&self) -> usize {
        let lists = |part: &u8| {
            let part = Part(*part);
            // A number, and a cell with its tag and a length; a list that doubles may be half empty.
            2 * (8 * usize::from(part.has(Part::SORTED)) + 16 * usize::from(part.has(Part::DIFFERENT)))
        };
        self.as_bytes().iter().map(lists).sum()
    }

    /// A byte for each column; those without one keep nothing.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Part {
    const SUM: Self = Self(1);
    const SQUARES: Self = Self(2);
    const EXTREMES: Self = Self(4);
    const SORTED: Self = Self(8);
    const DIFFERENT: Self = Self(16);

    const fn of(function: Function) -> Self {
        match function {
            Function::Sum | Function::Mean => Self::SUM,
            Function::Std | Function::Var => Self(Self::SUM.0 | Self::SQUARES.0),
            Function::Min | Function::Max => Self::EXTREMES,
            Function::ApproxQuantile(_) => Self::SORTED,
            Function::ApproxDistinct => Self::DIFFERENT,
            _ => Self(0),
        }
    }

    /// What the bytes of [`Parts`] say of `column`.
    pub(super) fn of_column(parts: &[u8], column: usize) -> Self {
        Self(parts.get(column).copied().unwrap_or(0))
    }

    pub(super) const fn to_byte(self) -> u8 {
        self.0
    }

    const fn has(self, part: Self) -> bool {
        self.0 & part.0 == part.0
    }
}

/// The partial aggregates of one column of a tile, read where they lie.
#[derive(Debug, Clone)]
pub(crate) struct Partial<'a> {
    /// Cells that are not null.
    pub(super) count: u32,
    pub(super) sum: Option<Digits<'a>>,
    pub(super) squares: Option<Digits<'a>>,
    /// The least and the greatest value, null when there is none.
    pub(super) extremes: Option<(Cell<'a>, Cell<'a>)>,
    /// The numbers in order.
    pub(super) sorted: Option<Run<'a>>,
    pub(super) different: Option<Different<'a>>,
}

impl<'a> Partial<'a> {
    /// The partial aggregates of column `column` in `bytes`, which hold those of all columns.
    pub(super) fn of_column(bytes: &'a [u8], parts: &[u8], column: usize) -> Result<Self> {
        let mut from = Decoder(bytes);
        for before in 0..column {
            Self::decode(&mut from, Part::of_column(parts, before))?;
        }
        Self::decode(&mut from, Part::of_column(parts, column))
    }

    fn decode(from: &mut Decoder<'a>, kept: Part) -> Result<Self> {
        let count = from.u32()?;
        let mut digits = |part| if kept.has(part) { Digits::decode(from).map(Some) } else { Ok(None) };
        let (sum, squares) = (digits(Part::SUM)?, digits(Part::SQUARES)?);
        let extremes = if kept.has(Part::EXTREMES) { Some((from.cell()?, from.cell()?)) } else { None };
        let sorted = if kept.has(Part::SORTED) { Some(decode_run(from)?) } else { None };
        let different = if kept.has(Part::DIFFERENT) { Some(Different::decode(from)?) } else { None };
        Ok(Self { count, sum, squares, extremes, sorted, different })
    }

    /// Appends the bytes of what `cells` add up to: u32 count; where `kept` has them the two sums, least and greatest
    /// value, u32 how many numbers and these in order, u32 bytes of the different cells and these.
    pub(super) fn encode<'c>(kept: Part, cells: impl Iterator<Item = Cell<'c>>, out: &mut Vec<u8>) -> Result<()> {
        let (mut moments, mut extremes) = (Moments::default(), Extremes::default());
        let (mut numbers, mut different) = (Vec::new(), DifferentBuilder::default());
        for cell in cells.filter(|cell| *cell != Cell::Null) {
            moments.count += 1;
            if kept.has(Part::SUM) {
                moments.add_value(&cell);
            }
            if kept.has(Part::SQUARES) {
                moments.add_square(&cell);
            }
            if kept.has(Part::SORTED) {
                numbers.extend(number(&cell));
            }
            if kept.has(Part::DIFFERENT) {
                different.add(&cell);
            }
            if kept.has(Part::EXTREMES) {
                extremes.add(cell);
            }
        }
        out.extend(u32::try_from(moments.count).unwrap_or(u32::MAX).to_le_bytes());
        if kept.has(Part::SUM) {
            moments.sum.encode(out);
        }
        if kept.has(Part::SQUARES) {
            moments.squares.encode(out);
        }
        if kept.has(Part::EXTREMES) {
            encode_cell(&extremes.least.unwrap_or(Cell::Null), out);
            encode_cell(&extremes.greatest.unwrap_or(Cell::Null), out);
        }
        if kept.has(Part::SORTED) {
            let run = sorted::run(numbers);
            out.extend(u32::try_from(run.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(run.as_flattened());
        }
        if kept.has(Part::DIFFERENT) {
            different.encode(out)?;
        }
        Ok(())
    }
}

fn decode_run<'a>(from: &mut Decoder<'a>) -> Result<Run<'a>> {
    let length = from.u32()? as usize;
    Ok(from.take(8 * length)?.as_chunks().0)
}

/// A cell as quantiles see it.
#[allow(clippy::cast_precision_loss, reason = "integers enter quantiles as the nearest double")]
pub(super) const fn number(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Int(int) => Some(*int as f64),
        Cell::Float(float) => Some(*float),
        _ => None,
    }
}

/// Number, sum and sum of squares of cells.
#[derive(Debug, Default)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) sum: Accumulator,
    pub(super) squares: Accumulator,
}

impl Moments {
    pub(super) fn add_value(&mut self, cell: &Cell<'_>) {
        match cell {
            Cell::Int(int) => self.sum.add_int(*int),
            Cell::Float(float) => self.sum.add_float(*float),
            _ => {}
        }
    }

    pub(super) fn add_square(&mut self, cell: &Cell<'_>) {
        match cell {
            Cell::Int(int) => self.squares.add_int_square(*int),
            Cell::Float(float) => self.squares.add_float_square(*float),
            _ => {}
        }
    }
}

/// The first of the least and the last of the greatest cells, in order of events.
#[derive(Debug, Default)]
pub(super) struct Extremes<'a> {
    pub(super) least: Option<Cell<'a>>,
    pub(super) greatest: Option<Cell<'a>>,
}

impl<'a> Extremes<'a> {
    pub(super) fn add(&mut self, cell: Cell<'a>) {
        self.join(cell.clone(), cell);
    }

    /// Adds what later cells come to.
    pub(super) fn join(&mut self, least: Cell<'a>, greatest: Cell<'a>) {
        if least != Cell::Null && self.least.as_ref().is_none_or(|known| order(&least, known).is_lt()) {
            self.least = Some(least);
        }
        if greatest != Cell::Null && self.greatest.as_ref().is_none_or(|known| order(&greatest, known).is_ge()) {
            self.greatest = Some(greatest);
        }
    }
}

/// NaN is above every number, whatever its sign; -0.0 is below 0.0.
pub(super) fn float_order(left: f64, right: f64) -> Ordering {
    left.is_nan().cmp(&right.is_nan()).then_with(|| left.total_cmp(&right))
}

fn order(left: &Cell<'_>, right: &Cell<'_>) -> Ordering {
    match (left, right) {
        (Cell::Int(left), Cell::Int(right)) => left.cmp(right),
        (Cell::Float(left), Cell::Float(right)) => float_order(*left, *right),
        _ => Ordering::Equal,
    }
}
