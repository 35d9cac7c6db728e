//! From a graph of named nodes to a list of steps over numbered slots, and running it.
//!
//! Invariant of a [`Plan`]: each step reads constants, inputs, or results of earlier steps; every slot has one writer.
//! So running needs no names, no ordering and no checks of the graph.

mod args;
mod build;
mod fuse;
mod kernel;
mod node;
mod run;

pub(crate) use args::Args;
pub(crate) use kernel::Kernel;
pub(crate) use node::NodeDef;
pub(crate) use run::Plan;
