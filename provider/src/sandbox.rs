//! Runs a model's module on one input, in an instance made for it alone.
//!
//! The only code that knows wasmtime. A module is checked by [`check`] before any compiler sees it,
//! compiled a first time where it can do no harm (the [`Trial`]), compiled again here, and then
//! instantiated afresh for each input: nothing that one asker's input left behind is there for the
//! next. Fuel bounds each run, and is exact; the memory has one size; there are no imports, so a
//! model can reach nothing.
//!
//! The trial bounds what compiling costs: the second compilation does the same work with the same
//! settings. It does not contain a compiler that a module takes over, for that module would take
//! this process over next; nothing that a trial made is loaded, so it opens no second way in.

mod check;
mod compile;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod hostile;
mod limiter;
mod trial;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thiserror::Error;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Memory, ModuleExport,
    PoolConcurrencyLimitError, PoolingAllocationConfig, Store, Trap, TypedFunc,
};

use check::Abi;
pub use check::ModuleRejected;
use compile::Busy;
use limiter::{Limiter, MemoryRefused};
pub use trial::{OwnModules, Trial, Verdict};

/// What modules may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Longest module, in bytes.
    pub module_bytes: usize,
    /// Largest memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Deepest stack of an instance, in bytes.
    pub stack_bytes: usize,
    /// Most instances at one time.
    pub instances: u32,
    /// Longest compilation, by the clock and, up to the next second, of processor time.
    pub compile_time: Duration,
    /// Most address space of the process of a trial, its program included.
    pub compile_memory_bytes: u64,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            module_bytes: 72 << 20,
            memory_bytes: 64 << 20,
            stack_bytes: 256 << 10,
            instances: 64,
            compile_time: Duration::from_secs(20),
            compile_memory_bytes: 1 << 30,
        }
    }
}

/// The engine that all models of a provider share. Clones share it too.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    limits: SandboxLimits,
    trial: Arc<dyn Trial>,
    compiling: Arc<AtomicBool>,
}

/// This machine cannot run a sandbox: no address space for the pool, or no compiler for its
/// processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this machine cannot run a sandbox: no address space for its pool, or unknown processor")]
pub struct SandboxUnavailable;

impl Sandbox {
    /// An engine with these limits, which compiles no module before `trial` has.
    ///
    /// # Errors
    /// [`SandboxUnavailable`] if this machine cannot run one.
    pub fn new(limits: SandboxLimits, trial: Arc<dyn Trial>) -> Result<Self, SandboxUnavailable> {
        let engine = Engine::new(&config(&limits)).map_err(|_| SandboxUnavailable)?;
        Ok(Self {
            engine,
            limits,
            trial,
            compiling: Arc::default(),
        })
    }

    /// Checks `module`, has it tried, and compiles it; each run of it may use `fuel`.
    ///
    /// Blocks meanwhile, at most for three times [`SandboxLimits::compile_time`].
    ///
    /// # Errors
    /// [`ModuleRejected`] if the module is not one that this project's compiler could have made, if
    /// it costs too much to compile, or if no compiler is to be had.
    pub fn load(&self, module: &[u8], fuel: u64) -> Result<LoadedModel, ModuleRejected> {
        let abi = check::check(module, &self.limits)?;
        let busy = Busy::claim(&self.compiling).ok_or(ModuleRejected::CompilerBusy)?;
        self.trial.compile(module, &self.limits)?;
        // The trial shows that it ends; a busy machine may take longer than it did then.
        let time = 2 * self.limits.compile_time;
        let module = compile::within(time, busy, &self.engine, module)?;
        let export = |name| module.get_export_index(name);
        let exports = match (export("memory"), export("infer")) {
            (Some(memory), Some(infer)) => Exports { memory, infer },
            _ => return Err(ModuleRejected::Exports),
        };
        let pre = wasmtime::Linker::new(&self.engine)
            .instantiate_pre(&module)
            .map_err(|_| ModuleRejected::Imports)?;
        Ok(LoadedModel {
            pre,
            exports,
            abi,
            fuel,
            memory_bytes: self.limits.memory_bytes,
        })
    }
}

fn config(limits: &SandboxLimits) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(limits.instances)
        .total_memories(limits.instances)
        .max_memories_per_module(1)
        .max_memory_size(limits.memory_bytes)
        .total_tables(0)
        .max_tables_per_module(0)
        // Slots keep the pages of a model's weights, and only what a run wrote is wiped: a fresh
        // instance costs a quarter more than a warm one instead of twice as much.
        .linear_memory_keep_resident(limits.memory_bytes)
        .pagemap_scan(Enabled::Auto);
    let mut config = translation();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(limits.stack_bytes);
    config
}

/// What decides how a module is compiled: the same in a trial and in the engine that runs it.
fn translation() -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        .consume_fuel(true)
        .wasm_backtrace_max_frames(None)
        // A hostile module must not get every core to compile on.
        .parallel_compilation(false)
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_value(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false);
    config
}

/// A module that was checked and compiled. Clones share it.
#[derive(Clone)]
pub struct LoadedModel {
    pre: InstancePre<Limiter>,
    exports: Exports,
    abi: Abi,
    fuel: u64,
    memory_bytes: usize,
}

#[derive(Clone, Copy)]
struct Exports {
    memory: ModuleExport,
    infer: ModuleExport,
}

