//! `subrosa ask` and `subrosa models`.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Client, Input, QueryError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;

use crate::cli::{AskArgs, ModelsArgs};
use crate::input::Numbers;
use crate::progress::Progress;
use crate::{dummy_inputs, exit::Fault, input, network_file, services};

/// `subrosa models`
///
/// # Errors
/// [`Fault`] if the network cannot be reached.
pub async fn models(args: &ModelsArgs) -> Result<(), Fault> {
    let network = network_file::read(&args.network).map_err(Fault::usage)?;
    let client = Client::builder()
        .network(network)
        .connect(services())
        .await
        .map_err(|e| Fault::failed(format!("models: {e}")))?;
    let models = client.models();
    client.close().await;
    let mut out = std::io::stdout().lock();
    if args.json {
        let rows: Vec<Value> = models
            .iter()
            .map(|m| {
                json!({
                    "name": m.name, "description": m.description, "inputs": m.inputs,
                    "outputs": m.outputs, "labels": m.labels, "providers": m.providers,
                    "graph_hash": m.graph_hash.to_string(),
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "models": rows })).map_err(Fault::output)?;
        return Ok(());
    }
    for model in &models {
        writeln!(
            out,
            "{:<12} {:>4} numbers  {}",
            model.name, model.inputs, model.description
        )
        .map_err(Fault::output)?;
    }
    if models.is_empty() {
        writeln!(out, "no provider is listed in this epoch's document").map_err(Fault::output)?;
    }
    Ok(())
}

/// `subrosa ask`
///
/// # Errors
/// [`Fault`] if a question has no answer.
pub async fn ask(args: &AskArgs) -> Result<(), Fault> {
    let network = network_file::read(&args.network).map_err(Fault::usage)?;
    // Read before connecting: a mistyped file should not cost a handshake.
    let questions = match &args.input {
        Some(path) => input::read(path).map_err(|e| Fault::usage(format!("ask: {e}")))?,
        None => Vec::new(),
    };
    let progress = Progress::for_people(args.json);
    if let Some(rate) = network.parameters().class(args.class) {
        progress.say(&daily_cost(
            rate.per_second(),
            network.parameters().geometry.frame_len(),
        ));
    }
    let client = Client::builder()
        .network(network)
        .class(args.class)
        .dummy_inputs(dummy_inputs())
        .connect(services())
        .await
        .map_err(|e| Fault::failed(told(&e)))?;
    let outcome = match &args.model {
        Some(model) => ask_all(&client, model, questions, args, &progress).await,
        None => lines(&client, args.deadline).await,
    };
    client.close().await;
    outcome
}

/// An error as a person reads it; the directory's speak for themselves.
fn told(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    if text.starts_with("directory:") {
        text
    } else {
        format!("ask: {text}")
    }
}

/// What cover traffic costs, for whoever starts a client.
fn daily_cost(slots_per_second: f64, frame_len: usize) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people, in whole gigabytes")]
    let up = slots_per_second * frame_len as f64 * 86_400.0 / 1e9;
    format!(
        "sending {slots_per_second:.0} slots/s, asked or not: {up:.0} GB up and {:.0} GB down a day",
        up * 2.0
    )
}

async fn ask_all(
    client: &Client,
    model: &str,
    questions: Vec<Numbers>,
    args: &AskArgs,
    progress: &Progress,
) -> Result<(), Fault> {
    let bar = progress.bar(questions.len() as u64);
    let mut failures = 0;
    for question in questions {
        let asked = client
            .query(model, Input::from(question.values))
            .deadline(args.deadline);
        let outcome = asked.await;
        bar.inc(1);
        let mut out = std::io::stdout().lock();
        match outcome {
            Ok(answer) if args.json => {
                writeln!(out, "{}", answer_json(&answer)).map_err(Fault::output)?;
            }
            Ok(answer) => {
                let told = answer
                    .label
                    .clone()
                    .unwrap_or_else(|| format!("{:?}", answer.output));
                let total = answer.latency.total.as_secs_f64();
                writeln!(out, "{told}    ({total:.2} s, {})", question.origin)
                    .map_err(Fault::output)?;
            }
            // What was wrong with the input is wrong with this line of this file.
            Err(error @ (QueryError::BadInput { .. } | QueryError::NotFinite { .. })) => {
                return Err(Fault::usage(format!("{error} ({})", question.origin)));
            }
            Err(error @ QueryError::NoSuchModel { .. }) => {
                return Err(Fault::usage(told(&error)));
            }
            Err(error) => {
                failures += 1;
                if args.json {
                    writeln!(out, "{}", error_json(&error)).map_err(Fault::output)?;
                } else {
                    progress.say(&format!("{} ({})", told(&error), question.origin));
                }
            }
        }
    }
    bar.finish_and_clear();
    if failures > 0 {
        Err(Fault::failed(format!("ask: {failures} without an answer")))
    } else {
        Ok(())
    }
}

