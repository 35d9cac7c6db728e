//! Why a model says what it says: of single rows, of all of them, and along a feature.
//!
//! | question | answer |
//! |---|---|
//! | what did each number contribute to a tree model's score, from covers or a background | [`PathDependentTreeShap`], [`InterventionalTreeShap`] over [`TreeEnsemble`] |
//! | the same of any model, exactly or by estimate, with groups of features | [`ShapleyExplainer`] over a [`Background`] |
//! | the same of a linear model or a perceptron | [`linear_shap`], [`integrated_gradients`] |
//! | which features does the model need on rows it has not seen | [`PermutationImportance`] |
//! | how does the score move along a feature | [`accumulated_effects`] (ALE), [`partial_dependence`] (PDP, ICE) |
//! | what matters overall, and since when | [`Summary`], [`ImportanceHistory`] |
//! | pictures of all that | [`plot`] |
//!
//! Contributions sum up to the score less a base value; that is checked, not hoped for. All sums
//! run in double precision and in a fixed order, draws come from a seed, so an explanation can be
//! repeated bit for bit.

mod attribution;
mod background;
mod columns;
mod context;
mod dependence;
mod grid;
mod groups;
mod integrated;
mod kmeans;
mod linear;
mod perceptron;
mod permutation;
pub mod plot;
mod quadrature;
mod shapley;
mod summary;
mod target;
mod trees;

pub use attribution::Attribution;
pub use background::Background;
pub use context::ExplainContext;
pub use dependence::{
    AccumulatedEffects, Correlated, DependenceSettings, Grid, PartialDependence, accumulated_effects,
    partial_dependence,
};
pub use groups::FeatureGroups;
pub use integrated::{
    Differentiable, IntegratedGradients, IntegratedGradientsSettings, PathRule, integrated_gradients,
};
pub use linear::{LinearScore, linear_shap};
pub use permutation::{PermutationImportance, PermutedImportance};
pub use shapley::{KernelAttribution, KernelSettings, ShapleyExplainer};
pub use summary::{ImportanceHistory, ImportanceShift, MovedFeature, Summary};
pub use trees::{InterventionalTreeShap, PathDependentTreeShap, TreeArrays, TreeEnsemble};

pub(crate) use grid::quantile;
