//! Expected metrics of a ranking: rows by descending score, equal scores in one block.
//!
//! Each function gives the value and, row by row in the order of the input, its derivative by the weight of that row.

use crate::stats::{count_of, float};

/// Rows of equal score: expected positives and negatives in the block, and those ranked above it.
struct Block {
    rows: Vec<usize>,
    positives: f64,
    negatives: f64,
    positives_above: f64,
    negatives_above: f64,
}

/// Blocks from the highest score down.
pub(super) struct Ranking {
    blocks: Vec<Block>,
    chances: Vec<f64>,
    positives: f64,
    negatives: f64,
}

impl Ranking {
    pub(super) fn new(scores: &[f64], chances: &[f64]) -> Self {
        let mut rows: Vec<(usize, f64, f64)> =
            scores.iter().zip(chances).enumerate().map(|(row, (score, chance))| (row, *score, *chance)).collect();
        rows.sort_by(|left, right| right.1.total_cmp(&left.1));
        let (mut positives_above, mut negatives_above) = (0.0, 0.0);
        let blocks = rows.chunk_by(|left, right| left.1 == right.1).map(|tied| {
            let positives: f64 = tied.iter().map(|(_, _, chance)| chance).sum();
            let negatives: f64 = tied.iter().map(|(_, _, chance)| 1.0 - chance).sum();
            let rows = tied.iter().map(|(row, ..)| *row).collect();
            let block = Block { rows, positives, negatives, positives_above, negatives_above };
            positives_above += positives;
            negatives_above += negatives;
            block
        });
        let blocks = blocks.collect();
        Self { blocks, chances: chances.to_vec(), positives: positives_above, negatives: negatives_above }
    }

    /// Fills one slot per row from its block and its chance.
    fn by_row(&self, mut of: impl FnMut(&Block, f64) -> f64) -> Vec<f64> {
        let mut slots = vec![0.0; self.chances.len()];
        for block in &self.blocks {
            for row in &block.rows {
                if let (Some(slot), Some(chance)) = (slots.get_mut(*row), self.chances.get(*row)) {
                    *slot = of(block, *chance);
                }
            }
        }
        slots
    }
}

/// The chance that a positive is ranked above a negative, ties counting half: the area under the curve by trapezoids.
pub(super) fn roc_auc(ranking: &Ranking) -> Option<(f64, Vec<f64>)> {
    let (positives, negatives) = (ranking.positives, ranking.negatives);
    if positives <= 0.0 || negatives <= 0.0 {
        return None;
    }
    let pairs = positives * negatives;
    let wins = |block: &Block| block.negatives * (block.positives_above + block.positives / 2.0);
    let value = ranking.blocks.iter().map(wins).sum::<f64>() / pairs;
    let influences = ranking.by_row(|block, chance| {
        let above = block.positives_above + block.positives / 2.0;
        let below = negatives - block.negatives_above - block.negatives / 2.0;
        let won = (1.0 - chance) * above + chance * below;
        won / pairs - value * (chance / positives + (1.0 - chance) / negatives)
    });
    Some((value, influences))
}

/// The sum over blocks of the recall gained times the precision down to there.
pub(super) fn average_precision(ranking: &Ranking) -> Option<(f64, Vec<f64>)> {
    let positives = ranking.positives;
    if positives <= 0.0 {
        return None;
    }
    // Rows and positives down to the end of each block.
    let mut rows = 0;
    let depths: Vec<(f64, f64)> = ranking
        .blocks
        .iter()
        .map(|block| {
            rows += count_of(block.rows.len());
            (float(rows), block.positives_above + block.positives)
        })
        .collect();
    let gains = ranking.blocks.iter().zip(&depths).map(|(block, (rows, found))| block.positives * found / rows);
    let value = gains.sum::<f64>() / positives;
    // A row's weight also moves the precision at its own block and all below.
    let mut suffixes = vec![(0.0, 0.0); depths.len()];
    let (mut by_rows, mut by_found) = (0.0, 0.0);
    for ((slot, block), (rows, found)) in suffixes.iter_mut().zip(&ranking.blocks).zip(&depths).rev() {
        by_rows += block.positives / rows;
        by_found += block.positives * found / (rows * rows);
        *slot = (by_rows, by_found);
    }
    let mut slots = vec![0.0; ranking.chances.len()];
    for ((block, (rows, found)), (by_rows, by_found)) in ranking.blocks.iter().zip(&depths).zip(&suffixes) {
        for row in &block.rows {
            if let (Some(slot), Some(chance)) = (slots.get_mut(*row), ranking.chances.get(*row)) {
                *slot = (chance * found / rows + chance * by_rows - by_found - value * chance) / positives;
            }
        }
    }
    Some((value, slots))
}
