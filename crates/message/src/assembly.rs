//! Putting messages together again, within bounds (docs/spec/message.md, 5).
//!
//! Nothing is allocated by what a fragment claims, only by what arrived. A message that does
//! not complete in time, or is the oldest when memory runs out, is forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::{Refusal, Time};
use zeroize::Zeroizing;

use crate::fragment::{Fragment, Shape};

/// What a fragment did.
pub(crate) enum Assembled {
    /// More are needed.
    Incomplete,
    /// The message was complete before.
    Surplus,
    /// It made the message complete.
    Complete(Zeroizing<Vec<u8>>),
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AssemblyBounds {
    /// Bytes of symbols.
    pub(crate) bytes: usize,
    /// Messages that are not complete.
    pub(crate) messages: usize,
    /// From a message's first fragment to its last.
    pub(crate) time: Duration,
    /// Complete messages of which the name is remembered.
    pub(crate) remembered: usize,
}

/// Messages in parts, by their name `K`.
pub(crate) struct Assembly<K> {
    bounds: AssemblyBounds,
    partial: BTreeMap<K, Partial>,
    complete: BTreeSet<K>,
    completed: VecDeque<K>,
    bytes: usize,
    abandoned: u64,
}

struct Partial {
    shape: Shape,
    started: Time,
    symbols: BTreeMap<u32, Zeroizing<Vec<u8>>>,
    bytes: usize,
}

impl<K: Ord + Copy> Assembly<K> {
    pub(crate) fn new(bounds: AssemblyBounds) -> Self {
        Self {
            bounds,
            partial: BTreeMap::new(),
            complete: BTreeSet::new(),
            completed: VecDeque::new(),
            bytes: 0,
            abandoned: 0,
        }
    }

    /// Takes a fragment of the message `name`, which has `shape`.
    ///
    /// # Errors
    /// [`Refusal::FragmentInvalid`] if it does not fit its shape, contradicts an earlier
    /// fragment of the same message, or repeats one.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        name: K,
        shape: Shape,
        fragment: Fragment,
    ) -> Result<Assembled, Refusal> {
        shape.check(&fragment)?;
        if self.complete.contains(&name) {
            // A message of several packets has repair to spare; one of one packet has none.
            return match shape.packets() {
                1 => Err(Refusal::FragmentInvalid),
                _ => Ok(Assembled::Surplus),
            };
        }
        let partial = self.partial.entry(name).or_insert_with(|| Partial {
            shape,
            started: now,
            symbols: BTreeMap::new(),
            bytes: 0,
        });
        let repeats = partial.symbols.contains_key(&fragment.index);
        if repeats || partial.shape != shape {
            return Err(Refusal::FragmentInvalid);
        }
        let length = fragment.symbol.len();
        partial.symbols.insert(fragment.index, fragment.symbol);
        partial.bytes += length;
        self.bytes += length;
        if let Some(message) = partial.join() {
            self.remove(&name);
            self.remember(name);
            return Ok(Assembled::Complete(message));
        }
        self.shrink();
        Ok(Assembled::Incomplete)
    }

    /// Forgets what took too long.
    pub(crate) fn expire(&mut self, now: Time) {
        let time = self.bounds.time;
        self.abandon(|_, partial| now.since(partial.started) >= time);
    }

    /// Forgets incomplete messages by name.
    pub(crate) fn forget(&mut self, which: impl Fn(&K) -> bool) {
        let names: Vec<K> = self.partial.keys().copied().filter(which).collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// Bytes of symbols kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages forgotten before they were complete.
    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned
    }

    fn abandon(&mut self, which: impl Fn(&K, &Partial) -> bool) {
        let names: Vec<K> = self
            .partial
            .iter()
            .filter(|(name, partial)| which(name, partial))
            .map(|(name, _)| *name)
            .collect();
        for name in names {
            self.remove(&name);
            self.abandoned += 1;
        }
    }

    /// Forgets the oldest until the rest is within its bounds.
    fn shrink(&mut self) {
        while self.bytes > self.bounds.bytes || self.partial.len() > self.bounds.messages {
            let oldest = self.partial.iter().min_by_key(|(_, p)| p.started);
            let Some(name) = oldest.map(|(name, _)| *name) else {
                return;
            };
            self.remove(&name);
            self.abandoned += 1;
        }
    }

    fn remove(&mut self, name: &K) {
        if let Some(partial) = self.partial.remove(name) {
            self.bytes -= partial.bytes;
        }
    }

    fn remember(&mut self, name: K) {
        self.complete.insert(name);
        self.completed.push_back(name);
        if self.completed.len() > self.bounds.remembered
            && let Some(first) = self.completed.pop_front()
        {
            self.complete.remove(&first);
        }
    }
}

