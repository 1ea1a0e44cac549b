//! Whether every account balances, and what a run came to.

use wire::{Epoch, Ledger};

use super::{Event, Network};
use crate::report::{Imbalance, NodeReport, Report};

impl Network<'_> {
    /// Invariant 5 at every node, and the links' account against the nodes'.
    pub(super) fn check(&mut self) {
        self.checkpoints += 1;
        let at = self.now.since(self.begin);
        let mut all = Ledger::default();
        for (node, slot) in &self.slots {
            let (ledger, held) = slot.seat.account();
            if !ledger.balances(held) {
                let node = Some(*node);
                self.imbalances.push(Imbalance { at, node });
            }
            all.merge(&ledger);
        }
        let frames = |event: &&Event| matches!(event, Event::Frame { .. });
        let under_way = self.agenda.rest().filter(frames).count() as u64;
        let links = &self.links;
        let gone = links.arrived + links.lost + links.stranded;
        let even = all.sent == links.sent && all.received == links.arrived;
        if !even || links.sent != gone + under_way {
            self.imbalances.push(Imbalance { at, node: None });
        }
    }

    pub(super) fn report(mut self) -> Report {
        let mut nodes = Vec::new();
        for (node, slot) in &self.slots {
            let (ledger, held) = slot.seat.account();
            self.trace.account(*node, &ledger, held);
            nodes.push(NodeReport {
                node: *node,
                ledger,
                held,
                crashes: slot.crashes,
            });
        }
        let newest = self.slots.values().filter_map(|slot| slot.seat.newest());
        let newest_epoch = newest.max().unwrap_or(Epoch(0));
        let (digest, events) = self.trace.finish();
        Report {
            digest,
            events,
            nodes,
            links: self.links,
            imbalances: self.imbalances,
            checkpoints: self.checkpoints,
            questions: self.questions,
            newest_epoch,
        }
    }
}
