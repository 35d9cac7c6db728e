//! Shapley values of tree ensembles, exact and fast because a tree shows what it would say.

mod ensemble;
mod gbdt;
mod interventional;
mod path_dependent;

pub use ensemble::{TreeArrays, TreeEnsemble};
pub use interventional::InterventionalTreeShap;
pub use path_dependent::PathDependentTreeShap;
