//! The binary as people and machines run it: commands, a testnet of processes, faults.

mod commands;
mod network;
mod testnet;
