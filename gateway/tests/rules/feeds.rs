//! Mailboxes that their owners feed through the mixes.

use std::time::Duration;

use directory::Identity;
use link::Peer;
use message::{FeedDraft, sign_feed};
use sphinx::{Address, Surb, SurbRecovery};
use subrosa_gateway::Limits;
use wire::{
    CallRefused, Decode, Encode, Epoch, Feed, MessageId, NodeId, PublicationPart, Refusal, Reply,
    SURB_LEN, SurbId,
};

use crate::fixture::{GATEWAY, Network};

const MINUTE: Duration = Duration::from_secs(60);
const OTHER_GATEWAY: usize = 7;

fn key() -> Identity {
    Identity::from_seed(&[4; 32])
}

/// A reply block to the other gateway, where its maker is.
fn reply_block(network: &mut Network) -> (Surb, SurbRecovery) {
    let route = [0, 2, 4, OTHER_GATEWAY].map(|node| network.hop(node));
    Surb::create(&mut network.rng, &route, SurbId([9; 16])).unwrap()
}

fn draft(network: &Network, counter: u64, surbs: Vec<[u8; SURB_LEN]>) -> FeedDraft {
    FeedDraft {
        epoch: network.topology.epoch(),
        counter,
        floor: 0,
        stranger_millihertz: 10_000,
        tags: Vec::new(),
        surbs,
    }
}

fn send(network: &mut Network, feed: &Feed) {
    let packet = network.ending(Address::FEED, &feed.to_bytes());
    network.arrive(&packet);
}

/// Feeds `count` reply blocks and keeps what reads the replies.
fn feed(network: &mut Network, counter: u64, count: usize) -> Vec<SurbRecovery> {
    let made: Vec<_> = (0..count).map(|_| reply_block(network)).collect();
    let (surbs, kept): (Vec<_>, Vec<_>) = made
        .into_iter()
        .map(|(surb, kept)| (surb.to_bytes(), kept))
        .unzip();
    let feed = sign_feed(&key(), &network.id(GATEWAY), draft(network, counter, surbs));
    send(network, &feed);
    kept
}

fn put(network: &mut Network, payload: &[u8]) {
    let packet = network.ending(key().mailbox().into(), payload);
    network.arrive(&packet);
}

/// What comes out under reply blocks within a minute, opened by their makers.
fn replies(network: &mut Network, kept: &mut Vec<SurbRecovery>) -> Vec<Vec<u8>> {
    let sent = network.run_until(network.now.after(MINUTE));
    let mut replies = Vec::new();
    for (_, peer, frame) in sent {
        let Peer::Node(first) = peer else { continue };
        let (end, packet) = network.through_the_mixes(first, frame.packet());
        if end != network.id(OTHER_GATEWAY) {
            continue;
        }
        let payload = network.opened_at(OTHER_GATEWAY, &packet);
        replies.push(kept.remove(0).recover(payload).unwrap());
    }
    replies
}

#[test]
fn items_leave_under_the_owners_reply_blocks_with_an_account_in_front() {
    let mut network = Network::new(4, Limits::default());
    let mut kept = feed(&mut network, 7, 2);
    assert_eq!(network.gateway.census().stock, 2);
    for number in 1..=3 {
        put(&mut network, &[number; 100]);
    }
    let replies = replies(&mut network, &mut kept);
    assert_eq!(replies.len(), 2, "the third waits for a reply block");
    for (number, reply) in (1u8..).zip(&replies) {
        assert_eq!(reply.len(), network.parameters.geometry.capacity());
        let left = 2 - number;
        let waiting = 3 - number;
        let account = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, left, 0, 0, 0, waiting];
        assert_eq!(reply[..16], account);
        assert_eq!(reply[16..116], [number; 100]);
        assert!(reply[116..].iter().all(|byte| *byte == 0));
    }
    let mut kept = feed(&mut network, 8, 1);
    assert_eq!(replies_len(&mut network, &mut kept), 1);
}

fn replies_len(network: &mut Network, kept: &mut Vec<SurbRecovery>) -> usize {
    replies(network, kept).len()
}

#[test]
fn the_clock_into_layer_1_ticks_alike_with_and_without_items() {
    let ticks = |items: u8| {
        let mut network = Network::new(4, Limits::default());
        let kept = feed(&mut network, 1, 2);
        for number in 0..items {
            put(&mut network, &[number; 9]);
        }
        assert_eq!(kept.len(), 2);
        let sent = network.run_until(network.now.after(MINUTE));
        sent.iter().map(|(at, ..)| *at).collect::<Vec<_>>()
    };
    assert_eq!(ticks(0), ticks(2));
}

