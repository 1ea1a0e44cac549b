//! Whatever is done to a mix, in whatever order: no panic, and the account balances.

use std::time::Duration;

use bolero::TypeGenerator;
use directory::Place;
use sphinx::Packet;
use subrosa_mix::{Mix, MixLimits};
use wire::{Epoch, Refusal, Time};

use crate::network::Net;

#[derive(Debug, TypeGenerator)]
enum Step {
    Good { epoch: u8, millis: u8 },
    Replay(u8),
    Flip { which: u8, bit: u16 },
    Rubbish(u8),
    Wait { millis: u16 },
    Sleep { minutes: u8 },
    Log,
    Send,
    LinkDown,
    Staged { keep: bool },
    Key(u8),
    Topology(u8),
    Enter(u8),
    Drain,
}

struct Run {
    net: &'static Net,
    mix: Mix,
    now: Time,
    rng: rand_chacha::ChaCha20Rng,
    seen: Vec<Packet>,
}

impl Run {
    fn new() -> Self {
        let net = Net::shared();
        let limits = MixLimits {
            replay_capacity: 12,
            pool_capacity: 6,
        };
        Self {
            mix: net.mix(Place::Layer2, &[1], limits),
            now: net.schedule.start(Epoch(1)),
            rng: Net::rng(1),
            seen: Vec::new(),
            net,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Good { epoch, millis } => {
                let packet = self.packet(epoch, millis);
                self.mix.handle_packet(self.now, packet.as_bytes());
                self.seen.push(packet);
            }
            Step::Replay(which) => {
                if let Some(packet) = self.some(which) {
                    self.mix.handle_packet(self.now, packet.as_bytes());
                }
            }
            Step::Flip { which, bit } => {
                if let Some(packet) = self.some(which) {
                    let mut bytes = packet.into_bytes();
                    let bit = usize::from(bit) % (8 * bytes.len());
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    self.mix.handle_packet(self.now, &bytes);
                }
            }
            Step::Rubbish(byte) => {
                let bytes = vec![byte; self.net.parameters.geometry.packet_len()];
                self.mix.handle_packet(self.now, &bytes);
            }
            Step::Wait { millis } => self.pass(Duration::from_millis(millis.into())),
            Step::Sleep { minutes } => self.pass(Duration::from_secs(60 * u64::from(minutes))),
            Step::Log => while self.mix.poll_log().is_some() {},
            Step::Send => while self.mix.poll_transmit(self.now).is_some() {},
            Step::LinkDown => {
                if self.mix.poll_transmit(self.now).is_some() {
                    self.mix.unsent(1, Refusal::NotConnected);
                }
            }
            Step::Staged { keep } => self.staged(keep),
            Step::Key(epoch) => {
                let epoch = epoch_of(epoch);
                let id = self.net.id(Place::Layer2, 0);
                let (window, key) = (self.net.window(epoch), self.net.secret(id, epoch));
                self.mix.set_key(epoch, window, key, &[]);
            }
            Step::Topology(epoch) => self.mix.set_topology(self.net.topology(epoch_of(epoch))),
            Step::Enter(epoch) => self
                .mix
                .enter_epoch(self.now, &mut self.rng, epoch_of(epoch)),
            Step::Drain => self.mix.drain(),
        }
        assert!(self.mix.ledger().balances(self.mix.held()), "{step:?}");
        assert!(self.mix.pool_len() <= 6);
    }

    /// The stages one by one, with the log failing in between or not.
    fn staged(&mut self, keep: bool) {
        let packet = self.packet(1, 3);
        if self.mix.receive(1) == 0 {
            return;
        }
        let unsealed = self.mix.opener().open(self.now, packet.as_bytes());
        assert!(self.mix.ledger().balances(self.mix.held()));
        if let Some(admitted) = self.mix.admit(self.now, unsealed) {
            assert!(self.mix.ledger().balances(self.mix.held()));
            if keep {
                self.mix.hold(admitted.arrival(), admitted.finish());
            } else {
                self.mix.refuse(Refusal::ReplayLogFailed);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.mix.handle_timeout(self.now, &mut self.rng);
    }

    fn packet(&mut self, epoch: u8, millis: u8) -> Packet {
        let next = self.net.id(Place::Layer3, 0);
        let delay = Duration::from_millis(millis.into());
        let epoch = epoch_of(epoch);
        self.net
            .packet(&mut self.rng, epoch, Place::Layer2, delay, next)
    }

    fn some(&self, which: u8) -> Option<Packet> {
        let index = usize::from(which).checked_rem(self.seen.len())?;
        self.seen.get(index).cloned()
    }
}

fn epoch_of(byte: u8) -> Epoch {
    Epoch(1 + u64::from(byte % 3))
}

#[test]
fn the_account_balances_after_every_step() {
    bolero::check!()
        .with_type::<Vec<Step>>()
        .with_iterations(300)
        .for_each(|steps| {
            let mut run = Run::new();
            for step in steps.iter().take(64) {
                run.step(step);
            }
        });
}
