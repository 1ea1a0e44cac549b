//! The seats, a file for each kind of node.

mod authority;
mod client;
mod gateway;
mod mix;
mod provider;

pub(crate) use authority::AuthoritySeat;
pub(crate) use client::AskerOwner;
pub(crate) use gateway::GatewaySeat;
pub(crate) use mix::MixSeat;
pub(crate) use provider::ProviderOwner;
