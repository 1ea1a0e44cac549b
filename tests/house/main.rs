//! The whole house in one process: invariants, end to end, hostile input.

mod invariants;
