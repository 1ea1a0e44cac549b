//! Links over real sockets on loopback: what they carry, whom they refuse, where they are bounded.

mod bounds;
mod calls;
mod frames;
mod harness;
mod hostile;
mod keys;
