//! The vectors of one feature in memory: one row per entity, dense by length, so that a search runs through buffers.
//!
//! A search looks at a copy that shares the chunks of rows; what is written meanwhile makes chunks of its own.
//!
//! A newer event replaces an older one and never the other way round, by the rule of online records. An entity whose
//! newest row has no usable vector keeps its time, so that an older vector does not come back.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use super::metric::{Metric, norm};
use crate::online::{EntityKey, LatestHead};

/// Numbers of a chunk, as far as whole rows allow.
const NUMBERS_PER_CHUNK: usize = 1 << 16;

/// Most rows of a chunk.
const ROWS_PER_CHUNK_MAX: usize = 1 << 12;

/// Rows of one length. Clones share them until one of them changes.
#[derive(Debug, Default, Clone)]
pub(super) struct Matrix {
    length: usize,
    rows: usize,
    /// All of them full but the last one.
    chunks: Vec<Arc<Chunk>>,
}

#[derive(Debug, Default, Clone)]
struct Chunk {
    numbers: Vec<f32>,
    norms: Vec<f64>,
    times: Vec<i64>,
    keys: Vec<EntityKey>,
}

/// Where an entity's vector lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    length: usize,
    row: usize,
}

#[derive(Debug)]
struct Entry {
    head: LatestHead,
    place: Option<Place>,
    unusable: bool,
}

/// Vectors by entity.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    entries: HashMap<EntityKey, Entry>,
    matrices: BTreeMap<usize, Matrix>,
    unusable: usize,
}

/// What an event says of an entity's vector.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    Vector(Vec<f32>),
    /// Null.
    Nothing,
    /// A list that is no vector: empty, too long, or with a part that is null or no finite number.
    Unusable,
}

impl Vectors {
    /// What was written earlier and is read only now: a row of the same time that is there was written later.
    pub(super) fn load(&mut self, key: &EntityKey, head: LatestHead, found: Found) {
        if self.entries.get(key).is_none_or(|entry| !entry.head.replaces(head)) {
            self.set(key, head, found);
        }
    }

    /// What is written now.
    pub(super) fn set(&mut self, key: &EntityKey, head: LatestHead, found: Found) {
        if self.entries.get(key).is_some_and(|entry| !head.replaces(entry.head)) {
            return;
        }
        let before = self.entries.remove(key);
        self.unusable -= usize::from(before.as_ref().is_some_and(|entry| entry.unusable));
        if let Some(place) = before.and_then(|entry| entry.place) {
            self.remove(place);
        }
        let unusable = found == Found::Unusable;
        let place = match found {
            Found::Vector(vector) => {
                let matrix = self.matrices.entry(vector.len()).or_insert_with(|| Matrix::new(vector.len()));
                Some(Place { length: vector.len(), row: matrix.push(key.clone(), head.time, &vector) })
            }
            Found::Nothing | Found::Unusable => None,
        };
        self.unusable += usize::from(unusable);
        self.entries.insert(key.clone(), Entry { head, place, unusable });
    }

    fn remove(&mut self, place: Place) {
        let Some(matrix) = self.matrices.get_mut(&place.length) else { return };
        if let Some(entry) = matrix.remove(place.row).and_then(|moved| self.entries.get_mut(&moved)) {
            entry.place = Some(place);
        }
        if matrix.rows == 0 {
            self.matrices.remove(&place.length);
        }
    }

    pub(super) fn matrix(&self, length: usize) -> Option<&Matrix> {
        self.matrices.get(&length)
    }

    /// The lengths that there are, and how many vectors have each.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (usize, usize)> {
        self.matrices.iter().map(|(length, matrix)| (*length, matrix.rows))
    }

    /// Entities whose newest row has a list that is no vector.
    pub(super) fn unusable(&self) -> usize {
        self.unusable
    }
}

impl Matrix {
    fn new(length: usize) -> Self {
        Self { length, rows: 0, chunks: Vec::new() }
    }

    fn rows_per_chunk(&self) -> usize {
        (NUMBERS_PER_CHUNK / self.length.max(1)).clamp(1, ROWS_PER_CHUNK_MAX)
    }

    fn push(&mut self, key: EntityKey, time: i64, vector: &[f32]) -> usize {
        if self.chunks.len() * self.rows_per_chunk() <= self.rows {
            self.chunks.push(Arc::default());
        }
        if let Some(chunk) = self.chunks.last_mut().map(Arc::make_mut) {
            chunk.numbers.extend(vector);
            chunk.norms.push(norm(vector));
            chunk.times.push(time);
            chunk.keys.push(key);
        }
        self.rows += 1;
        self.rows - 1
    }