/// One JSON question a line in, one JSON answer a line out, as they come.
async fn lines(client: &Client, deadline: Duration) -> Result<(), Fault> {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let line = match input.next_line().await {
            Ok(Some(line)) if line.len() > MAX_LINE_LEN => {
                print_line(
                    &json!({ "error": { "kind": "line_too_long", "message": "over 1 MiB" } }),
                )?;
                continue;
            }
            Ok(Some(line)) if line.trim().is_empty() => continue,
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(e) => return Err(Fault::failed(format!("standard input: {e}"))),
        };
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let client = client.clone();
        tasks.spawn(async move {
            let answer = one_line(&client, &line, deadline).await;
            drop(place);
            print_line(&answer)
        });
        while let Some(done) = tasks.try_join_next() {
            done.map_err(|e| Fault::failed(e.to_string()))??;
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|e| Fault::failed(e.to_string()))??;
    }
    Ok(())
}

async fn one_line(client: &Client, line: &str, deadline: Duration) -> Value {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        model: String,
        input: Vec<f32>,
        #[serde(default)]
        id: Value,
        deadline_s: Option<f64>,
    }
    let line: Line = match serde_json::from_str(line) {
        Ok(line) => line,
        Err(e) => {
            return json!({ "error": { "kind": "not_a_question", "message": format!(
                "{e}; a question is {{\"model\": NAME, \"input\": [numbers], \"id\": anything}}"
            ) } });
        }
    };
    let deadline = match line.deadline_s {
        Some(s) if (0.1..=3600.0).contains(&s) => Duration::from_secs_f64(s),
        _ => deadline,
    };
    let outcome = client
        .query(&line.model, Input::from(line.input))
        .deadline(deadline)
        .await;
    let mut answer = match outcome {
        Ok(answer) => answer_json(&answer),
        Err(error) => error_json(&error),
    };
    if let Some(object) = answer.as_object_mut() {
        object.insert("id".to_owned(), line.id);
    }
    answer
}

fn print_line(value: &Value) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")
        .and_then(|()| out.flush())
        .map_err(Fault::output)
}

fn answer_json(answer: &Answer) -> Value {
    let ms = |d: Duration| (d.as_secs_f64() * 1e4).round() / 10.0;
    let latency = &answer.latency;
    json!({
        "model": answer.model,
        "output": answer.output,
        "label": answer.label,
        "attempts": answer.attempts,
        "packets": answer.packets,
        "latency_ms": {
            "total": ms(latency.total), "mixing": ms(latency.mixing), "slots": ms(latency.slots),
            "network": ms(latency.network), "compute": ms(latency.compute),
        },
        "proof": "not_asked",
    })
}

fn error_json(error: &QueryError) -> Value {
    let kind = match error {
        QueryError::NoSuchModel { .. } => "no_such_model",
        QueryError::BadInput { .. } => "bad_input",
        QueryError::NotFinite { .. } => "not_finite",
        QueryError::OutOfRange { .. } => "out_of_range",
        QueryError::Timeout { .. } => "timeout",
        QueryError::NotConnected => "not_connected",
        QueryError::StaleDirectory { .. } => "stale_directory",
        QueryError::Overload => "overload",
        QueryError::ProviderFailed(_) => "provider_failed",
        QueryError::BadAnswer { .. } => "bad_answer",
        QueryError::Closed => "closed",
        _ => "other",
    };
    json!({ "error": { "kind": kind, "message": error.to_string() } })
}

/// Questions of one stream under way at once.
const MOST_AT_ONCE: usize = 64;

const MAX_LINE_LEN: usize = 1 << 20;
