//! Two agents hold a dialogue, and neither learns where the other is: all that they exchange
//! beforehand is one line of text.
//! `cargo run --example dialogue -- net/network.toml`

#![allow(clippy::print_stdout, reason = "an example speaks to people")]

use client::{Client, Contact, Listener};
use directory::Network;

const ROUNDS: usize = 3;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: dialogue NETWORK_FILE")?;
    let network = subrosa::read_network(path.as_ref())?;
    let (alice, bob) = tokio::try_join!(join(&network), join(&network))?;
    // Somebody passes this line on; whoever has it can write to Bob.
    let at_bobs = bob.listen().await?;
    let line = at_bobs.contact().to_string();
    println!("bob listens at {line}");
    let answering = tokio::spawn(answer(bob, at_bobs));
    ask(&alice, line.parse()?).await?;
    answering.await??;
    alice.close().await;
    println!("{ROUNDS} questions, {ROUNDS} answers");
    Ok(())
}

async fn join(network: &Network) -> Result<Client, Failure> {
    let builder = Client::builder()
        .network(network.clone())
        .class(1)
        .dummy_inputs(subrosa::dummy_inputs());
    Ok(builder.connect(subrosa::services()).await?)
}

/// Alice asks, and says each time where she listens.
async fn ask(alice: &Client, bob: Contact) -> Result<(), Failure> {
    let mut at_alices = alice.listen().await?;
    for round in 1..=ROUNDS {
        let letter = format!("{}\nwhat is {round} times {round}?", at_alices.contact());
        alice.send(bob, letter).await?;
        let reply = at_alices.next().await.ok_or("closed")?;
        println!("alice reads: {}", String::from_utf8_lossy(&reply));
    }
    Ok(())
}

/// Bob answers whoever says where to.
async fn answer(bob: Client, mut at_bobs: Listener) -> Result<(), Failure> {
    for _ in 0..ROUNDS {
        let letter = at_bobs.next().await.ok_or("closed")?;
        let text = String::from_utf8(letter.to_vec())?;
        let (contact, question) = text.split_once('\n').ok_or("no contact")?;
        println!("bob reads: {question}");
        let number: u32 = question
            .split(' ')
            .find_map(|word| word.parse().ok())
            .ok_or("no number")?;
        let reply = format!("it is {}", number * number);
        bob.send(contact.parse()?, reply).await?;
    }
    bob.close().await;
    Ok(())
}
