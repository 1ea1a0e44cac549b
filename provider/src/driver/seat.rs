//! The provider as its uplink drives it: shows its counts, and what its key opened to the tap.

use std::sync::Arc;

use directory::Topology;
use link::{Sight, Tap};
use message::{Edge, EdgeError, Participant};
use metrics::counter;
use rand::CryptoRng;
use sphinx::Packet;
use tokio::sync::watch;
use wire::{Call, Epoch, Register, Time};

use crate::{Job, JobDone, Provider, ProviderCounts};

pub(crate) struct Seat {
    provider: Provider,
    counts: watch::Sender<ProviderCounts>,
    tap: Option<Tap>,
    /// The core's last call's: when a job is handed out.
    now: Time,
}

impl Seat {
    pub(crate) fn new(
        provider: Provider,
        counts: watch::Sender<ProviderCounts>,
        tap: Option<Tap>,
    ) -> Self {
        Self {
            provider,
            counts,
            tap,
            now: Time::ZERO,
        }
    }

    fn saw(&self, label: &'static str, values: &[i32]) {
        if let Some(tap) = &self.tap {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let at = self.now;
            tap.saw(Sight::Plaintext { at, label, bytes });
        }
    }

    fn count(&self) {
        let counts = self.provider.counts();
        let changed = |shown: &mut ProviderCounts| std::mem::replace(shown, counts) != counts;
        if self.counts.send_if_modified(changed) {
            publish(&counts);
        }
    }
}

/// Totals, by names from a closed list.
fn publish(counts: &ProviderCounts) {
    for (kind, count) in [
        ("came", counts.requests),
        ("repeated", counts.repeats),
        ("ran", counts.jobs),
        ("answered", counts.released),
        ("failed", counts.failures),
        ("dropped", counts.dropped),
    ] {
        counter!("subrosa_requests_total", "kind" => kind).absolute(count);
    }
    for (verdict, count) in [("done", counts.published), ("refused", counts.unpublished)] {
        counter!("subrosa_publications_total", "verdict" => verdict).absolute(count);
    }
}

impl Participant for Seat {
    type Command = JobDone;
    type Event = Job;

    fn edge(&self) -> &Edge {
        self.provider.edge()
    }

    fn edge_mut(&mut self) -> &mut Edge {
        self.provider.edge_mut()
    }

    fn handle_command(&mut self, now: Time, rng: &mut dyn CryptoRng, done: JobDone) {
        self.now = now;
        if let Ok(output) = &done.result {
            self.saw("output", output);
        }
        self.provider.handle_command(now, rng, done);
    }

    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.now = now;
        self.provider.handle_frame(now, rng, frame);
    }

    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.now = now;
        self.provider.handle_timeout(now, rng);
        self.count();
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.provider.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)> {
        self.provider.poll_transmit(now)
    }

    fn poll_event(&mut self) -> Option<Job> {
        let job = self.provider.poll_event()?;
        self.saw("request", &job.input);
        Some(job)
    }

    fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool {
        self.provider.prepare(rng)
    }

    fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError> {
        self.provider.set_topology(now, rng, topology)
    }

    fn link_up(&mut self) {
        self.provider.link_up();
    }

    fn link_down(&mut self) {
        self.provider.link_down();
    }

    fn register(&self) -> Register {
        self.provider.register()
    }

    fn publish(&mut self, now: Time, epoch: Epoch) {
        self.provider.publish(now, epoch);
    }

    fn calls(&mut self, now: Time) -> Vec<Call> {
        self.provider.calls(now)
    }
}
