//! Modules compiled in a process of their own: by the real one, and by what only looks like it.

use std::io::{ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use provider::{LoadedModel, ModuleRejected, Sandbox, SandboxLimits, Trial};
use rustix::process::Signal;
use subrosa::trial::ChildProcess;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Instruction as I, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

use crate::testnet::PROGRAM;

/// A module within every cap of the allow-list, whose code is `body`.
fn module(body: &Function) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    functions.function(0);
    code.function(body);
    let mut memory = MemorySection::new();
    memory.memory(MemoryType {
        minimum: 1,
        maximum: Some(1),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("infer", ExportKind::Func, 0);
    let constants = [
        ("input_ptr", 0),
        ("input_len", 1),
        ("output_ptr", 4),
        ("output_len", 1),
    ];
    for ((name, value), place) in constants.into_iter().zip(0..) {
        let kind = GlobalType {
            val_type: ValType::I32,
            mutable: false,
            shared: false,
        };
        globals.global(kind, &ConstExpr::i32_const(value));
        exports.export(name, ExportKind::Global, place);
    }
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memory)
        .section(&globals)
        .section(&exports)
        .section(&code);
    module.finish()
}

/// Loops within loops, 64 locals that change in the innermost, and from there `ways` back.
fn loops(depth: u32, ways: impl FnOnce(&mut Function)) -> Function {
    let mut body = Function::new([(64, ValType::I32)]);
    for _ in 0..depth {
        body.instruction(&I::Loop(BlockType::Empty));
    }
    for local in 0..64 {
        body.instruction(&I::LocalGet(local))
            .instruction(&I::LocalGet((local + 1) % 64))
            .instruction(&I::I32Add)
            .instruction(&I::LocalSet(local));
    }
    ways(&mut body);
    for _ in 0..depth {
        body.instruction(&I::End);
    }
    body.instruction(&I::I32Const(0)).instruction(&I::End);
    body
}

/// Slow to compile: 16 kB, far from done after 40 s.
fn slow() -> Vec<u8> {
    let body = loops(2000, |body| {
        for depth in 0..2000 {
            body.instruction(&I::LocalGet(depth % 64))
                .instruction(&I::BrIf(depth));
        }
    });
    module(&body)
}

/// Takes much memory to compile: 60 kB become more than 300 MB.
fn large() -> Vec<u8> {
    let targets: Vec<u32> = (0..60_000).map(|target| target % 5).collect();
    let body = loops(5, |body| {
        body.instruction(&I::LocalGet(0))
            .instruction(&I::BrTable(targets.into(), 0));
    });
    module(&body)
}

fn limits(compile_time: Duration) -> SandboxLimits {
    SandboxLimits {
        compile_time,
        ..SandboxLimits::default()
    }
}

/// This test's own processes that run `program`, alive or not yet waited for.
fn children(program: &str) -> Vec<PathBuf> {
    let own = format!(" {} ", std::process::id());
    let processes = std::fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let runs = |stat: &str| {
        let (name, rest) = stat.rsplit_once(')').unwrap();
        let mut fields = rest.trim_start().splitn(2, ' ');
        let parent = fields.nth(1).unwrap();
        name.ends_with(&format!("({program}")) && format!(" {parent}").starts_with(&own)
    };
    processes
        .map(|process| process.path())
        .filter(|path| std::fs::read_to_string(path.join("stat")).is_ok_and(|stat| runs(&stat)))
        .collect()
}

#[test]
fn the_shipped_models_pass() {
    let clock = subrosa::services().clock;
    let trial = ChildProcess::of(PROGRAM);
    for shipped in compiler::shipped() {
        let module = shipped.model().unwrap().module.bytes;
        let began = clock.now();
        let outcome = trial.compile(&module, &SandboxLimits::default());
        let name = shipped.name;
        assert_eq!(outcome, Ok(()), "{name}");
        eprintln!(
            "{name}: {} bytes, tried in {:?}",
            module.len(),
            clock.now().since(began)
        );
    }
}

#[test]
fn a_compile_bomb_is_refused_while_a_model_answers() {
    // The process has another file's name, so that it can be told from those of other tests.
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("bomb-compiler");
    std::os::unix::fs::symlink(PROGRAM, &program).unwrap();
    let trial = Arc::new(ChildProcess::of(&program));
    let limits = limits(Duration::from_millis(1500));
    let sandbox = Sandbox::new(limits, trial).unwrap();
    let built = compiler::shipped()[0].model().unwrap();
    let model = sandbox.load(&built.module.bytes, built.module.fuel);
    let model: LoadedModel = model.unwrap();
    let bomb = slow();
    let loading = std::thread::spawn(move || sandbox.load(&bomb, 1).err());
    let input = vec![0; model.input_elements()];
    let mut seen = false;
    loop {
        assert!(model.run(&input).is_ok());
        seen |= !children("bomb-compiler").is_empty();
        if loading.is_finished() {
            break;
        }
    }
    let refused = loading.join().unwrap();
    assert_eq!(refused, Some(ModuleRejected::CompileTimeout));
    assert!(seen, "a process compiled it");
    assert!(children("bomb-compiler").is_empty());
}

#[test]
fn a_module_that_takes_too_much_memory_is_refused_by_name() {
    let limits = SandboxLimits {
        compile_memory_bytes: 128 << 20,
        ..limits(Duration::from_secs(120))
    };
    let bomb = large();
    let refused = ChildProcess::of(PROGRAM).compile(&bomb, &limits);
    assert_eq!(refused, Err(ModuleRejected::CompilerCrashed));
}

#[test]
fn a_module_that_does_not_compile_is_refused_by_the_compiler() {
    let refused = ChildProcess::of(PROGRAM).compile(b"\0asm", &SandboxLimits::default());
    assert_eq!(refused, Err(ModuleRejected::Compiler));
}

#[test]
fn whoever_gives_no_verdict_is_not_believed_and_not_left_running() {
    let built = compiler::shipped()[0].model().unwrap();
    let endless = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/processes/endless.sh");
    // Says nothing, something else, something else without end.
    for program in ["/usr/bin/true", "/usr/bin/echo", endless] {
        let trial = ChildProcess::of(program);
        let refused = trial.compile(&built.module.bytes, &SandboxLimits::default());
        assert_eq!(refused, Err(ModuleRejected::CompilerGarbled), "{program}");
    }
    for name in ["true", "echo", "endless.sh", "yes"] {
        assert!(children(name).is_empty(), "{name}");
    }
}

#[test]
fn a_compiler_that_is_not_there_is_named() {
    let trial = ChildProcess::of("/nowhere/subrosa");
    let refused = trial.compile(&[], &SandboxLimits::default());
    let why = ModuleRejected::CompilerMissing(ErrorKind::NotFound);
    assert_eq!(refused, Err(why));
    assert_eq!(why.to_string().lines().count(), 1);
}

fn compile_module(cpu_seconds: &str) -> Child {
    Command::new(PROGRAM)
        .args(["compile-module", "--memory-bytes", "1000000000"])
        .args(["--cpu-seconds", cpu_seconds])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn past_its_processor_time_the_process_is_ended_by_the_system() {
    let mut process = compile_module("1");
    let bomb = slow();
    process.stdin.take().unwrap().write_all(&bomb).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::XCPU.as_raw()));
    assert!(output.stdout.is_empty());
}

#[test]
fn it_has_given_up_everything_before_it_reads() {
    let mut process = compile_module("77");
    let path = format!("/proc/{}/limits", process.id());
    // It waits for a module that does not come; the last limit that it sets is that of its time.
    let limits = loop {
        assert!(process.try_wait().unwrap().is_none(), "it waits");
        let limits = std::fs::read_to_string(&path).unwrap();
        if limits
            .lines()
            .any(|line| line.starts_with("Max cpu time") && line.contains("77"))
        {
            break limits;
        }
        std::thread::yield_now();
    };
    for (resource, most) in [
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "0"),
        ("Max processes", "0"),
        ("Max stack size", "2097152"),
        ("Max address space", "1000000000"),
    ] {
        let line = limits
            .lines()
            .find(|line| line.starts_with(resource))
            .unwrap();
        let values: Vec<&str> = line[resource.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [most, most], "{resource}");
    }
    process.kill().unwrap();
    process.wait().unwrap();
}
