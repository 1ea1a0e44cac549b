//! Asks one question: `cargo run --example ask -- net/network.toml`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to people"
)]

use client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: ask NETWORK_FILE")?;
    let network = subrosa::read_network(path.as_ref())?;
    let client = Client::builder()
        .network(network)
        .class(1)
        .dummy_inputs(subrosa::dummy_inputs())
        .connect(subrosa::services())
        .await?;
    // A held-out biopsy: thirty measurements that nobody should tie to a person.
    let tumour = compiler::shipped()
        .iter()
        .find(|model| model.name == "tumour");
    let sample = tumour
        .and_then(|model| model.samples().into_iter().next())
        .ok_or("no sample")?;
    let answer = client.query("tumour", sample.input).await?;
    println!(
        "{} after {:?}",
        answer.label.as_deref().unwrap_or("?"),
        answer.latency.total
    );
    client.close().await;
    Ok(())
}