#[test]
fn refuses_feeds_that_are_old_replayed_or_for_another_epoch() {
    let mut network = Network::new(4, Limits::default());
    let (surb, _) = reply_block(&mut network);
    let good = draft(&network, 5, vec![surb.to_bytes()]);
    let good = sign_feed(&key(), &network.id(GATEWAY), good);
    send(&mut network, &good);
    send(&mut network, &good);
    assert_eq!(
        network.refused(Refusal::FeedStale),
        1,
        "again, in another packet"
    );
    let mut discard = draft(&network, 9, Vec::new());
    discard.floor = 9;
    let discard = sign_feed(&key(), &network.id(GATEWAY), discard);
    send(&mut network, &discard);
    assert_eq!(network.gateway.census().stock, 0);
    let old = sign_feed(
        &key(),
        &network.id(GATEWAY),
        draft(&network, 8, vec![surb.to_bytes()]),
    );
    send(&mut network, &old);
    assert_eq!(network.refused(Refusal::FeedStale), 2, "before the discard");
    let mut elsewhen = draft(&network, 10, vec![surb.to_bytes()]);
    elsewhen.epoch = Epoch(2);
    let elsewhen = sign_feed(&key(), &network.id(GATEWAY), elsewhen);
    send(&mut network, &elsewhen);
    assert_eq!(network.refused(Refusal::FeedStale), 3, "no such document");
    assert_eq!(network.gateway.census().stock, 0);
}

#[test]
fn refuses_feeds_that_the_owner_did_not_sign_for_this_gateway() {
    let mut network = Network::new(4, Limits::default());
    let (surb, _) = reply_block(&mut network);
    let id = network.id(GATEWAY);
    let surbs = vec![surb.to_bytes()];
    let mut unsigned = sign_feed(&key(), &id, draft(&network, 1, surbs.clone()));
    unsigned.signature[0] ^= 1;
    send(&mut network, &unsigned);
    let foreign = network.id(OTHER_GATEWAY);
    let foreign = sign_feed(&key(), &foreign, draft(&network, 2, surbs.clone()));
    send(&mut network, &foreign);
    let mut stolen = sign_feed(&key(), &id, draft(&network, 3, surbs));
    stolen.key = Identity::from_seed(&[5; 32]).public();
    send(&mut network, &stolen);
    for bytes in [&b""[..], &[0; 124], &[0xff; 900]] {
        let packet = network.ending(Address::FEED, bytes);
        network.arrive(&packet);
    }
    assert_eq!(network.refused(Refusal::FeedInvalid), 6);
    let census = network.gateway.census();
    assert_eq!((census.fed_mailboxes, census.stock), (0, 0));
}

#[test]
fn refuses_reply_blocks_that_no_mix_of_layer_1_would_take() {
    let mut network = Network::new(4, Limits::default());
    let id = network.id(GATEWAY);
    let (good, _) = reply_block(&mut network);
    let low_order = {
        let mut bytes = good.to_bytes();
        bytes[..32].fill(0);
        bytes
    };
    let second_layer = {
        let route = [2, 4, OTHER_GATEWAY].map(|node| network.hop(node));
        let made = Surb::create(&mut network.rng, &route, SurbId([9; 16])).unwrap();
        made.0.to_bytes()
    };
    let nobody = {
        let mut bytes = good.to_bytes();
        bytes[348..380].fill(7);
        bytes
    };
    for (counter, bad) in (1..).zip([low_order, second_layer, nobody]) {
        let surbs = vec![good.to_bytes(), bad];
        let feed = sign_feed(&key(), &id, draft(&network, counter, surbs));
        send(&mut network, &feed);
    }
    assert_eq!(network.refused(Refusal::SurbInvalid), 3);
    assert_eq!(network.gateway.census().stock, 0);
}

#[test]
fn ten_thousand_feeds_stay_within_the_bounds() {
    let limits = Limits {
        fed_mailboxes: 8,
        fed_stock: 4,
        ..Limits::default()
    };
    let mut network = Network::new(4, limits);
    let (surb, _) = reply_block(&mut network);
    let id = network.id(GATEWAY);
    let started = network.gateway.ledger().received;
    for number in 0..10_000_u64 {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(number % 500).to_be_bytes());
        let drafted = draft(&network, number + 1, vec![surb.to_bytes()]);
        let feed = sign_feed(&Identity::from_seed(&seed), &id, drafted);
        send(&mut network, &feed);
    }
    let census = network.gateway.census();
    assert_eq!((census.fed_mailboxes, census.stock), (8, 32));
    let ledger = network.gateway.ledger();
    assert_eq!(ledger.received - started, 10_000);
    let consumed = ledger.consumed;
    assert_eq!(ledger.refused.of(Refusal::Overload), 10_000 - consumed);
    assert_eq!(consumed, 8 * 20);
}

