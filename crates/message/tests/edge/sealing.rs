//! What the mailbox's gateway can tell of two packets.

use std::collections::BTreeSet;
use std::time::Duration;

use link::Frame;
use wire::AnswerClass;

use crate::network::{World, draft};

/// Mailbox items of two senders: so many of each, each sender's one message.
fn items() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut world = World::new(31, &[1, 1, 2]);
    let to = world.mailbox(2);
    let collect = |world: &mut World, from: usize| {
        world.log = Some(Vec::new());
        world.ask(from, &to, &draft(1, AnswerClass::One, 120_000));
        world.run(Duration::from_secs(10));
        let log = world.log.take().unwrap();
        log.into_iter()
            .filter(|d| d.to == 2 && d.frame[..2] == Frame::MAILBOX_ITEM.to_be_bytes())
            .map(|d| d.frame[2..].to_vec())
            .collect::<Vec<_>>()
    };
    (collect(&mut world, 0), collect(&mut world, 1))
}

/// What its sender chose of an item: tag and admission, and the seal; before it is the account,
/// after it the padding.
const SEAL: std::ops::Range<usize> = 16..8_175;

fn equal_bytes(a: &[u8], b: &[u8]) -> usize {
    a[SEAL].iter().zip(&b[SEAL]).filter(|(a, b)| a == b).count()
}

#[test]
fn packets_of_one_message_are_as_unlike_as_packets_of_two_senders() {
    let (first, second) = items();
    assert!(first.len() >= 19 && second.len() >= 19, "{}", first.len());
    let mean = SEAL.len() as f64 / 256.0;
    let deviation = (mean * 255.0 / 256.0).sqrt();
    let pairs = |left: &[Vec<u8>], right: &[Vec<u8>], apart: bool| {
        let mut counts = Vec::new();
        for (i, a) in left.iter().enumerate() {
            for (j, b) in right.iter().enumerate() {
                if apart || i < j {
                    counts.push(equal_bytes(a, b) as f64);
                }
            }
        }
        counts
    };
    for counts in [pairs(&first, &first, false), pairs(&first, &second, true)] {
        let average = counts.iter().sum::<f64>() / counts.len() as f64;
        let bound = 5.0 * deviation / (counts.len() as f64).sqrt();
        assert!((average - mean).abs() < bound, "{average} against {mean}");
        let most = counts.into_iter().fold(0.0, f64::max);
        assert!(most < mean + 6.0 * deviation, "{most} bytes in common");
    }
}

#[test]
fn no_run_of_bytes_stands_in_two_items() {
    let (first, second) = items();
    let mut seen = BTreeSet::new();
    for item in first.iter().chain(&second) {
        for run in item[SEAL].windows(8) {
            assert!(seen.insert(run.to_vec()), "eight bytes in common");
        }
    }
}

#[test]
fn outside_the_seal_all_items_are_the_same() {
    let (first, second) = items();
    for item in first.iter().chain(&second) {
        assert!(item[..SEAL.start].iter().all(|byte| *byte == 0));
        assert!(item[SEAL.end..].iter().all(|byte| *byte == 0));
    }
}
