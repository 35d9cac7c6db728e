//! A hierarchical navigable small world of rows (Malkov and Yashunin, 2016, <https://arxiv.org/abs/1603.09320>): each
//! row is linked with some near ones on level 0, few rows on each higher level as well, and a search walks from far to
//! near. Distances are asked for; the graph has links alone.
//!
//! A link is always there in both directions, so a row is taken out with all links to it: nothing that was removed or
//! overwritten is ever walked over, and nothing has to be rebuilt. From every row of a level links lead to every other:
//! those that a row linked are linked with each other when it is taken out, and of too many links those go first whose
//! row is linked with another one that stays.
//!
//! Rows lie in chunks that clones share until one of them changes.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
};

use hashbrown::{HashMap, HashSet};

use super::HnswSettings;

/// Rows of a chunk.
const ROWS_PER_CHUNK: usize = 64;

/// How many rows a walk keeps on the levels where it only looks for the region.
const REGIONS: usize = 8;

/// For how many more links there is room when there is none left: lists that double would be half empty.
const LINKS_AT_ONCE: usize = 4;

/// Bytes that an allocation takes beside what is in it.
const ALLOCATION: usize = 16;

/// Highest level that there is; with 2 links a row, 1 of 65,536 rows is there.
const LEVEL_MAX: usize = 16;

/// How many rows around one that is taken out are linked anew with each of the others.
const MENDED: usize = 2;

/// A row and how far it is. Nearer is less, and of one distance the row behind the others: so one that is equal to many
/// is linked with those that were added before it, and not all of them with the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub(super) distance: f32,
    pub(super) row: usize,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The links of a row by level.
type Node = Vec<Vec<u32>>;

#[derive(Debug, Clone)]
pub(super) struct Graph {
    settings: HnswSettings,
    chunks: Vec<Arc<Vec<Node>>>,
    rows: usize,
    /// A row of the highest level, where walks begin.
    entry: Option<usize>,
    /// How many levels were drawn.
    drawn: u64,
}

impl Graph {
    pub(super) fn new(settings: HnswSettings) -> Self {
        Self { settings, chunks: Vec::new(), rows: 0, entry: None, drawn: 0 }
    }

    pub(super) fn settings(&self) -> &HnswSettings {
        &self.settings
    }

    /// About how many bytes one row takes.
    pub(super) fn bytes_per_row(settings: &HnswSettings) -> usize {
        // Of m rows one is on the next level, so there are about m / (m - 1) levels.
        let links = size_of::<u32>() * (2 * settings.m + 2 + LINKS_AT_ONCE);
        size_of::<Node>() + 2 * size_of::<Vec<u32>>() + links + 3 * ALLOCATION
    }

    /// Of how many rows it is.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row behind the others.
    pub(super) fn push(&mut self, far: &impl Fn(usize, usize) -> f32) {
        if self.rows.is_multiple_of(ROWS_PER_CHUNK) {
            self.chunks.push(Arc::default());
        }
        if let Some(chunk) = self.chunks.last_mut() {
            Arc::make_mut(chunk).push(Node::new());
        }
        self.rows += 1;
        self.put(self.rows - 1, far);
    }

    /// Links a row that has no links yet.
    pub(super) fn put(&mut self, row: usize, far: &impl Fn(usize, usize) -> f32) {
        let level = self.draw();
        if let Some(node) = self.node_mut(row) {
            *node = vec![Vec::new(); level + 1];
        }
        let Some(entry) = self.entry else {
            self.entry = Some(row);
            return;
        };
        let top = self.level(entry);
        let to_row = |other: usize| far(row, other);
        let mut near = vec![Near { distance: to_row(entry), row: entry }];
        for level in (level + 1..=top).rev() {
            near = self.walk(&to_row, near, &Walk::nearest(level, REGIONS)).unwrap_or_default();
        }
        for level in (0..=level.min(top)).rev() {
            // Past some equal rows, so that those around them are seen, too.
            let equal_max = self.settings.m.div_ceil(2);
            let walk = Walk { equal_max, ..Walk::nearest(level, self.settings.ef_construction) };
            near = self.walk(&to_row, near, &walk).unwrap_or_default();
            for other in choose(&near, self.settings.m, far) {
                self.link(row, other.row, level);
                self.shrink(other.row, level, far);
            }
        }
        if level > top {
            self.entry = Some(row);
        }
    }

