//! The promises of [`GatewayStore`].

use std::sync::Arc;

use mlops_core::{ErrorKind, Timestamp};

use super::WRITERS;
use crate::{
    ExperimentId, PageRequest,
    evaluation::Scorer,
    gateway::{
        BindingFilter, BindingKind, BudgetAction, BudgetLength, BudgetScope, BudgetSettings, BudgetSpan, BudgetUnit,
        BudgetUpdate, CreateBinding, CreateEndpoint, CreateGuardrail, CreateModelDefinition, CreateSecret, Endpoint,
        EndpointUpdate, Fallback, GatewayStore, GuardrailAction, GuardrailStage, Linkage, ModelDefinition,
        ModelDefinitionUpdate, ModelFilter, ModelLink, PlaceGuardrail, RoutingStrategy, Secret, SecretUpdate,
    },
};

const KEY: &str = "sk-0123456789abcdef";

/// Runs every promise of [`GatewayStore`]; `fresh` gives an empty store each time.
///
/// # Panics
/// When a promise is broken.
pub async fn gateway_store<S: GatewayStore>(fresh: impl AsyncFn() -> S) {
    secrets_come_back_masked_and_their_values_alone(fresh().await).await;
    one_of_several_secrets_gets_the_name(fresh().await).await;
    a_model_outlives_its_secret(fresh().await).await;
    endpoints_keep_their_models(fresh().await).await;
    an_endpoint_takes_along_what_is_bound_to_it(fresh().await).await;
    budgets_keep_their_targets(fresh().await).await;
    guardrails_judge_in_order(fresh().await).await;
}

async fn secret<S: GatewayStore>(store: &S, name: &str) -> Secret {
    store.create_secret(CreateSecret::new(name, [("api_key", KEY)])).await.expect("keeps")
}

async fn model<S: GatewayStore>(store: &S, name: &str, secret: &Secret) -> ModelDefinition {
    let create = CreateModelDefinition::new(name, &secret.id, "openai", "gpt-4o");
    store.create_model(create).await.expect("defines")
}

async fn endpoint<S: GatewayStore>(store: &S, name: &str, model: &ModelDefinition) -> Endpoint {
    store.create_endpoint(CreateEndpoint::new(name, [ModelLink::primary(&model.id)])).await.expect("creates")
}

fn kind<T: std::fmt::Debug>(refused: mlops_core::Result<T>) -> ErrorKind {
    refused.expect_err("must be refused").kind()
}

async fn secrets_come_back_masked_and_their_values_alone<S: GatewayStore>(store: S) {
    let create = CreateSecret {
        provider: Some("openai".to_owned()),
        auth: [("api_base".to_owned(), "https://api.example.com/v1".to_owned())].into(),
        created_by: Some("ann".to_owned()),
        ..CreateSecret::new("openai", [("api_key", KEY)])
    };
    let made = store.create_secret(create).await.expect("keeps");
    assert_eq!(made.masked, [("api_key".to_owned(), "sk-...cdef".to_owned())].into());
    assert_eq!(store.secret(&made.id).await.expect("reads"), made);
    assert_eq!(store.values(&made.id).await.expect("opens").get("api_key"), Some(KEY));

    let values = Some([("other".to_owned(), "0123456789ab".to_owned())].into_iter().collect());
    let update = SecretUpdate { values, updated_by: Some("bob".to_owned()), ..SecretUpdate::default() };
    let changed = store.update_secret(&made.id, update).await.expect("changes");
    assert_eq!(changed.masked, [("other".to_owned(), "012...89ab".to_owned())].into());
    assert!(changed.change.updated > made.change.updated, "a change is later");
    assert_eq!((&changed.auth, changed.change.updated_by.as_deref()), (&made.auth, Some("bob")));
    let found = store.values(&made.id).await.expect("opens");
    assert_eq!((found.get("api_key"), found.get("other")), (None, Some("0123456789ab")));
    let update = SecretUpdate { auth: Some([].into()), ..SecretUpdate::default() };
    let changed = store.update_secret(&made.id, update).await.expect("changes");
    assert!(changed.auth.is_empty());
    assert_eq!(store.values(&made.id).await.expect("opens"), found, "the values stay");

    let other = secret(&store, "any").await;
    assert_eq!(store.secrets(None).await.expect("lists"), [changed.clone(), other.clone()]);
    assert_eq!(store.secrets(Some("openai")).await.expect("lists"), [changed]);
    store.delete_secret(&other.id).await.expect("deletes");
    assert_eq!(kind(store.secret(&other.id).await), ErrorKind::NotFound);
    assert_eq!(kind(store.values(&other.id).await), ErrorKind::NotFound);
    assert_eq!(kind(store.delete_secret(&other.id).await), ErrorKind::NotFound);
    assert_eq!(kind(store.update_secret(&other.id, SecretUpdate::default()).await), ErrorKind::NotFound);
}