#[test]
fn a_stock_of_the_next_epoch_waits_for_it_and_the_old_one_lives_through_the_overlap() {
    let mut network = Network::new(4, Limits::default());
    let mut kept = feed(&mut network, 1, 1);
    network.now = network.now.after(MINUTE);
    let before = network.now;
    network.enter_epoch(Epoch(2));
    let mut newer = feed(&mut network, 2, 1);
    put(&mut network, b"one");
    put(&mut network, b"two");
    // The overlap lasts ten seconds, and a packet needs a moment.
    let sent = network.run_until(before.after(Duration::from_secs(5)));
    let mut ends = Vec::new();
    for (_, peer, frame) in sent {
        let Peer::Node(first) = peer else { continue };
        for (epoch, kept) in [(Epoch(1), &mut kept), (Epoch(2), &mut newer)] {
            if let Some(payload) = network.carried(epoch, first, frame.packet(), OTHER_GATEWAY)
                && !kept.is_empty()
            {
                kept.remove(0).recover(payload).unwrap();
                ends.push(epoch);
            }
        }
    }
    assert_eq!(ends, [Epoch(1), Epoch(2)]);
}

fn part(index: u8, count: u8, surb: &Surb, bytes: &[u8]) -> PublicationPart {
    PublicationPart {
        id: MessageId([3; 16]),
        index,
        count,
        surb: surb.to_bytes(),
        bytes: bytes.to_vec(),
    }
}

#[test]
fn a_descriptor_comes_in_parts_and_its_verdict_goes_back() {
    let mut network = Network::new(4, Limits::default());
    let descriptor = network.service_descriptor();
    let (surb, kept) = reply_block(&mut network);
    let chunks: Vec<&[u8]> = descriptor.chunks(500).collect();
    let count = u8::try_from(chunks.len()).unwrap();
    for (index, chunk) in (0..count).zip(chunks).rev() {
        assert!(network.gateway.poll_publication(network.now).is_none());
        let bytes = part(index, count, &surb, chunk).to_bytes();
        let packet = network.ending(Address::PUBLISH, &bytes);
        network.arrive(&packet);
    }
    let (ticket, whole) = network.gateway.poll_publication(network.now).unwrap();
    assert_eq!(whole, descriptor);
    network.gateway.published(ticket, &Reply::Done);
    network.gateway.published(ticket, &Reply::Done);
    network.check();
    let replies = replies(&mut network, &mut vec![kept]);
    assert_eq!(replies.len(), 1, "one verdict a publication");
    assert_eq!(Reply::from_bytes(&replies[0]), Ok(Reply::Done));
}

#[test]
fn what_is_no_descriptor_is_told_so_and_what_contradicts_is_refused() {
    let mut network = Network::new(4, Limits::default());
    let (surb, kept) = reply_block(&mut network);
    let mut send = |part: &PublicationPart| {
        let packet = network.ending(Address::PUBLISH, &part.to_bytes());
        network.arrive(&packet);
    };
    send(&part(0, 2, &surb, b"no"));
    send(&part(0, 2, &surb, b"no"));
    send(&part(1, 3, &surb, b"no"));
    send(&part(1, 2, &surb, b"descriptor"));
    assert_eq!(network.refused(Refusal::FragmentInvalid), 2);
    assert!(network.gateway.poll_publication(network.now).is_none());
    let replies = replies(&mut network, &mut vec![kept]);
    let invalid = Reply::Refused(CallRefused::Invalid);
    assert_eq!(Reply::from_bytes(&replies[0]), Ok(invalid));

    let stray = {
        let mut bytes = surb.to_bytes();
        bytes[348..380].copy_from_slice(&NodeId([8; 32]).0);
        Surb::from_bytes(&bytes).unwrap()
    };
    let packet = network.ending(Address::PUBLISH, &part(0, 1, &stray, b"x").to_bytes());
    network.arrive(&packet);
    assert_eq!(network.refused(Refusal::SurbInvalid), 1);
}

#[test]
fn publications_that_nobody_completes_stay_bounded() {
    let mut network = Network::new(4, Limits::default());
    let (surb, _) = reply_block(&mut network);
    for number in 0..1_000_u16 {
        let mut first = part(0, 64, &surb, &[1; 500]);
        first.id.0[..2].copy_from_slice(&number.to_be_bytes());
        let packet = network.ending(Address::PUBLISH, &first.to_bytes());
        network.arrive(&packet);
    }
    assert!(network.gateway.poll_publication(network.now).is_none());
    network.check();
}
