//! Hostile bytes and orders of events.

use std::sync::Arc;
use std::time::Duration;

use subrosa_authority::ballot::{Assent, Ballot, BallotReply};
use subrosa_authority::{Authority, Event, Everybody};
use wire::{Call, Decode, Encode, Epoch, NodeId, Reply};

use crate::town::{Town, identity, list, network, node, reveal};

#[test]
fn decoding_a_ballot_inverts_encoding_or_refuses() {
    let town = Town::new(60);
    let good = [
        Ballot::List(list(&town, 3, Epoch(1), &[node(1, Epoch(1))])).to_bytes(),
        Ballot::Reveal(reveal(&town, 3, Epoch(1), [1; 32])).to_bytes(),
    ];
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(ballot) = Ballot::from_bytes(bytes) {
            assert_eq!(ballot.to_bytes(), bytes);
        }
        if let Ok(reply) = BallotReply::from_bytes(bytes) {
            assert_eq!(reply.to_bytes(), bytes);
        }
        for good in &good {
            let mut changed = good.clone();
            for edit in bytes.chunks_exact(2) {
                let place = usize::from(edit[0]) % changed.len();
                changed[place] ^= edit[1];
            }
            if let Ok(ballot) = Ballot::from_bytes(&changed) {
                assert_eq!(ballot.to_bytes(), changed);
            }
        }
    });
}

/// A script of bytes plays the clock, the other three authorities and strangers against one core.
#[test]
fn no_order_of_events_makes_an_authority_sign_twice() {
    let network = Arc::new(network(4, 3));
    let town = Town::new(61);
    let peers: Vec<NodeId> = (1..4).map(|place| identity(place).node_id()).collect();
    let nodes = [node(1, Epoch(1)), node(2, Epoch(1)), node(9, Epoch(2))];
    let said: Vec<Ballot> = (1..4)
        .flat_map(|place| {
            [
                Ballot::List(list(&town, place, Epoch(1), &nodes[..1])),
                Ballot::List(list(&town, place, Epoch(1), &nodes[..2])),
                Ballot::Reveal(reveal(&town, place, Epoch(1), [3; 32])),
            ]
        })
        .collect();
    bolero::check!().for_each(|script: &[u8]| {
        let fresh = || Authority::new(identity(0), Arc::clone(&network), Box::new(Everybody));
        let mut core = fresh();
        let mut disk: Option<Vec<u8>> = None;
        let mut now = network.schedule().publish_at(Epoch(1));
        let mut lists = Vec::new();
        let mut assents: Vec<Assent> = Vec::new();
        for step in script.chunks_exact(2).take(200) {
            let (what, which) = (step[0], usize::from(step[1]));
            let peer = peers[which % peers.len()];
            match what % 7 {
                0 => now = now.max(core.poll_timeout()).after(Duration::from_nanos(1)),
                1 => now = now.after(Duration::from_millis(100 * which as u64)),
                2 => {
                    let bytes = nodes[which % nodes.len()].to_bytes();
                    core.handle_call(now, None, &Call::Publish(bytes));
                }
                3 => {
                    let ballot = said[which % said.len()].to_bytes();
                    core.handle_call(now, Some(peer), &Call::Ballot(ballot));
                }
                4 => {
                    let reply = BallotReply::Descriptors(vec![nodes[0].to_bytes()]).to_bytes();
                    core.handle_reply(now, peer, &Reply::Ballot(reply));
                }
                5 => {
                    core = fresh();
                    if let Some(record) = &disk {
                        core.restore(record).unwrap();
                    }
                }
                _ => {
                    core.handle_call(now, Some(peer), &Call::Ballot(script.to_vec()));
                    core.handle_reply(now, peer, &Reply::Document(script.to_vec()));
                }
            }
            core.handle_timeout(now);
            assert!(core.poll_timeout() > now, "a timer that stays due");
            disk = core.poll_persist().or(disk);
            while let Some((_, Call::Ballot(bytes))) = core.poll_transmit() {
                match Ballot::from_bytes(&bytes).unwrap() {
                    Ballot::List(list) if list.author == core.id() => lists.push(list),
                    Ballot::Assent(assent) if assent.signer == core.id() => assents.push(assent),
                    _ => {}
                }
            }
            while core
                .poll_event()
                .is_some_and(|event| !matches!(event, Event::Evidence(_)))
            {}
        }
        for pair in lists.iter().flat_map(|a| lists.iter().map(move |b| (a, b))) {
            assert!(pair.0.epoch != pair.1.epoch || pair.0 == pair.1);
        }
        for pair in assents
            .iter()
            .flat_map(|a| assents.iter().map(move |b| (a, b)))
        {
            assert!(pair.0.epoch != pair.1.epoch || pair.0 == pair.1);
        }
    });
}
