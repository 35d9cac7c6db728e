//! The page of a model version: what it is, where it came from, and how it differs from the one in use.

use std::{collections::BTreeMap, fmt::Display};

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use mlops_core::{Alias, ModelName, ModelVersionId, PackageManifest, Result, Version};

use super::{
    UiStores,
    ask::{Asked, Link},
    format, graph,
    html::Html,
    models,
    page::{Answer, Page, Part},
};
use crate::{
    AliasMove, LineageGraph, PageRequest,
    documents::{CardText, Change, VersionDiff, VersionFacts, describe, model_card},
    mlflow::disposition,
    registry::STAGE_TAG,
};

/// The alias whose version others are compared with.
const CHAMPION: &str = "champion";
/// Moves of aliases that are looked through for those of a version.
const MOVES_READ: usize = 1_000;
/// Rows of a table.
const ROWS_SHOWN: usize = 500;
/// Characters of a digest that tell files apart for a reader.
const DIGEST_CHARS: usize = 24;

async fn gather(stores: &UiStores, name: &ModelName, number: Version) -> Result<VersionFacts> {
    // Asked of the registry first, which knows who may see it.
    let (model, version) = (stores.registry.model(name).await?, stores.registry.version(name, number).await?);
    let manifest = match (version.source.digest(), &stores.packages) {
        (None, _) => None,
        (Some(digest), Some(packages)) => Some(packages.manifest(&digest).await?),
        (Some(digest), None) => {
            let id = ModelVersionId { name: name.clone(), version: number, digest };
            Some(stores.registry.fetch(&id).await?.manifest)
        }
    };
    VersionFacts::with_run(&stores.tracking, model, version, manifest).await
}

fn parse(name: &str, version: &str) -> Result<(ModelName, Version)> {
    Ok((ModelName::new(name)?, version.parse()?))
}

pub(super) async fn page(
    stores: UiStores,
    Path((name, version)): Path<(String, String)>,
    asked: Asked,
) -> Answer<impl IntoResponse> {
    let (name, number) = parse(&name, &version)?;
    let facts = Box::pin(gather(&stores, &name, number)).await?;
    let champion = Alias::new(CHAMPION).ok().and_then(|alias| facts.model.aliases.get(&alias).copied());
    let other = asked.number("against").map(Version).or(champion).filter(|other| *other != number);
    let diff = match other {
        Some(other) => Some(VersionDiff::between(&Box::pin(gather(&stores, &name, other)).await?, &facts)),
        None => None,
    };
    let moves = moves(&stores, &facts).await?;
    let graph = LineageGraph::of(&facts.version, facts.manifest.as_ref(), facts.run.as_ref());
    let mut html = Html::new();
    write_facts(&mut html, &facts);
    html.section("Lineage", |html| graph::write(html, &graph));
    html.raw("<div class=\"two\">");
    html.section("Signature", |html| write_signature(html, facts.manifest.as_ref()));
    html.section("Metrics", |html| {
        let metrics = facts.metrics().into_iter().take(ROWS_SHOWN).map(|(key, value)| (key, format::number(value)));
        html.pairs("Metrics", &[("Metric", ""), ("Value", "n")], metrics, "n");
    });
    html.section("Params of the run", |html| {
        html.pairs("Params", &[("Param", ""), ("Value", "")], facts.params().into_iter().take(ROWS_SHOWN), "any");
    });
    html.section("Files", |html| {
        let files = facts.manifest.iter().flat_map(|manifest| &manifest.files).take(ROWS_SHOWN);
        let files = files.map(|(path, digest)| (path, format::shortened(&digest.to_string(), DIGEST_CHARS)));
        html.pairs("Files", &[("File", ""), ("SHA-256", "")], files, "code");
    });
    html.section("Tags", |html| {
        // The stage is shown above.
        let tags = facts.version.tags.iter().filter(|(key, _)| *key != STAGE_TAG);
        html.pairs("Tags", &[("Tag", ""), ("Value", "")], tags.take(ROWS_SHOWN), "any");
    });
    html.raw("</div>");
    html.section("Difference", |html| write_diff(html, &facts, other, diff.as_ref()));
    html.section("Aliases that pointed here", |html| models::write_moves(html, &moves));
    html.section("Model card", |html| write_card(html, &facts));
    let page = Page::new(Part::Models, format!("{name}, version {number}"), html);
    Ok(page.below(Link::to(&["models"]), "Registered models").below(models::of(&name), name.as_str()))
}

/// Moves to or from this version, among the first of the model.
async fn moves(stores: &UiStores, facts: &VersionFacts) -> Result<Vec<AliasMove>> {
    let page = PageRequest { max_results: Some(MOVES_READ), token: None };
    let mut moves = stores.registry.alias_history(&facts.model.name, &page).await?.items;
    let number = Some(facts.version.version);
    moves.retain(|step| step.from == number || step.to == number);
    Ok(moves)
}

