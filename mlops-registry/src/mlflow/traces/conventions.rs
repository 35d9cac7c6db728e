//! What spans of other libraries say, in MLflow's words too: their kind, inputs, outputs, tokens and model, under the
//! attributes that MLflow's clients and pages read.
//!
//! Invariant: nothing that was received is changed or taken away, and what MLflow's attributes say already stays, but
//! for a kind that is unknown. What is taken out of texts counts towards what one request may hold; text for which there
//! is no room stays text.

use std::cell::Cell;

use crate::{
    AnyValue, Span,
    traces::{
        Attribute, TOKENS_ATTRIBUTE,
        otlp::{ITEMS_MAX, JsonExtent, ResourceSpans},
    },
};

const KIND: &str = "mlflow.spanType";
const INPUTS: &str = "mlflow.spanInputs";
const OUTPUTS: &str = "mlflow.spanOutputs";
const MODEL: &str = "mlflow.llm.model";
const PROVIDER: &str = "mlflow.llm.provider";
const TOOLS: &str = "mlflow.chat.tools";
/// The attribute of a process, and here of its root spans, that names the application.
const SERVICE: &str = "service.name";
/// Applications that are named on root spans: the assistants whose traces MLflow's pages tell apart.
const SERVICES: [&str; 5] = ["claude-code", "codex_cli_rs", "codex_vscode", "gemini-cli", "qwen-code"];

/// The attributes in which one family of libraries says something. In a name, `#` stands for a number.
struct Vocabulary {
    /// The attribute of the kind, and MLflow's word for each of its values.
    kind: Option<(&'static str, &'static [(&'static str, &'static str)])>,
    tokens: Tokens,
    inputs: &'static [&'static str],
    outputs: &'static [&'static str],
    model: &'static [&'static str],
    provider: &'static [&'static str],
    tools: &'static [&'static str],
}

struct Tokens {
    input: &'static [&'static str],
    output: &'static [&'static str],
    total: &'static [&'static str],
    cache_read: &'static [&'static str],
    cache_written: &'static [&'static str],
}

const NO_TOKENS: Tokens = Tokens { input: &[], output: &[], total: &[], cache_read: &[], cache_written: &[] };
const NOTHING: Vocabulary =
    Vocabulary { kind: None, tokens: NO_TOKENS, inputs: &[], outputs: &[], model: &[], provider: &[], tools: &[] };
const GEN_AI_MODEL: &[&str] = &["gen_ai.response.model", "gen_ai.request.model"];