    /// Takes a row out, and gives its place to the last one.
    pub(super) fn remove(&mut self, row: usize, far: &impl Fn(usize, usize) -> f32) {
        self.take_out(row, far);
        let last = self.rows - 1;
        let moved = self.node_mut(last).map(std::mem::take).unwrap_or_default();
        if row != last {
            for (level, neighbours) in moved.iter().enumerate() {
                for other in neighbours {
                    let renamed =
                        |linked: &mut u32| *linked = if *linked as usize == last { row as u32 } else { *linked };
                    self.links_mut(*other as usize, level, |links| links.iter_mut().for_each(renamed));
                }
            }
            if let Some(node) = self.node_mut(row) {
                *node = moved;
            }
        }
        if let Some(chunk) = self.chunks.last_mut() {
            Arc::make_mut(chunk).pop();
        }
        self.chunks.pop_if(|chunk| chunk.is_empty());
        self.rows = last;
        if self.entry == Some(last) {
            self.entry = Some(row);
        }
    }

    /// Takes the links of a row and leaves its place.
    pub(super) fn take_out(&mut self, row: usize, far: &impl Fn(usize, usize) -> f32) {
        let links = self.node_mut(row).map(std::mem::take).unwrap_or_default();
        for (level, neighbours) in links.iter().enumerate() {
            let neighbours: Vec<usize> = neighbours.iter().map(|other| *other as usize).collect();
            for other in &neighbours {
                self.links_mut(*other, level, |links| links.retain(|linked| *linked as usize != row));
            }
            self.mend(&neighbours, level, far);
        }
        if self.entry == Some(row) {
            self.entry = (0..self.rows).filter(|other| *other != row).max_by_key(|other| self.level(*other));
        }
    }

    /// At least `most` rows, among them nearly all that `far` says are nearest of those that `wanted` takes, nearest
    /// first. None where the walk does not find as many, or sees so many that are not wanted that looking at all rows is
    /// as good.
    pub(super) fn nearest(
        &self,
        far: &impl Fn(usize) -> f32,
        most: usize,
        wanted: &impl Fn(usize) -> bool,
    ) -> Option<Vec<Near>> {
        let entry = self.entry?;
        let mut near = vec![Near { distance: far(entry), row: entry }];
        for level in (1..=self.level(entry)).rev() {
            near = self.walk(far, near, &Walk::nearest(level, REGIONS))?;
        }
        let keep = self.settings.ef_search.max(most);
        let walk = Walk { level: 0, keep, unwanted_max: self.rows / 4, equal_max: usize::MAX, wanted };
        self.walk(far, near, &walk).filter(|found| found.len() >= most)
    }

    /// Walks on one level from rows that are known, as long as it comes nearer.
    fn walk<W: Fn(usize) -> bool>(
        &self,
        far: &impl Fn(usize) -> f32,
        from: Vec<Near>,
        walk: &Walk<W>,
    ) -> Option<Vec<Near>> {
        let mut seen: HashSet<usize> = from.iter().map(|near| near.row).collect();
        let mut found: BinaryHeap<Near> = from.iter().copied().filter(|near| (walk.wanted)(near.row)).collect();
        let mut open: BinaryHeap<Reverse<Near>> = from.into_iter().map(Reverse).collect();
        let (mut unwanted, mut equal) = (0, HashMap::new());
        while let Some(Reverse(at)) = open.pop() {
            let farther = |near: Near, found: &BinaryHeap<Near>| {
                found.len() >= walk.keep && found.peek().is_some_and(|farthest| near > *farthest)
            };
            if farther(at, &found) {
                break;
            }
            for row in self.links(at.row, walk.level) {
                if !seen.insert(row) {
                    continue;
                }
                let near = Near { distance: far(row), row };
                if farther(near, &found) {
                    continue;
                }
                if walk.equal_max < usize::MAX {
                    let equal = equal.entry(near.distance.to_bits()).or_insert(0_usize);
                    *equal += 1;
                    if *equal > walk.equal_max {
                        continue;
                    }
                }
                open.push(Reverse(near));
                if (walk.wanted)(row) {
                    found.push(near);
                    if found.len() > walk.keep {
                        found.pop();
                    }
                } else {
                    unwanted += 1;
                }
            }
            if unwanted > walk.unwanted_max {
                return None;
            }
        }
        let mut found = found.into_sorted_vec();
        found.truncate(walk.keep);
        Some(found)
    }

