//! Modules that nobody's compiler made: refused by name, or stopped, and nothing left behind.

use std::io::ErrorKind;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Ieee32, ImportSection,
    Instruction as I, MemArg, MemorySection, MemoryType, Module, RefType, StartSection,
    TableSection, TableType, TypeSection, ValType,
};

use super::{
    LoadedModel, ModuleRejected, OwnModules, Run, Sandbox, SandboxFault, SandboxLimits, Trial,
    Verdict,
};

const FUEL: u64 = 1_000_000;

/// A module as ours are, but for what a test changes: one input, one output, at 0 and at 4.
struct Guest {
    pages: u64,
    max_pages: Option<u64>,
    shared: bool,
    constants: [(&'static str, i32); 4],
    locals: Vec<(u32, ValType)>,
    infer: Vec<I<'static>>,
    more_functions: u32,
    /// A section that stands where its kind must.
    foreign: Foreign,
}

#[derive(Clone, Copy)]
enum Foreign {
    None,
    Import(fn(&mut Module)),
    Table(fn(&mut Module)),
    Late(fn(&mut Module)),
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            pages: 1,
            max_pages: Some(1),
            shared: false,
            constants: [
                ("input_ptr", 0),
                ("input_len", 1),
                ("output_ptr", 4),
                ("output_len", 1),
            ],
            locals: Vec::new(),
            infer: vec![I::I32Const(0)],
            more_functions: 0,
            foreign: Foreign::None,
        }
    }
}

impl Guest {
    fn running(infer: Vec<I<'static>>) -> Self {
        Self {
            infer,
            ..Self::default()
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut module = Module::new();
        let mut types = TypeSection::new();
        types.ty().function([], [ValType::I32]);
        module.section(&types);
        if let Foreign::Import(section) = self.foreign {
            section(&mut module);
        }
        let mut functions = FunctionSection::new();
        for _ in 0..=self.more_functions {
            functions.function(0);
        }
        module.section(&functions);
        if let Foreign::Table(section) = self.foreign {
            section(&mut module);
        }
        let mut memory = MemorySection::new();
        memory.memory(MemoryType {
            minimum: self.pages,
            maximum: self.max_pages,
            memory64: false,
            shared: self.shared,
            page_size_log2: None,
        });
        let mut globals = GlobalSection::new();
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("infer", ExportKind::Func, 0);
        for ((name, value), place) in self.constants.iter().zip(0..) {
            let kind = GlobalType {
                val_type: ValType::I32,
                mutable: false,
                shared: false,
            };
            globals.global(kind, &ConstExpr::i32_const(*value));
            exports.export(name, ExportKind::Global, place);
        }
        module.section(&memory).section(&globals).section(&exports);
        if let Foreign::Late(section) = self.foreign {
            section(&mut module);
        }
        let mut code = CodeSection::new();
        let mut infer = Function::new(self.locals.clone());
        for instruction in self.infer.iter().chain([&I::End]) {
            infer.instruction(instruction);
        }
        code.function(&infer);
        for _ in 0..self.more_functions {
            let mut empty = Function::new([]);
            empty.instruction(&I::I32Const(0)).instruction(&I::End);
            code.function(&empty);
        }
        module.section(&code);
        module.finish()
    }

    fn load(&self) -> Result<LoadedModel, ModuleRejected> {
        let sandbox = sandbox(SandboxLimits::default());
        sandbox.load(&self.bytes(), FUEL)
    }

    fn run(&self) -> Result<Run, SandboxFault> {
        self.load().unwrap().run(&[7])
    }

    fn refused(&self) -> ModuleRejected {
        self.load().err().unwrap()
    }
}

/// A sandbox without a trial: what comes after it must hold by itself.
fn sandbox(limits: SandboxLimits) -> Sandbox {
    Sandbox::new(limits, Arc::new(OwnModules)).unwrap()
}

fn at(offset: u64) -> MemArg {
    MemArg {
        offset,
        align: 2,
        memory_index: 0,
    }
}

/// Pushes and drops, `times` times.
fn long(times: usize) -> Vec<I<'static>> {
    let mut code: Vec<I<'static>> = Vec::new();
    for _ in 0..times {
        code.extend([I::I32Const(1), I::Drop]);
    }
    code.push(I::I32Const(0));
    code
}

