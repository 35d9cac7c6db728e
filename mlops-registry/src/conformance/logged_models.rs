//! The promises of [`LoggedModelStore`].

use mlops_core::{ErrorKind, ModelName, RunId, Version};

use super::{pair, point};
use crate::{
    Batch, CreateExperiment, CreateLoggedModel, CreateRun, DatasetFilter, ExperimentId, LoggedModelId,
    LoggedModelOrder, LoggedModelSearch, LoggedModelStatus, LoggedModelStore, ModelMetric, ModelOutput, TrackingStore,
    View, logged_models::REGISTRATIONS_TAG,
};

/// Runs every promise of [`LoggedModelStore`]; `fresh` gives an empty store each time, with the tracking store whose
/// runs it knows.
///
/// # Panics
/// When a promise is broken.
pub async fn logged_model_store<T: TrackingStore, S: LoggedModelStore>(fresh: impl AsyncFn() -> (T, S)) {
    models_come_back_as_they_were(fresh().await).await;
    params_do_not_change_and_tags_do(fresh().await).await;
    points_are_written_with_the_run_or_not_at_all(fresh().await).await;
    searches_see_what_counts(fresh().await).await;
    pages_join_to_the_whole(fresh().await).await;
    runs_know_their_models(fresh().await).await;
    registrations_are_noted_once(fresh().await).await;
}

const DEFAULT: ExperimentId = ExperimentId(0);

async fn named<S: LoggedModelStore>(store: &S, name: &str) -> LoggedModelId {
    store.create_logged_model(CreateLoggedModel::new(DEFAULT).with_name(name)).await.expect("creates").id
}

async fn run<T: TrackingStore>(tracking: &T) -> RunId {
    tracking.create_run(CreateRun::new(DEFAULT)).await.expect("starts").id
}

fn measured(model: &LoggedModelId, value: f64, at_ms: i64, dataset: Option<&str>) -> ModelMetric {
    ModelMetric {
        model: model.clone(),
        metric: point(value, at_ms, 0),
        run: None,
        dataset_name: dataset.map(str::to_owned),
        dataset_digest: dataset.map(|name| format!("digest of {name}")),
    }
}

fn batch(model_metrics: Vec<ModelMetric>) -> Batch {
    Batch { model_metrics, ..Batch::default() }
}

