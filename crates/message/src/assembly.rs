//! Putting messages together again, within bounds (docs/spec/message.md, 5).
//!
//! Nothing is allocated by what a fragment claims, only by what arrived. A message that does
//! not complete in time, or is the oldest when memory runs out, is forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::{Refusal, Time};
use zeroize::Zeroizing;

use crate::fragment::Shape;
use crate::layout::to_usize;

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

    /// Takes a symbol of the message `name`, which has `shape`.
    ///
    /// # Errors
    /// [`Refusal::FragmentInvalid`] if it does not fit its shape, contradicts an earlier
    /// symbol of the same message, repeats one, or comes after so many that all are not of one
    /// message.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        name: K,
        shape: Shape,
        index: u32,
        symbol: Zeroizing<Vec<u8>>,
    ) -> Result<Assembled, Refusal> {
        shape.check(index, &symbol)?;
        if self.complete.contains(&name) {
            return Ok(Assembled::Surplus);
        }
        let partial = self.partial.entry(name).or_insert_with(|| Partial {
            shape,
            started: now,
            symbols: BTreeMap::new(),
            bytes: 0,
        });
        let repeats = partial.symbols.contains_key(&index);
        let enough = partial.symbols.len() >= to_usize(shape.source()) + MOST_BEYOND;
        if repeats || enough || partial.shape != shape {
            return Err(Refusal::FragmentInvalid);
        }
        let length = symbol.len();
        partial.symbols.insert(index, symbol);
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

    /// Symbols kept of a message that is not complete.
    pub(crate) fn symbols(&self, name: &K) -> usize {
        let partial = self.partial.get(name);
        partial.map_or(0, |partial| partial.symbols.len())
    }

    /// Forgets one incomplete message for lack of room.
    pub(crate) fn give_up(&mut self, name: &K) {
        if self.partial.contains_key(name) {
            self.remove(name);
            self.abandoned += 1;
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
        let enough = self.symbols.len() >= to_usize(self.shape.source());
        let symbols = self.symbols.iter().map(|(i, s)| (*i, s.as_slice()));
        enough.then(|| self.shape.join(symbols)).flatten()
    }
}

/// Symbols beyond those that are enough but for bad luck: each is one more decoding.
const MOST_BEYOND: usize = 8;

#[cfg(test)]
mod tests {
    use wire::MessageId;

    use super::*;
    use crate::fragment::Symbols;

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

    /// A symbol of the message of this name and length.
    struct Piece {
        name: u8,
        length: u32,
        index: u32,
        symbol: Zeroizing<Vec<u8>>,
    }

    fn cut(name: u8, length: u32, count: u32) -> Vec<Piece> {
        let message = vec![9; length as usize];
        let mut symbols = Symbols::new(shape(length), message.into());
        let piece = |index| Piece {
            name,
            length,
            index,
            symbol: symbols.symbol(index),
        };
        (0..count).map(piece).collect()
    }

    fn accept(
        assembly: &mut Assembly<MessageId>,
        now: Time,
        piece: Piece,
    ) -> Result<Assembled, Refusal> {
        let shape = Shape::of(piece.length, 100).ok_or(Refusal::FragmentInvalid)?;
        assembly.accept(now, id(piece.name), shape, piece.index, piece.symbol)
    }

    #[test]
    fn completes_in_any_order_and_calls_the_rest_surplus() {
        let mut assembly = Assembly::new(BOUNDS);
        let mut complete = 0;
        let mut surplus = 0;
        for fragment in cut(1, 1_000, 11).into_iter().rev() {
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
        let fragment = |length, index| Piece {
            name: 1,
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
        assert!(refuses(fragment(1_000, u32::MAX)), "index out of range");
        assert!(refuses(fragment(u32::MAX, 0)), "length out of range");
        assert!(refuses(fragment(0, 0)), "empty");
        let short = Piece {
            symbol: vec![0; 99].into(),
            ..fragment(1_000, 5)
        };
        assert!(refuses(short), "short symbol");
        assert_eq!(assembly.bytes(), 100);
    }

    #[test]
    fn more_symbols_than_a_message_has_are_of_none() {
        let mut assembly = Assembly::new(BOUNDS);
        // All alike: the first is given as every symbol of another.
        let mut taken = 0;
        for index in 0..40_u8 {
            let mut piece = cut(1, 1_000, 1).remove(0);
            piece.index = u32::from(index) * 2 + 1;
            piece.symbol = vec![0; 100].into();
            piece.symbol[usize::from(index % 7 == 0)] = index;
            match accept(&mut assembly, Time::ZERO, piece) {
                Ok(Assembled::Incomplete) => taken += 1,
                Ok(_) => return,
                Err(refusal) => assert_eq!(refusal, Refusal::FragmentInvalid),
            }
        }
        assert!(taken <= 10 + MOST_BEYOND);
    }

    #[test]
    fn memory_stays_bounded_and_time_frees_it() {
        let mut assembly = Assembly::new(BOUNDS);
        for name in 0..200 {
            for fragment in cut(name, 900, 8) {
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
            let fragment = cut(name, 50, 1).remove(0);
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
                    let fragment = Piece {
                        name: name % 8,
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
