//! Clocks that are off.

use std::sync::Arc;
use std::time::Duration;

use subrosa_directory::{
    ClockCheck, ClockReading, ClockSkew, DirectoryError, Network, Subscriber, SubscriberEvent, View,
};
use wire::{Call, Epoch, NodeId, Reply, Time};

use crate::made::{authority, chain, network, node_identity};
use crate::subscribers::{calls, events, sources};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the authority at `place` shows at `time`, encoded.
pub(crate) fn reading(network: &Network, place: u8, time: Time) -> Vec<u8> {
    ClockReading::sign(&authority(place), network, time).alone()
}

/// The same of all in one, as a gateway hands it on.
fn handed_on(network: &Arc<Network>, time: Time) -> Vec<u8> {
    let mut check = ClockCheck::new(Arc::clone(network));
    for place in 0..4 {
        check.hear(
            time,
            &authority(place).node_id(),
            &reading(network, place, time),
        );
    }
    check.readings(time)
}

/// Answers all calls for clocks with what the sources show, and hands back the other calls.
pub(crate) fn answer_clocks(
    now: Time,
    subscriber: &mut Subscriber,
    shown: impl Fn(&NodeId) -> Vec<u8>,
) -> Vec<(NodeId, Call)> {
    let mut others = calls(subscriber);
    others.retain(|(source, call)| {
        if *call == Call::Clocks {
            let reply = Reply::Clocks(shown(source));
            subscriber.handle_reply(now, *source, call, reply);
        }
        *call != Call::Clocks
    });
    others
}

/// A time and how far the own clock is from it.
#[derive(Clone, Copy)]
enum Off {
    Behind(u64),
    Ahead(u64),
}

impl Off {
    fn of(self, time: Time) -> Time {
        match self {
            Self::Behind(by) => time.before(seconds(by)),
            Self::Ahead(by) => time.after(seconds(by)),
        }
    }
}

/// A node in the middle of epoch 1 that holds its document, and has heard all authorities.
fn node(off: Off) -> (Time, Subscriber) {
    let network = network();
    let time = network.schedule().start(Epoch(1)).after(seconds(300));
    let now = off.of(time);
    let mut view = View::new(Arc::clone(&network));
    let document = chain(&network, 1).remove(0);
    view.accept(time, &document).unwrap();
    let mut subscriber = Subscriber::publishing(now, view, sources());
    subscriber.handle_timeout(now);
    answer_clocks(now, &mut subscriber, |source| {
        let place = sources().iter().position(|id| id == source).unwrap();
        reading(&network, u8::try_from(place).unwrap(), time)
    });
    (now, subscriber)
}

#[test]
fn ten_seconds_either_way_are_tolerated() {
    for off in [
        Off::Behind(10),
        Off::Ahead(10),
        Off::Behind(30),
        Off::Ahead(30),
    ] {
        let (now, mut subscriber) = node(off);
        assert!(subscriber.current(now).is_ok());
        let publish = network().schedule().publish_at(Epoch(2));
        subscriber.handle_timeout(publish);
        let wanted = |event: &_| matches!(event, SubscriberEvent::NeedDescriptor(Epoch(2)));
        assert!(events(&mut subscriber).iter().any(wanted));
    }
}

#[test]
fn with_a_clock_ten_minutes_off_nothing_is_signed_and_nothing_sent() {
    let cases = [
        (Off::Behind(600), ClockSkew::Behind { seconds: 600 }),
        (Off::Ahead(600), ClockSkew::Ahead { seconds: 600 }),
        (Off::Behind(31), ClockSkew::Behind { seconds: 31 }),
        (Off::Ahead(31), ClockSkew::Ahead { seconds: 31 }),
    ];
    for (off, skew) in cases {
        let (now, mut subscriber) = node(off);
        let refused = subscriber.current(now).err();
        assert_eq!(refused, Some(DirectoryError::ClockSkew(skew)));
        assert!(matches!(
            events(&mut subscriber).as_slice(),
            [SubscriberEvent::Clock(Err(found))] if *found == skew
        ));
        for epoch in [1, 2, 3].map(Epoch) {
            subscriber.handle_timeout(now.max(network().schedule().publish_at(epoch)));
        }
        let asked = |event: &_| matches!(event, SubscriberEvent::NeedDescriptor(_));
        assert!(!events(&mut subscriber).iter().any(asked));
    }
}

#[test]
fn before_enough_clocks_were_heard_nothing_is_signed() {
    let network = network();
    let now = network.schedule().publish_at(Epoch(1));
    let view = View::new(Arc::clone(&network));
    let mut subscriber = Subscriber::publishing(now, view, sources());
    for heard in 0..3 {
        subscriber.handle_timeout(now);
        assert!(events(&mut subscriber).is_empty(), "{heard} clocks heard");
        let bytes = reading(&network, heard, now);
        let source = authority(heard).node_id();
        subscriber.handle_reply(now, source, &Call::Clocks, Reply::Clocks(bytes));
    }
    assert!(matches!(
        events(&mut subscriber).as_slice(),
        [SubscriberEvent::NeedDescriptor(Epoch(1))]
    ));
}

