//! An agent's way to ask: fifty questions at once, each with its own deadline.
//! `cargo run --example agent -- net/network.toml`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to people"
)]

use std::time::Duration;

use client::{Client, QueryError};

const QUESTIONS: usize = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: agent NETWORK_FILE")?;
    let network = subrosa::read_network(path.as_ref())?;
    let client = Client::builder()
        .network(network)
        .class(1)
        .dummy_inputs(subrosa::dummy_inputs())
        .connect(subrosa::services())
        .await?;
    let digits = compiler::shipped()
        .iter()
        .find(|model| model.name == "digits")
        .ok_or("no model")?;
    let samples = digits.samples();
    let mut asked = tokio::task::JoinSet::new();
    for sample in samples.into_iter().cycle().take(QUESTIONS) {
        let client = client.clone();
        asked.spawn(async move {
            let answer = client
                .query("digits", sample.input)
                .deadline(Duration::from_secs(60))
                .await?;
            let truth = digits.labels.get(sample.class).copied();
            Ok::<bool, QueryError>(answer.label.as_deref() == truth)
        });
    }
    let (mut right, mut wrong, mut missing) = (0, 0, 0);
    while let Some(outcome) = asked.join_next().await {
        match outcome? {
            Ok(true) => right += 1,
            Ok(false) => wrong += 1,
            // An agent goes on: one question's deadline is not another's.
            Err(error) => {
                eprintln!("{error}");
                missing += 1;
            }
        }
    }
    client.close().await;
    println!("{right} right, {wrong} wrong, {missing} without an answer");
    if missing > 0 {
        Err("answers are missing".into())
    } else {
        Ok(())
    }
}
