//! Where packets wait: a hashed timer wheel, exact to the nanosecond, of bounded size.
//!
//! Nothing leaves before its time; what is due leaves in the order of its times.

use std::collections::BTreeMap;

use wire::Time;

/// Holds things until their time. At most `capacity` of them.
pub struct DelayPool<T> {
    /// What is due within a turn of the wheel, by the slot of its time.
    slots: Box<[Vec<Entry<T>>]>,
    /// One bit a slot: whether anything is in it.
    taken: Box<[u64]>,
    /// What is due later than that, in the order of its times.
    later: BTreeMap<(Time, u64), T>,
    /// What is due, latest first.
    due: Vec<Entry<T>>,
    /// The first slot that has not been emptied, counted from time zero.
    cursor: u64,
    /// Tells apart what is due at the same nanosecond: first in, first out.
    inserted: u64,
    len: usize,
    capacity: usize,
}

struct Entry<T> {
    at: Time,
    order: u64,
    item: T,
}

impl<T> DelayPool<T> {
    /// An empty pool at `now` for at most `capacity` things.
    #[must_use]
    pub fn new(now: Time, capacity: usize) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            taken: vec![0; SLOTS / 64].into_boxed_slice(),
            later: BTreeMap::new(),
            due: Vec::new(),
            cursor: slot_of(now),
            inserted: 0,
            len: 0,
            capacity,
        }
    }

    /// Holds `item` until `at`.
    ///
    /// # Errors
    /// `item`, if the pool is at its bound.
    pub fn insert(&mut self, at: Time, item: T) -> Result<(), T> {
        if self.len >= self.capacity {
            return Err(item);
        }
        self.len += 1;
        self.inserted += 1;
        self.place(at, self.inserted, item);
        Ok(())
    }

    /// The next thing whose time is not after `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<T> {
        self.turn_to(now);
        let last = self.due.last()?;
        if last.at > now {
            return None;
        }
        self.len -= 1;
        self.due.pop().map(|entry| entry.item)
    }

    /// The earliest time at which something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let in_due = self.due.last().map(|entry| entry.at);
        let in_later = self.later.keys().next().map(|(at, _)| *at);
        [in_due, self.next_in_slots(), in_later]
            .into_iter()
            .flatten()
            .min()
    }

    /// How many things it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&mut self, at: Time, order: u64, item: T) {
        let slot = slot_of(at);
        if slot < self.cursor {
            // Its slot was emptied already: it joins what is due, in order.
            let place = self.due.partition_point(|e| (e.at, e.order) > (at, order));
            self.due.insert(place, Entry { at, order, item });
        } else if slot - self.cursor < SLOTS as u64 {
            let index = index_of(slot);
            self.slots[index].push(Entry { at, order, item });
            self.taken[index / 64] |= 1 << (index % 64);
        } else {
            self.later.insert((at, order), item);
        }
    }

    /// Empties all slots up to that of `now` into `due`.
    fn turn_to(&mut self, now: Time) {
        let target = slot_of(now) + 1;
        if target <= self.cursor {
            return;
        }
        let before = self.due.len();
        // A whole turn empties every slot.
        for slot in self.cursor..target.min(self.cursor + SLOTS as u64) {
            let index = index_of(slot);
            let bit = 1 << (index % 64);
            if self.taken[index / 64] & bit != 0 {
                self.taken[index / 64] &= !bit;
                self.due.append(&mut self.slots[index]);
            }
        }
        self.cursor = target;
        self.bring_near();
        if self.due.len() > before {
            self.due
                .sort_unstable_by_key(|e| std::cmp::Reverse((e.at, e.order)));
        }
    }

    /// Moves what is now within a turn from `later` to the wheel.
    fn bring_near(&mut self) {
        let horizon = self.cursor + SLOTS as u64;
        while let Some(entry) = self.later.first_entry() {
            let (at, order) = *entry.key();
            if slot_of(at) >= horizon {
                break;
            }
            let item = entry.remove();
            if slot_of(at) < self.cursor {
                self.due.push(Entry { at, order, item });
            } else {
                self.place(at, order, item);
            }
        }
    }

    fn next_in_slots(&self) -> Option<Time> {
        let start = index_of(self.cursor);
        let words = self.taken.len();
        // The word of the cursor comes twice: first its high bits, at the end its low ones.
        (0..=words)
            .find_map(|step| {
                let word = (start / 64 + step) % words;
                let mask = match step {
                    0 => u64::MAX << (start % 64),
                    _ if step == words => !(u64::MAX << (start % 64)),
                    _ => u64::MAX,
                };
                let bits = self.taken[word] & mask;
                (bits != 0).then(|| 64 * word + bits.trailing_zeros() as usize)
            })
            .and_then(|index| self.slots[index].iter().map(|entry| entry.at).min())
    }
}