async fn one_of_several_secrets_gets_the_name<S: GatewayStore>(store: S) {
    let store = Arc::new(store);
    let create = |_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.create_secret(CreateSecret::new("same", [("api_key", KEY)])).await })
    };
    let mut made = 0;
    for tried in (0..WRITERS).map(create).collect::<Vec<_>>() {
        match tried.await.expect("does not panic") {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
        }
    }
    assert_eq!((made, store.secrets(None).await.expect("lists").len()), (1, 1));
}

async fn a_model_outlives_its_secret<S: GatewayStore>(store: S) {
    let (first, second) = (secret(&store, "first").await, secret(&store, "second").await);
    let made = model(&store, "chat", &first).await;
    let named = made.secret.clone().expect("has a secret");
    assert_eq!((&named.id, &named.name), (&first.id, &first.name));
    assert_eq!(store.model(&made.id).await.expect("reads"), made);
    let again = CreateModelDefinition::new("chat", &first.id, "openai", "o3");
    assert_eq!(kind(store.create_model(again).await), ErrorKind::AlreadyExists);
    let lost = CreateModelDefinition::new("lost", "s-none", "openai", "o3");
    assert_eq!(kind(store.create_model(lost).await), ErrorKind::NotFound);

    let update = ModelDefinitionUpdate {
        secret: Some(second.id.clone()),
        provider: Some("anthropic".to_owned()),
        model_name: Some("claude".to_owned()),
        ..ModelDefinitionUpdate::default()
    };
    let changed = store.update_model(&made.id, update).await.expect("changes");
    assert_eq!((changed.provider.as_str(), changed.name.as_str()), ("anthropic", "chat"));
    let other = model(&store, "other", &first).await;
    let rename = ModelDefinitionUpdate { name: Some("chat".to_owned()), ..ModelDefinitionUpdate::default() };
    assert_eq!(kind(store.update_model(&other.id, rename).await), ErrorKind::AlreadyExists);

    let of = async |provider: Option<&str>, secret: Option<&str>| {
        let filter = ModelFilter { provider: provider.map(str::to_owned), secret: secret.map(str::to_owned) };
        let found = store.models(&filter).await.expect("lists");
        found.into_iter().map(|model| model.name).collect::<Vec<_>>()
    };
    assert_eq!(of(None, None).await, ["chat", "other"]);
    assert_eq!(of(Some("anthropic"), None).await, ["chat"]);
    assert_eq!(of(None, Some(&first.id)).await, ["other"]);
    store.delete_secret(&second.id).await.expect("deletes");
    assert_eq!(store.model(&made.id).await.expect("reads").secret, None);
    store.delete_model(&made.id).await.expect("deletes");
    assert_eq!(kind(store.delete_model(&made.id).await), ErrorKind::NotFound);
}

