//! Large messages through a whole network in this process, at 1 % of all datagrams lost: 128 KiB
//! each way, and 1 MiB one way, to an anonymous provider and to an attached one.
//! `cargo run --release --example large -- [RUNS]`
//!
//! The models are made for this: one gives back what it is given, the other says where its
//! largest number stands.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "an example speaks to people"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Client};
use compiler::{Agreement, Encoding, InputSchema, Model, OutputSchema, Parts, compile};
use directory::Parameters;
use graph::{Graph, InputType, Node, Operator, ValueId};
use link::{Chance, Faults};
use provider::{OwnModules, Reach, Trial};
use subrosa::demo::house::{House, Setting};
use subrosa::exit::Fault;
use subrosa::plan::Counts;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.end(),
    }
}

async fn run() -> Result<(), Fault> {
    let runs = match std::env::args().nth(1).map(|number| number.parse()) {
        None => RUNS,
        Some(Ok(runs)) if (1..=1_000).contains(&runs) => runs,
        Some(_) => return Err(Fault::usage("usage: large [RUNS], from 1 to 1000")),
    };
    let trial: Arc<dyn Trial> = Arc::new(OwnModules);
    println!("{runs} runs each; 50 ms a hop, 30 slots a second, providers 120");
    println!("  what              reach       median    worst   packets   of its slots' time");
    for (name, reach) in [
        ("anonymous", Reach::Anonymous),
        ("attached", Reach::Attached),
    ] {
        let (mut house, client) = network(&trial, reach).await?;
        house.listed(&client, compiler::shipped().len() + 2).await?;
        for (what, model, elements) in [
            ("128 KiB each way", ECHO, ECHOED),
            ("1 MiB one way", PLACE, PLACED),
        ] {
            let mut answers = Vec::new();
            for run in 0..runs {
                answers.push(ask(&client, model, elements, run).await?);
            }
            row(what, name, answers);
        }
        client.close().await;
        house.stop().await;
    }
    Ok(())
}

async fn network(trial: &Arc<dyn Trial>, reach: Reach) -> Result<(House, Client), Fault> {
    let loss = Chance::new(0.01).unwrap_or_default();
    let parameters = Parameters {
        vote_step: Duration::from_secs(1),
        ..Parameters::demo()
    };
    let setting = Setting {
        faults: Some(Faults::losing(loss)),
        reach,
        models: vec![echo()?, place()?],
        ..Setting::new(Counts::default(), parameters.with_short_first_epoch())
    };
    let house = House::start(&subrosa::services(), trial, setting)?;
    let entry = house.entry_apart_from("provider-1");
    let client = house.join("asker", entry, CLASS).await?;
    Ok((house, client))
}

async fn ask(client: &Client, model: &str, elements: u32, run: usize) -> Result<Answer, Fault> {
    let numbers: Vec<i32> = (0..elements)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 25) as i32 - 64)
        .collect();
    let floats: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
    let answer = client
        .query(model, floats)
        .deadline(DEADLINE)
        .await
        .map_err(|why| Fault::failed(format!("{model}, run {run}: {why}")))?;
    let largest = numbers.iter().max();
    let place = numbers.iter().position(|number| Some(number) == largest);
    let expected = if model == ECHO {
        numbers
    } else {
        let place = place.and_then(|place| i32::try_from(place).ok());
        place.into_iter().collect()
    };
    if answer.output == expected {
        Ok(answer)
    } else {
        let wrong = format!("{model}, run {run}: a wrong answer");
        Err(Fault::failed(wrong))
    }
}

fn row(what: &str, reach: &str, mut answers: Vec<Answer>) {
    answers.sort_by_key(|answer| answer.latency.total);
    let total = |answer: &Answer| answer.latency.total.as_secs_f64();
    let mut ratios: Vec<f64> = answers
        .iter()
        .map(|answer| total(answer) * SLOTS / f64::from(answer.packets))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let middle = answers.len() / 2;
    if let (Some(median), Some(worst)) = (answers.get(middle), answers.last()) {
        println!(
            "  {what:<16}  {reach:<9}  {:>5.2} s  {:>5.2} s   {:>7}   {:.2}",
            total(median),
            total(worst),
            median.packets,
            ratios[middle]
        );
    }
}

/// Gives back what it is given.
fn echo() -> Result<Model, Fault> {
    let (lo, hi) = (LO, HI);
    model(ECHO, ECHOED, Operator::Clamp { lo, hi }, ECHOED)
}

/// Says where the largest number stands.
fn place() -> Result<Model, Fault> {
    model(PLACE, PLACED, Operator::ArgMax, 1)
}

fn model(name: &str, elements: u32, operator: Operator, out: u32) -> Result<Model, Fault> {
    let (lo, hi) = (LO, HI);
    let node = Node::unary(operator, ValueId(0));
    let graph = Graph::new(InputType { elements, lo, hi }, vec![node]).map_err(Fault::failed)?;
    let parts = Parts {
        name: name.to_owned(),
        description: "made to be large".to_owned(),
        module: compile(&graph).map_err(Fault::failed)?,
        graph,
        input: InputSchema {
            elements,
            encoding: Encoding::Scaled,
            missing: Vec::new(),
            scale: vec![1.0],
            zero: vec![0.0],
            lo,
            hi,
        },
        output: OutputSchema {
            elements: out,
            scale: 1.0,
            labels: Vec::new(),
        },
        agreement: Agreement {
            samples: 0,
            same_class: 0,
            largest_error: 0.0,
        },
    };
    parts.model().map_err(Fault::failed)
}

const RUNS: usize = 9;
const ECHO: &str = "echo";
const PLACE: &str = "place";
const LO: i32 = -64;
const HI: i32 = 63;

/// Four bytes each: 128 KiB.
const ECHOED: u32 = 32 << 10;
/// Four bytes each: 1 MiB.
const PLACED: u32 = 256 << 10;

/// A client's slots a second, in the class that it takes.
const SLOTS: f64 = 30.0;
const CLASS: u8 = 1;
const DEADLINE: Duration = Duration::from_secs(60);
