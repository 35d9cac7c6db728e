//! The different values of a tile, as the bytes of their cells in order. What several tiles have is counted once.

use hashbrown::HashSet;
use mlops_core::Result;

use crate::{
    cell::Cell,
    value::{Decoder, encode_cell},
};

/// Cells one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Different<'a>(pub(super) &'a [u8]);

impl<'a> Different<'a> {
    /// What was written by [`DifferentBuilder::encode`].
    pub(super) fn decode(from: &mut Decoder<'a>) -> Result<Self> {
        let length = from.u32()? as usize;
        from.take(length).map(Self)
    }

    /// Calls `visit` with the bytes of every cell.
    fn each(self, mut visit: impl FnMut(&'a [u8])) -> Result<()> {
        let mut from = Decoder(self.0);
        while !from.0.is_empty() {
            let begin = from.0;
            from.cell()?;
            visit(begin.get(..begin.len() - from.0.len()).unwrap_or_default());
        }
        Ok(())
    }
}

/// How many different values there are in all of `parts` together.
pub(super) fn count(parts: &[Different<'_>]) -> Result<usize> {
    let mut found: HashSet<&[u8]> = HashSet::new();
    for part in parts {
        part.each(|cell| {
            found.insert(cell);
        })?;
    }
    Ok(found.len())
}

/// Cells, of which those that count as one have the same bytes.
#[derive(Debug, Default)]
pub(super) struct DifferentBuilder(Vec<u8>);

impl DifferentBuilder {
    pub(super) fn add(&mut self, cell: &Cell<'_>) {
        let alike = match cell {
            Cell::Float(float) if float.is_nan() => Cell::Float(f64::NAN),
            // Makes 0 of -0.
            Cell::Float(float) => Cell::Float(float + 0.0),
            other => other.clone(),
        };
        encode_cell(&alike, &mut self.0);
    }

    /// All of them, those that are there twice twice.
    pub(super) fn all(&self) -> Different<'_> {
        Different(&self.0)
    }

    /// Appends u32 bytes, then each different cell once, in order of its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let mut cells = Vec::new();
        self.all().each(|cell| cells.push(cell))?;
        cells.sort_unstable();
        cells.dedup();
        let length = cells.iter().map(|cell| cell.len()).sum::<usize>();
        out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        cells.into_iter().for_each(|cell| out.extend(cell));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(cells: &[Cell<'_>]) -> Vec<u8> {
        let (mut builder, mut out) = (DifferentBuilder::default(), Vec::new());
        cells.iter().for_each(|cell| builder.add(cell));
        builder.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn what_is_equal_is_one_in_every_part_and_among_them() {
        let one = encoded(&[Cell::Float(0.0), Cell::Float(-0.0), Cell::Float(f64::NAN), Cell::Float(2.0)]);
        let other = encoded(&[Cell::Float(-f64::NAN), Cell::Float(2.0), Cell::Float(3.0)]);
        let parts = [&one, &other].map(|bytes| Different::decode(&mut Decoder(bytes)).unwrap());
        assert_eq!((count(&parts[..1]).unwrap(), count(&parts).unwrap()), (3, 4));
        assert_eq!(one, encoded(&[Cell::Float(2.0), Cell::Float(f64::NAN), Cell::Float(0.0)]), "order changes no byte");
        assert_eq!(count(&[]).unwrap(), 0);
    }

    #[test]
    fn texts_lie_beside_each_other() {
        let bytes = encoded(&["b", "", "a", "b"].map(Cell::Text));
        assert_eq!(count(&[Different::decode(&mut Decoder(&bytes)).unwrap()]).unwrap(), 3);
        assert!(Different::decode(&mut Decoder(&bytes[..bytes.len() - 1])).is_err());
        assert!(count(&[Different(&bytes[..1])]).is_err(), "a cell that is cut off");
    }
}
