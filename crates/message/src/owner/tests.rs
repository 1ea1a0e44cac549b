use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use wire::SurbId;

use super::*;

const FEED: usize = 20;
const NOW: Time = Time::ZERO;
const EPOCH: Epoch = Epoch(1);
const GAP: Duration = Duration::from_millis(33);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn key(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn gateways(count: u8) -> impl Iterator<Item = NodeId> {
    (0..count).map(|number| NodeId([number; 32]))
}

/// An owner with two gateways and a stock of 40 + 6 x 5 = 70 reply blocks at each.
fn owner() -> Owner {
    let key = Arc::new(key(3));
    let strangers = Rate::new(5.0).unwrap();
    let keeper = |gateway| Keeper {
        gateway,
        stocks: BTreeMap::new(),
        refeed_at: NOW.after(REFEED_FIRST),
        unanswered: 0,
        issued: VecDeque::new(),
    };
    Owner {
        mailbox: key.mailbox(),
        target: target(strangers),
        key,
        strangers,
        counter: 1_000,
        floor: 1_000,
        keepers: gateways(2).map(keeper).collect(),
    }
}

fn due(owner: &mut Owner, now: Time) -> Vec<FeedOrder> {
    owner.due(now, &mut rng(), &[EPOCH], FEED, 100, GAP)
}

fn make(owner: &mut Owner, order: &FeedOrder) -> u64 {
    let ids: Vec<SurbId> = (1..=20).map(|number| SurbId([number; 16])).collect();
    owner.made(NOW, order, FEED, &ids).0
}

fn account(counter: u64, left: u32, waiting: u32) -> StockAccount {
    StockAccount {
        counter,
        left,
        waiting,
    }
}

fn told(owner: &mut Owner, number: u8, account: StockAccount) {
    let fed = (&NodeId([number; 32]), EPOCH);
    owner.account(NOW, &mut rng(), fed, account, GAP);
}

#[test]
fn two_gateways_for_life_and_never_the_entry_gateway() {
    let kept = mailbox_gateways(&key(1), gateways(10), None);
    assert_eq!(kept.len(), 2);
    let reversed: Vec<NodeId> = gateways(10).collect();
    let reversed = reversed.into_iter().rev();
    assert_eq!(mailbox_gateways(&key(1), reversed, None), kept);
    // Another gateway goes: both stay. One of the two goes: the other one stays.
    let other = gateways(10).find(|id| !kept.contains(id));
    assert_eq!(mailbox_gateways(&key(1), gateways(10), other), kept);
    let moved = mailbox_gateways(&key(1), gateways(10), Some(kept[0]));
    assert!(moved[0] == kept[1] && moved[1] != kept[0]);
}

#[test]
fn every_gateway_is_as_likely_as_the_others() {
    let mut drawn = [0_u32; 8];
    for number in 0..4_000_u32 {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let key = Identity::from_seed(&seed);
        for gateway in mailbox_gateways(&key, gateways(8), None) {
            drawn[usize::from(gateway.0[0])] += 1;
        }
    }
    // A thousand each, within five standard deviations of Binomial(4,000, 1/4).
    assert!(
        drawn.iter().all(|count| (863..=1_137).contains(count)),
        "{drawn:?}"
    );
}

#[test]
fn a_stock_is_fed_to_its_target_and_not_beyond() {
    let mut owner = owner();
    let orders = due(&mut owner, NOW);
    // 70 missing: three whole feeds a gateway.
    assert_eq!(orders.len(), 6);
    assert!(
        due(&mut owner, NOW).is_empty(),
        "what is ordered is not ordered again"
    );
    let counters: Vec<u64> = orders.iter().map(|order| make(&mut owner, order)).collect();
    assert!(counters.is_sorted_by(|a, b| a < b));
    assert!(
        due(&mut owner, NOW).is_empty(),
        "what is fed is presumed to be there"
    );
}

#[test]
fn feeds_of_short_packets_fill_a_stock_and_end_too() {
    let mut owner = owner();
    owner.target = MAX_TARGET;
    let mut feeds = 0;
    for _ in 0..10 {
        for order in owner.due(NOW, &mut rng(), &[EPOCH], 3, 1_000, GAP) {
            owner.made(NOW, &order, 3, &[SurbId([1; 16]); 3]);
            feeds += 1;
        }
    }
    assert_eq!(feeds, 2 * MAX_TARGET / 3);
}

#[test]
fn an_account_counts_for_more_than_what_was_presumed() {
    let mut owner = owner();
    let orders = due(&mut owner, NOW);
    let counters: Vec<u64> = orders.iter().map(|order| make(&mut owner, order)).collect();
    let newest = |number: u8| {
        let mine = orders.iter().zip(&counters);
        let mine = mine.filter(|(order, _)| order.gateway == NodeId([number; 32]));
        *mine.map(|(_, counter)| counter).max().unwrap()
    };
    // The newest feed is there, two before it were lost.
    told(&mut owner, 0, account(newest(0), 19, 0));
    let again = due(&mut owner, NOW);
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|order| order.gateway == NodeId([0; 32])));
    // An older item that was overtaken changes nothing.
    told(&mut owner, 0, account(newest(0), 40, 0));
    assert!(due(&mut owner, NOW).is_empty());
    // Items wait there: they are fed, too.
    told(&mut owner, 1, account(newest(1), 60, 50));
    assert_eq!(due(&mut owner, NOW).len(), 3);
}

#[test]
fn an_account_of_nobody_is_ignored() {
    let mut owner = owner();
    let orders = due(&mut owner, NOW);
    let counter = make(&mut owner, &orders[0]);
    for wrong in [counter + 1, 999, 0, u64::MAX] {
        told(&mut owner, 0, account(wrong, 0, 0));
    }
    assert!(due(&mut owner, NOW).is_empty());
}

