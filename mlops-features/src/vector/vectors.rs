//! The vectors of one feature in memory: which entity has which row of which matrix, one matrix for each length.
//!
//! A newer event replaces an older one and never the other way round, by the rule of online records. An entity whose
//! newest row has no usable vector keeps its time, so that an older vector does not come back.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::{VectorSearch, graph::Graph, matrix::Matrix};
use crate::online::{EntityKey, LatestHead};

/// About what an entity takes beside its key and its vector: up to half of a map's places are empty, and a key is an
/// allocation.
const ENTITY_BYTES: usize = 2 * size_of::<(EntityKey, Entry)>() + size_of::<(f64, i64, EntityKey)>() + 32;

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
#[derive(Debug)]
pub(super) struct Vectors {
    entries: HashMap<EntityKey, Entry>,
    matrices: BTreeMap<usize, Matrix>,
    unusable: usize,
    search: VectorSearch,
    /// About what all of it takes.
    bytes: usize,
    bytes_max: usize,
    /// Whether it took more: then it is empty, and stays so.
    overfull: bool,
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
    pub(super) fn new(search: VectorSearch, bytes_max: usize) -> Self {
        let (entries, matrices) = (HashMap::new(), BTreeMap::new());
        Self { entries, matrices, unusable: 0, search, bytes: 0, bytes_max, overfull: false }
    }

    /// Whether there were more vectors than it may hold.
    pub(super) fn is_overfull(&self) -> bool {
        self.overfull
    }

    /// What was written earlier and is read only now: a row of the same time that is there was written later.
    pub(super) fn load(&mut self, key: &EntityKey, head: LatestHead, found: Found) {
        if self.entries.get(key).is_none_or(|entry| !entry.head.replaces(head)) {
            self.set(key, head, found);
        }
    }

    /// What is written now.
    pub(super) fn set(&mut self, key: &EntityKey, head: LatestHead, found: Found) {
        if self.overfull || self.entries.get(key).is_some_and(|entry| !head.replaces(entry.head)) {
            return;
        }
        let before = self.entries.remove(key);
        let length_before = before.as_ref().map(|entry| entry.place.map_or(0, |place| place.length));
        self.bytes -= length_before.map_or(0, |length| self.cost(key, length));
        let length = if let Found::Vector(vector) = &found { vector.len() } else { 0 };
        self.bytes += self.cost(key, length);
        if self.bytes > self.bytes_max {
            *self = Self { overfull: true, ..Self::new(self.search, self.bytes_max) };
            return;
        }
        self.unusable -= usize::from(before.as_ref().is_some_and(|entry| entry.unusable));
        if let Some(place) = before.and_then(|entry| entry.place) {
            self.remove(place);
        }
        let unusable = found == Found::Unusable;
        let place = match found {
            Found::Vector(vector) => {
                let matrix =
                    self.matrices.entry(vector.len()).or_insert_with(|| Matrix::new(vector.len(), self.search));
                Some(Place { length: vector.len(), row: matrix.push(key.clone(), head.time, &vector) })
            }
            Found::Nothing | Found::Unusable => None,
        };
        self.unusable += usize::from(unusable);
        self.entries.insert(key.clone(), Entry { head, place, unusable });
    }

    /// About what an entity with a vector of `length` numbers takes, 0 for one without.
    fn cost(&self, key: &EntityKey, length: usize) -> usize {
        let links = match &self.search {
            VectorSearch::Hnsw(settings) if length > 0 => Graph::bytes_per_row(settings),
            _ => 0,
        };
        ENTITY_BYTES + key.as_ref().len() + length * size_of::<f32>() + links
    }

    fn remove(&mut self, place: Place) {
        let Some(matrix) = self.matrices.get_mut(&place.length) else { return };
        if let Some(entry) = matrix.remove(place.row).and_then(|moved| self.entries.get_mut(&moved)) {
            entry.place = Some(place);
        }
        if matrix.rows() == 0 {
            self.matrices.remove(&place.length);
        }
    }

    pub(super) fn matrix(&self, length: usize) -> Option<&Matrix> {
        self.matrices.get(&length)
    }

    /// The lengths that there are, and how many vectors have each.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (usize, usize)> {
        self.matrices.iter().map(|(length, matrix)| (*length, matrix.rows()))
    }

    /// Entities whose newest row has a list that is no vector.
    pub(super) fn unusable(&self) -> usize {
        self.unusable
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;
    use crate::vector::{HnswSettings, Metric, metric::norm};

    pub(in crate::vector) fn head(time: i64) -> LatestHead {
        LatestHead { time, created: None, cells: 1 }
    }

    pub(in crate::vector) fn key(number: u64) -> EntityKey {
        number.to_be_bytes().to_vec().into()
    }

    fn vectors() -> Vectors {
        Vectors::new(VectorSearch::Exact, usize::MAX)
    }

    pub(in crate::vector) fn hnsw(settings: HnswSettings) -> VectorSearch {
        VectorSearch::Hnsw(settings)
    }

    pub(in crate::vector) fn l2(m: usize) -> VectorSearch {
        hnsw(HnswSettings { metric: Metric::L2, m, exact_below: 10, ef_construction: 40, ..HnswSettings::default() })
    }

    /// What is counted is no less than what the lists take.
    #[test]
    fn what_lists_have_room_for_is_counted() {
        for length in [3, 300] {
            let mut vectors = Vectors::new(l2(8), usize::MAX);
            for number in 0..2_000 {
                let vector = (0..length).map(|part| SplitMix64::new(part).uniform(number) as f32).collect();
                vectors.set(&key(number), head(1), Found::Vector(vector));
            }
            let map = vectors.entries.allocation_size();
            let held = vectors.matrix(length as usize).unwrap().bytes() + map;
            assert!(held <= vectors.bytes + vectors.bytes / 20, "{held} of {}, length {length}", vectors.bytes);
        }
    }

    #[test]
    fn what_takes_too_much_leaves_nothing() {
        let entity = vectors().cost(&key(1), 3);
        let mut vectors = Vectors::new(VectorSearch::Exact, 10 * entity);
        for round in 0..3 {
            (0..10).for_each(|number| vectors.set(&key(number), head(round), Found::Vector(vec![1.0; 3])));
        }
        assert!(!vectors.is_overfull(), "what is replaced does not count twice");
        vectors.set(&key(1), head(9), Found::Nothing);
        vectors.set(&key(10), head(9), Found::Nothing);
        assert!(vectors.is_overfull() && vectors.matrix(3).is_none());
        vectors.set(&key(1), head(10), Found::Vector(vec![1.0]));
        assert_eq!(vectors.lengths().count(), 0);
    }

    #[test]
    fn what_is_searched_does_not_change_by_what_is_written() {
        let mut vectors = vectors();
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
        let mut vectors = vectors();
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
        history(VectorSearch::Exact);
        // A walk that keeps more than there are finds what there is.
        history(hnsw(HnswSettings {
            metric: Metric::L2,
            m: 8,
            ef_search: 2_000,
            exact_below: 20,
            ..Default::default()
        }));
    }

    fn history(search: VectorSearch) {
        let random = SplitMix64::new(20_261_126);
        let (mut vectors, mut expected) = (Vectors::new(search, usize::MAX), BTreeMap::new());
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
