//! Compiling for use, which nothing meters, on a thread that may be given up on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use wasmtime::{Engine, Module};

use super::{ModuleRejected, Verdict};

/// Compiles `module` on a thread of its own, and waits at most `time`.
///
/// One module of an engine is compiled at a time, `busy` is the claim to be that one: past its time
/// the thread cannot be stopped, and whoever sends modules that take long must not get a second.
pub(super) fn within(
    time: Duration,
    busy: Busy,
    engine: &Engine,
    module: &[u8],
) -> Result<Module, ModuleRejected> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let (engine, module) = (engine.clone(), module.to_vec());
    let work = move || {
        let compiled = Module::new(&engine, &module);
        drop(busy);
        // Nobody listens any more if it took too long.
        let _ = sender.send(compiled);
    };
    let thread = thread::Builder::new()
        .name("compile".to_owned())
        .stack_size(2 * Verdict::STACK_BYTES);
    thread
        .spawn(work)
        .map_err(|_| ModuleRejected::CompilerBusy)?;
    match receiver.recv_timeout(time) {
        Ok(Ok(module)) => Ok(module),
        Ok(Err(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => Err(ModuleRejected::Compiler),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(ModuleRejected::CompileTimeout),
    }
}

/// The claim on the compiler; given back when dropped.
pub(super) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// The claim, unless another holds it.
    pub(super) fn claim(compiling: &Arc<AtomicBool>) -> Option<Self> {
        let free = compiling.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        free.is_ok().then(|| Self(Arc::clone(compiling)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