#[test]
fn the_timer_feeds_even_if_nothing_is_heard() {
    let mut owner = owner();
    for order in due(&mut owner, NOW) {
        make(&mut owner, &order);
    }
    let mut feeds = 0;
    for second in 0..600 {
        let now = NOW.after(Duration::from_secs(second));
        for order in due(&mut owner, now) {
            feeds += 1;
            make(&mut owner, &order);
        }
    }
    // Two gateways: after 5, 10, 20 and 40 seconds, then about every minute.
    assert!((22..=36).contains(&feeds), "{feeds}");
}

#[test]
fn a_gateway_that_has_nothing_to_speak_with_is_fed_within_seconds() {
    let mut owner = owner();
    let orders = due(&mut owner, NOW);
    let counters: Vec<u64> = orders.iter().map(|order| make(&mut owner, order)).collect();
    let mut made = orders.iter().zip(&counters);
    let (_, newest) = made.rfind(|(order, _)| order.gateway.0[0] == 0).unwrap();
    // The last word: all is well. Then everything that it has is used, and those items are lost.
    told(&mut owner, 0, account(*newest, 60, 0));
    assert!(due(&mut owner, NOW).is_empty());
    let soon = NOW.after(Duration::from_secs(7));
    let probes = due(&mut owner, soon);
    let probe = probes.iter().find(|order| order.gateway.0[0] == 0).unwrap();
    let counter = make(&mut owner, probe);
    // It gets through, and is used up: what is missing follows at once.
    told(&mut owner, 0, account(counter, 0, 30));
    assert_eq!(due(&mut owner, soon).len(), 5);
}

#[test]
fn feeds_for_the_next_epoch_do_not_hide_that_this_one_runs_dry() {
    let mut owner = owner();
    let both = [EPOCH, EPOCH.next()];
    let orders = owner.due(NOW, &mut rng(), &both, FEED, 100, GAP);
    let counters: Vec<u64> = orders.iter().map(|order| make(&mut owner, order)).collect();
    let made = orders.iter().zip(&counters);
    let here = made.filter(|(order, _)| order.gateway.0[0] == 0 && order.epoch == EPOCH);
    let newest = here.map(|(_, counter)| *counter).max().unwrap();
    assert!(counters.iter().any(|counter| *counter > newest));
    told(&mut owner, 0, account(newest, 10, 0));
    let again = owner.due(NOW, &mut rng(), &both, FEED, 100, GAP);
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|order| order.epoch == EPOCH));
}

#[test]
fn the_timer_of_a_slow_owner_leaves_most_slots_to_others() {
    let mut owner = owner();
    let slow = Duration::from_millis(500);
    let mut feeds = 0;
    for second in 0..600 {
        let now = NOW.after(Duration::from_secs(second));
        for order in owner.due(now, &mut rng(), &[EPOCH], FEED, 100, slow) {
            feeds += 1;
            make(&mut owner, &order);
        }
    }
    // Of 1,200 slots.
    assert!(feeds <= 40, "{feeds}");
}

#[test]
fn the_next_epoch_is_fed_before_it_begins() {
    let mut owner = owner();
    for order in due(&mut owner, NOW) {
        make(&mut owner, &order);
    }
    let both = [EPOCH, EPOCH.next()];
    let orders = owner.due(NOW, &mut rng(), &both, FEED, 100, GAP);
    assert_eq!(orders.len(), 6);
    assert!(orders.iter().all(|order| order.epoch == EPOCH.next()));
    owner.turn(EPOCH.next());
    assert!(
        owner
            .due(NOW, &mut rng(), &both[1..], FEED, 100, GAP)
            .is_empty()
    );
}

#[test]
fn after_a_restart_all_is_fed_anew_and_all_before_is_discarded() {
    let mut owner = owner();
    let orders = due(&mut owner, NOW);
    let last = orders.iter().map(|order| make(&mut owner, order)).last();
    owner.restart();
    assert!(owner.floor() > last.unwrap());
    let orders = due(&mut owner, NOW);
    assert_eq!(orders.len(), 6);
    assert!(make(&mut owner, &orders[0]) >= owner.floor());
    told(&mut owner, 0, account(last.unwrap(), 0, 0));
    assert!(
        due(&mut owner, NOW).is_empty(),
        "the account of a former life"
    );
}

#[test]
fn reply_blocks_that_are_out_for_too_long_are_not_waited_for() {
    let mut owner = owner();
    let order = due(&mut owner, NOW)[0];
    let mut forgotten = 0;
    for number in 0..100_u8 {
        let ids = [SurbId([number + 1; 16]); FEED];
        forgotten += owner.made(NOW, &order, FEED, &ids).1.len();
    }
    assert_eq!(forgotten, 100 * FEED - MAX_ISSUED);
}

#[test]
fn whatever_gateways_say_orders_stay_bounded_and_counters_rise() {
    bolero::check!()
        .with_type::<Vec<(u8, u16, u8, u8)>>()
        .with_iterations(300)
        .for_each(|steps| {
            let mut owner = owner();
            let mut now = NOW;
            let mut last = 0;
            for (gateway, seconds, left, back) in steps.iter().take(100) {
                now = now.after(Duration::from_millis(u64::from(*seconds)));
                let orders = due(&mut owner, now);
                // Two targets and two timers.
                assert!(orders.len() <= 2 * (MAX_TARGET / FEED + 1));
                for order in &orders {
                    let counter = make(&mut owner, order);
                    assert!(counter > last && counter >= owner.floor());
                    last = counter;
                }
                let counter = last.saturating_sub((*back).into());
                told(&mut owner, gateway % 3, account(counter, (*left).into(), 0));
                if *back == 255 {
                    owner.restart();
                }
            }
        });
}