/// Slots of a quarter of a millisecond, counted from time zero.
fn slot_of(at: Time) -> u64 {
    at.as_nanos() >> SLOT_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "below SLOTS")]
fn index_of(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

/// 2^18 ns, 0.26 ms.
const SLOT_BITS: u32 = 18;
/// 2.1 s in a turn: twice the longest delay that the default law accepts.
const SLOTS: usize = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(micros: u64) -> Time {
        Time::ZERO.after(Duration::from_micros(micros))
    }

    fn due(pool: &mut DelayPool<u32>, now: Time) -> Vec<u32> {
        std::iter::from_fn(|| pool.pop_due(now)).collect()
    }

    #[test]
    fn nothing_leaves_a_nanosecond_early_or_late() {
        let mut pool = DelayPool::new(at(0), 10);
        let time = at(12_345).after(Duration::from_nanos(7));
        pool.insert(time, 1).unwrap();
        assert_eq!(pool.next_due(), Some(time));
        assert_eq!(pool.pop_due(time.before(Duration::from_nanos(1))), None);
        assert_eq!(pool.next_due(), Some(time));
        assert_eq!(pool.pop_due(time), Some(1));
        assert_eq!(pool.next_due(), None);
    }

    #[test]
    fn what_is_due_leaves_in_the_order_of_its_times_then_of_its_coming() {
        let mut pool = DelayPool::new(at(0), 10);
        for (number, micros) in [(1, 900), (2, 100), (3, 9_000_000), (4, 100), (5, 500)] {
            pool.insert(at(micros), number).unwrap();
        }
        assert_eq!(due(&mut pool, at(10_000_000)), [2, 4, 5, 1, 3]);
    }

    #[test]
    fn what_comes_overdue_leaves_at_once_in_its_place() {
        let mut pool = DelayPool::new(at(0), 10);
        pool.insert(at(700), 1).unwrap();
        assert_eq!(due(&mut pool, at(600)), []);
        pool.insert(at(100), 2).unwrap();
        pool.insert(at(650), 3).unwrap();
        assert_eq!(due(&mut pool, at(600)), [2]);
        assert_eq!(due(&mut pool, at(700)), [3, 1]);
    }

    #[test]
    fn holds_to_its_bound_and_gives_back_the_rest() {
        let mut pool = DelayPool::new(at(0), 2);
        pool.insert(at(1), 1).unwrap();
        pool.insert(at(2), 2).unwrap();
        assert_eq!(pool.insert(at(3), 3), Err(3));
        assert_eq!(due(&mut pool, at(9)), [1, 2]);
        assert!(pool.is_empty());
        assert_eq!(pool.insert(at(3), 3), Ok(()));
    }

    /// Against a sorted list, over steps from nanoseconds to many turns of the wheel.
    #[test]
    fn is_a_queue_ordered_by_time() {
        bolero::check!()
            .with_type::<Vec<(u8, u32)>>()
            .for_each(|steps| {
                let mut pool = DelayPool::new(at(0), 64);
                let mut model: BTreeMap<(Time, usize), u32> = BTreeMap::new();
                let mut now = at(0);
                for (number, (kind, amount)) in steps.iter().enumerate() {
                    let span = Duration::from_nanos(u64::from(*amount) << (kind % 8));
                    if kind & 8 == 0 {
                        let time = now.after(span);
                        if pool.insert(time, number as u32).is_ok() {
                            model.insert((time, number), number as u32);
                        } else {
                            assert_eq!(model.len(), 64);
                        }
                    } else {
                        now = now.after(span);
                        let later = model.split_off(&(now, usize::MAX));
                        let expected: Vec<u32> = model.into_values().collect();
                        model = later;
                        assert_eq!(due(&mut pool, now), expected);
                    }
                    assert_eq!(pool.len(), model.len());
                    let next = model.keys().next().map(|(time, _)| *time);
                    assert_eq!(pool.next_due(), next);
                }
            });
    }
}
