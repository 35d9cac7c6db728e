//! The table of the runs of an experiment.
//!
//! Invariant: what is read does not grow with the number of runs: one page of rows, the keys of a few runs for the choice
//! of columns, and a count.

use std::{collections::BTreeSet, sync::Arc};

use axum::{extract::Path, http::StatusCode, response::IntoResponse};
use mlops_core::{ErrorKind, Result};

use super::{
    UiStores,
    ask::{Asked, Link},
    experiments::{is_internal, write_pages, write_tags},
    format,
    html::Html,
    page::{Answer, Page, Part, write_error},
};
use crate::{Columns, Experiment, ExperimentId, PageRequest, RunRecord, Search, SearchColumns, View};

/// Runs on a page.
const RUNS_SHOWN: usize = 100;
/// Runs whose keys are offered as columns.
const RUNS_PROBED: usize = 20;
/// Keys of each kind that are offered as columns.
const KEYS_OFFERED: usize = 200;
/// Metrics and params that are shown unless others are chosen, of each.
const COLUMNS_FIRST: usize = 5;
/// Columns that can be chosen.
const COLUMNS_MAX: usize = 60;
const ORDER_FIRST: &str = "attributes.start_time DESC";

/// What of a run a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Metric,
    Param,
    Tag,
}

impl Kind {
    const ALL: [(Self, &'static str, &'static str); 3] =
        [(Self::Metric, "metrics", "Metrics"), (Self::Param, "params", "Params"), (Self::Tag, "tags", "Tags")];

    fn group(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("tags", |(_, group, _)| group)
    }
}

/// A chosen column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    kind: Kind,
    key: String,
}

impl Column {
    fn parse(text: &str) -> Option<Self> {
        let (group, key) = text.split_once('.')?;
        let (kind, ..) = Kind::ALL.iter().find(|(_, name, _)| *name == group)?;
        Some(Self { kind: *kind, key: key.to_owned() })
    }

    fn name(&self) -> String {
        format!("{}.{}", self.kind.group(), self.key)
    }

    /// As an order names it; the grammar has no escapes, so a key with both quotes orders nothing.
    fn order(&self) -> Option<String> {
        let quote = ['`', '"'].into_iter().find(|quote| !self.key.contains(*quote))?;
        Some(format!("{}.{quote}{}{quote}", self.kind.group(), self.key))
    }
}

/// What is asked of the table.
struct Table {
    experiment: Experiment,
    filter: String,
    order: String,
    view: View,
    chosen: Vec<Column>,
    offered: Vec<Column>,
    token: Option<String>,
    before: u64,
}

impl Table {
    fn search(&self, columns: &[Column], max: usize) -> Search {
        let keys = |kind| Columns::only(columns.iter().filter(|column| column.kind == kind).map(|column| &column.key));
        Search {
            filter: self.filter.clone(),
            order_by: vec![self.order.clone()],
            view: self.view,
            page: PageRequest { max_results: Some(max), token: self.token.clone() },
            columns: SearchColumns { metrics: keys(Kind::Metric), params: keys(Kind::Param), tags: keys(Kind::Tag) },
        }
    }

    /// This table, from its first page on.
    fn link(&self, order: &str) -> Link {
        let link = self
            .chosen
            .iter()
            .fold(super::experiments::of(self.experiment.id), |link, column| link.with("col", column.name()));
        let link = if self.view == View::DeletedOnly { link.with("deleted", 1) } else { link };
        link.with("filter", &self.filter).with("order", order)
    }
}

