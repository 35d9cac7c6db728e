//! What pages offer to choose from when somebody configures a gateway: providers, how they are signed in to, and some
//! models of each. Any other may be named as well; nothing here limits what is kept.

use axum::Router;
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::store;
use crate::mlflow::{Api, GET, on, request::Params};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/3.0/mlflow/gateway/supported-providers", on(GET, providers))
        .route("/3.0/mlflow/gateway/supported-models", on(GET, models))
        .route("/3.0/mlflow/gateway/provider-config", on(GET, config))
        .route("/3.0/mlflow/gateway/secrets/config", on(GET, secrets))
}

/// A provider that signs in by one key unless [`modes`] says otherwise, with models to chat and models that embed.
struct Provider {
    name: &'static str,
    title: &'static str,
    chat: &'static [&'static str],
    embedding: &'static [&'static str],
}

const fn provider(
    name: &'static str,
    title: &'static str,
    chat: &'static [&'static str],
    embedding: &'static [&'static str],
) -> Provider {
    Provider { name, title, chat, embedding }
}

const PROVIDERS: [Provider; 18] = [
    provider(
        "anthropic",
        "Anthropic",
        &["claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-3-5-haiku-latest"],
        &[],
    ),
    provider("azure", "Azure OpenAI", &["gpt-4o", "gpt-4o-mini", "gpt-4.1"], &["text-embedding-3-large"]),
    provider(
        "bedrock",
        "Amazon Bedrock",
        &["amazon.nova-pro-v1:0", "amazon.nova-lite-v1:0", "anthropic.claude-3-5-sonnet-20241022-v2:0"],
        &["amazon.titan-embed-text-v2:0"],
    ),
    provider("cerebras", "Cerebras", &["llama3.1-8b", "llama-3.3-70b"], &[]),
    provider("cohere", "Cohere", &["command-a-03-2025", "command-r-plus-08-2024"], &["embed-v4.0"]),
    provider("databricks", "Databricks", &["databricks-meta-llama-3-3-70b-instruct"], &["databricks-gte-large-en"]),
    provider("deepseek", "DeepSeek", &["deepseek-chat", "deepseek-reasoner"], &[]),
    provider("fireworks_ai", "Fireworks AI", &["accounts/fireworks/models/llama-v3p3-70b-instruct"], &[]),
    provider(
        "gemini",
        "Google Gemini",
        &["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"],
        &["gemini-embedding-001"],
    ),
    provider("groq", "Groq", &["llama-3.3-70b-versatile", "llama-3.1-8b-instant"], &[]),
    provider("mistral", "Mistral", &["mistral-large-latest", "mistral-small-latest"], &["mistral-embed"]),
    provider("ollama", "Ollama", &["llama3.3", "qwen3"], &["nomic-embed-text"]),
    provider(
        "openai",
        "OpenAI",
        &["gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "o3", "o4-mini"],
        &["text-embedding-3-small", "text-embedding-3-large"],
    ),
    provider("openrouter", "OpenRouter", &["openrouter/auto"], &[]),
    provider("perplexity", "Perplexity", &["sonar", "sonar-pro"], &[]),
    provider("together_ai", "Together AI", &["meta-llama/Llama-3.3-70B-Instruct-Turbo"], &[]),
    provider("vertex_ai", "Google Vertex AI", &["gemini-2.5-pro", "gemini-2.5-flash"], &["gemini-embedding-001"]),
    provider("xai", "xAI", &["grok-4", "grok-3-mini"], &[]),
];

/// A field of a way to sign in.
struct Field {
    name: &'static str,
    about: &'static str,
    secret: bool,
    required: bool,
}

const fn secret(name: &'static str, about: &'static str) -> Field {
    Field { name, about, secret: true, required: true }
}

const fn setting(name: &'static str, about: &'static str, required: bool) -> Field {
    Field { name, about, secret: false, required }
}

/// A way to sign in to a provider; the first one of a provider is the one that is offered first.
struct Mode {
    name: &'static str,
    title: &'static str,
    fields: &'static [Field],
}

const AWS_KEY: Field = secret("aws_access_key_id", "Access key id");
const AWS_SECRET: Field = secret("aws_secret_access_key", "Secret access key");
const AWS_ROLE: Field = setting("aws_role_name", "ARN of the role to assume", true);
const AWS_REGION: Field = setting("aws_region_name", "Region, such as us-east-1", false);
const GCP_PROJECT: Field = setting("vertex_project", "Project id", true);
const GCP_LOCATION: Field = setting("vertex_location", "Region, such as us-central1", false);

const BEDROCK: &[Mode] = &[
    Mode {
        name: "api_key",
        title: "API key",
        fields: &[secret("api_key", "Bedrock API key"), setting("aws_region_name", "Region, such as us-east-1", true)],
    },
    Mode { name: "access_keys", title: "Access keys", fields: &[AWS_KEY, AWS_SECRET, AWS_REGION] },
    Mode { name: "iam_role", title: "Role, assumed by what the machine is", fields: &[AWS_ROLE, AWS_REGION] },
    Mode {
        name: "default_chain",
        title: "What the machine is",
        fields: &[setting("aws_role_name", "ARN of a role to assume", false), AWS_REGION],
    },
];
const AZURE: &[Mode] = &[Mode {
    name: "api_key",
    title: "API key",
    fields: &[
        secret("api_key", "API key"),
        setting("api_base", "Address of the resource", true),
        setting("api_version", "Version of the API, such as 2024-02-01", true),
    ],
}];
const DATABRICKS: &[Mode] = &[
    Mode {
        name: "pat_token",
        title: "Personal access token",
        fields: &[secret("api_key", "Token"), setting("api_base", "Address of the workspace", true)],
    },
    Mode {
        name: "oauth_m2m",
        title: "Service principal",
        fields: &[
            secret("client_secret", "OAuth secret"),
            setting("api_base", "Address of the workspace", true),
            setting("client_id", "OAuth client id", true),
        ],
    },
];
const VERTEX: &[Mode] = &[
    Mode {
        name: "service_account_json",
        title: "Service account",
        fields: &[secret("vertex_credentials", "Key file of the account, JSON"), GCP_PROJECT, GCP_LOCATION],
    },
    Mode { name: "default_chain", title: "What the machine is", fields: &[GCP_PROJECT, GCP_LOCATION] },
];
const ONE_KEY: &[Mode] = &[Mode {
    name: "api_key",
    title: "API key",
    fields: &[secret("api_key", "API key"), setting("api_base", "Address, where it is not the usual one", false)],
}];

fn modes(provider: &str) -> &'static [Mode] {
    match provider {
        "azure" => AZURE,
        "bedrock" => BEDROCK,
        "databricks" => DATABRICKS,
        "vertex_ai" => VERTEX,
        _ => ONE_KEY,
    }
}

