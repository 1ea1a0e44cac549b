//! Two agents write to each other through a running network, each knowing of the other one line
//! of text.

use std::sync::Arc;
use std::time::Duration;

use client::{Contact, LetterError};
use directory::Parameters;
use provider::Trial;
use subrosa::demo::house::{House, Setting};
use subrosa::plan::Counts;
use subrosa::trial::ChildProcess;

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_hold_a_dialogue_and_each_letter_comes_once() {
    let _alone = crate::ALONE.lock().await;
    let counts = Counts {
        authorities: 1,
        mixes: 3,
        gateways: 3,
        providers: 0,
    };
    let services = subrosa::services();
    let trial: Arc<dyn Trial> = Arc::new(ChildProcess::of(env!("CARGO_BIN_EXE_subrosa")));
    let house = House::start(&services, &trial, Setting::new(counts, Parameters::demo())).unwrap();
    let alice = house.join("alice", 0, 1).await.unwrap();
    let bob = house.join("bob", 1, 1).await.unwrap();
    let (mut at_alices, mut at_bobs) = (alice.listen().await.unwrap(), bob.listen().await.unwrap());
    let line = at_bobs.contact().to_string();
    let to_bob: Contact = line.parse().unwrap();

    // A short one, one of several packets, and a short one again.
    for length in [20, 30_000, 5] {
        let letter: Vec<u8> = (0..length).map(|at| (at % 253) as u8).collect();
        alice.send(to_bob, letter.clone()).await.unwrap();
        assert_eq!(**at_bobs.next().await.unwrap(), *letter);
        bob.send(at_alices.contact(), &b"thank you"[..])
            .await
            .unwrap();
        assert_eq!(**at_alices.next().await.unwrap(), *b"thank you");
    }

    // Nobody listens there any more.
    drop(at_bobs);
    let sent = alice
        .send(to_bob, &b"still there?"[..])
        .deadline(Duration::from_secs(5))
        .await;
    assert!(matches!(sent, Err(LetterError::Timeout { .. })), "{sent:?}");
    // Nothing came twice.
    let more = tokio::time::timeout(Duration::from_millis(100), at_alices.next()).await;
    assert!(more.is_err());
    bob.close().await;
    alice.close().await;
    assert!(at_alices.next().await.is_none());
    house.stop().await;
}
