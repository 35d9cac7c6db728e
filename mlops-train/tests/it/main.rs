//! The crate through its public API: trainers on made and on real tables, numbers against
//! independent references, results into a run.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod autoencoder;
mod collective;
mod common;
mod compress;
mod device;
mod explain;
mod explain_vectors;
mod fair_incomes;
mod ft_transformer;
mod gates;
mod gbdt;
#[cfg(feature = "labeling")]
mod labeling;
mod linear;
mod mlp;
#[cfg(feature = "mpi")]
mod mpi;
mod neural;
mod one_vs_rest;
mod population;
#[cfg(all(feature = "labeling", feature = "study-sql", feature = "postgres"))]
mod postgres;
mod real_data;
mod resume;
mod search;
#[cfg(feature = "study-sql")]
mod shared_study;
mod tracking;
mod validation;
mod vectors;
