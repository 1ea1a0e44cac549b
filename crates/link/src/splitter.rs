//! Cuts a stream of bytes into frames.

use crate::Frame;

/// Cuts a stream of bytes into frames of one length. Holds at most one unfinished frame; of a
/// frame that is refused it holds nothing.
pub(crate) struct Splitter {
    frame_len: usize,
    state: State,
}

enum State {
    /// Between two frames.
    Between,
    /// Inside a frame that is wanted: never empty, never whole.
    Taking(Vec<u8>),
    /// Inside a frame that is not: so many bytes are still to come, at least one.
    Skipping(usize),
}

/// What came of one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// It is whole.
    Frame(Frame),
    /// It was not admitted, and has gone by.
    Refused,
}

impl Splitter {
    /// For frames of `frame_len` bytes, above zero.
    pub(crate) fn new(frame_len: usize) -> Self {
        Self {
            frame_len,
            state: State::Between,
        }
    }

    /// Eats from the front of `input` until a frame ends; `None` once it is all eaten.
    ///
    /// Asks `admit` at the first byte of each frame, before anything is kept of it.
    pub(crate) fn next(
        &mut self,
        input: &mut &[u8],
        mut admit: impl FnMut() -> bool,
    ) -> Option<Split> {
        if input.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between if admit() => self.take(Vec::with_capacity(self.frame_len), input),
            State::Between => self.skip(self.frame_len, input),
            State::Taking(begun) => self.take(begun, input),
            State::Skipping(missing) => self.skip(missing, input),
        }
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_inside(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    fn take(&mut self, mut begun: Vec<u8>, input: &mut &[u8]) -> Option<Split> {
        begun.extend_from_slice(eat(input, self.frame_len.saturating_sub(begun.len())));
        if begun.len() < self.frame_len {
            self.state = State::Taking(begun);
            return None;
        }
        Some(Split::Frame(Frame::whole(begun)))
    }

    fn skip(&mut self, missing: usize, input: &mut &[u8]) -> Option<Split> {
        let eaten = eat(input, missing).len();
        if eaten < missing {
            self.state = State::Skipping(missing - eaten);
            return None;
        }
        Some(Split::Refused)
    }
}

/// Takes up to `length` bytes off the front.
fn eat<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = input.split_at(length.min(input.len()));
    *input = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(splitter: &mut Splitter, mut input: &[u8]) -> Vec<Split> {
        let mut all = Vec::new();
        while let Some(split) = splitter.next(&mut input, || true) {
            all.push(split);
        }
        assert!(input.is_empty());
        all
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let stream: Vec<u8> = (0..40).collect();
        for cut in 1..=40 {
            let mut splitter = Splitter::new(10);
            let frames: Vec<_> = stream
                .chunks(cut)
                .flat_map(|piece| split(&mut splitter, piece))
                .collect();
            let expected: Vec<_> = stream
                .chunks(10)
                .map(|frame| Split::Frame(Frame::whole(frame.to_vec())))
                .collect();
            assert_eq!(frames, expected);
            assert!(!splitter.is_inside());
        }
    }

    #[test]
    fn keeps_nothing_of_a_refused_frame() {
        let mut splitter = Splitter::new(10);
        let mut input: &[u8] = &[0; 4];
        assert_eq!(splitter.next(&mut input, || false), None);
        assert!(matches!(splitter.state, State::Skipping(6)));
        let mut rest: &[u8] = &[1; 16];
        assert_eq!(splitter.next(&mut rest, || true), Some(Split::Refused));
        let frame = Frame::whole(vec![1; 10]);
        assert_eq!(splitter.next(&mut rest, || true), Some(Split::Frame(frame)));
    }

    /// Every byte belongs to one frame, in order; admission is asked once a frame.
    #[test]
    fn any_cuts_and_any_admissions_conserve_frames() {
        bolero::check!()
            .with_type::<(u8, Vec<(Vec<u8>, bool)>)>()
            .for_each(|(frame_len, pieces)| {
                let frame_len = usize::from(*frame_len).max(2);
                let mut splitter = Splitter::new(frame_len);
                let (mut asked, mut frames, mut refused) = (0, Vec::new(), 0);
                let mut decisions = Vec::new();
                for (piece, admitted) in pieces {
                    let mut input = piece.as_slice();
                    while let Some(split) = splitter.next(&mut input, || {
                        asked += 1;
                        decisions.push(*admitted);
                        *admitted
                    }) {
                        match split {
                            Split::Frame(frame) => frames.push(frame),
                            Split::Refused => refused += 1,
                        }
                    }
                }
                let stream: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
                assert_eq!(asked, stream.len().div_ceil(frame_len));
                assert_ne!(splitter.is_inside(), stream.len().is_multiple_of(frame_len));
                let whole = stream.chunks_exact(frame_len);
                assert_eq!(frames.len() + refused, whole.len());
                let admitted: Vec<_> = whole
                    .zip(&decisions)
                    .filter(|(_, admitted)| **admitted)
                    .map(|(bytes, _)| Frame::whole(bytes.to_vec()))
                    .collect();
                assert_eq!(frames, admitted);
            });
    }
}