#[test]
fn the_harmless_guest_runs() {
    // What the tests below change is what they are refused for.
    let copy = vec![
        I::I32Const(4),
        I::I32Const(0),
        I::I32Load(at(0)),
        I::I32Store(at(0)),
        I::I32Const(0),
    ];
    let run = Guest::running(copy).run().unwrap();
    assert_eq!(
        run,
        Run {
            output: vec![7],
            fuel: 6
        }
    );
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let forever = vec![I::Loop(BlockType::Empty), I::Br(0), I::End, I::Unreachable];
    assert_eq!(
        Guest::running(forever).run(),
        Err(SandboxFault::ModelTimeout)
    );
}

#[test]
fn deep_recursion_runs_out_of_stack() {
    let deeper = vec![I::Call(0), I::I32Const(1), I::I32Add];
    assert_eq!(
        Guest::running(deeper).run(),
        Err(SandboxFault::StackOverflow)
    );
}

#[test]
fn growth_is_refused_at_any_size() {
    for pages in [1, 65_535, -1] {
        let grow = vec![
            I::I32Const(pages),
            I::MemoryGrow(0),
            I::Drop,
            I::I32Const(0),
        ];
        assert_eq!(Guest::running(grow).run(), Err(SandboxFault::ModelMemory));
    }
}

#[test]
fn a_memory_that_could_grow_or_is_too_large_is_refused() {
    for (pages, max_pages) in [(1, None), (1, Some(65_536)), (65_536, Some(65_536))] {
        let guest = Guest {
            pages,
            max_pages,
            ..Guest::default()
        };
        assert_eq!(guest.refused(), ModuleRejected::Memory);
    }
}

#[test]
fn shared_memory_and_atomics_are_refused() {
    let guest = Guest {
        shared: true,
        ..Guest::default()
    };
    assert_eq!(guest.refused(), ModuleRejected::Memory);
    let atomic = vec![I::I32Const(0), I::I32AtomicLoad(at(0))];
    assert_eq!(Guest::running(atomic).refused(), ModuleRejected::Malformed);
}

#[test]
fn relaxed_simd_and_floats_are_refused() {
    let relaxed = vec![
        I::V128Const(0),
        I::V128Const(0),
        I::I16x8RelaxedDotI8x16I7x16S,
        I::I32x4ExtractLane(0),
    ];
    assert_eq!(Guest::running(relaxed).refused(), ModuleRejected::Malformed);
    let float = vec![I::F32Const(Ieee32::from(1.0)), I::I32TruncF32S];
    assert_eq!(Guest::running(float).refused(), ModuleRejected::Malformed);
    let lanes = vec![I::V128Const(0), I::F32x4Abs, I::I32x4ExtractLane(0)];
    assert_eq!(Guest::running(lanes).refused(), ModuleRejected::Malformed);
}

#[test]
fn imports_are_refused() {
    let guest = Guest {
        foreign: Foreign::Import(|module| {
            let mut imports = ImportSection::new();
            imports.import("env", "time", EntityType::Function(0));
            module.section(&imports);
        }),
        ..Guest::default()
    };
    assert_eq!(guest.refused(), ModuleRejected::Imports);
}

#[test]
fn tables_start_functions_and_custom_sections_are_refused() {
    let table = Foreign::Table(|module| {
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: 1_000_000,
            maximum: None,
            shared: false,
        });
        module.section(&tables);
    });
    let start = Foreign::Late(|module| {
        module.section(&StartSection { function_index: 0 });
    });
    let custom = Foreign::Late(|module| {
        module.section(&CustomSection {
            name: "name".into(),
            data: (&[0; 9]).into(),
        });
    });
    for (foreign, expected) in [
        (table, ModuleRejected::Table),
        (start, ModuleRejected::Start),
        (custom, ModuleRejected::Section),
    ] {
        let guest = Guest {
            foreign,
            ..Guest::default()
        };
        assert_eq!(guest.refused(), expected);
    }
}

#[test]
fn a_million_functions_are_refused() {
    let guest = Guest {
        more_functions: 1_000_000,
        ..Guest::default()
    };
    assert_eq!(guest.refused(), ModuleRejected::TooMany);
}

#[test]
fn a_megabyte_of_locals_is_refused() {
    for locals in [
        vec![(65_536, ValType::V128)],
        vec![(1, ValType::I64); 131_072],
    ] {
        let guest = Guest {
            locals,
            ..Guest::default()
        };
        let refused = guest.refused();
        let by_name = [ModuleRejected::TooManyLocals, ModuleRejected::TooMuchCode];
        assert!(by_name.contains(&refused), "{refused:?}");
    }
}

#[test]
fn a_function_that_is_too_long_is_refused() {
    let guest = Guest::running(long(30_000));
    assert_eq!(guest.refused(), ModuleRejected::TooMuchCode);
}

