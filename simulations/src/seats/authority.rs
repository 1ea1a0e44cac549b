//! An authority's seat.

use std::sync::Arc;

use authority::{Authority, Everybody};
use directory::{Identity, Network};
use link::Peer;
use wire::{Epoch, Ledger, Time};

use crate::seat::{Input, Output, Seat};

/// An authority: its record is on disk.
pub(crate) struct AuthoritySeat {
    seed: [u8; 32],
    network: Arc<Network>,
    core: Option<Authority>,
    record: Option<Vec<u8>>,
}

impl AuthoritySeat {
    pub(crate) fn new(seed: [u8; 32], network: Arc<Network>) -> Self {
        Self {
            seed,
            network,
            core: None,
            record: None,
        }
    }

    fn settle(&mut self, outputs: &mut Vec<Output>) {
        let Some(core) = &mut self.core else {
            return;
        };
        if let Some(record) = core.poll_persist() {
            self.record = Some(record);
        }
        while core.poll_event().is_some() {}
        while let Some((to, call)) = core.poll_transmit() {
            outputs.push(Output::Call { to, tag: 0, call });
        }
    }
}

impl Seat for AuthoritySeat {
    fn start(&mut self, now: Time) -> Vec<Output> {
        let identity = Identity::from_seed(&self.seed);
        let mut core = Authority::new(identity, Arc::clone(&self.network), Box::new(Everybody));
        if let Some(record) = &self.record {
            core.restore(record)
                .expect("the record is what this authority gave out");
        }
        self.core = Some(core);
        self.handle(now, Input::Timeout)
    }

    fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        let Some(core) = &mut self.core else {
            return outputs;
        };
        match input {
            Input::Call { from, ticket, call } => {
                let node = match from {
                    Peer::Node(id) => Some(id),
                    Peer::Guest(_) => None,
                };
                let reply = core.handle_call(now, node, &call);
                outputs.push(Output::Reply { ticket, reply });
            }
            Input::Answer {
                from,
                reply: Some(reply),
                ..
            } => core.handle_reply(now, from, &reply),
            _ => {}
        }
        if core.poll_timeout() <= now {
            core.handle_timeout(now);
        }
        self.settle(&mut outputs);
        outputs
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.core.as_ref().map(Authority::poll_timeout)
    }

    fn crash(&mut self) {
        self.core = None;
    }

    fn account(&self) -> (Ledger, u64) {
        (Ledger::default(), 0)
    }

    fn newest(&self) -> Option<Epoch> {
        let newest = self.core.as_ref()?.newest()?;
        Some(newest.document.epoch)
    }
}
