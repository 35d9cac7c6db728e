//! Tree ensembles: the operators `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and `TreeEnsemble`.
//!
//! A file's ensemble is read into a [`forest::Forest`] (checked: no cycle, no dangling child), compiled once into a
//! [`compiled::Compiled`] form, and evaluated in blocks of rows. Invariant: each row's weights are added in the order of
//! the trees in the file, in the precision of the input, so sums are those of a plain loop, bit by bit, whatever the
//! block size.
//!
//! Two ways of evaluating a tree, chosen per tree:
//! - small trees ([`select`]): every comparison of the tree is made for 64 rows at once, on vectors, and the leaf is
//!   chosen by selects; no branch depends on data;
//! - large trees ([`walk`]): each row follows its path, several rows (or, for a single row, several trees) in step, so
//!   that their memory accesses overlap.

mod compiled;
mod forest;
mod import;
mod import_v5;
mod operators;
mod post;
mod real;
mod score;
mod select;
mod walk;

pub(crate) use operators::{classifier, ensemble, one_score_probit, regressor};
pub(crate) use post::{PostTransform, SecondScore, logistic, write_scores};
