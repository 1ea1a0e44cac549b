//! What all sockets of one proxy share: the faults in force, the dice, the counts.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::CryptoRng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Fate, FaultCounts, Faults};
use crate::locked;

/// What the sockets of a proxy share.
pub(super) struct Path {
    state: Mutex<State>,
    /// Datagrams that are to leave late.
    late: mpsc::Sender<Late>,
}

struct State {
    faults: Faults,
    is_cut: bool,
    rng: Box<dyn CryptoRng + Send>,
    counts: FaultCounts,
}

/// A way out of the proxy: written to at once or not at all.
#[derive(Clone)]
pub(super) struct Out {
    pub(super) socket: Arc<UdpSocket>,
    /// `None` if the socket has only one other end.
    pub(super) to: Option<SocketAddr>,
}

impl Out {
    fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        match self.to {
            Some(to) => self.socket.send_to(datagram, to),
            None => self.socket.send(datagram),
        }
    }
}

/// A datagram that is held back.
pub(super) struct Late {
    pub(super) until: Instant,
    datagram: Vec<u8>,
    out: Out,
}

impl Path {
    pub(super) fn new(
        faults: Faults,
        rng: Box<dyn CryptoRng + Send>,
        late: mpsc::Sender<Late>,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                faults,
                is_cut: false,
                rng,
                counts: FaultCounts::default(),
            }),
            late,
        }
    }

    pub(super) fn set(&self, faults: Faults) {
        locked(&self.state).faults = faults;
    }

    pub(super) fn cut(&self, is_cut: bool) {
        locked(&self.state).is_cut = is_cut;
    }

    pub(super) fn counts(&self) -> FaultCounts {
        locked(&self.state).counts
    }

    /// Counts a datagram that found no room.
    pub(super) fn refuse(&self) {
        let mut state = locked(&self.state);
        state.counts.came += 1;
        state.counts.overload += 1;
    }

    /// Does to a datagram what the faults in force and the dice say.
    pub(super) fn pass(&self, datagram: &[u8], out: &Out) {
        let Some((twice, late)) = self.fate(datagram.len()) else {
            return;
        };
        if twice {
            // Whether the second copy arrives is nobody's matter.
            let _ = out.send(datagram);
        }
        match late {
            None => self.sent(&out.send(datagram)),
            Some(late) => self.hold(datagram, out, late),
        }
    }

    /// Sends what was held back long enough.
    pub(super) fn release(&self, late: &Late) {
        self.sent(&late.out.send(&late.datagram));
    }

    fn fate(&self, length: usize) -> Option<(bool, Option<Duration>)> {
        let mut state = locked(&self.state);
        let State {
            faults,
            is_cut,
            rng,
            counts,
        } = &mut *state;
        counts.came += 1;
        if *is_cut {
            counts.cut += 1;
            return None;
        }
        match faults.fate(rng.as_mut(), length) {
            Fate::Lost => counts.lost += 1,
            Fate::TooLong => counts.too_long += 1,
            Fate::Passes { twice, late } => {
                counts.doubled += u64::from(twice);
                counts.late += u64::from(late.is_some());
                return Some((twice, late));
            }
        }
        None
    }

    fn hold(&self, datagram: &[u8], out: &Out, late: Duration) {
        let held = Late {
            until: Instant::now() + late,
            datagram: datagram.to_vec(),
            out: out.clone(),
        };
        if self.late.try_send(held).is_err() {
            locked(&self.state).counts.overload += 1;
        }
    }

    fn sent(&self, outcome: &io::Result<usize>) {
        let counts = &mut locked(&self.state).counts;
        match outcome {
            Ok(_) => counts.passed += 1,
            Err(_) => counts.overload += 1,
        }
    }
}
