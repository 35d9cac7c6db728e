//! The command line.

use std::{path::PathBuf, sync::Arc};

use clap::{Parser, ValueEnum};
use mlops::train::{FtTransformerTrainer, GbdtTrainer, MlpTrainer, Params, Trainer};

/// Finds, judges, explains and registers a model of incomes.
///
/// Without --data, simulated people with the same kinds of columns stand in for the census.
#[derive(Debug, Parser)]
#[command(name = "train_adult")]
pub struct Options {
    /// The UCI adult data as Parquet: columns age, workclass ... and income (0 or 1).
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Hyper-parameter trials. The same command goes on where an interrupted one stopped.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub trials: u32,
    /// Directory for everything that is written.
    #[arg(long, value_name = "DIR", default_value = "./train-adult")]
    pub out: PathBuf,
    /// What to train.
    #[arg(long, default_value = "gbdt")]
    pub model: Kind,
    /// Seed of everything random.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Gradient-boosted trees.
    Gbdt,
    /// Multi-layer perceptron with vectors of categories.
    Mlp,
    /// Transformer over columns.
    Ft,
}

impl Kind {
    pub fn trainer(self) -> Arc<dyn Trainer> {
        match self {
            Self::Gbdt => Arc::new(GbdtTrainer),
            Self::Mlp => Arc::new(MlpTrainer),
            Self::Ft => Arc::new(FtTransformerTrainer),
        }
    }

    /// What is not searched.
    pub fn fixed(self) -> Params {
        match self {
            Self::Gbdt => Params::new(),
            Self::Mlp => Params::new().with("encoding", "embedding").with("epochs", 8),
            Self::Ft => Params::new().with("epochs", 6),
        }
    }

    /// Rows that trials are judged on; the model itself learns from all.
    pub fn search_rows(self) -> usize {
        match self {
            Self::Gbdt => usize::MAX,
            Self::Mlp => 12_000,
            Self::Ft => 3_000,
        }
    }
}