async fn endpoints_keep_their_models<S: GatewayStore>(store: S) {
    let secret = secret(&store, "s").await;
    let (a, b) = (model(&store, "a", &secret).await, model(&store, "b", &secret).await);
    let made = endpoint(&store, "support", &a).await;
    assert_eq!(made.mappings[0].definition.as_ref(), Some(&a));
    assert_eq!((made.fallback, made.usage_tracking), (None, true));
    assert_eq!(store.endpoint(&made.id).await.expect("reads"), made);
    assert_eq!(store.endpoint_named("support").await.expect("reads"), made);
    let again = CreateEndpoint::new("support", [ModelLink::primary(&b.id)]);
    assert_eq!(kind(store.create_endpoint(again).await), ErrorKind::AlreadyExists);
    let lost = CreateEndpoint::new("lost", [ModelLink::primary(&b.id), ModelLink::primary("d-none")]);
    assert_eq!(kind(store.create_endpoint(lost).await), ErrorKind::NotFound);
    assert_eq!(kind(store.endpoint_named("lost").await), ErrorKind::NotFound, "it is not half made");

    let spare = ModelLink { linkage: Linkage::Fallback, fallback_order: Some(0), ..ModelLink::primary(&b.id) };
    let attached = store.attach_model(&made.id, spare.clone(), Some("ann".to_owned())).await.expect("attaches");
    assert_eq!((&attached.link, attached.created_by.as_deref()), (&spare, Some("ann")));
    assert_eq!(kind(store.attach_model(&made.id, spare.clone(), None).await), ErrorKind::AlreadyExists);
    let found = store.endpoint(&made.id).await.expect("reads");
    assert_eq!(found.mappings, [made.mappings[0].clone(), attached]);
    assert!(found.change.updated > made.change.updated);
    assert_eq!(kind(store.delete_model(&b.id).await), ErrorKind::FailedPrecondition);
    store.detach_model(&made.id, &b.id).await.expect("detaches");
    assert_eq!(kind(store.detach_model(&made.id, &b.id).await), ErrorKind::NotFound);

    let update = EndpointUpdate {
        name: Some("help".to_owned()),
        models: Some(vec![spare]),
        routing: Some(RoutingStrategy::RequestBasedTrafficSplit),
        experiment: Some(ExperimentId(7)),
        ..EndpointUpdate::default()
    };
    let changed = store.update_endpoint(&made.id, update).await.expect("changes");
    assert_eq!((changed.name.as_str(), changed.experiment), ("help", Some(ExperimentId(7))));
    assert_eq!((changed.mappings.len(), &changed.mappings[0].link.model), (1, &b.id));
    assert_eq!(changed.fallback, Some(Fallback::default()));
    let bad = EndpointUpdate { models: Some(vec![ModelLink::primary("d-none")]), ..EndpointUpdate::default() };
    assert_eq!(kind(store.update_endpoint(&made.id, bad).await), ErrorKind::NotFound);
    assert_eq!(store.endpoint(&made.id).await.expect("reads"), changed, "a refused change changes nothing");

    let other = endpoint(&store, "other", &a).await;
    let taken = EndpointUpdate { name: Some("help".to_owned()), ..EndpointUpdate::default() };
    assert_eq!(kind(store.update_endpoint(&other.id, taken).await), ErrorKind::AlreadyExists);
    let names = async |provider| {
        let found = store.endpoints(provider).await.expect("lists");
        found.into_iter().map(|endpoint| endpoint.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None).await, ["help", "other"]);
    assert_eq!(names(Some("openai")).await, ["help", "other"]);
    assert!(names(Some("cohere")).await.is_empty());

    store.tag_endpoint(&made.id, "team", Some("risk")).await.expect("tags");
    store.tag_endpoint(&made.id, "team", Some("fraud")).await.expect("tags");
    store.tag_endpoint(&made.id, "none", None).await.expect("removes what is absent");
    assert_eq!(store.endpoint(&made.id).await.expect("reads").tags, [("team".to_owned(), "fraud".to_owned())].into());
    store.tag_endpoint(&made.id, "team", None).await.expect("removes");
    assert!(store.endpoint(&made.id).await.expect("reads").tags.is_empty());
    assert_eq!(kind(store.tag_endpoint("e-none", "a", None).await), ErrorKind::NotFound);
}

fn binding(endpoint: &Endpoint, resource: &str) -> CreateBinding {
    CreateBinding {
        endpoint: endpoint.id.clone(),
        kind: BindingKind::Scorer,
        resource: resource.to_owned(),
        created_by: None,
    }
}

