//! Gradient-boosted trees on histograms.
//!
//! Features are cut into at most 255 bins, each tree grows leaf by leaf where the second-order
//! gain is largest (Chen and Guestrin 2016; Ke et al. 2017), and the histogram of the larger child
//! is that of the parent less that of the smaller. Missing values go to the side where they gain
//! most. One thread, a fixed order of additions: the same data, settings and seed give the same
//! bytes.

mod bins;
mod boost;
mod codec;
mod forest;
mod grow;
mod histogram;
pub(crate) mod loss;
mod model;
mod packed;
mod resume;
mod settings;

pub use model::{GbdtModel, GbdtTrainer};
pub use settings::GbdtSettings;

pub(crate) use forest::{LEAF, Node};
pub(crate) use model::load;