fn write_facts(html: &mut Html, facts: &VersionFacts) {
    let version = &facts.version;
    if !version.description.is_empty() {
        html.raw("<p class=\"prose\">").text(&version.description).raw("</p>");
    }
    html.raw("<dl class=\"facts\"><dt>Aliases</dt><dd>");
    if version.aliases.is_empty() {
        html.raw("\u{2013}");
    }
    for alias in &version.aliases {
        html.chip("good", alias).raw(" ");
    }
    html.raw("</dd><dt>Stage</dt><dd>");
    models::write_stage(html, version);
    html.raw("</dd><dt>Registered</dt><dd>").time(version.created).raw(" by ").name(&version.created_by).raw("</dd>");
    if let Some(manifest) = &facts.manifest {
        html.raw("<dt>Flavor</dt><dd>").name(&manifest.flavor).raw("</dd>");
    }
    html.raw("<dt>Source</dt><dd><code>").text(version.source.to_uri()).raw("</code></dd><dt>Run</dt><dd>");
    match (&facts.run, &version.run_id) {
        (Some(run), _) => html.raw("<bdi>").link(&super::run::of(&run.id), &run.name).raw("</bdi>"),
        (None, Some(id)) => html.raw("<code>").text(id).raw("</code>, which is not shown here"),
        (None, None) => html.raw("\u{2013}"),
    };
    // A link from outside leads only to the web.
    if version.run_link.starts_with("https://") || version.run_link.starts_with("http://") {
        html.raw(" <a rel=\"noopener noreferrer\" href=\"").text(&version.run_link).raw("\">link given with it</a>");
    }
    html.raw("</dd></dl>");
}

fn write_signature(html: &mut Html, manifest: Option<&PackageManifest>) {
    let Some(manifest) = manifest else {
        html.raw("<p class=\"note\">Only an address was registered; its contents are not known here.</p>");
        return;
    };
    html.table("Signature", &[("", ""), ("Name", ""), ("Type", "")]);
    let signature = &manifest.signature;
    let inputs = signature.inputs().iter().map(|spec| ("input", spec));
    for (side, spec) in inputs.chain(signature.outputs().iter().map(|spec| ("output", spec))).take(ROWS_SHOWN) {
        html.raw("<tr><td>").raw(side).raw("</td><th scope=\"row\">").name(&spec.name).raw("</th><td>");
        html.text(describe(spec)).raw("</td></tr>");
    }
    html.end_table();
}

fn write_diff(html: &mut Html, facts: &VersionFacts, other: Option<Version>, diff: Option<&VersionDiff>) {
    html.raw("<form class=\"tools\"><label>Compare with version <input class=\"short\" type=\"number\" min=\"1\" name=\"against\" value=\"");
    if let Some(other) = other {
        html.text(other);
    }
    html.raw("\"></label><button>Compare</button></form>");
    let Some(diff) = diff else {
        html.raw("<p class=\"note\">No other version is the champion; choose one.</p>");
        return;
    };
    html.raw("<p>From ").text(&diff.between.0).raw(" to ").text(&diff.between.1).raw(": ");
    if diff.drop_in {
        html.chip("good", "\u{2713} drop-in").raw(" whoever calls the first can call the second.</p>");
    } else if facts.manifest.is_some() {
        html.chip("attention", "! not a drop-in").raw(" callers of the first may have to change.</p>");
    } else {
        html.raw("the signatures are not known.</p>");
    }
    if diff.is_empty() {
        html.raw("<p class=\"note\">Nothing differs.</p>");
        return;
    }
    html.table("What differs", &[("", ""), ("Name", ""), ("Before", ""), ("After", "")]);
    for (kind, changes) in [
        ("param", &diff.params),
        ("data", &diff.data),
        ("input", &diff.inputs),
        ("output", &diff.outputs),
        ("feature", &diff.features),
        ("file", &diff.files),
        ("tag", &diff.tags),
    ] {
        write_changes(html, kind, changes, |text| format::shortened(text, 90));
    }
    write_changes(html, "metric", &diff.metrics, |value| format::number(*value));
    html.end_table();
}

fn write_changes<T, D: Display>(
    html: &mut Html,
    kind: &'static str,
    changes: &BTreeMap<String, Change<T>>,
    show: impl Fn(&T) -> D,
) {
    for (name, change) in changes.iter().take(ROWS_SHOWN) {
        let (before, after) = match change {
            Change::Added(value) => (None, Some(value)),
            Change::Removed(value) => (Some(value), None),
            Change::Changed { from, to } => (Some(from), Some(to)),
        };
        html.raw("<tr><td>").raw(kind).raw("</td><th scope=\"row\">").name(name).raw("</th>");
        for (value, class) in [(before, "removed"), (after, "added")] {
            html.raw("<td class=\"").raw(class).raw("\"><bdi>");
            match value {
                Some(value) => html.text(show(value)),
                None => html.raw("\u{2013}"),
            };
            html.raw("</bdi></td>");
        }
        html.raw("</tr>");
    }
}

fn write_card(html: &mut Html, facts: &VersionFacts) {
    let link = Link::to(&["models", facts.model.name.as_str(), &facts.version.version.to_string(), "card.md"]);
    html.raw("<p>").link(&link, "Download as Markdown").raw("</p><details><summary>Show the card</summary>");
    html.raw("<pre class=\"preview\" tabindex=\"0\">")
        .text(model_card(facts, &CardText::default()))
        .raw("</pre></details>");
}

/// The model card as a file.
pub(super) async fn card(stores: UiStores, Path((name, version)): Path<(String, String)>) -> Answer<Response> {
    let (name, number) = parse(&name, &version)?;
    let facts = Box::pin(gather(&stores, &name, number)).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/markdown; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition(&format!("{name}-{number}.md"))),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, model_card(&facts, &CardText::default())).into_response())
}
