//! A dense table of numbers, row after row.

#![allow(clippy::indexing_slicing, reason = "cells are addressed by rows and columns below the matrix's own")]

use mlops_core::{Error, Result};

/// Numbers by row and column; NaN is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix of these numbers, row after row.
    ///
    /// # Errors
    /// `InvalidArgument` when they do not make up whole rows.
    pub fn new(columns: usize, values: Vec<f64>) -> Result<Self> {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        if rows * columns != values.len() {
            let found = values.len();
            return Err(Error::invalid_argument(format!("rows of {columns} numbers cannot hold {found} numbers")));
        }
        Ok(Self { rows, columns, values })
    }

    /// A matrix of zeros.
    #[must_use]
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    ///
    /// # Panics
    /// When `row` is not below [`Matrix::rows`].
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// One column from top to bottom; empty when there is no such column.
    pub fn column(&self, column: usize) -> impl Iterator<Item = f64> {
        self.values.iter().skip(column).step_by(self.columns.max(1)).copied()
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] = value;
    }
}
