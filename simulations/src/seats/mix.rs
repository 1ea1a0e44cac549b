//! A mix's seat.

use link::{Frame, Peer};
use mix::{Mix, MixLimits};
use rand_chacha::ChaCha20Rng;
use wire::{Ledger, Refusal, Time};

use crate::membership::{Disk, Member, Membership, News};
use crate::seat::{Input, Output, Seat};

/// A mix: its keys, logs, descriptors and documents are on disk.
pub(crate) struct MixSeat {
    member: Member,
    disk: Disk,
    rng: ChaCha20Rng,
    live: Option<(Membership, Mix)>,
    past: Ledger,
    /// The time of the last call: what is due is asked about without one.
    seen: Time,
}

impl MixSeat {
    pub(crate) fn new(member: Member, rng: ChaCha20Rng) -> Self {
        Self {
            member,
            disk: Disk::default(),
            rng,
            live: None,
            past: Ledger::default(),
            seen: Time::ZERO,
        }
    }

    fn settle(&mut self, now: Time, mut outputs: Vec<Output>) -> Vec<Output> {
        let Some((membership, mix)) = &mut self.live else {
            return outputs;
        };
        for news in membership.advance(now, &mut self.rng, &self.member, &mut self.disk) {
            learn(mix, now, &mut self.rng, news);
        }
        mix.handle_timeout(now, &mut self.rng);
        while let Some(entry) = mix.poll_log() {
            self.disk.log(entry);
        }
        while let Some((to, packet)) = mix.poll_transmit(now) {
            let to = Peer::Node(to);
            let frame = Frame::new(0, packet.as_bytes());
            outputs.push(Output::Frame { to, frame });
        }
        while let Some((to, call)) = membership.poll_transmit() {
            outputs.push(Output::Call { to, tag: 0, call });
        }
        outputs
    }
}

impl Seat for MixSeat {
    fn start(&mut self, now: Time) -> Vec<Output> {
        let id = self.member.identity.node_id();
        let geometry = self.member.network.parameters().geometry;
        let mut mix = Mix::new(now, id, geometry, MixLimits::default());
        let (membership, news) = Membership::start(now, &self.member, &self.disk);
        for told in news {
            learn(&mut mix, now, &mut self.rng, told);
        }
        self.live = Some((membership, mix));
        self.seen = now;
        self.settle(now, Vec::new())
    }

    fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.seen = now;
        let Some((membership, mix)) = &mut self.live else {
            return Vec::new();
        };
        match input {
            Input::Frame { from, frame } => match from {
                Peer::Node(id) if membership.admits(&id) => mix.handle_packet(now, frame.packet()),
                _ => mix.refuse_unseen(Refusal::NotAdmitted, 1),
            },
            Input::Answer {
                from,
                call,
                reply: Some(reply),
                ..
            } => membership.handle_reply(now, from, &call, reply),
            _ => {}
        }
        self.settle(now, Vec::new())
    }

    fn poll_timeout(&self) -> Option<Time> {
        let (membership, mix) = self.live.as_ref()?;
        let member = membership.poll_timeout(self.seen, &self.member);
        mix.poll_timeout().into_iter().chain([member]).min()
    }

    fn crash(&mut self) {
        let (mut ledger, held) = self.account();
        ledger.lost += held;
        self.past = ledger;
        self.live = None;
    }

    fn account(&self) -> (Ledger, u64) {
        let mut ledger = self.past.clone();
        let Some((_, mix)) = &self.live else {
            return (ledger, 0);
        };
        ledger.merge(mix.ledger());
        (ledger, mix.held())
    }
}

fn learn(mix: &mut Mix, now: Time, rng: &mut ChaCha20Rng, news: News) {
    match news {
        News::Key {
            epoch,
            window,
            secret,
            logged,
        } => mix.set_key(epoch, window, secret, &logged),
        News::Document { topology, .. } => mix.set_topology(topology),
        News::Current(Ok(topology)) => {
            let epoch = topology.epoch();
            mix.set_topology(topology);
            mix.enter_epoch(now, rng, epoch);
        }
        News::Current(Err(_)) => mix.stop_loops(),
    }
}
