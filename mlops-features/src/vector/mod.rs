//! Nearest neighbours: which entities have the vectors, as of embeddings, that are nearest to one that is asked for.
//!
//! [`crate::FeatureStore::nearest`] searches the online store. The vectors are in memory, built by the first search and
//! kept up to date by what this store writes; what others write into a shared online store is found after
//! [`crate::FeatureStore::forget_vectors`]. [`crate::FeatureStore::vector_index`] builds an index from a version of the
//! offline table. Every vector is compared, so answers are exact, unless the view says [`VectorSearch::Hnsw`].

mod graph;
mod index;
mod indexed;
mod matrix;
mod metric;
mod query;
mod search;
mod vectors;

pub use index::VectorIndex;
pub(crate) use indexed::IndexedStore;
pub use metric::Metric;
pub use query::{EntityFilter, NEIGHBOURS_MAX, VECTOR_LENGTH_MAX, VECTORS_PER_QUERY_MAX, VectorQuery};
pub use search::{HnswSettings, VectorSearch};
