//! Keeping up with the directory on the schedule of all.

use std::sync::Arc;
use std::time::Duration;

use subrosa_directory::{Subscriber, SubscriberEvent, View};
use wire::{Call, CallRefused, Epoch, NodeId, Reply, Time};

use crate::clocks::{answer_clocks, reading};
use crate::made::{authority, chain, network};

pub(crate) fn sources() -> Vec<NodeId> {
    (0..4).map(|place| authority(place).node_id()).collect()
}

pub(crate) fn calls(subscriber: &mut Subscriber) -> Vec<(NodeId, Call)> {
    std::iter::from_fn(|| subscriber.poll_transmit()).collect()
}

pub(crate) fn events(subscriber: &mut Subscriber) -> Vec<SubscriberEvent> {
    std::iter::from_fn(|| subscriber.poll_event()).collect()
}

fn start() -> (Time, Subscriber) {
    let network = network();
    let now = network.schedule().publish_at(Epoch(1));
    (
        now,
        Subscriber::publishing(now, View::new(network), sources()),
    )
}

/// Answers calls for clocks as an authority whose clock is right; the other calls.
fn but_clocks(now: Time, subscriber: &mut Subscriber) -> Vec<(NodeId, Call)> {
    answer_clocks(now, subscriber, |source| {
        let place = sources().iter().position(|id| id == source).unwrap();
        reading(&network(), u8::try_from(place).unwrap(), now)
    })
}

#[test]
fn publishes_to_every_source_until_each_has_it() {
    let (now, mut subscriber) = start();
    subscriber.handle_timeout(now);
    but_clocks(now, &mut subscriber);
    assert!(matches!(
        events(&mut subscriber).as_slice(),
        [SubscriberEvent::NeedDescriptor(Epoch(1))]
    ));
    subscriber.offer(now, Epoch(1), vec![1, 2, 3]);
    let sent = calls(&mut subscriber);
    assert_eq!(sent.len(), 4);
    for (source, call) in &sent[..3] {
        subscriber.handle_reply(now, *source, call, Reply::Done);
    }
    let (last, call) = &sent[3];
    subscriber.handle_reply(now, *last, call, Reply::Refused(CallRefused::Busy));
    let later = subscriber.poll_timeout();
    assert!(later > now);
    subscriber.handle_timeout(later);
    let again = calls(&mut subscriber);
    assert_eq!(again, [(*last, call.clone())]);
    subscriber.handle_reply(later, *last, call, Reply::Done);
    assert!(matches!(
        events(&mut subscriber).as_slice(),
        [SubscriberEvent::Published(Epoch(1))]
    ));
}

#[test]
fn says_who_lacks_the_descriptor_when_its_time_is_over() {
    let (now, mut subscriber) = start();
    subscriber.handle_timeout(now);
    but_clocks(now, &mut subscriber);
    subscriber.offer(now, Epoch(1), vec![1]);
    let (source, call) = calls(&mut subscriber).remove(0);
    subscriber.handle_reply(now, source, &call, Reply::Done);
    events(&mut subscriber);
    subscriber.handle_timeout(network().schedule().lists_at(Epoch(1)));
    assert!(events(&mut subscriber).iter().any(|event| matches!(
        event,
        SubscriberEvent::PublishedInPart {
            epoch: Epoch(1),
            missing: 3
        }
    )));
}

#[test]
fn fetches_on_the_schedule_and_tries_the_next_source() {
    let network = network();
    let schedule = network.schedule();
    let all = chain(&network, 2);
    let now = schedule.start(Epoch(1)).after(Duration::from_secs(30));
    let mut subscriber = Subscriber::new(now, View::new(Arc::clone(&network)), sources());
    subscriber.handle_timeout(now);
    let (first, call) = but_clocks(now, &mut subscriber).remove(0);
    assert_eq!(call, Call::NewestDocument);
    subscriber.handle_reply(now, first, &call, Reply::Refused(CallRefused::NotYet));
    let later = subscriber.poll_timeout();
    subscriber.handle_timeout(later);
    let (second, call) = calls(&mut subscriber).remove(0);
    assert_ne!(first, second);
    subscriber.handle_reply(later, second, &call, Reply::Document(all[0].clone()));
    assert!(matches!(
        events(&mut subscriber).as_slice(),
        [SubscriberEvent::Document(_)]
    ));
    // Whoever holds the document asks again at one moment, the same for all.
    assert_eq!(subscriber.poll_timeout(), schedule.fetch_at(Epoch(2)));
    subscriber.handle_timeout(schedule.fetch_at(Epoch(2)));
    let (source, call) = calls(&mut subscriber).remove(0);
    assert_eq!(call, Call::Document(Epoch(2)));
    let now = schedule.fetch_at(Epoch(2));
    subscriber.handle_reply(now, source, &call, Reply::Document(all[1].clone()));
    let next = subscriber.current(schedule.start(Epoch(2))).unwrap();
    assert_eq!(next.document().epoch, Epoch(2));
}

#[test]
fn a_forged_document_is_reported_and_not_believed() {
    let network = network();
    let mut forged = chain(&network, 1).remove(0);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let now = network.schedule().start(Epoch(1));
    let mut subscriber = Subscriber::new(now, View::new(network), sources());
    subscriber.handle_timeout(now);
    let (source, call) = calls(&mut subscriber).remove(0);
    subscriber.handle_reply(now, source, &call, Reply::Document(forged));
    assert!(matches!(
        events(&mut subscriber).as_slice(),
        [SubscriberEvent::DocumentRefused { by, .. }] if *by == source
    ));
    assert!(subscriber.current(now).is_err());
}

#[test]
fn whatever_is_answered_no_timer_stays_due_and_no_queue_grows() {
    let network = network();
    let document = chain(&network, 1).remove(0);
    bolero::check!().for_each(|script: &[u8]| {
        let mut now = network.schedule().publish_at(Epoch(1));
        let view = View::new(Arc::clone(&network));
        let mut subscriber = Subscriber::publishing(now, view, sources());
        for step in script.iter().take(64) {
            now = now.max(subscriber.poll_timeout());
            subscriber.handle_timeout(now);
            assert!(subscriber.poll_timeout() > now);
            let sent = calls(&mut subscriber);
            assert!(sent.len() <= 9);
            for (source, call) in sent {
                let reply = match step % 5 {
                    0 => Reply::Done,
                    1 => Reply::Refused(CallRefused::Busy),
                    2 => Reply::Document(document.clone()),
                    3 if call == Call::Clocks => {
                        let place = sources().iter().position(|id| *id == source).unwrap();
                        let network = subscriber.view().network();
                        Reply::Clocks(reading(network, u8::try_from(place).unwrap(), now))
                    }
                    3 => Reply::Document(script.to_vec()),
                    _ => continue,
                };
                subscriber.handle_reply(now, source, &call, reply);
            }
            for event in events(&mut subscriber) {
                if let SubscriberEvent::NeedDescriptor(epoch) = event {
                    subscriber.offer(now, epoch, vec![*step]);
                    now = now.after(Duration::from_nanos(1));
                }
            }
            calls(&mut subscriber);
        }
    });
}
