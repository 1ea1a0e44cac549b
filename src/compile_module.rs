//! `subrosa compile-module`: the process in which a provider has a module compiled first.
//!
//! Gives up what it does not need before it reads a byte, compiles what stands on its standard
//! input, and writes a verdict. What it dies of is the verdict too.

use std::io::{Read, Write};

use provider::Verdict;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::cli::CompileModuleArgs;
use crate::exit::Fault;

/// Compiles the module on standard input; the verdict goes to standard output.
///
/// # Errors
/// [`Fault`] if the limits cannot be set, or if there is no verdict.
pub fn run(args: &CompileModuleArgs) -> Result<(), Fault> {
    // Some allocators of the compiler abort without memory, others panic: it ends in one way.
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    confine(args).map_err(|e| Fault::failed(format!("compile-module: no limits: {e}")))?;
    let mut module = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut module)
        .map_err(|e| Fault::failed(format!("compile-module: no module: {e}")))?;
    let verdict = Verdict::of(&module).map_err(Fault::failed)?;
    let mut output = std::io::stdout().lock();
    let written = output.write_all(&verdict.to_bytes());
    written.and_then(|()| output.flush()).map_err(Fault::output)
}

/// Memory, time and stack as told; no file, no process, no thread, no dump of its memory.
fn confine(args: &CompileModuleArgs) -> rustix::io::Result<()> {
    let stack = Verdict::STACK_BYTES as u64;
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 0),
        (Resource::Nproc, 0),
        (Resource::Stack, stack),
        (Resource::As, args.memory_bytes),
    ] {
        limit(resource, most, most)?;
    }
    // At the first it is told to end, at the second it is ended.
    limit(
        Resource::Cpu,
        args.cpu_seconds,
        args.cpu_seconds.saturating_add(1),
    )
}

fn limit(resource: Resource, current: u64, maximum: u64) -> rustix::io::Result<()> {
    let limit = Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    setrlimit(resource, limit)
}