pub(super) async fn table(stores: UiStores, Path(id): Path<String>, asked: Asked) -> Answer<impl IntoResponse> {
    let id: ExperimentId = id.parse()?;
    let mut table = Table {
        experiment: stores.tracking.experiment(id).await?,
        filter: asked.one("filter").unwrap_or_default().to_owned(),
        order: asked.one("order").unwrap_or(ORDER_FIRST).to_owned(),
        view: if asked.one("deleted").is_some() { View::DeletedOnly } else { View::ActiveOnly },
        chosen: asked.all("col").filter_map(Column::parse).take(COLUMNS_MAX).collect(),
        offered: Vec::new(),
        token: asked.one("token").map(str::to_owned),
        before: asked.number("before").unwrap_or(0),
    };
    offer(&stores, &mut table).await?;
    let mut html = Html::new();
    write_tags(&mut html, &table.experiment.tags);
    let count = match stores.tracking.count_runs(&[id], &table.search(&[], RUNS_SHOWN)).await {
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(error),
        count => Ok(count?),
    };
    let found = match count {
        Err(error) => Err(error),
        Ok(count) => match stores.tracking.search_runs(&[id], &table.search(&table.chosen, RUNS_SHOWN)).await {
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(error),
            found => Ok((count, found?)),
        },
    };
    write_tools(&mut html, &table);
    let status = match found {
        Ok((count, page)) => {
            write_rows(&mut html, &table, &page.items, count);
            let next = page.next_page_token.map(|token| {
                table.link(&table.order).with("token", token).with("before", table.before + page.items.len() as u64)
            });
            write_pages(&mut html, table.token.as_ref().map(|_| table.link(&table.order)), next);
            StatusCode::OK
        }
        Err(error) => {
            write_error(&mut html, &error, &table.filter);
            StatusCode::BAD_REQUEST
        }
    };
    Ok(Page::new(Part::Experiments, table.experiment.name, html)
        .below(Link::to(&[]), "Experiments")
        .with_status(status))
}

/// Finds the keys that a few runs have, and chooses some of them when none are chosen.
async fn offer(stores: &UiStores, table: &mut Table) -> Result<()> {
    let page = PageRequest { max_results: Some(RUNS_PROBED), token: None };
    let search = Search { page, view: table.view, ..Search::new() };
    let probed = stores.tracking.search_runs(&[table.experiment.id], &search).await?.items;
    for (kind, ..) in Kind::ALL {
        let keys: BTreeSet<&String> = probed
            .iter()
            .flat_map(|run| match kind {
                Kind::Metric => run.metrics.keys().collect::<Vec<_>>(),
                Kind::Param => run.params.keys().collect(),
                Kind::Tag => run.tags.keys().filter(|key| !is_internal(key)).collect(),
            })
            .collect();
        let columns = keys.into_iter().take(KEYS_OFFERED).map(|key| Column { kind, key: key.clone() });
        table.offered.extend(columns);
    }
    if table.chosen.is_empty() {
        for kind in [Kind::Metric, Kind::Param] {
            let first = table.offered.iter().filter(|column| column.kind == kind).take(COLUMNS_FIRST);
            table.chosen.extend(first.cloned());
        }
    }
    for column in &table.chosen {
        if !table.offered.contains(column) {
            table.offered.push(column.clone());
        }
    }
    Ok(())
}

fn write_tools(html: &mut Html, table: &Table) {
    html.raw("<form role=\"search\" action=\"").text(super::experiments::of(table.experiment.id));
    html.raw("\"><div class=\"tools\"><label class=\"find wide\"><span class=\"sr\">Filter runs</span>");
    html.raw("<input type=\"search\" name=\"filter\" placeholder=\"metrics.auc &gt; 0.9 AND params.model = 'gbdt'\" value=\"");
    html.text(&table.filter)
        .raw("\" autocomplete=\"off\" spellcheck=\"false\" aria-describedby=\"filter-help\"></label>");
    html.raw("<input type=\"hidden\" name=\"order\" value=\"").text(&table.order).raw("\">");
    html.raw("<label class=\"check\"><input type=\"checkbox\" name=\"deleted\" value=\"1\"");
    html.raw(if table.view == View::DeletedOnly { " checked" } else { "" }).raw("> deleted</label>");
    html.raw("<button>Filter</button></div><p class=\"sr\" id=\"filter-help\">Clauses joined by AND on metrics, params, tags ");
    html.raw("and attributes.</p><details class=\"columns\"><summary>Columns</summary><div class=\"grid\">");
    for (kind, _, title) in Kind::ALL {
        let mut columns = table.offered.iter().filter(|column| column.kind == kind).peekable();
        if columns.peek().is_none() {
            continue;
        }
        html.raw("<fieldset><legend>").raw(title).raw("</legend>");
        for column in columns {
            html.raw("<label class=\"check\"><input type=\"checkbox\" name=\"col\" value=\"")
                .text(column.name())
                .raw("\"");
            html.raw(if table.chosen.contains(column) { " checked" } else { "" }).raw("> <bdi>");
            html.text(format::shortened(&column.key, 50)).raw("</bdi></label>");
        }
        html.raw("</fieldset>");
    }
    html.raw("</div><p><button>Show these columns</button></p></details></form>");
}