#[test]
fn a_module_that_is_too_long_is_refused() {
    let limits = SandboxLimits {
        module_bytes: 100,
        ..SandboxLimits::default()
    };
    let sandbox = sandbox(limits);
    let bytes = Guest::running(long(99)).bytes();
    let refused = sandbox.load(&bytes, FUEL).err();
    assert_eq!(refused, Some(ModuleRejected::TooLong));
}

#[test]
fn a_compilation_past_its_time_is_given_up_on() {
    let limits = SandboxLimits {
        compile_time: Duration::ZERO,
        ..SandboxLimits::default()
    };
    let sandbox = sandbox(limits);
    let refused = sandbox.load(&Guest::default().bytes(), FUEL).err();
    assert_eq!(refused, Some(ModuleRejected::CompileTimeout));
}

/// A trial that says what it was told to.
struct Says(Result<(), ModuleRejected>);

impl Trial for Says {
    fn compile(&self, _: &[u8], _: &SandboxLimits) -> Result<(), ModuleRejected> {
        self.0
    }
}

#[test]
fn what_a_trial_refuses_is_not_compiled() {
    // A compilation of this sandbox's own would end in another way.
    let limits = SandboxLimits {
        compile_time: Duration::ZERO,
        ..SandboxLimits::default()
    };
    for why in [
        ModuleRejected::CompileTimeout,
        ModuleRejected::CompilerCrashed,
        ModuleRejected::CompilerMissing(ErrorKind::NotFound),
        ModuleRejected::CompilerGarbled,
    ] {
        let sandbox = Sandbox::new(limits, Arc::new(Says(Err(why)))).unwrap();
        let refused = sandbox.load(&Guest::default().bytes(), FUEL).err();
        assert_eq!(refused, Some(why));
        // The claim on the compiler is given back.
        let refused = sandbox.load(&Guest::default().bytes(), FUEL).err();
        assert_eq!(refused, Some(why));
    }
}

/// A trial that is under way until it is let go, and then refuses.
struct Held {
    begun: Barrier,
    go: Barrier,
}

impl Trial for Arc<Held> {
    fn compile(&self, module: &[u8], _: &SandboxLimits) -> Result<(), ModuleRejected> {
        if module != Guest::running(long(1)).bytes() {
            return Ok(());
        }
        self.begun.wait();
        self.go.wait();
        Err(ModuleRejected::CompileTimeout)
    }
}

#[test]
fn while_a_module_is_tried_models_run_and_no_other_is_tried() {
    let held = Arc::new(Held {
        begun: Barrier::new(2),
        go: Barrier::new(2),
    });
    let limits = SandboxLimits::default();
    let sandbox = Sandbox::new(limits, Arc::new(Arc::clone(&held))).unwrap();
    let other = Guest::default().bytes();
    let model = sandbox.load(&other, FUEL).unwrap();
    let bomb = Guest::running(long(1)).bytes();
    let trying = {
        let sandbox = sandbox.clone();
        std::thread::spawn(move || sandbox.load(&bomb, FUEL).err())
    };
    held.begun.wait();
    let busy = sandbox.load(&other, FUEL).err();
    assert_eq!(busy, Some(ModuleRejected::CompilerBusy));
    assert!(model.run(&[7]).is_ok());
    held.go.wait();
    let refused = trying.join().unwrap();
    assert_eq!(refused, Some(ModuleRejected::CompileTimeout));
    assert!(sandbox.load(&other, FUEL).is_ok());
}

#[test]
fn a_verdict_is_on_one_module_and_complete() {
    let module = Guest::default().bytes();
    let said = Verdict::of(&module).unwrap().to_bytes();
    assert_eq!(Verdict::read(&said, &module), Ok(()));
    let refused = Verdict::of(b"\0asm").unwrap().to_bytes();
    let no = Err(ModuleRejected::Compiler);
    assert_eq!(Verdict::read(&refused, b"\0asm"), no);
    let garbled = Err(ModuleRejected::CompilerGarbled);
    for other in [&said[..32], &[&said[..], &[0]].concat(), &[], &[1; 33]] {
        assert_eq!(Verdict::read(other, &module), garbled);
    }
    assert_eq!(Verdict::read(&said, b"\0asm"), garbled);
}

#[test]
fn no_bytes_but_the_one_verdict_let_a_module_pass() {
    let module = Guest::default().bytes();
    let said = Verdict::of(&module).unwrap().to_bytes();
    bolero::check!().for_each(|bytes: &[u8]| {
        let passes = Verdict::read(bytes, &module).is_ok();
        assert_eq!(passes, bytes == said);
    });
}

