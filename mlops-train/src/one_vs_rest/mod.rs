//! Several classes by one model for each, which tells its class from all others (Rifkin and Klautau, In Defense of
//! One-Vs-All Classification, 2004).
//!
//! The trainers of boosted trees, linear models, perceptrons and transformers become trainers of several classes that
//! way; the autoencoder, which learns no label, does not, nor does one whose packages this crate cannot read. Probabilities are those of the models divided by their
//! sum, as scikit-learn's `OneVsRestClassifier` has them; they rank classes well and are no better calibrated than
//! that.

mod model;
mod trainer;

pub use model::OneVsRestModel;
pub(crate) use model::load;
pub use trainer::OneVsRestTrainer;
