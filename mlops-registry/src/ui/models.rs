//! Registered models, and the page of one: its versions, and where its aliases pointed.

use std::collections::BTreeMap;

use axum::{extract::Path, http::StatusCode, response::IntoResponse};
use mlops_core::{Alias, ErrorKind, ModelName, Version};

use super::{
    UiStores,
    ask::{Asked, Link},
    experiments::{name_filter, write_find, write_pages, write_tags},
    format,
    html::Html,
    page::{Answer, Page, Part, write_error},
};
use crate::{AliasMove, ModelVersion, PageRequest, RegisteredModel, Search, Stage};

/// Models, versions or moves of aliases on a page.
const ROWS_SHOWN: usize = 100;

/// The page of a model.
pub(super) fn of(model: &ModelName) -> Link {
    Link::to(&["models", model.as_str()])
}

/// The page of a version.
pub(super) fn of_version(model: &ModelName, version: Version) -> Link {
    Link::to(&["models", model.as_str(), &version.to_string()])
}

fn request(asked: &Asked, name: &str) -> PageRequest {
    PageRequest { max_results: Some(ROWS_SHOWN), token: asked.one(name).map(str::to_owned) }
}

pub(super) async fn list(stores: UiStores, asked: Asked) -> Answer<impl IntoResponse> {
    let (text, here) = (asked.one("q").unwrap_or_default(), Link::to(&["models"]));
    let search = Search { filter: name_filter(text), page: request(&asked, "token"), ..Search::new() };
    let mut html = Html::new();
    write_find(&mut html, &here, "Find models by name", text);
    let found = match stores.registry.search_models(&search).await {
        Err(error) if error.kind() == ErrorKind::InvalidArgument => {
            write_error(&mut html, &error, &search.filter);
            return Ok(Page::new(Part::Models, "Registered models", html).with_status(StatusCode::BAD_REQUEST));
        }
        found => found?,
    };
    if found.items.is_empty() {
        html.raw("<p class=\"note\">No model matches.</p>");
        return Ok(Page::new(Part::Models, "Registered models", html));
    }
    html.table(
        "Registered models",
        &[("Name", ""), ("Aliases", ""), ("Last version", "n"), ("Last changed", ""), ("Tags", "w2")],
    );
    for model in &found.items {
        html.raw("<tr><th scope=\"row\"><bdi>").link(&of(&model.name), &model.name).raw("</bdi></th><td>");
        write_aliases(&mut html, model);
        html.raw("</td><td class=\"n\">");
        if model.last_version > 0 {
            html.text(model.last_version);
        }
        html.raw("</td><td>").time(model.updated).raw("</td><td class=\"w2\">");
        write_tags(&mut html, &model.tags);
        html.raw("</td></tr>");
    }
    html.end_table();
    let next = found.next_page_token.map(|token| here.clone().with("q", text).with("token", token));
    write_pages(&mut html, asked.one("token").map(|_| here.with("q", text)), next);
    Ok(Page::new(Part::Models, "Registered models", html))
}

fn write_aliases(html: &mut Html, model: &RegisteredModel) {
    for (alias, version) in model.aliases.iter().take(10) {
        html.raw("<span class=\"tag\"><bdi>").text(alias).raw("</bdi> ");
        html.link(&of_version(&model.name, *version), format!("version {version}")).raw("</span> ");
    }
}

pub(super) async fn page(stores: UiStores, Path(name): Path<String>, asked: Asked) -> Answer<impl IntoResponse> {
    let name = ModelName::new(&name)?;
    let model = stores.registry.model(&name).await?;
    let versions = stores.registry.list_versions(&name, &request(&asked, "token")).await?;
    let moves = stores.registry.alias_history(&name, &request(&asked, "moves")).await?;
    let mut html = Html::new();
    if !model.description.is_empty() {
        html.raw("<p class=\"prose\">").text(&model.description).raw("</p>");
    }
    write_tags(&mut html, &model.tags);
    html.section("Versions", |html| {
        write_versions(html, &model, &versions.items);
        let next = versions.next_page_token.map(|token| of(&name).with("token", token));
        write_pages(html, asked.one("token").map(|_| of(&name)), next);
    });
    html.section("History of aliases", |html| {
        write_moves(html, &moves.items);
        let next = moves.next_page_token.map(|token| of(&name).with("moves", token));
        write_pages(html, asked.one("moves").map(|_| of(&name)), next);
    });
    Ok(Page::new(Part::Models, name.as_str(), html).below(Link::to(&["models"]), "Registered models"))
}

fn write_versions(html: &mut Html, model: &RegisteredModel, versions: &[ModelVersion]) {
    if versions.is_empty() {
        html.raw("<p class=\"note\">None.</p>");
        return;
    }
    let mut aliases: BTreeMap<Version, Vec<&Alias>> = BTreeMap::new();
    for (alias, version) in &model.aliases {
        aliases.entry(*version).or_default().push(alias);
    }
    html.table(
        "Versions",
        &[
            ("Version", ""),
            ("Aliases", ""),
            ("Stage", ""),
            ("Registered", ""),
            ("By", ""),
            ("Run", "w2"),
            ("Description", "w2"),
        ],
    );
    for version in versions {
        html.raw("<tr><th scope=\"row\">")
            .link(&of_version(&version.model, version.version), format!("Version {}", version.version));
        html.raw("</th><td>");
        for alias in aliases.get(&version.version).into_iter().flatten() {
            html.chip("good", alias).raw(" ");
        }
        html.raw("</td><td>");
        write_stage(html, version);
        html.raw("</td><td>")
            .time(version.created)
            .raw("</td><td>")
            .name(&version.created_by)
            .raw("</td><td class=\"w2\">");
        if let Some(run) = &version.run_id {
            html.link(&super::run::of(run), format::shortened(run.as_str(), 8));
        }
        html.raw("</td><td class=\"w2\">").text(format::shortened(&version.description, 80)).raw("</td></tr>");
    }
    html.end_table();
}

pub(super) fn write_stage(html: &mut Html, version: &ModelVersion) {
    match Stage::of(version) {
        Stage::None => html.raw("\u{2013}"),
        stage @ Stage::Production => html.chip("good", stage.name()),
        stage @ Stage::Staging => html.chip("attention", stage.name()),
        stage @ Stage::Archived => html.chip("neutral", stage.name()),
    };
}

/// Moves of aliases, as they are given.
pub(super) fn write_moves(html: &mut Html, moves: &[AliasMove]) {
    if moves.is_empty() {
        html.raw("<p class=\"note\">No alias was ever set.</p>");
        return;
    }
    html.table("Moves of aliases", &[("When", ""), ("Alias", ""), ("From", ""), ("To", ""), ("By", ""), ("Why", "w2")]);
    for step in moves {
        html.raw("<tr><td>").time(step.at).raw("</td><td><bdi>").text(&step.alias).raw("</bdi></td>");
        for end in [step.from, step.to] {
            html.raw("<td>");
            match end {
                Some(version) => html.link(&of_version(&step.model, version), format!("version {version}")),
                None => html.raw("\u{2013}"),
            };
            html.raw("</td>");
        }
        html.raw("<td>").name(&step.actor).raw("</td><td class=\"w2\">").text(&step.reason).raw("</td></tr>");
    }
    html.end_table();
}
