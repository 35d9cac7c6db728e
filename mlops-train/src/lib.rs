//! Training for tables: from an Arrow batch and a label to a model package that a server loads.
//!
//! Training is synchronous computation on the calling thread; an async program runs it on its
//! worker pool. Everything random is drawn from a seed that the caller hands in, so the same
//! data, parameters and seed give the same bytes. Only [`tracking`] is async, because the port it
//! writes to is.
//!
//! ```
//! use std::sync::Arc;
//!
//! use mlops_core::arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
//! use mlops_train::{FitContext, GbdtTrainer, Metric, Params, TableDataset, Trainer, load_package, scores};
//!
//! let amount: Vec<f64> = (0..400).map(|i| f64::from(i % 100)).collect();
//! let fraud: Vec<bool> = amount.iter().map(|&value| value > 70.0).collect();
//! let batch = RecordBatch::try_from_iter([
//!     ("amount", Arc::new(Float64Array::from(amount)) as ArrayRef),
//!     ("fraud", Arc::new(BooleanArray::from(fraud)) as ArrayRef),
//! ])?;
//! let data = TableDataset::classification(batch.clone(), "fraud").build()?;
//! let model = GbdtTrainer.fit(&data, &Params::new().with("rounds", 20), &FitContext::new(7))?;
//!
//! let served = load_package(&model.to_package()?)?;
//! let probability = scores(&*served, &batch)?;
//! assert!(Metric::RocAuc.compute(data.labels(), &probability)? > 0.99);
//! # Ok::<(), mlops_core::Error>(())
//! ```
//!
//! | look for | in |
//! |---|---|
//! | rows, features and labels, checked once | [`data`] |
//! | what is learnt about columns before a model sees them | [`preprocess`] |
//! | the traits of trainers and what they return | [`trainer`] |
//! | gradient-boosted trees | [`gbdt`] |
//! | multi-layer perceptron on Burn | [`mlp`] |
//! | a stored package back into a model | [`package`] |
//! | how good predictions are | [`metrics`] |
//! | folds, and scores over folds | [`split`], [`cross_validation`] |
//! | hyper-parameter search | [`search`] |
//! | may this model replace the one in service | [`gate`] |
//! | tests and distributions behind the gate | [`stats`] |
//! | results into a tracked run | [`tracking`] |

pub mod cross_validation;
pub mod data;
pub mod gate;
pub mod gbdt;
pub mod mlp;
pub mod package;
mod params;
pub mod preprocess;
mod rng;
pub mod search;
pub mod split;
pub mod tracking;
pub mod trainer;

pub use cross_validation::{CrossValidation, CvResult};
pub use data::{TableDataset, TableDatasetBuilder, Task};
pub use gate::{CheckResult, Gate, GateBuilder, GateInput, Slice, Verdict, latency_per_row};
pub use gbdt::{GbdtModel, GbdtSettings, GbdtTrainer};
pub use mlops_metrics::{self as metrics, Direction, Metric, stats};
pub use mlp::{MlpModel, MlpSettings, MlpTrainer};
pub use package::{flavors, load_package};
pub use params::{ParamValue, Params};
pub use preprocess::{CategoryEncoding, Matrix, Preprocessor, PreprocessorSettings};
pub use search::{ParamSpace, Sampler, SearchSpace, Study, StudyBuilder, TpeSettings, Trial, TrialState};
pub use split::{Fold, KFold, Splitter, StratifiedKFold, TimeSeriesSplit};
pub use tracking::{log_cv, log_params, log_study};
pub use trainer::{FitContext, Progress, TrainedModel, Trainer, scores};