    /// Links those that one in their middle has linked until now: each with near ones, and all of them together.
    fn mend(&mut self, rows: &[usize], level: usize, far: &impl Fn(usize, usize) -> f32) {
        let mut links = tree(rows, far);
        for row in rows {
            let others = rows.iter().filter(|other| *other != row);
            let mut near: Vec<Near> = others.map(|other| Near { distance: far(*row, *other), row: *other }).collect();
            near.sort_unstable();
            links.extend(near.iter().take(MENDED).map(|other| (*row, other.row)));
        }
        for (row, other) in links {
            self.link(row, other, level);
        }
        // After all of them, since only then a way around is known.
        rows.iter().for_each(|row| self.shrink(*row, level, far));
    }

    /// Takes links from a row that has too many, the least useful ones first. Where a row would be cut off, it is linked
    /// with another one instead.
    fn shrink(&mut self, row: usize, level: usize, far: &impl Fn(usize, usize) -> f32) {
        let most = self.links_max(level);
        let mut near: Vec<Near> =
            self.links(row, level).map(|other| Near { distance: far(row, other), row: other }).collect();
        if near.len() <= most {
            return;
        }
        near.sort_unstable();
        let chosen: Vec<usize> = choose(&near, most, far).into_iter().map(|near| near.row).collect();
        let mut kept: HashSet<usize> = near.iter().map(|near| near.row).collect();
        let left_out: Vec<usize> = near.iter().rev().map(|near| near.row).filter(|row| !chosen.contains(row)).collect();
        for other in left_out.iter().chain(chosen.iter().rev()) {
            if kept.len() > most && self.links(*other, level).any(|linked| kept.contains(&linked)) {
                self.unlink(row, *other, level);
                kept.remove(other);
            }
        }
        for other in left_out {
            if kept.len() <= most || !kept.remove(&other) {
                continue;
            }
            if let Some(next) = kept.iter().copied().min_by_key(|next| (self.links(*next, level).count(), *next)) {
                self.link(other, next, level);
                self.unlink(row, other, level);
            }
        }
    }

    /// Most links of a row, on no level fewer than twice the least `m`, which leave room to hand a row on.
    fn links_max(&self, level: usize) -> usize {
        if level == 0 { 2 * self.settings.m } else { self.settings.m.max(4) }
    }

    fn unlink(&mut self, row: usize, other: usize, level: usize) {
        for (from, to) in [(row, other), (other, row)] {
            self.links_mut(from, level, |links| links.retain(|linked| *linked as usize != to));
        }
    }

    fn link(&mut self, row: usize, other: usize, level: usize) {
        if self.links(row, level).any(|linked| linked == other) {
            return;
        }
        for (from, to) in [(row, other), (other, row)] {
            self.links_mut(from, level, |links| {
                if links.len() == links.capacity() {
                    links.reserve_exact(LINKS_AT_ONCE);
                }
                links.push(to as u32);
            });
        }
    }

    /// The level of the next row: of `m` rows one is on the next level, too. Drawn by SplitMix64 from a count, so that
    /// a graph depends on nothing but what was pushed.
    fn draw(&mut self) -> usize {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.drawn;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let mut level = 0;
        // Level by level, since a product of draws is exponential.
        let m = self.settings.m.max(2) as u64;
        while level < LEVEL_MAX && bits.is_multiple_of(m) {
            (level, bits) = (level + 1, bits / m);
        }
        level
    }

    fn node(&self, row: usize) -> Option<&Node> {
        self.chunks.get(row / ROWS_PER_CHUNK)?.get(row % ROWS_PER_CHUNK)
    }

    fn node_mut(&mut self, row: usize) -> Option<&mut Node> {
        Arc::make_mut(self.chunks.get_mut(row / ROWS_PER_CHUNK)?).get_mut(row % ROWS_PER_CHUNK)
    }

    /// The highest level that a row is on.
    fn level(&self, row: usize) -> usize {
        self.node(row).map_or(0, |node| node.len().saturating_sub(1))
    }

    fn links(&self, row: usize, level: usize) -> impl Iterator<Item = usize> + '_ {
        self.node(row).and_then(|node| node.get(level)).into_iter().flatten().map(|row| *row as usize)
    }

    fn links_mut(&mut self, row: usize, level: usize, change: impl FnOnce(&mut Vec<u32>)) {
        if let Some(links) = self.node_mut(row).and_then(|node| node.get_mut(level)) {
            change(links);
        }
    }
}

