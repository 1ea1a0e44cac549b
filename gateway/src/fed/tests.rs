use std::collections::BTreeSet;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx::{Address, Hop, RouteKey, SecretKey};
use wire::SurbId;

use super::*;

const BOX: MailboxAddress = MailboxAddress([1; 32]);
const BOUNDS: FedBounds = FedBounds {
    mailboxes: 2,
    stock: 8,
    items: 4,
};

/// Makes reply blocks that are told apart by their first hop.
struct Maker(ChaCha20Rng);

impl Maker {
    fn new() -> Self {
        Self(ChaCha20Rng::seed_from_u64(1))
    }

    fn surb(&mut self, number: u8) -> Surb {
        let hop = Hop {
            address: Address([number; 32]),
            key: RouteKey::new(SecretKey::from_bytes([7; 32]).public()).unwrap(),
            delay: Duration::ZERO,
        };
        let id = SurbId([1; 16]);
        Surb::create(&mut self.0, &[hop], id).unwrap().0
    }

    fn feed(&mut self, epoch: u64, counter: u64, numbers: &[u8]) -> CheckedFeed {
        CheckedFeed {
            mailbox: BOX,
            epoch: Epoch(epoch),
            counter,
            floor: 0,
            stranger_millihertz: 1_000,
            tags: Vec::new(),
            surbs: numbers.iter().map(|number| self.surb(*number)).collect(),
        }
    }
}

fn item(tag: u8) -> Box<[u8]> {
    vec![tag; 40].into_boxed_slice()
}

fn put(fed: &mut FedMailboxes, now: Time, tag: u8) -> Result<(), Refusal> {
    fed.put(now, &BOUNDS, BOX, item(tag))
}

fn number(outbound: &Outbound) -> u8 {
    outbound.surb.first_hop().0[0]
}

fn all(_: Epoch) -> Usable {
    Usable::Yes
}

#[test]
fn the_oldest_reply_blocks_go_first_until_their_keys_are_about_to_go() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    let feeds = [
        maker.feed(2, 1, &[21, 22]),
        maker.feed(1, 2, &[11, 12, 13, 14]),
    ];
    for feed in feeds {
        assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    }
    let mut take = |usable: fn(Epoch) -> Usable| {
        put(&mut fed, Time::ZERO, 9).unwrap();
        let outbound = fed.next(usable);
        let number = outbound.as_ref().map(number);
        if outbound.is_none() {
            fed.empty();
        }
        number
    };
    assert_eq!(take(all), Some(11));
    let early = |epoch| match epoch {
        Epoch(1) => Usable::Yes,
        _ => Usable::No,
    };
    assert_eq!(take(early), Some(12));
    let late = |epoch| match epoch {
        Epoch(1) => Usable::Hardly,
        _ => Usable::Yes,
    };
    assert_eq!(
        (take(late), take(late), take(late)),
        (Some(21), Some(22), Some(13))
    );
    let over = |epoch| match epoch {
        Epoch(1) => Usable::No,
        _ => Usable::Yes,
    };
    assert_eq!(take(over), None);
}

#[test]
fn an_announced_item_overtakes_and_takes_nothing_from_the_strangers() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    let mut feed = maker.feed(1, 1, &[1, 2, 3]);
    feed.tags = vec![AdmissionTag([7; 16])];
    feed.stranger_millihertz = 0;
    assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    assert_eq!(put(&mut fed, Time::ZERO, 9), Err(Refusal::NotAdmitted));
    assert_eq!(put(&mut fed, Time::ZERO, 7), Ok(()));
    // Good once.
    assert_eq!(put(&mut fed, Time::ZERO, 7), Err(Refusal::NotAdmitted));
    assert_eq!(fed.next(all).unwrap().item[0], 7);

    let mut feed = maker.feed(1, 2, &[]);
    feed.tags = vec![AdmissionTag([6; 16])];
    assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    for tag in [9, 6] {
        assert_eq!(put(&mut fed, Time::ZERO, tag), Ok(()));
    }
    assert_eq!(fed.next(all).unwrap().item[0], 6);
    assert_eq!(fed.next(all).unwrap().item[0], 9);
}

