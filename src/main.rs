//! The front door of Subrosa: one binary, a subcommand a role.

fn main() {}
