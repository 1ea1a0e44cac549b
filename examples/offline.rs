//! What can go wrong, and what a program does about it.
//! `cargo run --example offline -- net/network.toml`; also without a network that runs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to people"
)]

use std::time::Duration;

use client::{Client, ConnectError, QueryError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: offline NETWORK_FILE")?;
    let network = subrosa::read_network(path.as_ref())?;
    let connected = Client::builder()
        .network(network)
        .patience(Duration::from_secs(10))
        .connect(subrosa::services())
        .await;
    let client = match connected {
        Ok(client) => client,
        // Nothing was sent: trying again later costs nothing but time.
        Err(error @ ConnectError::Unreachable { .. }) => {
            println!("offline: {error}");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    for (model, input) in [
        ("tumour", vec![1.0_f32; 29]),
        ("tumor", vec![1.0; 30]),
        ("tumour", vec![1.0; 30]),
    ] {
        let outcome = client
            .query(model, input)
            .deadline(Duration::from_secs(30))
            .await;
        let next = match &outcome {
            Ok(answer) => format!("answered: {:?}", answer.label),
            // The caller's to mend: the message says how.
            Err(
                error @ (QueryError::NoSuchModel { .. }
                | QueryError::BadInput { .. }
                | QueryError::NotFinite { .. }
                | QueryError::OutOfRange { .. }
                | QueryError::DeadlineTooLong { .. }
                | QueryError::NoProof { .. }),
            ) => format!("mend the question: {error}"),
            // The network's: the same question may be asked again.
            Err(
                error @ (QueryError::Timeout { .. }
                | QueryError::NotConnected
                | QueryError::Overload),
            ) => {
                format!("ask again later: {error}")
            }
            // The clock's or the directory's: nothing is sent until it is mended.
            Err(error @ QueryError::StaleDirectory { .. }) => format!("check the clock: {error}"),
            // The provider's: another provider may do better.
            Err(error @ (QueryError::ProviderFailed(_) | QueryError::BadAnswer { .. })) => {
                format!("ask another provider: {error}")
            }
            Err(error) => format!("give up: {error}"),
        };
        println!("{next}");
    }
    client.close().await;
    Ok(())
}