#[test]
fn strangers_drain_the_stock_no_faster_than_the_owner_says() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    let bounds = FedBounds {
        stock: 1_000,
        ..BOUNDS
    };
    let mut feed = maker.feed(1, 1, &[1; 200]);
    feed.stranger_millihertz = 2_000;
    assert_eq!(fed.feed(Time::ZERO, &bounds, feed), Ok(()));
    let mut spent = 0;
    // A thousand packets a second for ten seconds, against two a second.
    for millisecond in 0..10_000 {
        let now = Time::ZERO.after(Duration::from_millis(millisecond));
        match fed.put(now, &bounds, BOX, item(9)) {
            Ok(()) => spent += u64::from(fed.next(all).is_some()),
            Err(why) => assert_eq!(why, Refusal::NotAdmitted),
        }
    }
    // The burst of 32, and twice ten.
    assert!((51..=52).contains(&spent), "{spent}");
}

#[test]
fn items_wait_for_reply_blocks_to_the_bound_and_each_kind_has_its_own() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    assert_eq!(put(&mut fed, Time::ZERO, 9), Err(Refusal::UnknownMailbox));
    let mut feed = maker.feed(1, 1, &[]);
    feed.tags = (0..6).map(|tag| AdmissionTag([tag; 16])).collect();
    assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    for _ in 0..4 {
        assert_eq!(put(&mut fed, Time::ZERO, 9), Ok(()));
    }
    assert_eq!(put(&mut fed, Time::ZERO, 9), Err(Refusal::MailboxFull));
    for tag in 0..4 {
        assert_eq!(put(&mut fed, Time::ZERO, tag), Ok(()));
    }
    assert_eq!(put(&mut fed, Time::ZERO, 5), Err(Refusal::MailboxFull));
    assert!(fed.next(all).is_none());
    assert_eq!(fed.held(), 8);
    assert_eq!(
        fed.feed(Time::ZERO, &BOUNDS, maker.feed(1, 2, &[1; 8])),
        Ok(())
    );
    let order: Vec<u8> = std::iter::from_fn(|| fed.next(all))
        .map(|outbound| outbound.item[0])
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 9, 9, 9, 9]);
}

#[test]
fn the_account_is_absolute() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    for feed in [maker.feed(1, 40, &[1, 2, 3]), maker.feed(1, 30, &[4, 5])] {
        assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    }
    for _ in 0..3 {
        put(&mut fed, Time::ZERO, 9).unwrap();
    }
    let account = fed.next(all).unwrap().account;
    let expected = StockAccount {
        counter: 40,
        left: 4,
        waiting: 2,
    };
    assert_eq!(account, expected);
    let bytes = account.to_bytes();
    assert_eq!((bytes[7], bytes[11], bytes[15]), (40, 4, 2));
}

#[test]
fn the_account_is_of_the_epoch_whose_reply_block_brings_it() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    // The next epoch is fed, and its feeds are the newest.
    for feed in [maker.feed(1, 40, &[1, 2]), maker.feed(2, 50, &[3, 4, 5])] {
        assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    }
    for _ in 0..3 {
        put(&mut fed, Time::ZERO, 9).unwrap();
    }
    let accounts: Vec<(u64, u32)> = std::iter::from_fn(|| fed.next(all))
        .map(|outbound| (outbound.account.counter, outbound.account.left))
        .collect();
    assert_eq!(accounts, [(40, 1), (40, 0), (50, 2)]);
}

#[test]
fn a_discard_takes_out_what_was_fed_before_and_spares_what_came_after() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    let mut discard = maker.feed(1, 20, &[2]);
    discard.floor = 20;
    for feed in [maker.feed(1, 10, &[1, 1]), maker.feed(1, 30, &[3]), discard] {
        assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    }
    let stale = fed.feed(Time::ZERO, &BOUNDS, maker.feed(1, 15, &[1]));
    assert_eq!(stale, Err(Refusal::FeedStale));
    for _ in 0..4 {
        put(&mut fed, Time::ZERO, 9).unwrap();
    }
    let numbers: Vec<u8> = std::iter::from_fn(|| fed.next(all))
        .map(|outbound| number(&outbound))
        .collect();
    assert_eq!(numbers, [3, 2]);
}

