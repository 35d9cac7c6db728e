//! Every combination once.
//!
//! Invariant: the combinations are a function of the space and the settings, their order of these and the seed. Which
//! of them a trial is stands in its attribute `grid`, so that trials added by hand take no place.

use std::collections::BTreeSet;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Proposal, Sampler, StudyView};
use crate::{
    params::{ParamValue, Params},
    rng::SeededRng,
    search::{
        space::{ParamSpace, SearchSpace},
        trial::Trial,
    },
};

/// Combinations that one grid may have.
const CELLS_MAX: usize = 100_000;
const CELL: &str = "grid";

/// Settings of a grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GridSettings {
    /// Values of a real number without steps, ends included, evenly on its axis; 2 to 1,000.
    pub points: usize,
}

impl Default for GridSettings {
    fn default() -> Self {
        Self { points: 5 }
    }
}

/// Proposes every combination once, in an order drawn from the seed.
#[derive(Debug, Clone)]
pub struct Grid {
    cells: Vec<Params>,
    order: Vec<usize>,
    taken: BTreeSet<usize>,
    next: usize,
}

impl Grid {
    /// All combinations of a space; of parameters that depend on another only those that exist.
    ///
    /// # Errors
    /// `InvalidArgument` when there are more than 100,000.
    pub fn new(settings: &GridSettings, space: &SearchSpace) -> Result<Self> {
        if !(2..=1_000).contains(&settings.points) {
            return Err(Error::invalid_argument(format!("points must be from 2 to 1000, found {}", settings.points)));
        }
        let mut cells = vec![Params::new()];
        for name in space.names_in_order() {
            let (Some(param), when) = (space.get(name), space.condition(name)) else { continue };
            let values = values(param, settings.points)?;
            let mut longer = Vec::new();
            for cell in cells {
                if when.is_some_and(|when| !when.holds(&cell)) {
                    longer.push(cell);
                } else {
                    longer.extend(values.iter().map(|value| cell.clone().with(name, value.clone())));
                }
                if longer.len() > CELLS_MAX {
                    return Err(too_many());
                }
            }
            cells = longer;
        }
        Ok(Self { order: Vec::new(), cells, taken: BTreeSet::new(), next: 0 })
    }
}

fn too_many() -> Error {
    Error::invalid_argument(format!("the grid has more than {CELLS_MAX} combinations; give steps or narrow bounds"))
}

fn values(space: &ParamSpace, points: usize) -> Result<Vec<ParamValue>> {
    let Some((low, high)) = space.interval() else {
        let count = space.count().unwrap_or(1.0) as usize;
        return Ok((0..count).map(|index| space.at(index as f64)).collect());
    };
    match (space.count(), space.range()) {
        (Some(count), Some(range)) => {
            if count > CELLS_MAX as f64 {
                return Err(too_many());
            }
            let step = range.step.unwrap_or(0.0);
            Ok((0..count as usize).map(|at| space.at(range.axis(range.low + at as f64 * step))).collect())
        }
        _ => Ok((0..points).map(|at| space.at(low + (high - low) * at as f64 / (points - 1) as f64)).collect()),
    }
}

impl Sampler for Grid {
    fn observe(&mut self, _: &StudyView<'_>, trial: &Trial) {
        if let Some(cell) = trial.attributes.get(CELL).and_then(Value::as_u64) {
            self.taken.insert(cell as usize);
        }
    }

    fn propose(&mut self, view: &StudyView<'_>, _: usize) -> Result<Proposal> {
        if self.order.is_empty() {
            self.order = (0..self.cells.len()).collect();
            SeededRng::new(view.seed, 0).shuffle(&mut self.order);
        }
        while let Some(&cell) = self.order.get(self.next) {
            if let Some(params) = self.cells.get(cell).filter(|_| !self.taken.contains(&cell)) {
                let attributes = [(CELL.to_owned(), Value::from(cell))].into();
                return Ok(Proposal { params: params.clone(), attributes });
            }
            self.next += 1;
        }
        Err(Error::resource_exhausted(format!("all {} combinations of the grid were tried", self.cells.len())))
    }
}
