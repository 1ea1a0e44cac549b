//! A gateway's seat.

use std::collections::BTreeMap;

use gateway::{Answer, EveryoneUpToTheBound, Gateway, Limits, PublicationTicket, verdict};
use link::Peer;
use rand_chacha::ChaCha20Rng;
use wire::{Call, Ledger, NodeId, Refusal, Reply, Time};

use crate::membership::{Disk, Member, Membership, News};
use crate::seat::{Input, Output, Seat};

/// A gateway: its keys, logs, descriptors and documents are on disk; accounts and mailboxes
/// are not.
pub(crate) struct GatewaySeat {
    member: Member,
    disk: Disk,
    rng: ChaCha20Rng,
    live: Option<Live>,
    past: Ledger,
    seen: Time,
}

struct Live {
    membership: Membership,
    core: Gateway,
    /// Descriptors that are with the authorities, by the tag of the calls.
    relays: BTreeMap<u64, Relay>,
    /// The tag of the next descriptor that came through the mixes.
    next_tag: u64,
}

/// A descriptor that is with the authorities.
struct Relay {
    asker: Asker,
    missing: usize,
    /// What the others said so far.
    replies: Vec<Reply>,
}

/// Who waits for the authorities' word.
enum Asker {
    Link(u64),
    Mixes(PublicationTicket),
}

impl GatewaySeat {
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

    fn call(&mut self, now: Time, from: Peer, ticket: u64, call: Call, outputs: &mut Vec<Output>) {
        let Some(live) = &mut self.live else {
            return;
        };
        match live.core.handle_call(now, &mut self.rng, from, call) {
            Answer::Reply(reply) => outputs.push(Output::Reply { ticket, reply }),
            Answer::Relay(descriptor) => {
                relay(
                    live,
                    &self.member,
                    Asker::Link(ticket),
                    &descriptor,
                    outputs,
                );
            }
        }
    }

    fn answered(
        &mut self,
        now: Time,
        from: NodeId,
        tag: u64,
        call: &Call,
        reply: Option<Reply>,
        outputs: &mut Vec<Output>,
    ) {
        let Some(live) = &mut self.live else {
            return;
        };
        let Some(relay) = live.relays.get_mut(&tag) else {
            if let Some(reply) = reply {
                live.membership.handle_reply(now, from, call, reply);
                if *call == Call::Clocks {
                    let readings = live.membership.clock_readings(now);
                    live.core.set_clocks(now, readings.into());
                }
            }
            return;
        };
        relay.missing -= 1;
        relay.replies.extend(reply);
        if relay.missing == 0
            && let Some(relay) = live.relays.remove(&tag)
        {
            let reply = verdict(self.member.network.threshold(), &relay.replies);
            match relay.asker {
                Asker::Link(ticket) => outputs.push(Output::Reply { ticket, reply }),
                Asker::Mixes(ticket) => live.core.published(ticket, &reply),
            }
        }
    }

    fn settle(&mut self, now: Time, mut outputs: Vec<Output>) -> Vec<Output> {
        let Some(live) = &mut self.live else {
            return outputs;
        };
        let Live {
            membership, core, ..
        } = live;
        for news in membership.advance(now, &mut self.rng, &self.member, &mut self.disk) {
            learn(core, now, &mut self.rng, news);
        }
        core.handle_timeout(now, &mut self.rng);
        while let Some(entry) = core.poll_log() {
            self.disk.log(entry);
        }
        while let Some((to, frame)) = core.poll_transmit() {
            outputs.push(Output::Frame { to, frame });
        }
        core.prepare(now, &mut self.rng);
        while let Some((ticket, descriptor)) = live.core.poll_publication(now) {
            let asker = Asker::Mixes(ticket);
            relay(live, &self.member, asker, &descriptor, &mut outputs);
        }
        let membership = &mut live.membership;
        while let Some((to, call)) = membership.poll_transmit() {
            outputs.push(Output::Call { to, tag: 0, call });
        }
        outputs
    }
}

impl Seat for GatewaySeat {
    fn start(&mut self, now: Time) -> Vec<Output> {
        let id = self.member.identity.node_id();
        let parameters = self.member.network.parameters().clone();
        let admission = Box::new(EveryoneUpToTheBound);
        let mut core = Gateway::new(id, parameters, Limits::default(), admission);
        let (membership, news) = Membership::start(now, &self.member, &self.disk);
        for told in news {
            learn(&mut core, now, &mut self.rng, told);
        }
        self.live = Some(Live {
            membership,
            core,
            relays: BTreeMap::new(),
            next_tag: 1,
        });
        self.seen = now;
        self.settle(now, Vec::new())
    }

    fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.seen = now;
        let mut outputs = Vec::new();
        let Some(live) = &mut self.live else {
            return outputs;
        };
        match input {
            Input::Frame { from, frame } => match from {
                Peer::Guest(guest) => {
                    let core = &mut live.core;
                    core.handle_client_frame(now, guest, frame.prefix(), frame.packet());
                }
                Peer::Node(id) if live.membership.admits(&id) => {
                    live.core.handle_packet(now, frame.packet());
                }
                Peer::Node(_) => live.core.refuse_unseen(Refusal::NotAdmitted, 1),
            },
            Input::Call { from, ticket, call } => {
                self.call(now, from, ticket, call, &mut outputs);
            }
            Input::Answer {
                from,
                tag,
                call,
                reply,
            } => self.answered(now, from, tag, &call, reply, &mut outputs),
            Input::Down(Peer::Guest(guest)) => live.core.handle_disconnect(now, guest),
            _ => {}
        }
        self.settle(now, outputs)
    }

    fn poll_timeout(&self) -> Option<Time> {
        let live = self.live.as_ref()?;
        let member = live.membership.poll_timeout(self.seen, &self.member);
        live.core.poll_timeout().into_iter().chain([member]).min()
    }

    fn crash(&mut self) {
        let (mut ledger, held) = self.account();
        ledger.lost += held;
        self.past = ledger;
        self.live = None;
    }

    fn account(&self) -> (Ledger, u64) {
        let mut ledger = self.past.clone();
        let Some(live) = &self.live else {
            return (ledger, 0);
        };
        ledger.merge(live.core.ledger());
        (ledger, live.core.held())
    }
}

/// Passes a descriptor on to every authority. Tag 0 is the membership's own.
fn relay(
    live: &mut Live,
    member: &Member,
    asker: Asker,
    descriptor: &[u8],
    outputs: &mut Vec<Output>,
) {
    let tag = live.next_tag;
    live.next_tag += 1;
    let authorities = member.network.authorities();
    let relay = Relay {
        asker,
        missing: authorities.len(),
        replies: Vec::new(),
    };
    live.relays.insert(tag, relay);
    outputs.extend(authorities.iter().map(|authority| Output::Call {
        to: authority.id,
        tag,
        call: Call::Publish(descriptor.to_vec()),
    }));
}

fn learn(core: &mut Gateway, now: Time, rng: &mut ChaCha20Rng, news: News) {
    match news {
        News::Key {
            epoch,
            window,
            secret,
            logged,
        } => core.set_key(epoch, window, secret, &logged),
        News::Document {
            topology,
            consensus,
        } => {
            core.set_document(topology.epoch(), consensus);
            core.set_topology(topology);
        }
        News::Current(Ok(topology)) => {
            let epoch = topology.epoch();
            core.set_topology(topology);
            core.enter_epoch(now, rng, epoch);
        }
        News::Current(Err(_)) => core.stop_loops(),
    }
}