/// One inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What the model said.
    pub output: Vec<i32>,
    /// What it cost: for a module of ours, the same for every input.
    pub fuel: u64,
}

/// Why a run has no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SandboxFault {
    /// The input has the wrong length, or the module says that an element is out of range.
    #[error("the input does not fit the model")]
    BadInput,
    /// Out of fuel.
    #[error("the model ran out of fuel")]
    ModelTimeout,
    /// The module asked for more memory than it declared.
    #[error("the model ran out of memory")]
    ModelMemory,
    /// Out of stack.
    #[error("the model ran out of stack")]
    StackOverflow,
    /// The module broke the calling convention.
    #[error("the module broke the calling convention")]
    GuestAbi,
    /// The module stopped itself: it reached outside its memory, or divided by zero.
    #[error("the module trapped")]
    Trap,
    /// As many instances run as may.
    #[error("no instance is free")]
    Busy,
}

impl LoadedModel {
    /// Runs the model on `input`, in an instance that nothing ran in before.
    ///
    /// # Errors
    /// [`SandboxFault`] if there is no output.
    pub fn run(&self, input: &[i32]) -> Result<Run, SandboxFault> {
        if input.len() != self.abi.input.elements {
            return Err(SandboxFault::BadInput);
        }
        self.instance()?.run(input)
    }

    /// An instance that nothing ran in before.
    ///
    /// # Errors
    /// [`SandboxFault`] if there is none to be had.
    pub fn instance(&self) -> Result<Instance, SandboxFault> {
        let mut store = Store::new(self.pre.module().engine(), Limiter::new(self.memory_bytes));
        store.limiter(|limiter| limiter);
        let budget = self.budget();
        store.set_fuel(budget).map_err(|_| SandboxFault::GuestAbi)?;
        let instance = self.pre.instantiate(&mut store).map_err(|e| fault(&e))?;
        let memory = instance.get_module_export(&mut store, &self.exports.memory);
        let infer = instance.get_module_export(&mut store, &self.exports.infer);
        let memory = memory.and_then(wasmtime::Extern::into_memory);
        let infer = infer.and_then(wasmtime::Extern::into_func);
        let (memory, infer) = memory.zip(infer).ok_or(SandboxFault::GuestAbi)?;
        let infer = infer.typed(&store).map_err(|_| SandboxFault::GuestAbi)?;
        Ok(Instance {
            store,
            memory,
            infer,
            abi: self.abi,
            budget,
        })
    }

    /// wasmtime stops a run whose fuel is at zero, so that one more is put in than may be used.
    fn budget(&self) -> u64 {
        self.fuel.saturating_add(1)
    }

    /// How many integers the model takes.
    #[must_use]
    pub const fn input_elements(&self) -> usize {
        self.abi.input.elements
    }

    /// How many integers the model gives.
    #[must_use]
    pub const fn output_elements(&self) -> usize {
        self.abi.output.elements
    }
}

/// One instance of a model. A provider runs one input in each ([`LoadedModel::run`]); whoever runs
/// more, to see what instances cost, leaves traces of one input to the next.
pub struct Instance {
    store: Store<Limiter>,
    memory: Memory,
    infer: TypedFunc<(), i32>,
    abi: Abi,
    budget: u64,
}

impl Instance {
    /// Runs the model on `input`.
    ///
    /// # Errors
    /// [`SandboxFault`] if there is no output.
    ///
    /// # Panics
    /// Never: the engine was made to count fuel.
    pub fn run(&mut self, input: &[i32]) -> Result<Run, SandboxFault> {
        if input.len() != self.abi.input.elements {
            return Err(SandboxFault::BadInput);
        }
        let store = &mut self.store;
        let set = store.set_fuel(self.budget);
        set.expect("the engine counts fuel");
        let bytes: Vec<u8> = input.iter().flat_map(|x| x.to_le_bytes()).collect();
        let written = self
            .memory
            .write(&mut *store, self.abi.input.address, &bytes);
        written.map_err(|_| SandboxFault::GuestAbi)?;
        let status = self.infer.call(&mut *store, ()).map_err(|e| fault(&e))?;
        let left = store.get_fuel().unwrap_or(0);
        match status {
            _ if left == 0 => return Err(SandboxFault::ModelTimeout),
            0 => {}
            1 => return Err(SandboxFault::BadInput),
            _ => return Err(SandboxFault::GuestAbi),
        }
        let mut bytes = vec![0; 4 * self.abi.output.elements];
        let read = self
            .memory
            .read(&*store, self.abi.output.address, &mut bytes);
        read.map_err(|_| SandboxFault::GuestAbi)?;
        let (words, _) = bytes.as_chunks();
        Ok(Run {
            output: words.iter().map(|word| i32::from_le_bytes(*word)).collect(),
            fuel: self.budget - left,
        })
    }
}

fn fault(error: &wasmtime::Error) -> SandboxFault {
    if error.is::<MemoryRefused>() {
        return SandboxFault::ModelMemory;
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return SandboxFault::Busy;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => SandboxFault::ModelTimeout,
        Some(Trap::StackOverflow) => SandboxFault::StackOverflow,
        Some(_) => SandboxFault::Trap,
        None => SandboxFault::ModelMemory,
    }
}
