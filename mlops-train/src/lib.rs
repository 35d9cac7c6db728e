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
//! | logistic and linear regression | [`linear`] |
//! | multi-layer perceptron on Burn, categories as learnt vectors | [`mlp`] |
//! | transformer over the columns of a table | [`ft_transformer`] |
//! | what is unlike the training rows | [`autoencoder`] |
//! | more than two classes, with any of these trainers that learns two | [`one_vs_rest`] |
//! | any Burn module in an own training loop | [`neural`] |
//! | going on after a crash | [`checkpoint`] |
//! | a stored package back into a model | [`package`] |
//! | how good predictions are | [`metrics`] |
//! | folds, and scores over folds | [`split`], [`cross_validation`] |
//! | hyper-parameter search | [`search`] |
//! | metrics by group, and making groups alike | [`fairness`] |
//! | which rows to label next, and the queue for it | [`active`] |
//! | may this model replace the one in service | [`gate`] |
//! | why a model says what it says | [`explain`] |
//! | smaller and faster for the edge | [`compress`] |
//! | tests and distributions behind the gate | [`stats`] |
//! | results into a tracked run | [`tracking`] |

pub mod active;
#[cfg(any(feature = "labeling", feature = "study-sql"))]
mod attempts;
pub mod autoencoder;
pub mod checkpoint;
pub mod compress;
pub mod cross_validation;
pub mod data;
mod device;
pub mod explain;
pub mod fairness;
pub mod ft_transformer;
pub mod gate;
pub mod gbdt;
pub mod linear;
pub mod mlp;
pub mod neural;
pub mod one_vs_rest;
pub mod package;
mod params;
pub mod preprocess;
mod rng;
pub mod search;
pub mod split;
mod strands;
mod svg;
pub mod tracking;
pub mod trainer;
mod weights;

pub use autoencoder::{AutoencoderModel, AutoencoderSettings, AutoencoderTrainer};
pub use checkpoint::{CheckpointInfo, Checkpoints};
pub use cross_validation::{CrossValidation, CvResult};
pub use data::{TableDataset, TableDatasetBuilder, Task};
pub use device::DeviceKind;
pub use ft_transformer::{FtTransformerModel, FtTransformerSettings, FtTransformerTrainer};
pub use gate::{CheckResult, Gate, GateBuilder, GateInput, Slice, Verdict, latency_per_row};
pub use gbdt::{GbdtModel, GbdtSettings, GbdtTrainer};
pub use linear::{LinearModel, LinearSettings, LinearTrainer};
pub use mlops_metrics::{self as metrics, Direction, Metric, stats};
pub use mlp::{MlpModel, MlpSettings, MlpTrainer};
#[cfg(feature = "mpi")]
pub use neural::MpiGroup;
#[cfg(feature = "parquet")]
pub use neural::ParquetLoader;
pub use neural::{
    BurnSettings, BurnTrainer, Collective, EpochRecord, Learner, Loader, OptimizerKind, Pass, Precision, Schedule,
    ThreadGroup, Trained,
};
pub use one_vs_rest::{OneVsRestModel, OneVsRestTrainer};
pub use package::{flavors, load_package};
pub use params::{ParamValue, Params};
pub use preprocess::{CategoryEncoding, Matrix, Preprocessor, PreprocessorSettings};
pub use search::{
    ParamSpace, PrunerSettings, Sampler, SamplerSettings, SearchSpace, Study, StudyBuilder, TpeSettings, Trial,
    TrialState,
};
pub use split::{
    Fold, GroupKFold, Groups, KFold, LeaveOneGroupOut, PredefinedSplit, PurgedKFold, Splitter, StratifiedGroupKFold,
    StratifiedKFold, TimeSeriesSplit,
};
pub use tracking::{ProgressLog, log_cv, log_importance, log_params, log_study};
pub use trainer::{FitContext, Progress, TrainedModel, Trainer, scores, scores_of};