    /// Puts the last row where another one was, and tells whose it is.
    fn remove(&mut self, row: usize) -> Option<EntityKey> {
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

    /// The `most` rows nearest to `query` of those that `wanted` takes, nearest first; equal distances by key.
    pub(super) fn nearest(
        &self,
        query: &[f32],
        metric: Metric,
        most: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<(f32, usize)> {
        let query = (query, norm(query));
        let key = |row: usize| self.key(row);
        let before = |one: &(f32, usize), other: &(f32, usize)| {
            one.0.total_cmp(&other.0).then_with(|| key(one.1).cmp(&key(other.1)))
        };
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
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;

    fn head(time: i64) -> LatestHead {
        LatestHead { time, created: None, cells: 1 }
    }

    fn key(number: u64) -> EntityKey {
        number.to_be_bytes().to_vec().into()
    }

    #[test]
    fn what_is_searched_does_not_change_by_what_is_written() {
        let mut vectors = Vectors::default();
        let vector = |number: u64| Found::Vector(vec![number as f32; 20_000]);
        (0..10).for_each(|number| vectors.set(&key(number), head(1), vector(number)));
        let searched = vectors.matrix(20_000).unwrap().clone();
        (0..5).for_each(|number| vectors.set(&key(number), head(2), Found::Nothing));
        vectors.set(&key(9), head(2), vector(90));
        let nearest = |matrix: &Matrix| {
            let found = matrix.nearest(&[9.0; 20_000], Metric::L2, 100, |_| true);
            found.into_iter().map(|(_, row)| matrix.key(row).unwrap().clone()).collect::<Vec<_>>()
        };
        assert_eq!(nearest(&searched), (0..10).rev().map(key).collect::<Vec<_>>());
        assert_eq!(nearest(vectors.matrix(20_000).unwrap()), [8, 7, 6, 5, 9].map(key));
    }

    #[test]
    fn of_rows_of_one_time_the_one_that_was_written_last_counts() {
        let mut vectors = Vectors::default();
        vectors.set(&key(1), head(7), Found::Vector(vec![1.0]));
        vectors.set(&key(1), head(7), Found::Vector(vec![1.0, 2.0]));
        vectors.load(&key(1), head(7), Found::Vector(vec![1.0, 2.0, 3.0]));
        assert_eq!(vectors.lengths().collect::<Vec<_>>(), [(2, 1)]);
        vectors.load(&key(1), head(8), Found::Vector(vec![1.0, 2.0, 3.0]));
        vectors.load(&key(2), head(1), Found::Vector(vec![1.0]));
        assert_eq!(vectors.lengths().collect::<Vec<_>>(), [(1, 1), (3, 1)]);
    }

    /// A long history of writes leaves what a map of the newest ones has, and a search finds what sorting all finds.
    #[test]
    fn any_history_leaves_the_newest_and_a_search_is_exact() {
        let random = SplitMix64::new(20_261_126);
        let (mut vectors, mut expected) = (Vectors::default(), BTreeMap::new());
        for step in 0..5_000 {
            let draw = |of: u64| random.bits(8 * step + of);
            let (entity, time) = (draw(0) % 300, i64::try_from(draw(1) % 1_000).unwrap());
            let length = if draw(2) % 10 == 0 { 5 } else { 3 };
            #[allow(clippy::cast_precision_loss, reason = "small")]
            let number = |part: u64| (draw(3).rotate_left(7 * part as u32) % 9) as f32 - 4.0;
            let found = match draw(4) % 20 {
                0 => Found::Nothing,
                1 => Found::Unusable,
                _ => Found::Vector((0..length).map(number).collect()),
            };
            vectors.set(&key(entity), head(time), found.clone());
            let entry = expected.entry(entity).or_insert((time, found.clone()));
            if time >= entry.0 {
                *entry = (time, found);
            }
        }
        let unusable = expected.values().filter(|(_, found)| *found == Found::Unusable).count();
        assert_eq!(vectors.unusable(), unusable);
        for length in [3, 5] {
            let matrix = vectors.matrix(length).unwrap();
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let query: Vec<f32> = (1..=length).map(|part| part as f32 / 2.0).collect();
                let mut all: Vec<(f32, u64)> = Vec::new();
                for (entity, (_, found)) in &expected {
                    let Found::Vector(vector) = found else { continue };
                    let known = (vector.as_slice(), norm(vector));
                    let distance = Some(()).filter(|()| vector.len() == length && entity % 3 > 0);
                    let distance = distance.and_then(|()| metric.distance((&query, norm(&query)), known));
                    all.extend(distance.map(|distance| (distance, *entity)));
                }
                all.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
                for most in [1, 7, 1_000] {
                    let entity = |row: usize| u64::from_be_bytes(matrix.key(row).unwrap().as_ref().try_into().unwrap());
                    let found = matrix.nearest(&query, metric, most, |row| entity(row) % 3 > 0);
                    let found: Vec<(f32, u64)> = found.into_iter().map(|(far, row)| (far, entity(row))).collect();
                    assert_eq!(found, all[..most.min(all.len())], "{metric:?} {length} {most}");
                }
            }
        }
    }
}