/// The first that says something counts.
static VOCABULARIES: [Vocabulary; 7] = [
    // OpenInference.
    Vocabulary {
        kind: Some((
            "openinference.span.kind",
            &[
                ("TOOL", "TOOL"),
                ("CHAIN", "CHAIN"),
                ("LLM", "LLM"),
                ("RETRIEVER", "RETRIEVER"),
                ("EMBEDDING", "EMBEDDING"),
                ("AGENT", "AGENT"),
                ("RERANKER", "RERANKER"),
                ("UNKNOWN", "UNKNOWN"),
                ("GUARDRAIL", "GUARDRAIL"),
                ("EVALUATOR", "EVALUATOR"),
            ],
        )),
        tokens: Tokens {
            input: &["llm.token_count.prompt"],
            output: &["llm.token_count.completion"],
            total: &["llm.token_count.total"],
            cache_read: &["llm.token_count.prompt_details.cache_read"],
            cache_written: &["llm.token_count.prompt_details.cache_write"],
        },
        inputs: &["input.value"],
        outputs: &["output.value"],
        model: &["llm.response.model_name", "llm.model_name", "llm.request.model_name", "embedding.model_name"],
        provider: &["llm.provider"],
        tools: &[],
    },
    // OpenTelemetry's own semantic conventions of generative AI.
    Vocabulary {
        kind: Some((
            "gen_ai.operation.name",
            &[
                ("chat", "CHAT_MODEL"),
                ("create_agent", "AGENT"),
                ("embeddings", "EMBEDDING"),
                ("execute_tool", "TOOL"),
                ("generate_content", "LLM"),
                ("invoke_agent", "AGENT"),
                ("text_completion", "LLM"),
                ("response", "LLM"),
            ],
        )),
        tokens: Tokens {
            input: &["gen_ai.usage.input_tokens"],
            output: &["gen_ai.usage.output_tokens"],
            total: &[],
            cache_read: &["gen_ai.usage.cache_read.input_tokens"],
            cache_written: &["gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"],
        },
        inputs: &["gen_ai.input.messages", "gen_ai.tool.call.arguments"],
        outputs: &["gen_ai.output.messages", "gen_ai.tool.call.result"],
        model: GEN_AI_MODEL,
        provider: &["gen_ai.provider.name"],
        tools: &["gen_ai.tool.definitions"],
    },
    // OpenLLMetry.
    Vocabulary {
        kind: Some((
            "traceloop.span.kind",
            &[("workflow", "WORKFLOW"), ("task", "TASK"), ("agent", "AGENT"), ("tool", "TOOL"), ("unknown", "UNKNOWN")],
        )),
        tokens: Tokens {
            input: &["gen_ai.usage.prompt_tokens"],
            output: &["gen_ai.usage.completion_tokens"],
            total: &["llm.usage.total_tokens"],
            ..NO_TOKENS
        },
        inputs: &["traceloop.entity.input", "gen_ai.prompt.#.content", "gen_ai.completion.#.tool_calls.#.arguments"],
        outputs: &["traceloop.entity.output", "gen_ai.completion.#.content"],
        provider: &["gen_ai.system"],
        ..NOTHING
    },
    // Google's agent development kit.
    Vocabulary {
        inputs: &["gcp.vertex.agent.llm_request", "gcp.vertex.agent.tool_call_args"],
        outputs: &["gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_response"],
        ..NOTHING
    },
    // Vercel's AI SDK.
    Vocabulary {
        kind: Some((
            "ai.operationId",
            &[
                ("ai.generateText", "LLM"),
                ("ai.generateText.doGenerate", "LLM"),
                ("ai.toolCall", "TOOL"),
                ("ai.streamText", "LLM"),
                ("ai.streamText.doStream", "LLM"),
                ("ai.generateObject", "LLM"),
                ("ai.generateObject.doGenerate", "LLM"),
                ("ai.streamObject", "LLM"),
                ("ai.streamObject.doStream", "LLM"),
                ("ai.embed", "EMBEDDING"),
                ("ai.embed.doEmbed", "EMBEDDING"),
                ("ai.embedMany", "EMBEDDING"),
            ],
        )),
        inputs: &["ai.prompt", "ai.toolCall.args", "ai.value", "ai.values"],
        outputs: &["ai.response.text", "ai.toolCall.result", "ai.response.object", "ai.embedding", "ai.embeddings"],
        ..NOTHING
    },
    // Laminar.
    Vocabulary {
        kind: Some((
            "lmnr.span.type",
            &[
                ("LLM", "LLM"),
                ("TOOL", "TOOL"),
                ("DEFAULT", "CHAIN"),
                ("PIPELINE", "CHAIN"),
                ("EXECUTOR", "AGENT"),
                ("EVALUATOR", "EVALUATOR"),
                ("HUMAN_EVALUATOR", "EVALUATOR"),
                ("EVALUATION", "EVALUATOR"),
                ("CACHED", "LLM"),
            ],
        )),
        inputs: &["lmnr.span.input"],
        outputs: &["lmnr.span.output"],
        ..NOTHING
    },
    // Langfuse.
    Vocabulary {
        kind: Some((
            "langfuse.observation.type",
            &[
                ("generation", "LLM"),
                ("embedding", "EMBEDDING"),
                ("tool", "TOOL"),
                ("retriever", "RETRIEVER"),
                ("agent", "AGENT"),
                ("chain", "CHAIN"),
                ("evaluator", "EVALUATOR"),
                ("guardrail", "GUARDRAIL"),
                ("span", "UNKNOWN"),
            ],
        )),
        inputs: &["langfuse.observation.input"],
        outputs: &["langfuse.observation.output"],
        ..NOTHING
    },
];

/// Adds MLflow's attributes to the spans of one request.
pub(super) fn translate(resources: &mut [ResourceSpans]) {
    let held: usize = resources.iter().flat_map(|resource| &resource.spans).map(parts).sum();
    let mut room = ITEMS_MAX.saturating_sub(held);
    resources.iter_mut().for_each(|resource| translate_one(resource, &mut room));
}

/// How many attributes and values a span has, those of its events and links too.
fn parts(span: &Span) -> usize {
    let events = span.events.iter().map(|event| 1 + values(&event.attributes));
    let links = span.links.iter().map(|link| 1 + values(&link.attributes));
    1 + values(&span.attributes) + events.sum::<usize>() + links.sum::<usize>()
}

