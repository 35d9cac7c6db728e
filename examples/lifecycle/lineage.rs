//! Who was made from what, drawn in columns from source to alias.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{report::escape, results::Lineage};

const COLUMN: f64 = 200.0;
const ROW: f64 = 44.0;
const NODE_WIDTH: f64 = 168.0;
const NODE_HEIGHT: f64 = 30.0;

/// The drawing. Each node stands one column right of the last of its sources.
pub fn svg(lineage: &Lineage) -> String {
    let columns = columns(lineage);
    let mut height_of_column: BTreeMap<usize, usize> = BTreeMap::new();
    let mut position: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for node in order(lineage) {
        let column = columns[node];
        let row = height_of_column.entry(column).or_default();
        position.insert(node, (column as f64 * COLUMN, *row as f64 * ROW));
        *row += 1;
    }
    let width = (columns.values().max().copied().unwrap_or(0) + 1) as f64 * COLUMN;
    let height = height_of_column.values().max().copied().unwrap_or(1) as f64 * ROW;
    let mut svg = format!("<svg viewBox=\"-4 -4 {width} {height}\" role=\"img\">");
    for (from, to) in &lineage.edges {
        let (x1, y1) = position[from.as_str()];
        let (x2, y2) = position[to.as_str()];
        let (x1, y1, y2) = (x1 + NODE_WIDTH, y1 + NODE_HEIGHT / 2.0, y2 + NODE_HEIGHT / 2.0);
        let bend = (x1 + x2) / 2.0;
        let _ = write!(svg, "<path class=\"edge\" d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\"/>");
    }
    for (node, (x, y)) in &position {
        let shown: String =
            if node.chars().count() > 26 { node.chars().take(25).chain(['…']).collect() } else { (*node).to_owned() };
        let _ = write!(
            svg,
            "<rect class=\"node\" x=\"{x}\" y=\"{y}\" width=\"{NODE_WIDTH}\" height=\"{NODE_HEIGHT}\" rx=\"6\"><title>{}</title></rect>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            escape(node),
            x + NODE_WIDTH / 2.0,
            y + 19.0,
            escape(&shown)
        );
    }
    svg + "</svg>"
}

/// Nodes in order of first mention.
fn order(lineage: &Lineage) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let nodes = lineage.edges.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]);
    nodes.filter(|node| seen.insert(*node)).collect()
}

/// Longest path from a source; bounded by the number of nodes, so that a cycle cannot hang it.
fn columns(lineage: &Lineage) -> BTreeMap<&str, usize> {
    let nodes = order(lineage);
    let mut column: BTreeMap<&str, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    for _ in 0..nodes.len() {
        for (from, to) in &lineage.edges {
            let after = column[from.as_str()] + 1;
            if let Some(current) = column.get_mut(to.as_str())
                && *current < after
                && after < nodes.len()
            {
                *current = after;
            }
        }
    }
    column
}
