//! Vectors of one length in memory, dense, so that a search runs through buffers, and linked by a graph where there are
//! many.
//!
//! A search looks at a copy that shares the chunks of rows; what is written meanwhile makes chunks of its own.

use std::{cmp::Ordering, sync::Arc};

use super::{
    VectorSearch,
    graph::{Graph, Near},
    metric::{Metric, norm},
};
use crate::online::EntityKey;

/// Numbers of a chunk, as far as whole rows allow.
const NUMBERS_PER_CHUNK: usize = 1 << 16;

/// Most rows of a chunk.
const ROWS_PER_CHUNK_MAX: usize = 1 << 12;

/// How many rows the graph takes in for each new one, as long as it has not all of them.
const LINKED_AT_ONCE: usize = 4;

/// Rows of one length. Clones share them until one of them changes.
#[derive(Debug, Default, Clone)]
pub(super) struct Matrix {
    length: usize,
    rows: usize,
    /// All of them full but the last one.
    chunks: Vec<Arc<Chunk>>,
    search: VectorSearch,
    /// Once there are enough rows. It takes them in step by step, so that no write waits for all of them, and is walked
    /// when it has them all.
    graph: Option<Graph>,
}

#[derive(Debug, Default, Clone)]
struct Chunk {
    numbers: Vec<f32>,
    norms: Vec<f64>,
    times: Vec<i64>,
    keys: Vec<EntityKey>,
}

impl Chunk {
    /// Gives back what lists that double took too much.
    fn shrink(&mut self) {
        self.numbers.shrink_to_fit();
        self.norms.shrink_to_fit();
        self.times.shrink_to_fit();
        self.keys.shrink_to_fit();
    }
}

impl Matrix {
    pub(super) fn new(length: usize, search: VectorSearch) -> Self {
        Self { length, rows: 0, chunks: Vec::new(), search, graph: None }
    }

    fn rows_per_chunk(&self) -> usize {
        (NUMBERS_PER_CHUNK / self.length.max(1)).clamp(1, ROWS_PER_CHUNK_MAX)
    }

    pub(super) fn push(&mut self, key: EntityKey, time: i64, vector: &[f32]) -> usize {
        if self.chunks.len() * self.rows_per_chunk() <= self.rows {
            self.chunks.push(Arc::default());
        }
        self.rows += 1;
        let full = self.chunks.len() * self.rows_per_chunk() == self.rows;
        if let Some(chunk) = self.chunks.last_mut().map(Arc::make_mut) {
            chunk.numbers.extend(vector);
            chunk.norms.push(norm(vector));
            chunk.times.push(time);
            chunk.keys.push(key);
            if full {
                chunk.shrink();
            }
        }
        self.link();
        self.rows - 1
    }

    /// Takes rows into the graph, once there are enough of them.
    fn link(&mut self) {
        let VectorSearch::Hnsw(settings) = self.search else { return };
        let mut graph = match self.graph.take() {
            Some(graph) => graph,
            None if self.rows > settings.exact_below => Graph::new(settings),
            None => return,
        };
        for _ in graph.rows()..self.rows.min(graph.rows() + LINKED_AT_ONCE) {
            graph.push(&|one, other| self.far(settings.metric, one, other));
        }
        self.graph = Some(graph);
    }

    /// How far two rows are from each other; farther than any where they have no distance.
    fn far(&self, metric: Metric, one: usize, other: usize) -> f32 {
        let (Some(one), Some(other)) = (self.vector(one), self.vector(other)) else { return f32::INFINITY };
        metric.distance(one, other).unwrap_or(f32::INFINITY)
    }

    /// The numbers of a row and their norm.
    fn vector(&self, row: usize) -> Option<(&[f32], f64)> {
        let (chunk, row) = (self.chunks.get(row / self.rows_per_chunk())?, row % self.rows_per_chunk());
        Some((chunk.numbers.get(row * self.length..(row + 1) * self.length)?, *chunk.norms.get(row)?))
    }