impl Partial {
    fn join(&self) -> Option<Zeroizing<Vec<u8>>> {
        let enough = self.symbols.len() >= usize::try_from(self.shape.source()).ok()?;
        let symbols = self.symbols.iter().map(|(i, s)| (*i, s.as_slice()));
        enough.then(|| self.shape.join(symbols)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use wire::MessageId;

    use super::*;

    const BOUNDS: AssemblyBounds = AssemblyBounds {
        bytes: 2_000,
        messages: 4,
        time: Duration::from_secs(60),
        remembered: 8,
    };

    fn id(name: u8) -> MessageId {
        MessageId([name; 16])
    }

    fn shape(length: u32) -> Shape {
        Shape::of(length, 100).unwrap()
    }

    fn accept(
        assembly: &mut Assembly<MessageId>,
        now: Time,
        fragment: Fragment,
    ) -> Result<Assembled, Refusal> {
        let shape = Shape::of(fragment.length, 100).ok_or(Refusal::FragmentInvalid)?;
        assembly.accept(now, fragment.message, shape, fragment)
    }

    #[test]
    fn completes_in_any_order_and_calls_the_rest_surplus() {
        let mut assembly = Assembly::new(BOUNDS);
        let mut complete = 0;
        let mut surplus = 0;
        for fragment in shape(1_000).cut(id(1), &[9; 1_000]).into_iter().rev() {
            match accept(&mut assembly, Time::ZERO, fragment).unwrap() {
                Assembled::Complete(message) => {
                    assert_eq!(**message, [9; 1_000]);
                    complete += 1;
                }
                Assembled::Surplus => surplus += 1,
                Assembled::Incomplete => {}
            }
        }
        assert_eq!((complete, surplus, assembly.bytes()), (1, 1, 0));
    }

    #[test]
    fn refuses_repeated_contradicting_and_oversized_fragments() {
        let mut assembly = Assembly::new(BOUNDS);
        let fragment = |length, index| Fragment {
            message: id(1),
            length,
            index,
            symbol: vec![0; 100].into(),
        };
        let mut refuses = |fragment| {
            accept(&mut assembly, Time::ZERO, fragment).err() == Some(Refusal::FragmentInvalid)
        };
        assert!(!refuses(fragment(1_000, 3)));
        assert!(refuses(fragment(1_000, 3)), "repeated");
        assert!(refuses(fragment(999, 4)), "another length");
        assert!(refuses(fragment(1_000, 11)), "index above the last");
        assert!(refuses(fragment(1_000, u32::MAX)), "index out of range");
        assert!(refuses(fragment(u32::MAX, 0)), "length out of range");
        assert!(refuses(fragment(0, 0)), "empty");
        let short = Fragment {
            symbol: vec![0; 99].into(),
            ..fragment(1_000, 5)
        };
        assert!(refuses(short), "short symbol");
        assert_eq!(assembly.bytes(), 100);
    }

    #[test]
    fn refuses_a_single_packet_that_comes_again() {
        let mut assembly = Assembly::new(BOUNDS);
        for repeated in [false, true] {
            let fragment = shape(50).cut(id(1), &[1; 50]).remove(0);
            let refused = accept(&mut assembly, Time::ZERO, fragment).is_err();
            assert_eq!(refused, repeated);
        }
    }

    #[test]
    fn memory_stays_bounded_and_time_frees_it() {
        let mut assembly = Assembly::new(BOUNDS);
        for name in 0..200 {
            for fragment in shape(900).cut(id(name), &[0; 900]).into_iter().take(8) {
                accept(&mut assembly, Time::from_nanos(name.into()), fragment).unwrap();
                assert!(assembly.bytes() <= BOUNDS.bytes);
                assert!(assembly.partial.len() <= BOUNDS.messages);
            }
        }
        assert!(assembly.abandoned() > 190);
        assembly.expire(Time::ZERO.after(Duration::from_secs(61)));
        assert_eq!((assembly.bytes(), assembly.partial.len()), (0, 0));
    }

    #[test]
    fn a_remembered_name_makes_room_for_the_next() {
        let mut assembly = Assembly::new(BOUNDS);
        for name in 0..100 {
            let fragment = shape(50).cut(id(name), &[1; 50]).remove(0);
            accept(&mut assembly, Time::ZERO, fragment).unwrap();
            assert!(assembly.complete.len() <= BOUNDS.remembered);
            assert_eq!(assembly.complete.len(), assembly.completed.len());
        }
    }

    #[test]
    fn any_fragments_keep_the_bounds() {
        bolero::check!()
            .with_type::<Vec<(u8, u16, u8, u8)>>()
            .for_each(|fragments| {
                let mut assembly = Assembly::new(BOUNDS);
                for (name, length, index, seconds) in fragments {
                    let now = Time::ZERO.after(Duration::from_secs((*seconds).into()));
                    let fragment = Fragment {
                        message: id(name % 8),
                        length: u32::from(*length) % 3_000,
                        index: u32::from(*index) % 40,
                        symbol: vec![*index; 100].into(),
                    };
                    let _ = accept(&mut assembly, now, fragment);
                    assembly.expire(now);
                    let held: usize = assembly
                        .partial
                        .values()
                        .map(|p| p.symbols.len() * 100)
                        .sum();
                    assert_eq!(held, assembly.bytes());
                    assert!(held <= BOUNDS.bytes && assembly.partial.len() <= BOUNDS.messages);
                }
            });
    }
}