fn values(pairs: &[Attribute]) -> usize {
    pairs.iter().map(|pair| 1 + size(&pair.value)).sum()
}

fn size(value: &AnyValue) -> usize {
    match value {
        AnyValue::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        AnyValue::Map(pairs) => 1 + values(pairs),
        _ => 1,
    }
}

fn translate_one(resource: &mut ResourceSpans, room: &mut usize) {
    let service = resource.resource.iter().find(|pair| pair.key == SERVICE).map(|pair| pair.value.to_text());
    let service = service.filter(|name| SERVICES.contains(&name.as_str()));
    for span in &mut resource.spans {
        let added = translated(span, room);
        if added.iter().any(|(key, _)| *key == KIND) {
            span.attributes.retain(|pair| pair.key != KIND);
        }
        span.attributes.extend(added.into_iter().map(|(key, value)| pair(key, value)));
        if let (Some(service), true) = (&service, span.is_root()) {
            span.attributes.retain(|pair| pair.key != SERVICE);
            span.attributes.push(pair(SERVICE, AnyValue::Text(service.clone())));
        }
    }
}

fn pair(key: &str, value: AnyValue) -> Attribute {
    Attribute { key: key.to_owned(), value }
}

/// The attributes that the span lacks, as values rather than JSON in a text, which is how MLflow's clients send them.
fn translated(span: &Span, room: &mut usize) -> Vec<(&'static str, AnyValue)> {
    let lacking = |key: &'static str, value: &dyn Fn() -> Option<AnyValue>| match span.attribute(key) {
        None => value().map(|value| (key, value)),
        Some(_) => None,
    };
    let first =
        |keys: fn(&Vocabulary) -> &'static [&'static str]| VOCABULARIES.iter().find_map(|v| said(span, keys(v)));
    let room = Cell::from_mut(room);
    let meant = |keys| first(keys).map(|value| taken_apart(value, room));
    let text = |keys| first(keys).map(|value| AnyValue::Text(value.to_text()));
    let kind = match span.attribute(KIND).map(AnyValue::to_text) {
        Some(kind) if kind != "UNKNOWN" => None,
        _ => VOCABULARIES.iter().find_map(|vocabulary| kind(span, vocabulary)),
    };
    let inputs = lacking(INPUTS, &|| meant(|vocabulary| vocabulary.inputs));
    let outputs = lacking(OUTPUTS, &|| meant(|vocabulary| vocabulary.outputs));
    let model = || {
        let of = |key: &str, found: Option<&AnyValue>| model_in(found.or_else(|| span.attribute(key))?);
        let (inputs, outputs) = (inputs.as_ref().map(|(_, value)| value), outputs.as_ref().map(|(_, value)| value));
        let named = text(|vocabulary| vocabulary.model);
        named.or_else(|| of(INPUTS, inputs)).or_else(|| of(OUTPUTS, outputs))
    };
    let added = [
        kind.map(|kind| (KIND, AnyValue::Text(kind.to_owned()))),
        lacking(TOKENS_ATTRIBUTE, &|| VOCABULARIES.iter().find_map(|vocabulary| tokens(span, &vocabulary.tokens))),
        lacking(MODEL, &model),
        lacking(PROVIDER, &|| text(|vocabulary| vocabulary.provider)),
        lacking(TOOLS, &|| meant(|vocabulary| vocabulary.tools)),
    ];
    added.into_iter().chain([inputs, outputs]).flatten().collect()
}

fn kind(span: &Span, vocabulary: &Vocabulary) -> Option<&'static str> {
    let (key, words) = vocabulary.kind?;
    let found = span.attribute(key)?.to_text();
    words.iter().find(|(word, _)| *word == found).map(|(_, kind)| *kind)
}

/// What a text says as JSON, where that fits into the room, which becomes less; else the value as it is.
fn taken_apart(value: &AnyValue, room: &Cell<usize>) -> AnyValue {
    let inner = match value {
        AnyValue::Text(text) if JsonExtent::of(text.as_bytes()).fits(room.get()) => AnyValue::of_json(value.meaning()),
        _ => None,
    };
    let inner = inner.unwrap_or_else(|| value.clone());
    room.set(room.get().saturating_sub(size(&inner)));
    inner
}

/// The first attribute by one of these names that says something.
fn said<'a>(span: &'a Span, names: &[&str]) -> Option<&'a AnyValue> {
    let by = |name: &&str| {
        let mut named = span.attributes.iter().filter(|pair| matches(&pair.key, name));
        named.find(|pair| !is_empty(&pair.value)).map(|pair| &pair.value)
    };
    names.iter().find_map(by)
}