async fn an_endpoint_takes_along_what_is_bound_to_it<S: GatewayStore>(store: S) {
    let secret = secret(&store, "s").await;
    let used = model(&store, "a", &secret).await;
    let (one, other) = (endpoint(&store, "one", &used).await, endpoint(&store, "other", &used).await);
    for (of, resource) in [(&one, "x"), (&one, "y"), (&other, "x")] {
        store.create_binding(binding(of, resource)).await.expect("binds");
    }
    assert_eq!(kind(store.create_binding(binding(&one, "x")).await), ErrorKind::AlreadyExists);
    let lost = CreateBinding { endpoint: "e-none".to_owned(), ..binding(&one, "x") };
    assert_eq!(kind(store.create_binding(lost).await), ErrorKind::NotFound);
    let found = async |filter: BindingFilter| {
        let found = store.bindings(&filter).await.expect("lists");
        found.into_iter().map(|binding| (binding.endpoint, binding.resource)).collect::<Vec<_>>()
    };
    let of = |endpoint: &Endpoint, resource: &str| (endpoint.id.clone(), resource.to_owned());
    let by_endpoint = BindingFilter { endpoint: Some(one.id.clone()), ..BindingFilter::default() };
    assert_eq!(found(by_endpoint).await, [of(&one, "x"), of(&one, "y")]);
    let by_resource = BindingFilter { resource: Some("x".to_owned()), ..BindingFilter::default() };
    assert_eq!(found(by_resource).await, [of(&one, "x"), of(&other, "x")]);
    store.delete_binding(&binding(&one, "x")).await.expect("unbinds");
    assert_eq!(kind(store.delete_binding(&binding(&one, "x")).await), ErrorKind::NotFound);
    let by_kind = BindingFilter { kind: Some(BindingKind::Scorer), ..BindingFilter::default() };
    assert_eq!(found(by_kind).await, [of(&one, "y"), of(&other, "x")]);

    store.delete_endpoint(&one.id).await.expect("deletes");
    assert_eq!(kind(store.delete_endpoint(&one.id).await), ErrorKind::NotFound);
    assert_eq!(found(BindingFilter::default()).await, [of(&other, "x")]);
    assert_eq!(kind(store.delete_model(&used.id).await), ErrorKind::FailedPrecondition, "the other one has it");
    store.delete_endpoint(&other.id).await.expect("deletes");
    store.delete_model(&used.id).await.expect("nothing has it any more");
}

async fn budgets_keep_their_targets<S: GatewayStore>(store: S) {
    let secret = secret(&store, "s").await;
    let endpoint = endpoint(&store, "e", &model(&store, "a", &secret).await).await;
    let settings = |scope, target: Option<&str>| BudgetSettings {
        unit: BudgetUnit::Usd,
        amount: 12.5,
        span: BudgetSpan { unit: BudgetLength::Days, count: 1 },
        scope,
        target: target.map(str::to_owned),
        action: BudgetAction::Reject,
    };
    let lost = settings(BudgetScope::Endpoint, Some("e-none"));
    assert_eq!(kind(store.create_budget(lost, None).await), ErrorKind::NotFound);
    assert_eq!(kind(store.create_budget(settings(BudgetScope::User, None), None).await), ErrorKind::InvalidArgument);
    let global = settings(BudgetScope::Global, None);
    let made = store.create_budget(global.clone(), Some("ann".to_owned())).await.expect("creates");
    assert_eq!((&made.settings, store.budget(&made.id).await.expect("reads")), (&global, made.clone()));
    let aimed = settings(BudgetScope::Endpoint, Some(&endpoint.id));
    let update = BudgetUpdate {
        scope: Some(BudgetScope::Endpoint),
        target: Some(Some(endpoint.id.clone())),
        ..BudgetUpdate::default()
    };
    let changed = store.update_budget(&made.id, update).await.expect("changes");
    assert_eq!(changed.settings, aimed);
    let bad = BudgetUpdate { target: Some(Some("e-none".to_owned())), ..BudgetUpdate::default() };
    assert_eq!(kind(store.update_budget(&made.id, bad).await), ErrorKind::NotFound);
    assert_eq!(store.budget(&made.id).await.expect("reads"), changed);

    let second = store.create_budget(global, None).await.expect("creates");
    let page = |token| PageRequest { max_results: Some(1), token };
    let first = store.budgets(&page(None)).await.expect("lists");
    let rest = store.budgets(&page(first.next_page_token)).await.expect("lists");
    assert_eq!((first.items, rest.items, rest.next_page_token), (vec![changed], vec![second.clone()], None));
    store.delete_budget(&second.id).await.expect("deletes");
    assert_eq!(kind(store.delete_budget(&second.id).await), ErrorKind::NotFound);
}

