//! Every page over stores in memory: what it shows, that it stays bounded, and that no name becomes markup.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use mlops_core::{Alias, DataType, Metric, ModelName, ModelPackage, RunId, Signature, TensorSpec, Timestamp, Version};
use mlops_store::{BlobStore, MetaStore, SqliteMetaStore};
use proptest::prelude::*;
use serde_json::Value;
use tower::ServiceExt as _;

use super::ask::Link;
use crate::{
    ArtifactStore, Batch, CreateLoggedModel, CreateModel, CreateRun, CreateVersion, DatasetInput, ExperimentId,
    LoggedDataset, LoggedModelStore as _, MlflowServer, ModelOutput, ModelRegistry as _, MoveAlias,
    SqlLoggedModelStore, SqlModelRegistry, SqlTrackingStore, TrackingStore as _,
};

struct Site {
    router: Router,
    tracking: Arc<SqlTrackingStore>,
    registry: Arc<SqlModelRegistry>,
    models: Arc<SqlLoggedModelStore>,
    files: ArtifactStore,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Site {
    async fn new() -> Self {
        let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
        let tracking = Arc::new(SqlTrackingStore::builder(Arc::clone(&meta)).build().await.unwrap());
        let store: Arc<SqlTrackingStore> = Arc::clone(&tracking);
        let models = Arc::new(SqlLoggedModelStore::builder(Arc::clone(&meta), store).build().await.unwrap());
        let registry = Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await.unwrap());
        let files = ArtifactStore::in_memory();
        let router = MlflowServer::new(
            Arc::<SqlTrackingStore>::clone(&tracking),
            Arc::<SqlModelRegistry>::clone(&registry),
            files.clone(),
        )
        .with_logged_models(Arc::<SqlLoggedModelStore>::clone(&models))
        .with_packages(Arc::<SqlModelRegistry>::clone(&registry))
        .with_ui()
        .router();
        Self { router, tracking, registry, models, files }
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// A page that must be there.
    async fn page(&self, link: &Link) -> String {
        let answer = self.get(&link.to_string()).await;
        assert_eq!(answer.status, 200, "{link}: {}", answer.text);
        answer.text
    }

    async fn run(&self, name: &str, batch: Batch) -> RunId {
        let options = CreateRun { name: Some(name.into()), ..CreateRun::new(ExperimentId(0)) };
        let run = self.tracking.create_run(options).await.unwrap();
        self.tracking.log_batch(&run.id, &batch).await.unwrap();
        run.id
    }

    async fn file(&self, run: &RunId, path: &str, bytes: &'static str) {
        let uri = self.tracking.run(run).await.unwrap().artifact_uri;
        let root = self.files.path_of(&uri).unwrap();
        self.files.put(&format!("{root}/{path}"), bytes.into()).await.unwrap();
    }

    /// A model with two versions; the first is the champion.
    async fn model(&self, name: &str, column: &str, run: &RunId) -> ModelName {
        let model = ModelName::new(name).unwrap();
        let options = CreateModel { description: column.into(), ..CreateModel::default() };
        self.registry.create_model(&model, options).await.unwrap();
        for number in 1..=2 {
            let signature = Signature::new(
                [TensorSpec::column(format!("{column}{number}"), DataType::Float64)],
                [TensorSpec::column("score", DataType::Float64)],
            );
            let package =
                ModelPackage::new("constant", signature.unwrap()).with_file("model.json", format!("{number}"));
            let options = CreateVersion {
                run_id: Some(run.clone()),
                description: column.into(),
                run_link: "javascript:alert(1)".into(),
                ..CreateVersion::default()
            };
            self.registry.create_version(&model, &package, options).await.unwrap();
        }
        let champion = Alias::new("champion").unwrap();
        let options = MoveAlias { reason: column.into(), ..MoveAlias::default() };
        self.registry.set_alias(&model, &champion, Version(1), options).await.unwrap();
        model
    }
}

fn point(key: &str, value: f64, step: i64) -> Metric {
    Metric { key: key.into(), value, timestamp: Timestamp::from_millis(1_000 * step), step }
}

fn batch(metrics: &[(&str, f64)], params: &[(&str, &str)]) -> Batch {
    Batch {
        metrics: metrics.iter().map(|(key, value)| point(key, *value, 0)).collect(),
        params: params.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..Batch::default()
    }
}

fn contains(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
}

#[tokio::test]
async fn pages_keep_to_their_own_server() {
    let site = Site::new().await;
    let home = site.get("/").await;
    assert_eq!((home.status.as_u16(), home.header("location")), (307, "/ui"));
    let page = site.get("/ui").await;
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    contains(&page.text, &["Default", "0 runs", "class=\"skip\"", "<caption"]);
    for text in ["http://", "https://", "style=\"", "onclick", "<script>"] {
        assert!(!page.text.contains(text), "{text}");
    }
    for (file, kind) in [("style.css", "text/css"), ("app.js", "text/javascript")] {
        let answer = site.get(&format!("/ui/{file}")).await;
        assert!(answer.status == 200 && answer.header("content-type").starts_with(kind));
        assert!(page.text.contains(&format!("/ui/{file}?v=")));
    }
    let missing = site.get("/ui/runs/0123456789abcdef0123456789abcdef").await;
    assert_eq!(missing.status, 404);
    assert!(missing.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn the_api_of_mlflow_is_as_it_was() {
    let site = Site::new().await;
    assert_eq!(site.get("/health").await.text, "OK");
    assert_eq!(site.get("/version").await.text, crate::mlflow::MLFLOW_VERSION);
    for path in
        ["/api/2.0/mlflow/experiments/get?experiment_id=0", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"]
    {
        assert!(site.get(path).await.text.starts_with('{'));
    }
    let bare = MlflowServer::new(
        Arc::<SqlTrackingStore>::clone(&site.tracking),
        Arc::<SqlModelRegistry>::clone(&site.registry),
        site.files.clone(),
    )
    .router();
    let request = Request::builder().uri("/ui").body(Body::empty()).unwrap();
    assert_eq!(bare.oneshot(request).await.unwrap().status(), 404, "no pages unless asked for");
}

#[tokio::test]
async fn runs_are_filtered_ordered_and_paged() {
    let site = Site::new().await;
    for place in 0..250 {
        let (auc, depth) = (f64::from(place) / 1_000.0, (place % 7).to_string());
        site.run(&format!("run {place}"), batch(&[("auc", auc)], &[("depth", &depth)])).await;
    }
    let here = Link::to(&["experiments", "0"]);
    let first = site.page(&here.clone().with("order", "metrics.`auc` DESC")).await;
    contains(&first, &["1\u{2013}100 of 250 runs", "run 249", "aria-sort=\"descending\"", "0.249"]);
    assert!(!first.contains("run 100<"));
    let next = first.split("href=\"").find(|rest| rest.contains("&amp;before=100\"")).unwrap();
    let next = next.split('"').next().unwrap().replace("&amp;", "&");
    let second = site.get(&next).await.text;
    contains(&second, &["101\u{2013}200 of 250 runs", "run 149", "First page"]);

    let some = site
        .page(&here.clone().with("filter", "metrics.auc > 0.1 AND params.depth = '3'").with("col", "params.depth"))
        .await;
    assert!(some.contains("1\u{2013}22 of 22 runs") && !some.contains("0.101"));
    let wrong = site.get(&here.clone().with("filter", "metrics.auc >> 3").to_string()).await;
    assert_eq!(wrong.status, 400);
    contains(
        &wrong.text,
        &["Invalid filter at position 13", "metrics.auc &gt;<mark>&gt;</mark> 3", "value=\"metrics.auc"],
    );
    assert_eq!(site.get(&here.with("token", "no").to_string()).await.status, 400);
}

#[tokio::test]
async fn a_run_shows_what_it_logged() {
    let site = Site::new().await;
    let run = site.run("first", batch(&[("auc", 0.75)], &[("depth", "3")])).await;
    let dataset = LoggedDataset {
        name: "payments".into(),
        digest: "d1".into(),
        source_type: "local".into(),
        ..LoggedDataset::default()
    };
    site.tracking.log_inputs(&run, &[DatasetInput { dataset, ..DatasetInput::default() }]).await.unwrap();
    let made = CreateLoggedModel { name: Some("trees".into()), ..CreateLoggedModel::new(ExperimentId(0)) };
    let made = site.models.create_logged_model(made).await.unwrap();
    site.models.link_output_models(&run, &[ModelOutput { model: made.id, step: 0 }]).await.unwrap();
    for (path, bytes) in [
        ("notes.txt", "plain <b>words</b>"),
        ("a/data.csv", "x,y\n1,\"2,3\"\n"),
        ("a/data.json", "{\"k\":[1]}"),
        ("page.html", "<script>alert(1)</script>"),
        ("empty.txt", ""),
    ] {
        site.file(&run, path, bytes).await;
    }
    let link = super::run::of(&run);
    let page = site.page(&link).await;
    contains(&page, &["0.75", "depth", "payments", "trees", "notes.txt", "data-key=\"auc\"", "running", ">a</a>"]);
    let looked = |path: &str| link.clone().with("path", path);
    contains(&site.page(&looked("notes.txt")).await, &["plain &lt;b&gt;words&lt;/b&gt;"]);
    contains(&site.page(&looked("a")).await, &["data.csv", "data.json"]);
    contains(&site.page(&looked("a/data.csv")).await, &["<td><bdi>2,3</bdi></td>"]);
    contains(&site.page(&looked("a/data.json")).await, &["{\n  &quot;k&quot;: ["]);
    contains(&site.page(&looked("page.html")).await, &["<iframe class=\"preview\" sandbox=\"\""]);
    site.page(&looked("empty.txt")).await;
    assert_eq!(site.get(&looked("../other").to_string()).await.status, 400);
    assert_eq!(site.get(&looked("gone.txt").to_string()).await.status, 404);
}

#[tokio::test]
async fn a_file_is_never_a_page_of_the_server() {
    let site = Site::new().await;
    let run = site.run("first", Batch::default()).await;
    site.file(&run, "page.html", "<script>alert(1)</script>").await;
    site.file(&run, "script.js", "alert(1)").await;
    let file = |path: &str| Link::to(&["runs", run.as_str(), "file"]).with("path", path);
    for (link, kind, how) in [
        (file("page.html"), "application/octet-stream", "attachment"),
        (file("page.html").with("inline", 1), "text/html", "inline"),
        (file("script.js").with("inline", 1), "application/octet-stream", "attachment"),
    ] {
        let answer = site.get(&link.to_string()).await;
        assert!(answer.header("content-type").starts_with(kind), "{link}");
        assert!(answer.header("content-disposition").starts_with(how), "{link}");
        assert!(answer.header("content-security-policy").starts_with("sandbox; default-src 'none'"), "{link}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(site.get(&file("../x").to_string()).await.status, 400);
}

#[tokio::test]
async fn charts_are_bounded_and_zoom() {
    let site = Site::new().await;
    let run = site.run("long", Batch::default()).await;
    for start in (0..20_000).step_by(1_000) {
        let metrics = (start..start + 1_000).map(|step| point("loss", (step as f64 / 500.0).sin(), step));
        site.tracking.log_batch(&run, &Batch { metrics: metrics.collect(), ..Batch::default() }).await.unwrap();
    }
    let chart = Link::to(&["chart.json"]).with("key", "loss").with("run", &run);
    let points = |text: &str| -> Vec<(i64, f64)> {
        let json: Value = serde_json::from_str(text).unwrap();
        let points = json["runs"][0]["points"].as_array().unwrap();
        points.iter().map(|point| (point[0].as_i64().unwrap(), point[2].as_f64().unwrap())).collect()
    };
    let all = points(&site.page(&chart.clone().with("points", 200)).await);
    assert!((150..=200).contains(&all.len()), "{}", all.len());
    assert_eq!((all[0].0, all[all.len() - 1].0), (0, 19_999));
    assert!(all.iter().all(|(step, value)| *value == (*step as f64 / 500.0).sin()));
    let near = points(&site.page(&chart.clone().with("first", 1_000).with("last", 1_050)).await);
    assert_eq!(near.iter().map(|(step, _)| *step).collect::<Vec<_>>(), (1_000..=1_050).collect::<Vec<_>>());
    let most = points(&site.page(&chart.clone().with("points", 1_000_000)).await).len();
    assert!((4_000..=5_000).contains(&most), "{most}");
    assert_eq!(site.get(&chart.with("run", "no/run").to_string()).await.status, 400);
    let refused = site.get("/ui/chart.json").await;
    assert!(refused.status == 400 && refused.text.contains("key="));
}

#[tokio::test]
async fn compared_runs_mark_what_differs() {
    let site = Site::new().await;
    let a = site.run("a", batch(&[("auc", 0.75), ("loss", 1.0)], &[("depth", "3"), ("seed", "7")])).await;
    let b = site.run("b", batch(&[("auc", 0.80), ("loss", 0.9)], &[("depth", "4"), ("seed", "7")])).await;
    let link = Link::to(&["compare"]).with("run", &a).with("run", &b).with("run", &a);
    let page = site.page(&link).await;
    contains(&page, &["Comparison of 2 runs", "0.75", "0.8", "class=\"parallel\"", "data-key=\"auc\""]);
    assert_eq!(page.matches("<tr class=\"differs\">").count(), 3);
    let only = site.page(&link.with("only", 1)).await;
    assert!(!only.contains("seed") && only.contains("depth"));
    assert_eq!(site.get("/ui/compare").await.status, 400);
    let many = (0..21).fold(Link::to(&["compare"]), |link, place| link.with("run", format!("{place:032x}")));
    assert_eq!(site.get(&many.to_string()).await.status, 404, "the first is unknown already");
}

#[tokio::test]
async fn models_show_versions_aliases_lineage_and_differences() {
    let site = Site::new().await;
    let run = site.run("trainer", batch(&[("auc", 0.75)], &[("depth", "3")])).await;
    let fraud = site.model("fraud detection", "amount", &run).await;
    contains(
        &site.page(&Link::to(&["models"]).with("q", "FRAUD")).await,
        &["fraud detection", "champion", "version 1"],
    );
    contains(&site.page(&Link::to(&["models"]).with("q", "zzz")).await, &["No model matches"]);
    contains(&site.page(&super::models::of(&fraud)).await, &["Version 2", "champion", "History of aliases"]);
    let second = site.page(&super::models::of_version(&fraud, Version(2))).await;
    contains(
        &second,
        &["amount2", "trainer", "class=\"lineage\"", "not a drop-in", "amount1", "model.json", "# fraud detection 2"],
    );
    assert!(!second.contains("javascript:"), "a link from outside leads only to the web");
    contains(
        &site.page(&super::models::of_version(&fraud, Version(1))).await,
        &["Aliases that pointed here", "choose one"],
    );
    let card = site.get("/ui/models/fraud%20detection/2/card.md").await;
    assert!(card.header("content-type").starts_with("text/markdown") && card.text.contains("# fraud detection 2"));
    assert_eq!(site.get("/ui/models/fraud%20detection/9").await.status, 404);
    assert_eq!(site.get("/ui/models/none").await.status, 404);
}

/// Tags and names of attributes in order, as the tokenizer of the HTML standard sees them; and what links lead to.
fn skeleton(page: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), page);
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name: String = rest.chars().take_while(|c| !c.is_whitespace() && *c != '>').collect();
        rest = &rest[name.len()..];
        found.push(name.clone());
        while !rest.starts_with('>') {
            rest = rest.trim_start();
            let attribute: String = rest.chars().take_while(|c| !c.is_whitespace() && !"=>".contains(*c)).collect();
            assert!(!attribute.is_empty(), "a tag that does not end: <{name}");
            rest = &rest[attribute.len()..];
            if let Some(quoted) = rest.strip_prefix("=\"") {
                let end = quoted.find('"').expect("an attribute that ends");
                let leads_away = matches!(&*attribute, "href" | "src" | "action") && !quoted.starts_with("/ui");
                assert!(!leads_away || quoted.starts_with("#main") || quoted.starts_with("data:,"), "{quoted:.40}");
                rest = &quoted[end + 1..];
            } else {
                assert!(!rest.starts_with('='), "an attribute without quotes in <{name}");
            }
            found.push(format!("  {attribute}"));
        }
    }
    found
}

/// Every page of a site in which everything that takes any text has this one.
async fn pages(text: &str) -> Vec<Vec<String>> {
    let site = Site::new().await;
    let mut logged = batch(&[("auc", 0.5)], &[("param", text), ("other", "1")]);
    logged.tags.push(("tag".into(), text.into()));
    logged.tags.push(("mlflow.note.content".into(), text.into()));
    let a = site.run(text, logged).await;
    let b = site.run(text, batch(&[("auc", 0.75)], &[("param", "b"), ("other", "2")])).await;
    site.tracking.set_experiment_tags(ExperimentId(0), &[("team".into(), text.into())]).await.unwrap();
    let dataset =
        LoggedDataset { name: text.into(), digest: "d".into(), source_type: "s".into(), ..LoggedDataset::default() };
    site.tracking.log_inputs(&a, &[DatasetInput { dataset, ..DatasetInput::default() }]).await.unwrap();
    let model = site.model("m", text, &a).await;
    let mut found = Vec::new();
    for link in [
        Link::to(&[]),
        Link::to(&["experiments", "0"]).with("filter", format!("params.param = {text}")),
        Link::to(&["experiments", "0"]).with("col", format!("tags.{text}")).with("col", "params.param"),
        super::run::of(&a),
        Link::to(&["compare"]).with("run", &a).with("run", &b),
        Link::to(&["models"]).with("q", format!("zz{text}")),
        super::models::of(&model),
        super::models::of_version(&model, Version(2)),
        Link::to(&["models", text]),
    ] {
        found.push(skeleton(&site.get(&link.to_string()).await.text));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_text_from_outside_becomes_markup(
        text in prop_oneof![
            "x[<>\"'&=/ \\-!a-z\\[\\]\u{202e}]{0,60}",
            Just("x</script><script>alert(1)</script>".to_owned()),
            Just("x\" onmouseover=\"alert(1)".to_owned()),
            Just("x<!--".to_owned()),
            Just("x]]><svg onload=alert(1)>".to_owned()),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (place, tags) in runtime.block_on(pages(&text)).into_iter().enumerate() {
            for tag in tags {
                let known = ["!doctype", "html", "head", "meta", "title", "link", "script", "body", "a", "header", "nav", "main", "h1",
                    "h2", "bdi", "ol", "li", "ul", "p", "div", "form", "label", "span", "input", "button", "table", "caption", "thead",
                    "tr", "th", "tbody", "td", "time", "details", "summary", "fieldset", "legend", "section", "dl", "dt", "dd", "code",
                    "select", "option", "figure", "figcaption", "noscript", "svg", "path", "text", "i", "pre", "mark", "g", "rect",
                    "defs", "marker"];
                let name = tag.trim_start_matches('/');
                if let Some(attribute) = tag.strip_prefix("  ") {
                    prop_assert!(!attribute.starts_with("on"), "{attribute} on page {place}");
                } else {
                    prop_assert!(known.contains(&name), "<{tag}> on page {place}");
                }
            }
        }
    }
}