#[test]
fn constants_that_point_outside_the_memory_are_refused() {
    let outside = [
        ("input_ptr", -4),
        ("input_ptr", 65_533),
        ("input_len", -1),
        ("input_len", 0),
        ("output_ptr", i32::MIN),
        ("output_len", 16_384),
        ("output_len", 0x4000_0001),
    ];
    for (name, value) in outside {
        let mut guest = Guest::default();
        let place = guest.constants.iter().position(|c| c.0 == name).unwrap();
        guest.constants[place].1 = value;
        assert_eq!(guest.refused(), ModuleRejected::Abi, "{name} {value}");
    }
    let mut guest = Guest::default();
    guest.constants[0].0 = "input_pointer";
    assert_eq!(guest.refused(), ModuleRejected::Exports);
}

#[test]
fn overlapping_arrays_are_the_guests_own_affair() {
    let mut guest = Guest::default();
    guest.constants[2].1 = 2;
    assert_eq!(guest.run().unwrap().output, [0]);
}

#[test]
fn an_unknown_status_is_a_broken_convention() {
    for status in [2, -1, i32::MIN] {
        let guest = Guest::running(vec![I::I32Const(status)]);
        assert_eq!(guest.run(), Err(SandboxFault::GuestAbi));
    }
}

#[test]
fn a_guest_that_reaches_outside_its_memory_is_stopped() {
    for address in [65_536, -4] {
        let reach = vec![I::I32Const(address), I::I32Load(at(0))];
        assert_eq!(Guest::running(reach).run(), Err(SandboxFault::Trap));
    }
    assert_eq!(
        Guest::running(vec![I::Unreachable]).run(),
        Err(SandboxFault::Trap)
    );
}

#[test]
fn data_outside_the_memory_never_runs() {
    let guest = Guest::default();
    let mut bytes = guest.bytes();
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(65_535), [1, 2]);
    let mut tail = Module::new();
    tail.section(&data);
    bytes.extend_from_slice(&tail.finish()[8..]);
    let sandbox = sandbox(SandboxLimits::default());
    let outcome = sandbox.load(&bytes, FUEL).map(|model| model.run(&[7]));
    assert!(matches!(outcome, Ok(Err(SandboxFault::Trap)) | Err(_)));
}

#[test]
fn nothing_of_one_run_is_there_in_the_next() {
    // Gives back what stands at 8, and leaves its input there.
    let leave = vec![
        I::I32Const(4),
        I::I32Const(8),
        I::I32Load(at(0)),
        I::I32Store(at(0)),
        I::I32Const(8),
        I::I32Const(0),
        I::I32Load(at(0)),
        I::I32Store(at(0)),
        I::I32Const(0),
    ];
    let model = Guest::running(leave).load().unwrap();
    for secret in 1..100 {
        assert_eq!(model.run(&[secret]).unwrap().output, [0]);
    }
}

#[test]
fn as_many_instances_run_as_may() {
    let limits = SandboxLimits {
        instances: 1,
        ..SandboxLimits::default()
    };
    let sandbox = sandbox(limits);
    let forever = vec![I::Loop(BlockType::Empty), I::Br(0), I::End, I::Unreachable];
    let long = sandbox
        .load(&Guest::running(forever).bytes(), 300_000_000)
        .unwrap();
    let short = sandbox.load(&Guest::default().bytes(), FUEL).unwrap();
    // Asks until it finds the one instance free, and then keeps it for long.
    let other = std::thread::spawn(move || {
        loop {
            match long.run(&[7]) {
                Err(SandboxFault::Busy) => {}
                outcome => break outcome,
            }
        }
    });
    let mut refused = false;
    while !refused && !other.is_finished() {
        refused = short.run(&[7]) == Err(SandboxFault::Busy);
    }
    assert!(refused);
    assert_eq!(other.join().unwrap(), Err(SandboxFault::ModelTimeout));
    assert!(short.run(&[7]).is_ok());
}

#[test]
fn no_bytes_make_the_check_panic() {
    let limits = SandboxLimits::default();
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = super::check::check(bytes, &limits);
        let module = [b"\0asm\x01\0\0\0", bytes].concat();
        let _ = super::check::check(&module, &limits);
    });
}

#[test]
fn no_flipped_byte_of_a_real_module_escapes() {
    let built = compiler::shipped()[0].model().unwrap();
    let sandbox = sandbox(SandboxLimits::default());
    let input = vec![0; built.input.elements as usize];
    // The head and the code; weights are data like any other.
    for place in 0..700 {
        let mut bytes = built.module.bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        if let Ok(model) = sandbox.load(&bytes, FUEL)
            && model.input_elements() == input.len()
        {
            let _ = model.run(&input);
        }
    }
}
