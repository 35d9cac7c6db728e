//! How the vectors of a view are searched, as its definition says. No value depends on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Metric;

/// Most links of a vector, and most vectors that a walk keeps.
const LINKS_MAX: usize = 256;
const KEPT_MAX: usize = 65_536;

/// How vectors are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VectorSearch {
    /// Every vector is compared: answers are right, and take time by the number of vectors.
    #[default]
    Exact,
    /// A graph of near vectors is walked: nearly all of the nearest are found, and of a large number only few are
    /// compared. What is left by their number is a copy of references, one for some thousand numbers and one for 64
    /// vectors.
    Hnsw(HnswSettings),
}

/// A hierarchical graph of near vectors (Malkov and Yashunin, 2016, <https://arxiv.org/abs/1603.09320>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HnswSettings {
    /// The distance by which vectors are near: a question by another one is answered exactly. Not the product, by which
    /// a vector need not be near to itself.
    pub metric: Metric,
    /// How many near vectors a vector is linked with, 2 to 256; twice as many on the lowest level. More find more, and
    /// cost memory.
    pub m: usize,
    /// How many near vectors are kept while the place of a new one is looked for, 1 to 65,536. More find more, and make
    /// writes slower.
    pub ef_construction: usize,
    /// How many near vectors are kept while a question is answered, 1 to 65,536, at least as many as are asked for.
    /// More find more, and make answers slower.
    pub ef_search: usize,
    /// Up to how many vectors every one is compared: there is no graph before. Then each new one takes some of the others
    /// into it, and every one is compared until it has them all.
    pub exact_below: usize,
}

impl Default for HnswSettings {
    fn default() -> Self {
        Self { metric: Metric::Cosine, m: 16, ef_construction: 128, ef_search: 96, exact_below: 10_000 }
    }
}

impl fmt::Display for VectorSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Hnsw(HnswSettings { metric, m, ef_construction, ef_search, exact_below }) => write!(
                f,
                "hnsw by {metric:?} with m {m}, ef_construction {ef_construction}, ef_search {ef_search}, exact below \
                 {exact_below}"
            ),
        }
    }
}

impl VectorSearch {
    pub(crate) fn is_exact(&self) -> bool {
        *self == Self::Exact
    }

    /// What no index could do.
    pub(crate) fn faults(&self) -> Vec<String> {
        let Self::Hnsw(settings) = self else { return Vec::new() };
        let mut faults = Vec::new();
        let bounds = [
            ("m", settings.m, 2, LINKS_MAX),
            ("ef_construction", settings.ef_construction, 1, KEPT_MAX),
            ("ef_search", settings.ef_search, 1, KEPT_MAX),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                faults.push(format!("{name} of the search for vectors is {value}; it can be {least} to {most}"));
            }
        }
        if settings.metric == Metric::Dot {
            faults.push("a graph of near vectors cannot be by the product; by cosine or l2 it can".to_owned());
        }
        faults
    }
}