fn write_rows(html: &mut Html, table: &Table, runs: &[Arc<RunRecord>], count: u64) {
    if runs.is_empty() {
        html.raw("<p class=\"note\">No run matches.</p>");
        return;
    }
    let last = table.before + runs.len() as u64;
    html.raw("<form action=\"")
        .text(Link::to(&["compare"]))
        .raw("\" class=\"runs\"><div class=\"tools\"><p class=\"note\" role=\"status\">");
    html.text(table.before + 1).raw("\u{2013}").text(last).raw(" of ").text(format::count(count, "run")).raw("</p>");
    html.raw("<button class=\"compare\" data-compare>Compare the selected runs</button></div>");
    html.raw(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"wide\"><caption class=\"sr\">Runs</caption><thead><tr>",
    );
    html.raw("<th scope=\"col\"><span class=\"sr\">Select</span></th>");
    write_head(html, table, "Run", Some("attributes.run_name".into()), "");
    write_head(html, table, "Status", Some("attributes.status".into()), "");
    write_head(html, table, "Started", Some("attributes.start_time".into()), "");
    write_head(html, table, "Took", None, "n");
    for column in &table.chosen {
        let class = if column.kind == Kind::Metric { "n" } else { "" };
        write_head(html, table, &column.key, column.order(), class);
    }
    html.raw("</tr></thead><tbody>");
    for run in runs {
        write_row(html, table, run);
    }
    html.end_table().raw("</form>");
}

/// A heading that orders by its column, the other way around when it is that already.
fn write_head(html: &mut Html, table: &Table, title: &str, order: Option<String>, class: &'static str) {
    html.raw("<th scope=\"col\" class=\"").raw(class).raw("\"");
    let title = format::shortened(title, 40);
    let Some(order) = order else {
        html.raw(">").text(title).raw("</th>");
        return;
    };
    let (down, up) = (format!("{order} DESC"), format!("{order} ASC"));
    let now = if table.order == down {
        " aria-sort=\"descending\">"
    } else if table.order == up {
        " aria-sort=\"ascending\">"
    } else {
        ">"
    };
    let next = if table.order == down { &up } else { &down };
    html.raw(now).raw("<bdi>").link(&table.link(next), title).raw("</bdi></th>");
}

fn write_row(html: &mut Html, table: &Table, run: &RunRecord) {
    html.raw("<tr><td><input type=\"checkbox\" name=\"run\" value=\"").text(&run.id).raw("\" aria-label=\"Select ");
    html.text(&run.name).raw("\"></td><th scope=\"row\"><bdi>");
    html.link(&super::run::of(&run.id), format::shortened(&run.name, 50)).raw("</bdi></th><td>");
    let (kind, word) = format::status(run.status);
    html.chip(kind, word).raw("</td><td>").time(run.started).raw("</td><td class=\"n\">");
    html.text(format::duration(run).as_deref().unwrap_or("\u{2013}")).raw("</td>");
    for column in &table.chosen {
        let value = match column.kind {
            Kind::Metric => run.metrics.get(&column.key).map(|metric| format::number(metric.value)),
            Kind::Param => run.params.get(&column.key).map(|value| format::shortened(value, 60)),
            Kind::Tag => run.tags.get(&column.key).map(|value| format::shortened(value, 60)),
        };
        html.raw(if column.kind == Kind::Metric { "<td class=\"n\">" } else { "<td>" }).raw("<bdi>");
        html.text(value.as_deref().unwrap_or("\u{2013}")).raw("</bdi></td>");
    }
    html.raw("</tr>");
}
