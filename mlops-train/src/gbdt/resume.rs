//! What a checkpoint of boosting holds: the trees so far, and what the next round depends on besides.
//!
//! Invariant: the scores of rows are not kept, for the trees give them back bit for bit: both sum over
//! the trees in order, and bins and thresholds decide alike. Trees are of labels in their unit, as the digest is.

use std::collections::BTreeMap;

use mlops_core::{Digest, DigestBuilder, Result};
use serde::{Deserialize, Serialize};

use super::{boost::Booster, codec, forest::Forest, settings::GbdtSettings};
use crate::{
    checkpoint::{self, Draft, Identity, Saved, Session},
    data::TableDataset,
    preprocess::Matrix,
    rng::SeededRng,
    trainer::FitContext,
};

const TREES_FILE: &str = "trees.bin";
const STATE_FILE: &str = "state.json";

/// The file `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    rounds: usize,
    #[serde(default)]
    begun: usize,
    best_rounds: usize,
    best_loss: Option<f64>,
    gains: Vec<f64>,
    gains_of_best: Vec<f64>,
    /// The place of the generator in its stream, in decimal: it has more bits than a JSON number.
    rng_position: String,
}

/// Takes the directory of checkpoints, if the context wants any, and puts the booster where the latest
/// one was written.
pub(super) fn resume(
    booster: &mut Booster<'_>,
    data: &TableDataset,
    matrix: &Matrix,
    settings: &GbdtSettings,
    context: &FitContext,
) -> Result<Option<Session>> {
    let Some(checkpoints) = context.checkpoints() else { return Ok(None) };
    let identity =
        Identity::new(super::GbdtTrainer::FLAVOR, digest(data, matrix, &booster.valid), settings, context.seed())?;
    let (mut session, saved) = Session::open(checkpoints, identity)?;
    if let Some(saved) = saved {
        restore(booster, matrix, &saved)?;
        // Else it would leave no checkpoint for a third fit to begin with.
        if saved.is_origin && booster.is_over() {
            save(booster, &mut session, None)?;
        }
    }
    Ok(Some(session))
}

/// Of the rows and of which are held out: trees that have seen a row cannot be judged by it.
fn digest(data: &TableDataset, matrix: &Matrix, valid: &[u32]) -> Digest {
    let mut digest = DigestBuilder::default();
    let mut bytes = Vec::with_capacity(8 * (matrix.columns() + 3));
    for row in 0..matrix.rows() {
        bytes.clear();
        let weight = data.weight(row);
        let time = data.times_us().and_then(|times| times.get(row)).copied().unwrap_or_default();
        let label = data.labels().get(row).copied().unwrap_or_default();
        matrix.row(row).iter().chain([&label, &weight]).for_each(|value| bytes.extend(value.to_le_bytes()));
        bytes.extend(time.to_le_bytes());
        digest.update(&bytes);
    }
    digest.update(b"held out");
    valid.iter().for_each(|row| digest.update(&row.to_le_bytes()));
    digest.finish()
}

fn restore(booster: &mut Booster<'_>, matrix: &Matrix, saved: &Saved) -> Result<()> {
    let state: State = saved.json(STATE_FILE)?;
    let forest: Forest = codec::decode(saved.file(TREES_FILE)?)?;
    let features = matrix.columns();
    if forest.features != features || state.gains.len() != features || state.gains_of_best.len() != features {
        return Err(saved.damaged(TREES_FILE, "its features are not those of the data"));
    }
    if forest.roots.len() != state.rounds {
        return Err(saved.damaged(STATE_FILE, "its rounds are not those of the trees"));
    }
    let position: u128 =
        state.rng_position.parse().map_err(|_| saved.damaged(STATE_FILE, "rng_position is no number"))?;
    booster.scores = forest.scores(matrix);
    booster.forest = forest;
    booster.rounds = state.rounds;
    booster.begun = if saved.is_origin { state.rounds } else { state.begun };
    booster.best_rounds = state.best_rounds;
    booster.best_loss = state.best_loss;
    booster.gains = state.gains;
    booster.gains_of_best = state.gains_of_best;
    booster.rng = SeededRng::new_at(booster.seed, super::boost::SAMPLING_STREAM, position);
    Ok(())
}

/// Writes a checkpoint.
pub(super) fn save(booster: &Booster<'_>, session: &mut Session, valid_loss: Option<f64>) -> Result<()> {
    let state = State {
        rounds: booster.rounds,
        begun: booster.begun,
        best_rounds: booster.best_rounds,
        best_loss: booster.best_loss,
        gains: booster.gains.clone(),
        gains_of_best: booster.gains_of_best.clone(),
        rng_position: booster.rng.position().to_string(),
    };
    let files = BTreeMap::from([
        (TREES_FILE.to_owned(), codec::encode(&booster.forest)),
        (STATE_FILE.to_owned(), checkpoint::to_json(STATE_FILE, &state)?),
    ]);
    session.write(&Draft { step: booster.rounds as u64, valid_loss, files }).map(drop)
}