async fn guardrails_judge_in_order<S: GatewayStore>(store: S) {
    let secret = secret(&store, "s").await;
    let used = model(&store, "a", &secret).await;
    let (one, action) = (endpoint(&store, "one", &used).await, endpoint(&store, "action", &used).await);
    let create = |name: &str, serialized: &str| CreateGuardrail {
        name: name.to_owned(),
        scorer: Scorer {
            id: "sc-1".to_owned(),
            experiment: ExperimentId(0),
            name: "safe".to_owned(),
            version: 3,
            serialized: serialized.to_owned(),
            created: Timestamp::from_millis(1),
        },
        stage: GuardrailStage::Before,
        action: GuardrailAction::Sanitization,
        action_endpoint: Some(action.id.clone()),
        created_by: None,
    };
    let code = create("code", r#"{"call_source": "return 1"}"#);
    assert_eq!(kind(store.create_guardrail(code).await), ErrorKind::InvalidArgument);
    let lost = CreateGuardrail { action_endpoint: Some("e-none".to_owned()), ..create("lost", "{}") };
    assert_eq!(kind(store.create_guardrail(lost).await), ErrorKind::NotFound);
    let mut made = Vec::new();
    for name in ["first", "second", "third"] {
        let guardrail = store.create_guardrail(create(name, "{}")).await.expect("creates");
        assert_eq!(guardrail.action_endpoint.as_ref().map(|endpoint| endpoint.name.as_str()), Some("action"));
        assert_eq!(store.guardrail(&guardrail.id).await.expect("reads"), guardrail);
        made.push(guardrail);
    }
    let place = |at: usize, order| PlaceGuardrail {
        endpoint: one.id.clone(),
        guardrail: made[at].id.clone(),
        order,
        created_by: Some("ann".to_owned()),
    };
    for (at, order) in [(0, None), (1, Some(2)), (2, Some(1))] {
        let placed = store.place_guardrail(place(at, order)).await.expect("places");
        assert_eq!(
            (placed.order, placed.guardrail, placed.created_by.as_deref()),
            (order, made[at].clone(), Some("ann"))
        );
    }
    assert_eq!(kind(store.place_guardrail(place(0, None)).await), ErrorKind::AlreadyExists);
    let names = async || {
        let found = store.guardrails_of(&one.id).await.expect("lists");
        found.into_iter().map(|placed| placed.guardrail.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["third", "second", "first"]);
    store.move_guardrail(&one.id, &made[0].id, Some(0)).await.expect("moves");
    assert_eq!(names().await, ["first", "third", "second"]);
    assert_eq!(kind(store.move_guardrail(&action.id, &made[0].id, None).await), ErrorKind::NotFound);
    store.remove_guardrail(&one.id, &made[1].id).await.expect("removes");
    assert_eq!(kind(store.remove_guardrail(&one.id, &made[1].id).await), ErrorKind::NotFound);
    store.delete_guardrail(&made[2].id).await.expect("deletes");
    assert_eq!(names().await, ["first"]);
    store.delete_endpoint(&action.id).await.expect("deletes");
    assert_eq!(store.guardrail(&made[0].id).await.expect("reads").action_endpoint, None);
    let all = store.guardrails(&PageRequest { max_results: Some(1), token: None }).await.expect("lists");
    assert_eq!((all.items.len(), all.next_page_token.is_some()), (1, true));
    assert_eq!(kind(store.guardrails_of(&action.id).await), ErrorKind::NotFound);
}
