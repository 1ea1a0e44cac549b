//! A seat whose clock is off: all that it is told and wants is by its own time.

use wire::{Epoch, Ledger, Time};

use crate::scenario::WrongClock;
use crate::seat::{Input, Output, Seat};

/// A seat behind a clock that is off.
pub(crate) struct ByWrongClock {
    seat: Box<dyn Seat>,
    clock: WrongClock,
}

impl ByWrongClock {
    pub(crate) fn new(seat: Box<dyn Seat>, clock: WrongClock) -> Self {
        Self { seat, clock }
    }

    /// What the node does, by the true time.
    fn told(&self, outputs: Vec<Output>) -> Vec<Output> {
        let told = |output| match output {
            Output::Later(at, input) => Output::Later(self.clock.when(at), input),
            output => output,
        };
        outputs.into_iter().map(told).collect()
    }
}

impl Seat for ByWrongClock {
    fn start(&mut self, now: Time) -> Vec<Output> {
        let outputs = self.seat.start(self.clock.shown(now));
        self.told(outputs)
    }

    fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        let input = match input {
            Input::Ask(mut asked) => {
                asked.deadline = self.clock.shown(asked.deadline);
                Input::Ask(asked)
            }
            input => input,
        };
        let outputs = self.seat.handle(self.clock.shown(now), input);
        self.told(outputs)
    }

    fn poll_timeout(&self) -> Option<Time> {
        let due = self.seat.poll_timeout()?;
        Some(self.clock.when(due))
    }

    fn crash(&mut self) {
        self.seat.crash();
    }

    fn account(&self) -> (Ledger, u64) {
        self.seat.account()
    }

    fn newest(&self) -> Option<Epoch> {
        self.seat.newest()
    }
}

impl WrongClock {
    /// What the clock shows at a time.
    fn shown(self, now: Time) -> Time {
        match self {
            Self::Behind(by) => now.before(by),
            Self::Ahead(by) => now.after(by),
        }
    }

    /// When the clock shows a time.
    fn when(self, shown: Time) -> Time {
        match self {
            Self::Behind(by) => shown.after(by),
            Self::Ahead(by) => shown.before(by),
        }
    }
}