/// Whether the key is the name, with numbers where that has `#`.
fn matches(key: &str, name: &str) -> bool {
    if !name.contains('#') {
        return key == name;
    }
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (keys, names) = (key.split('.'), name.split('.'));
    keys.clone().count() == names.clone().count()
        && keys.zip(names).all(|(key, name)| if name == "#" { number(key) } else { key == name })
}

/// Whether a value says nothing: null, false, 0, and empty text, lists and maps, also where they are JSON in a text.
fn is_empty(value: &AnyValue) -> bool {
    match value {
        AnyValue::Empty => true,
        AnyValue::Bool(flag) => !flag,
        AnyValue::Int(number) => *number == 0,
        AnyValue::Double(number) => *number == 0.0 || !number.is_finite(),
        AnyValue::Text(text) => {
            let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
            let inner = text.trim_matches(blank);
            let inside = |open: char, close: char| inner.strip_prefix(open)?.strip_suffix(close);
            let hollow = |inside: &str| inside.trim_matches(blank).is_empty();
            text.is_empty() || inner == "\"\"" || inside('[', ']').or_else(|| inside('{', '}')).is_some_and(hollow)
        }
        AnyValue::List(list) => list.is_empty(),
        AnyValue::Map(map) => map.is_empty(),
        AnyValue::Bytes(text) => text.is_empty(),
    }
}

/// The model that inputs or outputs name.
fn model_in(value: &AnyValue) -> Option<AnyValue> {
    let meaning = value.meaning();
    let model = meaning.get("model")?.as_str().filter(|model| !model.is_empty())?;
    Some(AnyValue::Text(model.to_owned()))
}