/// How far a walk goes.
struct Walk<W> {
    level: usize,
    /// How many near rows it keeps.
    keep: usize,
    /// After how many rows that are not wanted it is given up.
    unwanted_max: usize,
    /// How many rows of one distance it goes to.
    equal_max: usize,
    wanted: W,
}

impl Walk<fn(usize) -> bool> {
    /// To the nearest rows, whatever they are.
    fn nearest(level: usize, keep: usize) -> Self {
        Self { level, keep, unwanted_max: usize::MAX, equal_max: usize::MAX, wanted: |_| true }
    }
}

/// Up to `most` of `near`, which are sorted: first those that lie no nearer to one that was chosen than to the middle,
/// so that links lead to all sides, and no two in one place, so that many equal ones are not linked with each other alone;
/// then the nearest of the others.
fn choose(near: &[Near], most: usize, far: &impl Fn(usize, usize) -> f32) -> Vec<Near> {
    let (mut chosen, mut others): (Vec<Near>, Vec<Near>) = (Vec::new(), Vec::new());
    for one in near {
        if chosen.len() == most {
            break;
        }
        let is_apart = |distance: f32| distance > 0.0 && one.distance <= distance;
        let apart = chosen.iter().all(|other| is_apart(far(one.row, other.row)));
        if apart { &mut chosen } else { &mut others }.push(*one);
    }
    let left = most - chosen.len();
    chosen.extend(others.into_iter().take(left));
    chosen
}

/// Links that lead from each of `rows` to every other, as short as can be (Prim, 1957). Equal rows are in a line, so that
/// none has many.
fn tree(rows: &[usize], far: &impl Fn(usize, usize) -> f32) -> Vec<(usize, usize)> {
    let Some((first, others)) = rows.split_first() else { return Vec::new() };
    let mut open: Vec<(f32, usize, usize)> = others.iter().map(|row| (far(*first, *row), *first, *row)).collect();
    let mut links = Vec::with_capacity(open.len());
    let nearest = |open: &[(f32, usize, usize)]| {
        open.iter().enumerate().min_by(|(_, one), (_, other)| one.0.total_cmp(&other.0)).map(|(at, _)| at)
    };
    while let Some(at) = nearest(&open) {
        let (_, from, row) = open.swap_remove(at);
        links.push((from, row));
        for (distance, from, other) in &mut open {
            let nearer = far(row, *other);
            if nearer <= *distance {
                (*distance, *from) = (nearer, row);
            }
        }
    }
    links
}

#[cfg(test)]
impl Graph {
    /// Bytes of all links, as they lie in memory.
    pub(super) fn bytes(&self) -> usize {
        let links = |node: &Node| node.iter().map(|links| links.capacity() * size_of::<u32>()).sum::<usize>();
        let node = |node: &Node| links(node) + node.capacity() * size_of::<Vec<u32>>() + size_of::<Node>();
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(node).sum()
    }

    /// Every row has links to other rows alone, not too many, and each of them back; from the entry every row of a level
    /// is reached.
    pub(super) fn check(&self, rows: usize) {
        assert_eq!(self.rows, rows);
        for row in 0..rows {
            for level in 0..=self.level(row) {
                let links: Vec<usize> = self.links(row, level).collect();
                let distinct: HashSet<usize> = links.iter().copied().collect();
                assert_eq!(links.len(), distinct.len(), "row {row} on level {level}");
                // Where all of its neighbours are full, one may be handed on to a full one.
                assert!(links.len() <= 2 * self.links_max(level), "row {row} on level {level} has {}", links.len());
                for other in links {
                    assert!(other != row && other < rows, "row {row} is linked with {other}");
                    assert!(self.links(other, level).any(|back| back == row), "{other} has no link back to {row}");
                }
            }
        }
        let entry = self.entry.unwrap();
        assert!((0..rows).all(|row| self.level(row) <= self.level(entry)));
        for level in 0..=self.level(entry) {
            let (mut reached, mut open) = (vec![false; rows], vec![entry]);
            while let Some(row) = open.pop() {
                if !std::mem::replace(&mut reached[row], true) {
                    open.extend(self.links(row, level));
                }
            }
            let all = (0..rows).filter(|row| self.level(*row) >= level).all(|row| reached[row]);
            assert!(all, "rows of level {level} that no walk reaches");
        }
    }
}
