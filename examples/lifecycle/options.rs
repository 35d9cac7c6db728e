//! The command line.

use std::path::PathBuf;

use clap::Parser;
use mlops::core::{Digest, Error, Result};

use crate::{
    simulate,
    stream::{self, FileOptions, Stream},
};

/// From raw events to a monitored model that retrains itself.
///
/// Without --data, a seeded simulator of card payments stands in for your stream.
#[derive(Debug, Parser)]
#[command(name = "lifecycle")]
pub struct Options {
    /// CSV or Parquet file with labelled events in time order.
    #[arg(long, value_name = "FILE", requires = "time", requires = "label")]
    data: Option<PathBuf>,
    /// Column with the event time.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    time: Option<String>,
    /// Column with the class to predict, one of two values.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    label: Option<String>,
    /// Key columns, each an entity with features of its own.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "data")]
    entity: Vec<String>,
    /// Sort the file by time instead of refusing it.
    #[arg(long, requires = "data")]
    sort: bool,
    /// Directory that keeps everything; a second run continues there.
    #[arg(long, value_name = "DIR", default_value = "./mlops-home")]
    pub home: PathBuf,
    /// Where to write the report; by default report.html in the home directory.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Port of the model server on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Number of simulated payments.
    #[arg(long, default_value_t = 24_000, conflicts_with = "data", value_parser = clap::value_parser!(u32).range(4_000..=1_000_000))]
    events: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Hyper-parameter trials per search and kind of model.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub trials: u32,
    /// Print one JSON object instead of the summary.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Loads or simulates the stream, with the fingerprint of what it was made from.
    pub fn stream(&self) -> Result<(Stream, Digest)> {
        let Some(path) = &self.data else {
            let made_from = format!("simulator 1, seed {}, events {}", self.seed, self.events);
            return Ok((simulate::card_payments(self.seed, self.events as usize)?, Digest::of(made_from.as_bytes())));
        };
        let (time, label) = (self.time.as_deref().unwrap_or_default(), self.label.as_deref().unwrap_or_default());
        let options = FileOptions { path, time, label, entities: &self.entity, sort: self.sort };
        let stream = stream::load(&options)?;
        let bytes = std::fs::read(path)
            .map_err(|error| Error::unavailable(format!("{} cannot be read: {error}", path.display())))?;
        let columns = format!("{time}\n{label}\n{:?}", self.entity);
        Ok((stream, Digest::of_parts([bytes.as_slice(), columns.as_bytes()])))
    }

    /// The settings that change results, for telling runs apart.
    pub fn fingerprint(&self, data: &Digest) -> Digest {
        let settings = format!("{} {}", self.seed, self.trials);
        Digest::of_parts([data.as_bytes().as_slice(), settings.as_bytes()])
    }
}
