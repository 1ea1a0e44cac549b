//! What a mesh tells its owner.

use tokio::sync::oneshot;
use wire::{Call, Reply};

use crate::{Frame, Peer};

/// What a mesh tells its owner.
pub enum MeshEvent {
    /// Frames came in, at most 32 at a time.
    Frames {
        /// From whom.
        from: Peer,
        /// In the order in which they were sent; maybe none, if all were refused.
        frames: Vec<Frame>,
        /// How many frames before, between and after these were above the peer's rate: they
        /// were not looked at, and count as `Refusal::RateExceeded`.
        refused: u64,
    },
    /// A call came in.
    Call {
        /// From whom.
        from: Peer,
        /// The call.
        call: Call,
        /// Takes the reply.
        responder: Responder,
    },
    /// A link is up: frames may be sent. Comes before any frame of that peer.
    Up(Peer),
    /// The last link to this peer is down. Comes after its last frame.
    Down(Peer),
}

/// Takes the one reply to a call. Dropped without one, the caller sees its stream reset.
pub struct Responder(oneshot::Sender<Reply>);

impl Responder {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Sends `reply`, unless the caller has gone.
    pub fn respond(self, reply: Reply) {
        // A caller that has gone needs no reply.
        let _ = self.0.send(reply);
    }
}