fn field(field: &Field) -> Value {
    json!({ "name": field.name, "type": "string", "description": field.about, "required": field.required })
}

fn mode(mode: &Mode, provider: &str) -> Value {
    let of =
        |secret: bool| -> Vec<Value> { mode.fields.iter().filter(|field| field.secret == secret).map(field).collect() };
    json!({
        "mode": mode.name,
        "display_name": mode.title,
        "description": format!("{} of {provider}", mode.title),
        "secret_fields": of(true),
        "config_fields": of(false),
    })
}

fn model(provider: &str, mode: &str, name: &str) -> Value {
    // What nobody keeps up to date here is not told: prices, sizes and abilities.
    json!({
        "model": name,
        "provider": provider,
        "mode": mode,
        "supports_function_calling": false,
        "supports_vision": false,
        "supports_reasoning": false,
        "supports_prompt_caching": false,
        "supports_response_schema": false,
        "max_input_tokens": null,
        "max_output_tokens": null,
        "input_cost_per_token": null,
        "output_cost_per_token": null,
        "modality": null,
        "deprecation_date": null,
        "last_updated_at": null,
    })
}

async fn providers(_: Api, _: Params) -> Result<Value> {
    Ok(json!({ "providers": PROVIDERS.iter().map(|provider| provider.name).collect::<Vec<_>>() }))
}

async fn models(_: Api, params: Params) -> Result<Value> {
    let wanted = params.text("provider")?.filter(|name| !name.is_empty());
    let listed = PROVIDERS.iter().filter(|provider| wanted.is_none_or(|name| name == provider.name));
    let models = listed.flat_map(|provider| {
        let chat = provider.chat.iter().map(|name| model(provider.name, "chat", name));
        chat.chain(provider.embedding.iter().map(|name| model(provider.name, "embedding", name)))
    });
    Ok(json!({ "models": models.collect::<Vec<_>>() }))
}

/// A provider that is not listed signs in by one key.
async fn config(_: Api, params: Params) -> Result<Value> {
    let Some(name) = params.text("provider")?.filter(|name| !name.is_empty()) else {
        return Err(Error::invalid_argument("Provider parameter is required"));
    };
    let name = name.to_lowercase();
    let title = PROVIDERS.iter().find(|provider| provider.name == name).map_or(name.as_str(), |found| found.title);
    let modes = modes(&name);
    let default = modes.first().map(|mode| mode.name);
    let shown: Vec<Value> = modes.iter().map(|one| mode(one, title)).collect();
    Ok(json!({ "auth_modes": shown, "default_mode": default }))
}

/// No passphrase is everybody's here. Who is no administrator need not know what the key is made from.
async fn secrets(api: Api, _: Params) -> Result<Value> {
    let mut answer = json!({ "secrets_available": store(&api).is_ok() });
    let open = match &api.guard {
        Some(guard) => guard.check_admin().await.is_ok(),
        None => true,
    };
    if let Some(fields) = answer.as_object_mut().filter(|_| open) {
        fields.insert("using_default_passphrase".to_owned(), false.into());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_listed_by_name_and_ask_for_a_secret_or_need_none() {
        assert!(PROVIDERS.is_sorted_by_key(|provider| provider.name));
        for provider in &PROVIDERS {
            assert!(!provider.chat.is_empty(), "{}", provider.name);
            let first = &modes(provider.name)[0];
            assert!(first.fields.iter().any(|field| field.secret && field.required), "{}", provider.name);
        }
    }
}
