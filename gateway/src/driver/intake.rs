//! From the links and the directory to the core and the workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use directory::Topology;
use link::{Digest, Frame, GuestId, Mesh, MeshEvent, Peer, Services, Sight};
use mix::membership::{MemberEvent, neighbours};
use mix::workers::{Intake, Job};
use tokio::sync::mpsc;
use wire::{CallRefused, Epoch, NodeId, Refusal, Reply};

use super::engine::Input;
use super::unseen::Unseen;

/// Passes on what the directory says: whom to link with to the mesh, the rest to the core.
pub(super) async fn follow(
    id: NodeId,
    mut events: mpsc::Receiver<MemberEvent>,
    mesh: &Mesh,
    inputs: &SyncSender<Input>,
    admitted: &Mutex<BTreeSet<NodeId>>,
) {
    let mut topologies: BTreeMap<Epoch, Arc<Topology>> = BTreeMap::new();
    while let Some(event) = events.recv().await {
        match &event {
            MemberEvent::Document { topology, .. } => {
                topologies.insert(topology.epoch(), Arc::clone(topology));
            }
            MemberEvent::Current(Ok(topology)) => {
                let current = topology.epoch();
                topologies.insert(current, Arc::clone(topology));
                topologies.retain(|epoch, _| epoch.next() >= current);
            }
            _ => {}
        }
        let (dial, admit) = neighbours(&id, topologies.values());
        *admitted.lock().unwrap_or_else(PoisonError::into_inner) = admit.iter().copied().collect();
        mesh.set_neighbours(dial, admit);
        if !hand_over(inputs, Input::Member(event)).await {
            return;
        }
    }
}

/// Waits for room at the core; `false` if the core has ended.
async fn hand_over(inputs: &SyncSender<Input>, input: Input) -> bool {
    let inputs = inputs.clone();
    let sent = tokio::task::spawn_blocking(move || inputs.send(input).is_ok()).await;
    matches!(sent, Ok(true))
}

/// From the links: packets of mixes to the workers, what clients send to the core.
pub(super) struct Ingress {
    pub(super) intake: Intake,
    pub(super) inputs: SyncSender<Input>,
    pub(super) unseen: Arc<Unseen>,
    pub(super) admitted: Arc<Mutex<BTreeSet<NodeId>>>,
    pub(super) services: Services,
    pub(super) mesh: Mesh,
}

impl Ingress {
    pub(super) async fn run(&self, mut events: mpsc::Receiver<MeshEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                MeshEvent::Frames {
                    from,
                    frames,
                    refused,
                } => {
                    self.unseen.add(Refusal::RateExceeded, refused);
                    match from {
                        Peer::Node(id) => self.take_packets(id, frames),
                        Peer::Guest(guest) => self.take_frames(guest, frames),
                    }
                }
                MeshEvent::Call {
                    from,
                    call,
                    responder,
                } => {
                    let input = Input::Call {
                        from,
                        call,
                        responder,
                    };
                    if let Err(unsent) = self.inputs.try_send(input) {
                        busy(unsent);
                    }
                }
                // A client that is gone must not be forgotten: this waits for room.
                MeshEvent::Down(Peer::Guest(guest)) => {
                    if !hand_over(&self.inputs, Input::Gone(guest)).await {
                        return;
                    }
                }
                MeshEvent::Up(Peer::Guest(_)) => {}
                MeshEvent::Up(peer) => tracing::debug!(?peer, "link up"),
                MeshEvent::Down(peer) => tracing::debug!(?peer, "link down"),
            }
        }
    }

    fn take_frames(&self, guest: GuestId, frames: Vec<Frame>) {
        let peer = Peer::Guest(guest);
        frames.iter().for_each(|frame| {
            self.saw(peer, frame);
        });
        let count = frames.len() as u64;
        let input = Input::Frames { guest, frames };
        if self.inputs.try_send(input).is_err() {
            self.unseen.add(Refusal::Overload, count);
        }
    }

    fn take_packets(&self, id: NodeId, frames: Vec<Frame>) {
        let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        if !admitted.contains(&id) {
            return self.unseen.add(Refusal::NotAdmitted, frames.len() as u64);
        }
        drop(admitted);
        let arrival = self.services.clock.now();
        let mut jobs = Vec::with_capacity(frames.len());
        for frame in frames {
            if frame.prefix() != 0 {
                self.unseen.add(Refusal::Malformed, 1);
                continue;
            }
            jobs.push(Job {
                input: self.saw(Peer::Node(id), &frame),
                arrival,
                item: frame,
            });
        }
        if let Err(count) = self.intake.open(jobs) {
            self.unseen.add(Refusal::Overload, count as u64);
        }
    }

    /// The packet's name for the tap, if there is one.
    fn saw(&self, peer: Peer, frame: &Frame) -> Option<Digest> {
        let tap = self.services.tap.as_ref()?;
        let digest = Digest::of(frame.packet());
        tap.saw(Sight::FrameIn {
            at: self.services.clock.now(),
            peer,
            remote: self.mesh.remote(peer),
            digest,
        });
        Some(digest)
    }
}

/// Answers a call for which the core has no room.
fn busy(unsent: std::sync::mpsc::TrySendError<Input>) {
    use std::sync::mpsc::TrySendError::{Disconnected, Full};
    let (Full(input) | Disconnected(input)) = unsent;
    if let Input::Call { responder, .. } = input {
        responder.respond(Reply::Refused(CallRefused::Busy));
    }
}
