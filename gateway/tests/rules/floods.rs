//! Ten thousand packets at once, from a client and for an owner.
//!
//! What is refused here is refused by length, rate or tag: nobody opens a seal for it, and no
//! provider ever sees it.

use std::time::Duration;

use directory::Identity;
use link::{Frame, GuestId, Peer};
use message::{FeedDraft, sign_feed};
use sphinx::{Address, Surb};
use subrosa_gateway::Limits;
use wire::{AdmissionTag, Encode, Refusal, SurbId};

use crate::fixture::{GATEWAY, Network};

const FLOOD: u64 = 10_000;
const OTHER_GATEWAY: usize = 7;

/// Feeds the mailbox of a known key with `count` reply blocks.
fn feed(network: &mut Network, counter: u64, count: usize, tags: Vec<AdmissionTag>) {
    let route = [0, 2, 4, OTHER_GATEWAY].map(|node| network.hop(node));
    let surbs = (0..count).map(|_| {
        let (surb, _) = Surb::create(&mut network.rng, &route, SurbId([9; 16])).unwrap();
        surb.to_bytes()
    });
    let draft = FeedDraft {
        epoch: network.topology.epoch(),
        counter,
        floor: 0,
        stranger_millihertz: 2_000,
        tags,
        surbs: surbs.collect(),
    };
    let key = Identity::from_seed(&[4; 32]);
    let feed = sign_feed(&key, &network.id(GATEWAY), draft);
    let packet = network.ending(Address::FEED, &feed.to_bytes());
    network.arrive(&packet);
}

#[test]
fn ten_thousand_frames_of_a_client_pass_at_its_rate_alone() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    network.register(2, 0);
    let packet = vec![9; network.parameters.geometry.packet_len()];
    let mut sent = Vec::new();
    // A thousand a second, against a class of six.
    for number in 0..FLOOD {
        let second = network.now.after(Duration::from_millis(1));
        sent.extend(network.run_until(second));
        let guest = GuestId(1);
        network
            .gateway
            .handle_client_frame(network.now, guest, 0, &packet);
        network.collect(&mut sent);
        if number % 1_000 == 999 {
            // Another client of the same class sends as if nothing were.
            let before = network.refused(Refusal::RateExceeded);
            let other = GuestId(2);
            network
                .gateway
                .handle_client_frame(network.now, other, 0, &packet);
            assert_eq!(network.refused(Refusal::RateExceeded), before);
        }
    }
    network.check();
    let passed = FLOOD - network.refused(Refusal::RateExceeded);
    // The burst, and ten seconds of six and a quarter more.
    assert!((60..=128 + 75).contains(&passed), "{passed} of {FLOOD}");
}

#[test]
fn ten_thousand_requests_for_an_attached_owner_reach_it_at_its_rate_alone() {
    let limits = Limits {
        mailbox_items: 64,
        ..Limits::default()
    };
    let mut network = Network::new(2, limits);
    let handle = network.register(1, 0);
    let mailbox = network.attach(1, handle, 1);
    let begin = network.now;
    let mut sent = Vec::new();
    for _ in 0..FLOOD {
        let millisecond = network.now.after(Duration::from_millis(1));
        sent.extend(network.run_until(millisecond));
        let packet = network.ending(mailbox.into(), &[0xee; 40]);
        network.arrive(&packet);
    }
    let items = sent.iter().filter(|(_, peer, frame)| {
        *peer == Peer::Guest(GuestId(1)) && frame.prefix() == Frame::MAILBOX_ITEM
    });
    let delivered = items.count() as u64;
    let full = network.refused(Refusal::MailboxFull);
    assert!(delivered + full + 64 + 64 >= FLOOD, "{delivered}, {full}");
    // Twice its class of six, for ten seconds, with a deviation of eleven.
    let seconds = network.now.since(begin).as_secs_f64();
    let most = 12.0 * seconds + 5.0 * (12.0 * seconds).sqrt();
    assert!((delivered as f64) < most, "{delivered} in {seconds} s");
}

#[test]
fn ten_thousand_requests_of_strangers_cost_a_fed_owner_its_rate_and_hold_up_nobody() {
    let limits = Limits {
        fed_stock: 1_000,
        ..Limits::default()
    };
    let mut network = Network::new(3, limits);
    for counter in 1..=30 {
        feed(&mut network, counter, 2, Vec::new());
    }
    let tag = AdmissionTag([7; 16]);
    feed(&mut network, 31, 0, vec![tag]);
    assert_eq!(network.gateway.census().stock, 60);
    let mailbox = Identity::from_seed(&[4; 32]).mailbox();
    // Their bodies are no seals: nothing here looks.
    for _ in 0..FLOOD {
        let packet = network.ending(mailbox.into(), &[0xee; 200]);
        network.arrive(&packet);
    }
    let admitted =
        FLOOD - network.refused(Refusal::NotAdmitted) - network.refused(Refusal::MailboxFull);
    assert!(admitted <= 33, "the burst alone: {admitted}");
    // What the owner announced goes through in the middle of it.
    let before = network.refused(Refusal::NotAdmitted);
    let mut payload = [0xee; 200];
    payload[..16].copy_from_slice(&tag.0);
    let packet = network.ending(mailbox.into(), &payload);
    network.arrive(&packet);
    assert_eq!(network.refused(Refusal::NotAdmitted), before);
    // Nothing of what was refused takes a reply block.
    network.run_until(network.now.after(Duration::from_secs(30)));
    assert_eq!(network.gateway.census().stock, 60 - (admitted + 1));
}