fn tokens(span: &Span, names: &Tokens) -> Option<AnyValue> {
    let count = |names: &[&str]| {
        names.iter().find_map(|name| match span.attribute(name)? {
            AnyValue::Int(number) => Some(*number),
            other => other.to_text().parse::<i64>().ok(),
        })
    };
    let (input, output) = (count(names.input), count(names.output));
    let total = count(names.total).or_else(|| input?.checked_add(output?));
    input.or(output).or(total)?;
    let counted = [
        ("input_tokens", input),
        ("output_tokens", output),
        ("total_tokens", total),
        ("cache_read_input_tokens", count(names.cache_read)),
        ("cache_creation_input_tokens", count(names.cache_written)),
    ];
    let counted = counted.into_iter().filter_map(|(name, count)| Some(pair(name, AnyValue::Int(count?))));
    Some(AnyValue::Map(counted.collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::traces::otlp::NESTING_MAX;

    fn of(attributes: &[(&str, AnyValue)]) -> Span {
        let attributes = attributes.iter().map(|(key, value)| Attribute { key: (*key).into(), value: value.clone() });
        Span { attributes: attributes.collect(), ..Span::default() }
    }

    fn text(text: &str) -> AnyValue {
        AnyValue::Text(text.to_owned())
    }

    #[track_caller]
    fn check(attributes: &[(&str, AnyValue)], added: &[(&str, Value)]) {
        let found: Vec<(&str, Value)> = translated(&of(attributes), &mut { ITEMS_MAX })
            .into_iter()
            .map(|(key, value)| (key, value.to_json()))
            .collect();
        assert_eq!(found, added);
    }

    #[test]
    fn the_words_of_other_libraries_are_said_in_mlflows_too() {
        check(
            &[
                ("openinference.span.kind", text("LLM")),
                ("input.value", text("hello")),
                ("llm.token_count.prompt", AnyValue::Int(10)),
                ("llm.token_count.completion", text("5")),
                ("llm.model_name", text("m")),
            ],
            &[
                (KIND, json!("LLM")),
                (TOKENS_ATTRIBUTE, json!({ "input_tokens": 10, "output_tokens": 5, "total_tokens": 15 })),
                (MODEL, json!("m")),
                (INPUTS, json!("hello")),
            ],
        );
        check(
            &[
                ("gen_ai.operation.name", text("execute_tool")),
                ("gen_ai.usage.input_tokens", AnyValue::Int(1)),
                ("gen_ai.usage.cache_creation.input_tokens", AnyValue::Int(2)),
                ("gen_ai.output.messages", text("[1]")),
                ("gen_ai.provider.name", text("p")),
            ],
            &[
                (KIND, json!("TOOL")),
                (TOKENS_ATTRIBUTE, json!({ "input_tokens": 1, "cache_creation_input_tokens": 2 })),
                (PROVIDER, json!("p")),
                (OUTPUTS, json!([1])),
            ],
        );
        check(
            &[("gen_ai.prompt.0.content", text("q")), ("gen_ai.completion.12.content", text(r#"{"model": "n"}"#))],
            &[(MODEL, json!("n")), (INPUTS, json!("q")), (OUTPUTS, json!({ "model": "n" }))],
        );
        check(&[("gen_ai.prompt.x.content", text("q")), ("gen_ai.prompt.0.content.more", text("q"))], &[]);
    }

    #[test]
    fn what_mlflow_says_itself_stays_and_what_says_nothing_is_passed_over() {
        check(
            &[
                (KIND, text("\"AGENT\"")),
                ("openinference.span.kind", text("LLM")),
                (INPUTS, text("mine")),
                ("input.value", text("theirs")),
            ],
            &[],
        );
        check(&[(KIND, text("\"UNKNOWN\"")), ("traceloop.span.kind", text("agent"))], &[(KIND, json!("AGENT"))]);
        check(&[("input.value", text("{}")), ("gen_ai.input.messages", text("[1]"))], &[(INPUTS, json!([1]))]);
        check(&[("input.value", text("")), ("openinference.span.kind", text("NEW"))], &[]);
        for nothing in
            [text(" [ ] "), text("\"\""), AnyValue::Int(0), AnyValue::Bool(false), AnyValue::List(Vec::new())]
        {
            check(&[("input.value", nothing)], &[]);
        }
        check(
            &[("input.value", text("null")), ("output.value", text("0"))],
            &[(INPUTS, json!("null")), (OUTPUTS, json!("0"))],
        );
    }

    #[test]
    fn text_that_has_no_room_as_values_stays_text() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (given, taken_apart) in [
            (nested(NESTING_MAX), true),
            (nested(NESTING_MAX + 1), false),
            ("[9223372036854775807, 1.5]".to_owned(), true),
            ("[9223372036854775808]".to_owned(), false),
            ("[123456789012345678901234567890]".to_owned(), false),
            (format!("[{}0]", "0,".repeat(ITEMS_MAX)), false),
        ] {
            let found = translated(&of(&[("input.value", text(&given))]), &mut { ITEMS_MAX }).remove(0).1;
            assert_eq!(matches!(found, AnyValue::List(_)), taken_apart, "{}", &given[..given.len().min(60)]);
            assert!(taken_apart || found == text(&given));
        }
    }

    #[test]
    fn all_spans_of_a_request_share_the_room() {
        let half = format!("[{}0]", "0,".repeat(ITEMS_MAX / 3));
        let spans = vec![of(&[("input.value", text(&half))]); 3];
        let mut resources = [ResourceSpans { spans, ..ResourceSpans::default() }];
        translate(&mut resources);
        let taken = |span: &Span| matches!(span.attribute(INPUTS), Some(AnyValue::List(_)));
        let taken: Vec<bool> = resources[0].spans.iter().map(taken).collect();
        assert_eq!(taken, [true, true, false]);
    }

    #[test]
    fn known_assistants_are_named_on_root_spans() {
        let service = |name: &str| vec![Attribute { key: SERVICE.into(), value: text(name) }];
        let below = Span { parent_span_id: "00f067aa0ba902b7".into(), ..Span::default() };
        for (name, named) in [("gemini-cli", true), ("anything", false)] {
            let mut resource = ResourceSpans { resource: service(name), spans: vec![Span::default(), below.clone()] };
            translate(std::slice::from_mut(&mut resource));
            assert_eq!(resource.spans[0].attribute(SERVICE).is_some(), named);
            assert_eq!(resource.spans[1].attribute(SERVICE), None);
        }
    }

    #[test]
    fn a_kind_is_said_once() {
        let mut resource = ResourceSpans {
            spans: vec![of(&[(KIND, text("UNKNOWN")), ("lmnr.span.type", text("DEFAULT"))])],
            ..ResourceSpans::default()
        };
        translate(std::slice::from_mut(&mut resource));
        let kinds: Vec<_> = resource.spans[0].attributes.iter().filter(|pair| pair.key == KIND).collect();
        assert_eq!(kinds, [&Attribute { key: KIND.into(), value: text("CHAIN") }]);
    }
}