#[test]
fn one_authority_alone_moves_nothing() {
    let network = network();
    let time = network.schedule().start(Epoch(1)).after(seconds(300));
    for liar in 0..4 {
        for lie in [Time::ZERO, Time::MAX, time.before(seconds(600))] {
            for silent in [None, Some((liar + 1) % 4)] {
                let mut check = ClockCheck::new(Arc::clone(&network));
                for place in (0..4).filter(|place| Some(*place) != silent) {
                    let shown = if place == liar { lie } else { time };
                    let source = authority(place).node_id();
                    check.hear(time, &source, &reading(&network, place, shown));
                }
                assert!(check.knows(time));
                assert_eq!(check.check(), Ok(()));
            }
        }
    }
}

#[test]
fn readings_of_others_forged_or_of_another_network_do_not_count() {
    let network = network();
    let time = Time::from_nanos(5_000_000_000_000);
    let mut check = ClockCheck::new(Arc::clone(&network));
    for place in 0..4 {
        // An authority speaks of its own clock alone.
        let other = authority((place + 1) % 4).node_id();
        check.hear(time, &other, &reading(&network, place, time));
        let mut forged = reading(&network, place, time);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        check.hear(time, &authority(place).node_id(), &forged);
        // Nor does a gateway count for one, nor any other key.
        let stranger = ClockReading::sign(&node_identity(place), &network, time).alone();
        check.hear(time, &node_identity(3).node_id(), &stranger);
    }
    assert!(!check.knows(Time::ZERO));
}

#[test]
fn what_a_gateway_hands_on_may_be_a_minute_old_and_not_run_backwards() {
    let network = network();
    let time = network.schedule().start(Epoch(1)).after(seconds(300));
    let gateway = node_identity(3).node_id();
    let check_at = |now: Time| {
        let mut check = ClockCheck::new(Arc::clone(&network));
        check.hear(now, &gateway, &handed_on(&network, time));
        check
    };
    let age = ClockCheck::MAX_AGE.as_secs();
    for right in [
        Off::Behind(30),
        Off::Behind(10),
        Off::Ahead(10),
        Off::Ahead(30 + age),
    ] {
        assert_eq!(check_at(right.of(time)).check(), Ok(()));
    }
    for wrong in [
        Off::Behind(31),
        Off::Behind(600),
        Off::Ahead(31 + age),
        Off::Ahead(600),
    ] {
        assert!(check_at(wrong.of(time)).check().is_err());
    }
    // An older reading after a newer one: the machine still knows that it is behind.
    let now = time.before(seconds(600));
    let mut check = check_at(now);
    check.hear(now, &gateway, &handed_on(&network, now));
    assert_eq!(check.check(), Err(ClockSkew::Behind { seconds: 600 }));
}

#[test]
fn a_gateway_hands_on_nothing_old() {
    let network = network();
    let time = Time::from_nanos(5_000_000_000_000);
    let mut check = ClockCheck::new(Arc::clone(&network));
    check.hear(time, &authority(0).node_id(), &reading(&network, 0, time));
    let full = check.readings(time.after(ClockCheck::ROUND));
    assert_eq!(full.len(), 4 + 32 + 8 + 64);
    let empty = check.readings(time.after(ClockCheck::ROUND + seconds(1)));
    assert_eq!(empty, [0; 4]);
}

#[test]
fn a_clock_that_was_set_right_is_right() {
    let (now, mut subscriber) = node(Off::Ahead(200));
    assert!(subscriber.current(now).is_err());
    let later = subscriber.poll_timeout();
    subscriber.handle_timeout(later);
    let network = network();
    answer_clocks(later, &mut subscriber, |source| {
        let place = sources().iter().position(|id| id == source).unwrap();
        reading(&network, u8::try_from(place).unwrap(), later)
    });
    assert!(subscriber.current(later).is_ok());
    let right = |event: &_| matches!(event, SubscriberEvent::Clock(Ok(())));
    assert!(events(&mut subscriber).iter().any(right));
}

#[test]
fn any_bytes_in_the_place_of_readings_change_nothing() {
    let network = network();
    let time = Time::from_nanos(5_000_000_000_000);
    let gateway = node_identity(3).node_id();
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut check = ClockCheck::new(Arc::clone(&network));
        check.hear(time, &gateway, bytes);
        check.hear(time, &authority(0).node_id(), bytes);
        assert_eq!(check.check(), Ok(()));
        assert_eq!(check.readings(time), [0; 4]);
    });
}