#[test]
fn stock_and_mailboxes_have_their_bounds() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    let feeds = [maker.feed(1, 1, &[1; 20]), maker.feed(1, 2, &[2; 4])];
    for feed in feeds {
        assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), Ok(()));
    }
    assert_eq!(fed.stock(), 8);
    for _ in 0..4 {
        put(&mut fed, Time::ZERO, 9).unwrap();
    }
    // The oldest went: what the owner made last is there.
    let left: Vec<u8> = std::iter::from_fn(|| fed.next(all))
        .map(|outbound| number(&outbound))
        .collect();
    assert_eq!(left, [1, 1, 1, 1]);
    for _ in 0..4 {
        put(&mut fed, Time::ZERO, 9).unwrap();
    }
    let left: Vec<u8> = std::iter::from_fn(|| fed.next(all))
        .map(|outbound| number(&outbound))
        .collect();
    assert_eq!(left, [2, 2, 2, 2]);
    let refill = maker.feed(1, 3, &[1; 20]);
    assert_eq!(fed.feed(Time::ZERO, &BOUNDS, refill), Ok(()));
    for (name, taken) in [(2, Ok(())), (3, Err(Refusal::Overload))] {
        let mut feed = maker.feed(1, 1, &[1]);
        feed.mailbox = MailboxAddress([name; 32]);
        assert_eq!(fed.feed(Time::ZERO, &BOUNDS, feed), taken);
    }
    assert_eq!(fed.count(), 2);
    assert!(!fed.is_news(&MailboxAddress([3; 32]), 0));
}

#[test]
fn a_mailbox_that_is_not_fed_any_more_closes_with_its_epoch() {
    let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
    assert_eq!(
        fed.feed(Time::ZERO, &BOUNDS, maker.feed(1, 1, &[1])),
        Ok(())
    );
    assert_eq!(
        fed.feed(Time::ZERO, &BOUNDS, maker.feed(2, 2, &[2])),
        Ok(())
    );
    put(&mut fed, Time::ZERO, 9).unwrap();
    assert_eq!(fed.close_before(Epoch(2)), 0);
    assert_eq!((fed.stock(), fed.held()), (1, 1));
    assert_eq!(fed.close_before(Epoch(3)), 1);
    assert_eq!((fed.stock(), fed.held(), fed.count()), (0, 0, 0));
}

/// What happens to the mailboxes, in any order.
#[derive(Debug, Clone, Copy, bolero::TypeGenerator)]
enum Step {
    Feed {
        name: u8,
        epoch: u8,
        counter: u8,
        surbs: u8,
        tag: u8,
        discard: bool,
    },
    Put {
        name: u8,
        tag: u8,
        millis: u8,
    },
    Next {
        current: u8,
    },
    Close {
        oldest: u8,
    },
}

#[test]
fn nothing_is_lost_used_twice_or_above_its_bound() {
    bolero::check!()
        .with_type::<Vec<Step>>()
        .with_iterations(300)
        .for_each(|steps| {
            let (mut fed, mut maker) = (FedMailboxes::default(), Maker::new());
            let mut now = Time::ZERO;
            let (mut taken, mut went, mut blocks) = (0, 0, 0_usize);
            let mut used = BTreeSet::new();
            for step in steps.iter().take(60).copied() {
                match step {
                    Step::Feed {
                        name,
                        epoch,
                        counter,
                        surbs,
                        tag,
                        discard,
                    } => {
                        let numbers = vec![0; usize::from(surbs % 4)];
                        let mut feed = maker.feed(u64::from(epoch % 4), counter.into(), &numbers);
                        feed.mailbox = MailboxAddress([name % 4; 32]);
                        feed.tags = vec![AdmissionTag([tag % 8; 16])];
                        if discard {
                            feed.floor = feed.counter;
                        }
                        if fed.feed(now, &BOUNDS, feed).is_ok() {
                            blocks += numbers.len();
                        }
                    }
                    Step::Put { name, tag, millis } => {
                        now = now.after(Duration::from_millis(millis.into()));
                        let address = MailboxAddress([name % 4; 32]);
                        let put = fed.put(now, &BOUNDS, address, item(tag % 16));
                        taken += u64::from(put.is_ok());
                    }
                    Step::Next { current } => {
                        let usable = |epoch: Epoch| match epoch.0 <= u64::from(current % 4) {
                            true => Usable::Yes,
                            false => Usable::No,
                        };
                        if let Some(outbound) = fed.next(usable) {
                            went += 1;
                            assert!(used.insert(outbound.surb.to_bytes()), "used twice");
                        }
                    }
                    Step::Close { oldest } => went += fed.close_before(Epoch((oldest % 5).into())),
                }
                assert_eq!(taken, went + fed.held());
                assert!(fed.count() <= BOUNDS.mailboxes);
                assert!(fed.stock() <= BOUNDS.mailboxes * 4 * BOUNDS.stock);
                assert!(fed.held() <= (BOUNDS.mailboxes * 2 * BOUNDS.items) as u64);
            }
            assert!(used.len() <= blocks);
        });
}