async fn models_come_back_as_they_were<T: TrackingStore, S: LoggedModelStore>((tracking, store): (T, S)) {
    let source_run = run(&tracking).await;
    let create = CreateLoggedModel {
        model_type: "classifier".to_owned(),
        source_run: Some(source_run.clone()),
        params: vec![pair("lr", "0.1")],
        tags: vec![pair("team", "risk")],
        ..CreateLoggedModel::new(DEFAULT).with_name("net")
    };
    let made = store.create_logged_model(create).await.expect("creates");
    assert_eq!(
        (made.name.as_str(), made.status, made.source_run.clone()),
        ("net", LoggedModelStatus::Pending, Some(source_run))
    );
    assert!(made.artifact_uri.ends_with(&format!("/models/{}/artifacts", made.id)), "{}", made.artifact_uri);
    assert_eq!(store.logged_model(&made.id, View::ActiveOnly).await.expect("reads"), made);
    let ready = store.finalize_logged_model(&made.id, LoggedModelStatus::Ready).await.expect("finalizes");
    assert_eq!((ready.status, ready.params, ready.tags), (LoggedModelStatus::Ready, made.params, made.tags));

    store.delete_logged_model(&made.id).await.expect("deletes");
    for error in [
        store.logged_model(&made.id, View::ActiveOnly).await.expect_err("deleted"),
        store.delete_logged_model(&made.id).await.expect_err("deleted"),
        store.set_logged_model_tags(&made.id, &[pair("a", "b")]).await.expect_err("deleted"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert!(store.logged_model(&made.id, View::All).await.expect("is still there").deleted);
    assert!(
        store.search_logged_models(&[DEFAULT], &LoggedModelSearch::new()).await.expect("searches").items.is_empty()
    );

    for bad in ["", "a/b", "a:b", "a.b"] {
        let model = CreateLoggedModel::new(DEFAULT).with_name(bad);
        let error = store.create_logged_model(model).await.expect_err("a bad name");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
    }
    let experiment = tracking.create_experiment("gone", CreateExperiment::default()).await.expect("creates");
    tracking.delete_experiment(experiment).await.expect("deletes");
    for (id, kind) in [(experiment, ErrorKind::FailedPrecondition), (ExperimentId(77), ErrorKind::NotFound)] {
        let error = store.create_logged_model(CreateLoggedModel::new(id)).await.expect_err("no place for it");
        assert_eq!(error.kind(), kind);
    }
}

async fn params_do_not_change_and_tags_do<T: TrackingStore, S: LoggedModelStore>((_, store): (T, S)) {
    let id = named(&store, "net").await;
    store.log_logged_model_params(&id, &[pair("lr", "1"), pair("depth", "3")]).await.expect("sets");
    store.log_logged_model_params(&id, &[pair("lr", "1")]).await.expect("sets the same again");
    let changed = [pair("fresh", "1"), pair("lr", "2")];
    let error = store.log_logged_model_params(&id, &changed).await.expect_err("a param changes");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    store.set_logged_model_tags(&id, &[pair("a", "1"), pair("b", "1")]).await.expect("sets");
    store.set_logged_model_tags(&id, &[pair("a", "2")]).await.expect("replaces");
    store.delete_logged_model_tag(&id, "b").await.expect("removes");
    let error = store.delete_logged_model_tag(&id, "b").await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let model = store.logged_model(&id, View::ActiveOnly).await.expect("reads");
    assert_eq!(model.params.into_iter().collect::<Vec<_>>(), [pair("depth", "3"), pair("lr", "1")]);
    assert_eq!(model.tags.into_iter().collect::<Vec<_>>(), [pair("a", "2")]);
}

async fn points_are_written_with_the_run_or_not_at_all<T: TrackingStore, S: LoggedModelStore>(
    (tracking, store): (T, S),
) {
    let (id, run) = (named(&store, "net").await, run(&tracking).await);
    let both = Batch { metrics: vec![point(f64::NAN, 1, 0)], ..batch(vec![measured(&id, f64::NAN, 1, Some("d"))]) };
    tracking.log_batch(&run, &both).await.expect("logs");
    tracking.log_batch(&run, &both).await.expect("logs again");
    let points = store.logged_model(&id, View::ActiveOnly).await.expect("reads").metrics;
    let [only] = points.as_slice() else { panic!("a repeated point counts once: {points:?}") };
    assert!(only.metric.value.is_nan());
    assert_eq!((only.run.as_ref(), only.dataset_name.as_deref()), (Some(&run), Some("d")));
    assert_eq!(tracking.run(&run).await.expect("reads").metrics.len(), 1);

    let unknown = LoggedModelId::new("m-0").expect("an id");
    let refused = Batch { params: vec![pair("p", "1")], ..batch(vec![measured(&unknown, 1.0, 2, None)]) };
    let error = tracking.log_batch(&run, &refused).await.expect_err("no such model");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(tracking.run(&run).await.expect("reads").params.is_empty(), "a refused batch left something");
}

async fn names<S: LoggedModelStore>(store: &S, search: &LoggedModelSearch) -> Vec<String> {
    let found = store.search_logged_models(&[DEFAULT], search).await.expect("searches").items;
    found.into_iter().map(|model| model.name).collect()
}

async fn searches_see_what_counts<T: TrackingStore, S: LoggedModelStore>((tracking, store): (T, S)) {
    let run = run(&tracking).await;
    let (low, high, bare) = (named(&store, "low").await, named(&store, "high").await, named(&store, "bare").await);
    store.log_logged_model_params(&bare, &[pair("lr", "1")]).await.expect("sets");
    let points = vec![
        measured(&low, 0.2, 1, Some("train")),
        measured(&low, 0.9, 2, Some("test")),
        measured(&high, 0.8, 1, None),
    ];
    tracking.log_batch(&run, &batch(points)).await.expect("logs");
    let filter = |text: &str| LoggedModelSearch::new().with_filter(text).with_order("name", true);
    assert_eq!(names(&store, &filter("metrics.m > 0.85")).await, ["low"], "any point counts");
    assert_eq!(names(&store, &filter("metrics.m <= 0.8")).await, ["high", "low"]);
    assert_eq!(names(&store, &filter("name LIKE '%w' AND status = 'PENDING'")).await, ["low"]);
    assert_eq!(names(&store, &filter("params.lr IN ('1', '2')")).await, ["bare"]);
    let on = |name: &str, digest: Option<&str>| {
        vec![DatasetFilter { name: name.to_owned(), digest: digest.map(str::to_owned) }]
    };
    assert_eq!(names(&store, &LoggedModelSearch { datasets: on("train", None), ..filter("") }).await, ["low"]);
    assert_eq!(names(&store, &LoggedModelSearch { datasets: on("train", Some("x")), ..filter("") }).await, [""; 0]);
    let trained = LoggedModelSearch { datasets: on("train", None), ..filter("metrics.m > 0.85") };
    assert_eq!(names(&store, &trained).await, [""; 0], "only points on the dataset count");

    let by_metric = |ascending| LoggedModelSearch::new().with_order("metrics.m", ascending);
    assert_eq!(
        names(&store, &by_metric(true)).await,
        ["high", "low", "bare"],
        "the last point orders, missing is last"
    );
    assert_eq!(names(&store, &by_metric(false)).await, ["low", "high", "bare"]);
    let field = "metrics.m".to_owned();
    let train =
        LoggedModelOrder { field, ascending: true, dataset_name: Some("train".to_owned()), dataset_digest: None };
    let found = names(&store, &LoggedModelSearch { order_by: vec![train], ..LoggedModelSearch::new() }).await;
    assert_eq!(found.first().map(String::as_str), Some("low"));
    for bad in [filter("nope = 'a'"), filter("metrics.m > 'a'"), LoggedModelSearch::new().with_order("params.lr", true)]
    {
        let error = store.search_logged_models(&[DEFAULT], &bad).await.expect_err("a wrong search");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
    }
}

async fn pages_join_to_the_whole<T: TrackingStore, S: LoggedModelStore>((_, store): (T, S)) {
    for number in 0..5 {
        named(&store, &format!("net {number}")).await;
    }
    let mut search = LoggedModelSearch::new().with_order("name", true);
    search.page.max_results = Some(2);
    let (mut sizes, mut seen) = (Vec::new(), Vec::new());
    loop {
        let page = store.search_logged_models(&[DEFAULT], &search).await.expect("searches");
        sizes.push(page.items.len());
        seen.extend(page.items.into_iter().map(|model| model.name));
        search.page.token = page.next_page_token;
        if search.page.token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(seen, ["net 0", "net 1", "net 2", "net 3", "net 4"]);
    search.page.token = None;
    search.page.token = store.search_logged_models(&[DEFAULT], &search).await.expect("searches").next_page_token;
    let foreign = search.with_filter("name != 'x'");
    let error = store.search_logged_models(&[DEFAULT], &foreign).await.expect_err("token of another search");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

async fn runs_know_their_models<T: TrackingStore, S: LoggedModelStore>((tracking, store): (T, S)) {
    let (first, second) = (named(&store, "first").await, named(&store, "second").await);
    let (user, idle) = (run(&tracking).await, run(&tracking).await);
    let outputs = [ModelOutput { model: first.clone(), step: 3 }, ModelOutput { model: first.clone(), step: 4 }];
    for _ in 0..2 {
        store.link_input_models(&user, &[second.clone(), first.clone()]).await.expect("links, again too");
        store.link_output_models(&user, &outputs).await.expect("links, again too");
    }
    let found = store.models_of_runs(&[idle.clone(), user.clone()]).await.expect("reads");
    let [none, some] = found.as_slice() else { panic!("one answer for each run: {found:?}") };
    assert!(none.inputs.is_empty() && none.outputs.is_empty());
    assert_eq!((some.inputs.as_slice(), some.outputs.as_slice()), ([second, first].as_slice(), outputs.as_slice()));
    tracking.delete_run(&idle).await.expect("deletes");
    let error = store.link_input_models(&idle, &some.inputs).await.expect_err("a deleted run");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let unknown: RunId = "0".repeat(32).parse().expect("an id");
    let error = store.link_output_models(&unknown, &outputs).await.expect_err("no such run");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

async fn registrations_are_noted_once<T: TrackingStore, S: LoggedModelStore>((_, store): (T, S)) {
    let (id, fraud) = (named(&store, "net").await, ModelName::new("fraud").expect("a name"));
    for version in [1, 1, 2] {
        store.add_registration(&id, &fraud, Version(version)).await.expect("notes");
    }
    let model = store.logged_model(&id, View::ActiveOnly).await.expect("reads");
    let noted = r#"[{"name": "fraud", "version": 1}, {"name": "fraud", "version": 2}]"#;
    assert_eq!(model.tags.get(REGISTRATIONS_TAG).map(String::as_str), Some(noted));
}
