//! How the batches of one step are shared among the members of a group, and what they send.
//!
//! Invariant: a member takes a run of consecutive batches, and sums are added as in a tournament, first
//! within runs and then over members. So where the length of a run is a power of two, a group makes the
//! very step that one member alone would make; else it differs in the last digits.

use std::ops::Range;

use mlops_core::{Error, Result};

use super::averaging::{Partial, tournament};

/// The batches of `total` that a member takes: runs of equal length but for the last ones.
pub(super) fn run(total: usize, rank: usize, size: usize) -> Range<usize> {
    let length = total.div_ceil(size.max(1));
    (rank * length).min(total)..((rank + 1) * length).min(total)
}

/// What a member sends: whether it was told to stop, and its sum unless its run was empty.
pub(super) fn to_bytes(stop: bool, partial: Option<&Partial>) -> Vec<u8> {
    let mut bytes = vec![u8::from(stop)];
    if let Some(partial) = partial {
        bytes.reserve(16 + 4 * partial.gradients.len());
        bytes.extend(partial.loss.to_le_bytes());
        bytes.extend(partial.rows.to_le_bytes());
        partial.gradients.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    }
    bytes
}

/// Whether any member was told to stop, and the sum over all of them.
///
/// # Errors
/// `Internal` when a member sent something else.
pub(super) fn from_bytes(gathered: &[Vec<u8>], parameters: usize) -> Result<(bool, Option<Partial>)> {
    let mut stop = false;
    let mut parts = Vec::with_capacity(gathered.len());
    for bytes in gathered {
        let (told, partial) = member(bytes, parameters)
            .ok_or_else(|| Error::internal("a worker sent a gradient of another length; do all run the same code?"))?;
        stop |= told;
        parts.extend(partial);
    }
    Ok((stop, tournament(parts)))
}

/// What a member sends of judging its batches: the mean loss and the rows of each.
pub(super) fn losses_to_bytes(losses: &[(f64, u64)]) -> Vec<u8> {
    losses.iter().flat_map(|(loss, rows)| loss.to_le_bytes().into_iter().chain(rows.to_le_bytes())).collect()
}

/// Losses and rows of all batches in their order, as members took consecutive runs of them.
///
/// # Errors
/// `Internal` when a member sent something else.
pub(super) fn losses_from_bytes(gathered: &[Vec<u8>]) -> Result<Vec<(f64, u64)>> {
    let mut losses = Vec::new();
    for bytes in gathered {
        let (pairs, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(Error::internal("a worker sent losses of another length; do all run the same code?"));
        }
        losses.extend(pairs.iter().map(|pair| {
            let (loss, rows) = pair.split_at(8);
            let word = |bytes: &[u8]| bytes.as_chunks::<8>().0.first().copied().unwrap_or_default();
            (f64::from_le_bytes(word(loss)), u64::from_le_bytes(word(rows)))
        }));
    }
    Ok(losses)
}

fn member(bytes: &[u8], parameters: usize) -> Option<(bool, Option<Partial>)> {
    let (&told, rest) = bytes.split_first()?;
    if rest.is_empty() {
        return Some((told != 0, None));
    }
    let (loss, rest) = rest.split_first_chunk::<8>()?;
    let (rows, rest) = rest.split_first_chunk::<8>()?;
    let gradients: Vec<f32> = rest.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let whole = gradients.len() == parameters && rest.len() == 4 * parameters;
    let partial = Partial { gradients, loss: f64::from_le_bytes(*loss), rows: u64::from_le_bytes(*rows) };
    whole.then_some((told != 0, Some(partial)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_all_batches_once() {
        for total in 0..20 {
            for size in 1..7 {
                let taken: Vec<usize> = (0..size).flat_map(|rank| run(total, rank, size)).collect();
                assert_eq!(taken, (0..total).collect::<Vec<_>>(), "{total} {size}");
            }
        }
    }

    #[test]
    fn losses_survive_the_way() {
        let sent = [losses_to_bytes(&[(0.5, 3), (f64::NAN, 1)]), Vec::new(), losses_to_bytes(&[(-1.5, u64::MAX)])];
        let found = losses_from_bytes(&sent).unwrap();
        assert_eq!((found[0], found[2], found[1].1), ((0.5, 3), (-1.5, u64::MAX), 1));
        assert!(found[1].0.is_nan());
        assert!(losses_from_bytes(&[vec![0; 15]]).is_err());
    }

    #[test]
    fn sums_survive_the_way() {
        let partial = |value: f32| Partial::of_mean(vec![value, -value], f64::from(value), 2);
        let sent = [to_bytes(false, Some(&partial(0.1))), to_bytes(true, None), to_bytes(false, Some(&partial(0.7)))];
        let (stop, sum) = from_bytes(&sent, 2).unwrap();
        assert!(stop);
        assert_eq!(sum, tournament(vec![partial(0.1), partial(0.7)]));
        assert!(from_bytes(&sent, 3).is_err());
        assert!(from_bytes(&[vec![]], 2).is_err());
    }
}
