//! Mailboxes that their owners attach.

use std::time::Duration;

use directory::Identity;
use link::{Frame, GuestId, Peer};
use subrosa_gateway::{Answer, Limits};
use wire::{Attach, Call, CallRefused, Epoch, Handle, MailboxAddress, NodeId, Refusal, Reply};

use crate::fixture::{GATEWAY, Network};

const MINUTE: Duration = Duration::from_secs(60);
const DONE: Answer = Answer::Reply(Reply::Done);

fn claim(network: &mut Network, guest: u64, attach: Attach) -> Answer {
    let from = Peer::Guest(GuestId(guest));
    network
        .gateway
        .handle_call(network.now, &mut network.rng, from, Call::Attach(attach))
}

fn refused(why: CallRefused) -> Answer {
    Answer::Reply(Reply::Refused(why))
}

fn key() -> Identity {
    Identity::from_seed(&[4; 32])
}

fn mailbox() -> MailboxAddress {
    key().mailbox()
}

fn put(network: &mut Network, payload: &[u8]) {
    let packet = network.ending(mailbox().into(), payload);
    network.arrive(&packet);
}

fn items(network: &mut Network, guest: u64) -> Vec<Frame> {
    let sent = network.run_until(network.now.after(MINUTE));
    sent.into_iter()
        .filter(|(_, peer, frame)| {
            *peer == Peer::Guest(GuestId(guest)) && frame.prefix() == Frame::MAILBOX_ITEM
        })
        .map(|(_, _, frame)| frame)
        .collect()
}

#[test]
fn what_comes_for_a_mailbox_flows_to_its_owner_in_order() {
    let mut network = Network::new(4, Limits::default());
    let handle = network.register(1, 0);
    network.register(2, 0);
    network.attach(1, handle, 1);
    for number in 0..10u8 {
        put(&mut network, &[number; 100]);
    }
    let items = items(&mut network, 1);
    assert_eq!(items.len(), 10);
    for (number, item) in (0u8..).zip(&items) {
        let bytes = item.packet();
        assert_eq!(bytes[..16], [0; 16], "the account of reply blocks");
        assert_eq!(bytes[16..116], [number; 100]);
    }
}

#[test]
fn refuses_a_mailbox_that_nobody_attached() {
    let mut network = Network::new(4, Limits::default());
    network.register(1, 0);
    put(&mut network, b"x");
    assert_eq!(network.refused(Refusal::UnknownMailbox), 1);
}

#[test]
fn a_mailbox_holds_to_its_bound_while_its_owner_is_away() {
    let limits = Limits {
        mailbox_items: 4,
        ..Limits::default()
    };
    let mut network = Network::new(4, limits);
    let handle = network.register(1, 0);
    network.attach(1, handle, 1);
    network.gateway.handle_disconnect(network.now, GuestId(1));
    for _ in 0..6 {
        put(&mut network, b"x");
    }
    assert_eq!(network.refused(Refusal::MailboxFull), 2);
    network.register_as(3, handle, 0);
    assert_eq!(items(&mut network, 3).len(), 4);
}

#[test]
fn a_claim_is_its_owners_for_this_gateway_this_link_and_this_epoch() {
    let mut network = Network::new(4, Limits::default());
    let handle = network.register(1, 0);
    let other = network.register(2, 0);
    let gateway = network.id(GATEWAY);
    let good = |gateway: NodeId, handle: Handle, epoch: u64| {
        message::attach(&key(), gateway, handle, Epoch(epoch), 7)
    };
    let mut forged = good(gateway, handle, 1);
    forged.signature[5] ^= 1;
    let mut stolen = good(gateway, handle, 1);
    stolen.key = Identity::from_seed(&[5; 32]).public();
    let invalid = refused(CallRefused::Invalid);
    for (bad, answer) in [
        (forged, invalid.clone()),
        (stolen, invalid.clone()),
        (good(NodeId([1; 32]), handle, 1), invalid.clone()),
        (good(gateway, other, 1), invalid.clone()),
        (good(gateway, handle, 2), refused(CallRefused::WrongEpoch)),
    ] {
        assert_eq!(claim(&mut network, 1, bad), answer);
    }
    // A good claim on another link, and on one that has not registered.
    assert_eq!(claim(&mut network, 2, good(gateway, handle, 1)), invalid);
    assert_eq!(claim(&mut network, 3, good(gateway, handle, 1)), invalid);
    assert_eq!(network.gateway.census().mailboxes, 0);
    assert_eq!(claim(&mut network, 1, good(gateway, handle, 1)), DONE);
}

#[test]
fn a_claim_is_not_taken_twice_nor_after_a_newer_one() {
    let mut network = Network::new(4, Limits::default());
    let handle = network.register(1, 0);
    let gateway = network.id(GATEWAY);
    let at = |counter| message::attach(&key(), gateway, handle, Epoch(1), counter);
    assert_eq!(claim(&mut network, 1, at(8)), DONE);
    for counter in [8, 7, 0] {
        let again = claim(&mut network, 1, at(counter));
        assert_eq!(again, refused(CallRefused::Invalid));
    }
    assert_eq!(claim(&mut network, 1, at(9)), DONE);
}

#[test]
fn a_mailbox_moves_with_its_owners_newest_claim() {
    let mut network = Network::new(4, Limits::default());
    let first = network.register(1, 0);
    network.attach(1, first, 1);
    network.gateway.handle_disconnect(network.now, GuestId(1));
    put(&mut network, b"before");
    let second = network.register(2, 0);
    network.attach(2, second, 2);
    put(&mut network, b"after");
    assert_eq!(items(&mut network, 2).len(), 2);
}

#[test]
fn a_client_keeps_a_bounded_number_of_mailboxes() {
    let limits = Limits {
        client_mailboxes: 2,
        ..Limits::default()
    };
    let mut network = Network::new(4, limits);
    let handle = network.register(1, 0);
    let gateway = network.id(GATEWAY);
    let of = |seed: u8| {
        let key = Identity::from_seed(&[seed; 32]);
        message::attach(&key, gateway, handle, Epoch(1), 1)
    };
    assert_eq!(claim(&mut network, 1, of(1)), DONE);
    assert_eq!(claim(&mut network, 1, of(2)), DONE);
    assert_eq!(claim(&mut network, 1, of(3)), refused(CallRefused::Busy));
}