    /// Puts the last row where another one was, and tells whose it is.
    pub(super) fn remove(&mut self, row: usize) -> Option<EntityKey> {
        let mut graph = self.graph.take();
        // Of a graph that has not all rows the last one of all takes the place, which is linked anew.
        let anew = graph.as_ref().is_some_and(|graph| row < graph.rows() && graph.rows() < self.rows);
        if let Some(graph) = graph.as_mut().filter(|graph| row < graph.rows()) {
            let metric = graph.settings().metric;
            let far = |one, other| self.far(metric, one, other);
            if anew { graph.take_out(row, &far) } else { graph.remove(row, &far) }
        }
        let moved = self.replace_by_last(row);
        if let Some(graph) = graph.as_mut().filter(|_| anew) {
            let metric = graph.settings().metric;
            graph.put(row, &|one, other| self.far(metric, one, other));
        }
        self.graph = graph;
        moved
    }

    fn replace_by_last(&mut self, row: usize) -> Option<EntityKey> {
        let (length, per_chunk) = (self.length, self.rows_per_chunk());
        let chunk = Arc::make_mut(self.chunks.last_mut()?);
        let numbers = chunk.numbers.split_off(chunk.numbers.len().checked_sub(length)?);
        let (norm, time, key) = (chunk.norms.pop()?, chunk.times.pop()?, chunk.keys.pop()?);
        if chunk.keys.is_empty() {
            self.chunks.pop();
        }
        self.rows -= 1;
        if row == self.rows {
            return None;
        }
        let (chunk, row) = (Arc::make_mut(self.chunks.get_mut(row / per_chunk)?), row % per_chunk);
        chunk.numbers.get_mut(row * length..(row + 1) * length)?.copy_from_slice(&numbers);
        *chunk.norms.get_mut(row)? = norm;
        *chunk.times.get_mut(row)? = time;
        *chunk.keys.get_mut(row)? = key.clone();
        Some(key)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn key(&self, row: usize) -> Option<&EntityKey> {
        let per_chunk = self.rows_per_chunk();
        self.chunks.get(row / per_chunk)?.keys.get(row % per_chunk)
    }

    pub(super) fn time(&self, row: usize) -> Option<i64> {
        let per_chunk = self.rows_per_chunk();
        self.chunks.get(row / per_chunk)?.times.get(row % per_chunk).copied()
    }

    /// The `most` rows nearest to `query` of those that `wanted` takes, nearest first, equal distances by key: by the
    /// graph where it is of this metric and has all rows, else exactly.
    pub(super) fn nearest(
        &self,
        query: &[f32],
        metric: Metric,
        most: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<(f32, usize)> {
        let known = (query, norm(query));
        let distance = |row: usize| self.vector(row).and_then(|vector| metric.distance(known, vector));
        let graph = self.graph.as_ref().filter(|graph| graph.settings().metric == metric && graph.rows() == self.rows);
        let walked = graph.and_then(|graph| {
            let found = graph.nearest(&|row| distance(row).unwrap_or(f32::INFINITY), most, &wanted);
            // One without a distance comes only where others are missing.
            found.filter(|found| found.iter().all(|near| near.distance.is_finite()))
        });
        let Some(walked) = walked else { return self.nearest_of_all(query, metric, most, wanted) };
        let mut found: Vec<(f32, usize)> = walked.iter().map(|Near { distance, row }| (*distance, *row)).collect();
        found.sort_unstable_by(|one, other| self.order(one, other));
        found.truncate(most);
        found
    }

    /// Nearer first, equal distances by key.
    fn order(&self, one: &(f32, usize), other: &(f32, usize)) -> Ordering {
        one.0.total_cmp(&other.0).then_with(|| self.key(one.1).cmp(&self.key(other.1)))
    }

    /// As [`Matrix::nearest`], by looking at every row.
    fn nearest_of_all(
        &self,
        query: &[f32],
        metric: Metric,
        most: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<(f32, usize)> {
        let query = (query, norm(query));
        let before = |one: &(f32, usize), other: &(f32, usize)| self.order(one, other);
        // Twice as many as are wanted, of which the farther half is dropped whenever it is full.
        let mut found: Vec<(f32, usize)> = Vec::with_capacity(2 * most.min(self.rows));
        let mut farthest = f32::INFINITY;
        let length = self.length.max(1);
        let rows =
            self.chunks.iter().flat_map(|chunk| chunk.numbers.chunks_exact(length).zip(&chunk.norms)).enumerate();
        for (row, (numbers, norm)) in rows {
            let Some(distance) = metric.distance(query, (numbers, *norm)) else { continue };
            if distance > farthest || !wanted(row) {
                continue;
            }
            found.push((distance, row));
            if found.len() >= 2 * most {
                found.select_nth_unstable_by(most - 1, before);
                found.truncate(most);
                farthest = found.last().map_or(farthest, |(distance, _)| *distance);
            }
        }
        found.sort_unstable_by(before);
        found.truncate(most);
        found
    }
}

#[cfg(test)]
impl Matrix {
    /// Bytes of all lists and of the graph, as they lie in memory.
    pub(super) fn bytes(&self) -> usize {
        let chunk = |chunk: &Arc<Chunk>| {
            let Chunk { numbers, norms, times, keys } = chunk.as_ref();
            4 * numbers.capacity()
                + 8 * (norms.capacity() + times.capacity())
                + keys.capacity() * size_of::<EntityKey>()
        };
        self.chunks.iter().map(chunk).sum::<usize>() + self.graph.as_ref().map_or(0, Graph::bytes)
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;
    use crate::vector::{
        HnswSettings,
        vectors::{
            Found, Vectors,
            tests::{head, hnsw, key, l2},
        },
    };

    const LENGTH: usize = 16;

    /// Vector `number`: uniform in a cube, or around one of 50 centres.
    fn drawn(number: u64, clustered: bool) -> Vec<f32> {
        let (random, centres) = (SplitMix64::new(7), SplitMix64::new(8));
        let part = |part: u64| {
            let noise = random.uniform(number * LENGTH as u64 + part) as f32 - 0.5;
            let centre = centres.uniform(number % 50 * LENGTH as u64 + part) as f32 - 0.5;
            if clustered { centre + 0.05 * noise } else { noise }
        };
        (0..LENGTH as u64).map(part).collect()
    }

    /// Which share of the 10 nearest to each of 100 vectors, which are not there themselves, a walk finds.
    fn recall(matrix: &Matrix, metric: Metric, clustered: bool) -> f64 {
        let mut common = 0;
        for question in 0..100 {
            let question = drawn(1_000_000 + question, clustered);
            let (known, graph) = ((question.as_slice(), norm(&question)), matrix.graph.as_ref().unwrap());
            let far = |row| metric.distance(known, matrix.vector(row).unwrap()).unwrap();
            let walked = graph.nearest(&far, 10, &|_| true).unwrap();
            let walked: Vec<(f32, usize)> = walked.iter().take(10).map(|near| (near.distance, near.row)).collect();
            let exact = matrix.nearest_of_all(&question, metric, 10, |_| true);
            assert_eq!((walked.len(), exact.len()), (10, 10));
            // Of equally far ones either counts.
            common += walked.iter().filter(|found| found.0 <= exact[9].0).count();
        }
        f64::from(u32::try_from(common).unwrap()) / 1_000.0
    }

    /// As it is built, and after two of three vectors were replaced or removed.
    #[test]
    fn a_walk_finds_nearly_all_of_the_nearest() {
        const ENTITIES: u64 = 2_000;
        for (metric, clustered) in [(Metric::L2, false), (Metric::L2, true), (Metric::Cosine, true)] {
            let settings =
                HnswSettings { metric, ef_construction: 64, ef_search: 48, exact_below: 100, ..Default::default() };
            let mut vectors = Vectors::new(hnsw(settings), usize::MAX);
            for number in 0..ENTITIES {
                vectors.set(&key(number), head(1), Found::Vector(drawn(number, clustered)));
            }
            let built = recall(vectors.matrix(LENGTH).unwrap(), metric, clustered);
            for number in (0..ENTITIES).filter(|number| number % 3 > 0) {
                let found = match number % 3 {
                    1 => Found::Vector(drawn(ENTITIES + number, clustered)),
                    _ => Found::Nothing,
                };
                vectors.set(&key(number), head(2), found);
            }
            let matrix = vectors.matrix(LENGTH).unwrap();
            matrix.graph.as_ref().unwrap().check(matrix.rows());
            let changed = recall(matrix, metric, clustered);
            println!("{metric:?}, clustered {clustered}: recall {built}, after changes {changed}");
            assert!(built >= 0.95 && changed >= 0.95, "{metric:?} {clustered}: {built}, {changed}");
        }
    }

    /// Many entities may have one vector, as that of an empty text.
    #[test]
    fn equal_vectors_do_not_hide_others() {
        let settings = HnswSettings { metric: Metric::L2, exact_below: 100, ..HnswSettings::default() };
        let mut vectors = Vectors::new(hnsw(settings), usize::MAX);
        for number in 0..1_500 {
            let vector = if number % 3 == 0 { vec![0.0; LENGTH] } else { drawn(number, false) };
            vectors.set(&key(number), head(1), Found::Vector(vector));
        }
        let matrix = vectors.matrix(LENGTH).unwrap();
        matrix.graph.as_ref().unwrap().check(matrix.rows());
        let recall = recall(matrix, Metric::L2, false);
        println!("recall beside equal vectors: {recall}");
        assert!(recall >= 0.9, "{recall}");
    }

    #[test]
    fn a_walk_takes_only_what_is_wanted_and_finds_enough_of_it() {
        let settings = HnswSettings { metric: Metric::L2, exact_below: 100, ..HnswSettings::default() };
        let mut vectors = Vectors::new(hnsw(settings), usize::MAX);
        (0..2_000).for_each(|number| vectors.set(&key(number), head(1), Found::Vector(drawn(number, true))));
        let matrix = vectors.matrix(LENGTH).unwrap();
        for every in [2, 100, 999, 2_000] {
            let wanted = |row: usize| row.is_multiple_of(every);
            let found = matrix.nearest(&drawn(5, true), Metric::L2, 10, wanted);
            let exact = matrix.nearest_of_all(&drawn(5, true), Metric::L2, 10, wanted);
            assert!(found.iter().all(|(_, row)| wanted(*row)), "1 of {every}");
            assert_eq!(found.len(), exact.len(), "1 of {every}");
        }
        let zeros = vec![0.0; LENGTH];
        vectors.set(&key(9_999), head(1), Found::Vector(zeros.clone()));
        assert_eq!(vectors.matrix(LENGTH).unwrap().nearest(&zeros, Metric::L2, 1, |_| true), [(0.0, 2_000)]);
    }

    #[test]
    fn vectors_without_a_direction_are_found_by_no_cosine() {
        let settings = HnswSettings { exact_below: 10, ..HnswSettings::default() };
        let mut vectors = Vectors::new(hnsw(settings), usize::MAX);
        for number in 0..100 {
            let vector = if number % 2 == 0 { vec![0.0; LENGTH] } else { drawn(number, false) };
            vectors.set(&key(number), head(1), Found::Vector(vector));
        }
        let found = vectors.matrix(LENGTH).unwrap().nearest(&drawn(7, false), Metric::Cosine, 60, |_| true);
        assert_eq!((found.len(), found[0].1), (50, 7));
    }

    /// Equal vectors have few links each, however many there are and however often they are written.
    #[test]
    fn equal_vectors_make_no_hub() {
        for (metric, value) in [(Metric::L2, 1.0), (Metric::Cosine, 0.0)] {
            let settings = HnswSettings { metric, m: 4, exact_below: 10, ..HnswSettings::default() };
            let mut vectors = Vectors::new(hnsw(settings), usize::MAX);
            let random = SplitMix64::new(3);
            for step in 0..3_000 {
                let number = if step < 500 { step } else { random.bits(step) % 500 };
                vectors.set(&key(number), head(step as i64), Found::Vector(vec![value; 3]));
            }
            let matrix = vectors.matrix(3).unwrap();
            matrix.graph.as_ref().unwrap().check(matrix.rows());
            assert_eq!(matrix.nearest(&[1.0; 3], Metric::L2, 20, |_| true).len(), 20);
        }
    }

    /// Vectors that come region by region, of which most are removed, are still found from each other.
    #[test]
    fn regions_that_come_and_go_are_not_cut_off() {
        for m in [2, 8] {
            let mut vectors = Vectors::new(l2(m), usize::MAX);
            let region = |number: u64| number / 100;
            let vector = |number: u64| {
                let mut vector = drawn(number, false);
                vector.iter_mut().for_each(|part| *part *= 0.1);
                vector[(region(number) % LENGTH as u64) as usize] += 10.0 * (region(number) + 1) as f32;
                vector
            };
            (0..2_000).for_each(|number| vectors.set(&key(number), head(1), Found::Vector(vector(number))));
            vectors.matrix(LENGTH).unwrap().graph.as_ref().unwrap().check(2_000);
            let gone = |number: &u64| !number.is_multiple_of(3) || region(*number) % 4 == 1;
            (0..2_000).filter(gone).for_each(|number| vectors.set(&key(number), head(2), Found::Nothing));
            let matrix = vectors.matrix(LENGTH).unwrap();
            matrix.graph.as_ref().unwrap().check(matrix.rows());
            if m == 8 {
                let missed = (0..2_000).filter(|number| !gone(number)).filter(|number| {
                    matrix.nearest(&vector(*number), Metric::L2, 1, |_| true).first().is_none_or(|near| near.0 > 0.0)
                });
                assert!(missed.count() <= 10);
            }
        }
    }

    /// No write builds the whole graph, and what is removed meanwhile is gone.
    #[test]
    fn a_graph_takes_its_rows_in_step_by_step() {
        let settings = HnswSettings { metric: Metric::L2, m: 4, exact_below: 300, ..HnswSettings::default() };
        let mut vectors = Vectors::new(hnsw(settings), usize::MAX);
        let mut linked = 0;
        for number in 0..400 {
            vectors.set(&key(number), head(1), Found::Vector(drawn(number, false)));
            // One that is linked already, one that is not, and the last one.
            if number % 50 == 20 && number > 300 {
                for gone in [number - 320, number - 30, number] {
                    vectors.set(&key(gone), head(2), Found::Nothing);
                }
            }
            let matrix = vectors.matrix(LENGTH).unwrap();
            let rows = matrix.graph.as_ref().map_or(0, Graph::rows);
            assert!(rows <= linked + LINKED_AT_ONCE);
            linked = rows;
            if let Some(graph) = &matrix.graph {
                graph.check(rows);
            }
            if number >= 7 {
                assert_eq!(matrix.nearest(&drawn(7, false), Metric::L2, 1, |_| true)[0].0, 0.0);
            }
        }
        (400..450).for_each(|number| vectors.set(&key(number), head(1), Found::Vector(drawn(number, false))));
        let matrix = vectors.matrix(LENGTH).unwrap();
        assert_eq!(matrix.graph.as_ref().map(Graph::rows), Some(matrix.rows()));
        matrix.graph.as_ref().unwrap().check(matrix.rows());
    }
}
