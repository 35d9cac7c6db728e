//! A lineage graph as a drawing: data flows from left to right.
//!
//! Invariant: a node stands right of all that lead to it, as far as there is no circle; at most [`NODES_SHOWN`] are drawn.

use mlops_core::{ModelName, RunId, Version};

use super::{ask::Link, format, html::Html, models};
use crate::{
    LineageGraph,
    registry::{LineageKind, LineageNode, LineageRelation},
};

const NODES_SHOWN: usize = 60;
/// In units of the drawing: a node, and the room between nodes.
const WIDTH: usize = 190;
const HEIGHT: usize = 46;
const ACROSS: usize = 90;
const DOWN: usize = 18;

/// Column and row of each node.
fn places(graph: &LineageGraph, count: usize) -> Vec<(usize, usize)> {
    let mut columns = vec![0; count];
    // Longest path from a source; a circle ends with the passes.
    for _ in 0..count {
        let before = columns.clone();
        for edge in &graph.edges {
            let from = columns.get(edge.from).copied();
            if let (Some(from), Some(to)) = (from, columns.get_mut(edge.to)) {
                *to = (from + 1).max(*to).min(count - 1);
            }
        }
        if before == columns {
            break;
        }
    }
    // A column that nothing stands in takes no room.
    let mut used = columns.clone();
    used.sort_unstable();
    used.dedup();
    let mut rows = vec![0; used.len()];
    let place = |column: &usize| {
        let column = used.binary_search(column).unwrap_or_default();
        let row = rows.get_mut(column).map_or(0, |next| {
            *next += 1;
            *next - 1
        });
        (column, row)
    };
    columns.iter().map(place).collect()
}

fn kind(node: &LineageNode) -> (&'static str, &'static str) {
    match node.kind {
        LineageKind::Run => ("run", "k-run"),
        LineageKind::Dataset => ("dataset", "k-data"),
        LineageKind::Feature => ("feature", "k-data"),
        LineageKind::Version => ("model version", "k-version"),
        LineageKind::Alias => ("alias", "k-use"),
        LineageKind::Environment => ("environment", "k-use"),
    }
}

fn relation(relation: LineageRelation) -> &'static str {
    match relation {
        LineageRelation::ReadBy => "read by",
        LineageRelation::Made => "made",
        LineageRelation::ParentOf => "parent of",
        LineageRelation::PromotedTo => "promoted to",
        LineageRelation::ServedAs => "served as",
    }
}

fn page_of(node: &LineageNode) -> Option<Link> {
    match node.kind {
        LineageKind::Run => node.name.parse::<RunId>().ok().map(|id| super::run::of(&id)),
        LineageKind::Version => {
            let version: Version = node.version.as_deref()?.parse().ok()?;
            Some(models::of_version(&ModelName::new(&node.name).ok()?, version))
        }
        _ => None,
    }
}

pub(super) fn write(html: &mut Html, graph: &LineageGraph) {
    let nodes: Vec<&LineageNode> = graph.nodes.iter().take(NODES_SHOWN).collect();
    if nodes.len() < 2 {
        html.raw("<p class=\"note\">Nothing is on record about where it came from or went.</p>");
        return;
    }
    let places = places(graph, nodes.len());
    let (columns, rows) =
        places.iter().fold((0, 0), |(columns, rows), (column, row)| (columns.max(column + 1), rows.max(row + 1)));
    let (width, height) = (columns * (WIDTH + ACROSS) - ACROSS + 4, rows * (HEIGHT + DOWN) - DOWN + 4);
    html.raw("<div class=\"scroll drawing\" tabindex=\"0\"><svg class=\"lineage\" role=\"group\" aria-label=\"Lineage\" viewBox=\"-2 -2 ");
    html.text(width).raw(" ").text(height).raw("\" width=\"").text(width).raw("\" height=\"").text(height).raw("\">");
    html.raw("<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">");
    html.raw("<path d=\"M0 0L8 4L0 8z\"/></marker></defs>");
    let corner = |place: &(usize, usize)| (place.0 * (WIDTH + ACROSS), place.1 * (HEIGHT + DOWN));
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (places.get(edge.from).map(corner), places.get(edge.to).map(corner)) else {
            continue;
        };
        let (start, end) = ((from.0 + WIDTH, from.1 + HEIGHT / 2), (to.0, to.1 + HEIGHT / 2));
        let bend = ACROSS / 2;
        html.raw("<path class=\"edge\" marker-end=\"url(#arrow)\" d=\"M").text(start.0).raw(" ").text(start.1).raw("C");
        html.text(start.0 + bend).raw(" ").text(start.1).raw(" ").text(end.0.saturating_sub(bend)).raw(" ").text(end.1);
        html.raw(" ")
            .text(end.0)
            .raw(" ")
            .text(end.1)
            .raw("\"><title>")
            .raw(relation(edge.relation))
            .raw("</title></path>");
    }
    for (node, place) in nodes.iter().zip(&places) {
        write_node(html, node, corner(place));
    }
    html.raw("</svg></div>");
    let left_out = graph.nodes.len() - nodes.len();
    if left_out > 0 {
        html.raw("<p class=\"note\">").text(format::count(left_out as u64, "more thing")).raw(" not drawn.</p>");
    }
}

fn write_node(html: &mut Html, node: &LineageNode, (x, y): (usize, usize)) {
    let (word, class) = kind(node);
    let page = page_of(node);
    if let Some(page) = &page {
        html.raw("<a href=\"").text(page).raw("\">");
    }
    html.raw("<g class=\"node ").raw(class).raw("\"><title>").text(&node.name);
    if let Some(version) = &node.version {
        html.raw(" ").text(version);
    }
    html.raw("</title><rect rx=\"8\" width=\"").text(WIDTH).raw("\" height=\"").text(HEIGHT).raw("\" x=\"").text(x);
    html.raw("\" y=\"")
        .text(y)
        .raw("\"/><text class=\"kind\" x=\"")
        .text(x + 12)
        .raw("\" y=\"")
        .text(y + 18)
        .raw("\">");
    html.raw(word).raw("</text><text x=\"").text(x + 12).raw("\" y=\"").text(y + 35).raw("\">");
    let version = node.version.as_ref().map(|version| format!(" \u{b7} {}", format::shortened(version, 8)));
    html.text(format::shortened(&node.name, 14)).text(version.unwrap_or_default()).raw("</text></g>");
    if page.is_some() {
        html.raw("</a>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::LineageEdge;

    #[test]
    fn what_leads_stands_left_and_circles_end() {
        let edge = |from, to| LineageEdge { from, to, relation: LineageRelation::Made };
        let node = |name: &str| LineageNode { kind: LineageKind::Run, name: name.into(), version: None };
        let mut graph = LineageGraph {
            nodes: ["version", "run", "data", "alias"].map(node).to_vec(),
            edges: vec![edge(2, 1), edge(1, 0), edge(0, 3)],
        };
        assert_eq!(places(&graph, 4), [(2, 0), (1, 0), (0, 0), (3, 0)]);
        graph.edges.push(edge(3, 2));
        assert_eq!(places(&graph, 4).len(), 4);
    }
}
