//! The allow-list: which modules the compiler gets to see (docs/spec/model.md, 5).
//!
//! Whatever this project's compiler does not emit is refused by name: imports, tables, elements,
//! a start function, floating point, threads, relaxed SIMD, custom sections. Sizes are capped before
//! anything is validated, and everything is validated before anything is compiled.

use std::io;

use thiserror::Error;
use wasmparser::{
    ConstExpr, DataKind, Encoding, ExternalKind, FunctionBody, GlobalSectionReader,
    MemorySectionReader, Operator, Parser, Payload, ValType, Validator, WasmFeatures,
};

use super::SandboxLimits;

/// Why a module is not compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModuleRejected {
    /// Longer than the limit.
    #[error("the module is too long")]
    TooLong,
    /// Not WebAssembly, or not valid with SIMD and bulk memory alone.
    #[error("the module is malformed, or uses a feature that is not allowed")]
    Malformed,
    /// It imports.
    #[error("the module has imports")]
    Imports,
    /// It has a start function.
    #[error("the module has a start function")]
    Start,
    /// It has a table or element segments.
    #[error("the module has a table")]
    Table,
    /// It has a section that is not on the list.
    #[error("the module has a section that is not allowed")]
    Section,
    /// Too many types, functions, globals, segments.
    #[error("the module has too many items")]
    TooMany,
    /// A function is too long, or all of them together are.
    #[error("the module has too much code")]
    TooMuchCode,
    /// A function has too many locals.
    #[error("a function has too many locals")]
    TooManyLocals,
    /// Not one memory of one size within the limit.
    #[error("the module's memory has no fixed size, or is too large")]
    Memory,
    /// The exports are not exactly those of the calling convention.
    #[error("the module's exports are not those of the calling convention")]
    Exports,
    /// An exported constant points outside the memory, or is not a constant.
    #[error("an exported constant is not one, or points outside the memory")]
    Abi,
    /// The compiler refused it.
    #[error("the compiler refused the module")]
    Compiler,
    /// Compilation took too long.
    #[error("the module took too long to compile")]
    CompileTimeout,
    /// Compilation was broken off: too much memory, or a fault of the compiler.
    #[error("its compilation was broken off: too much memory, or a fault of the compiler")]
    CompilerCrashed,
    /// Another module is being compiled.
    #[error("another module is being compiled")]
    CompilerBusy,
    /// The compiler's process could not be started.
    #[error("the compiler's process did not start ({0}); is this program's file still in place?")]
    CompilerMissing(io::ErrorKind),
    /// The compiler's process gave no verdict on this module.
    #[error("the compiler's process gave no verdict; is this program's file another version now?")]
    CompilerGarbled,
}

/// Where a checked module takes its input and leaves its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi {
    pub(super) input: Array,
    pub(super) output: Array,
}

/// `i32`s in the module's memory; certainly inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) address: usize,
    pub(super) elements: usize,
}

const MAX_TYPES: u32 = 16;
const MAX_FUNCTIONS: u32 = 8192;
const MAX_SEGMENTS: u32 = 16384;
const MAX_CODE_BYTES: usize = 4 << 20;
const MAX_FUNCTION_BYTES: usize = 64 << 10;
const MAX_LOCALS: u32 = 64;
const PAGE: u64 = 1 << 16;

/// Checks `module` and finds its calling convention.
pub(super) fn check(module: &[u8], limits: &SandboxLimits) -> Result<Abi, ModuleRejected> {
    if module.len() > limits.module_bytes {
        return Err(ModuleRejected::TooLong);
    }
    let mut found = Found::default();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|_| ModuleRejected::Malformed)?;
        found.admit(payload, limits)?;
    }
    Validator::new_with_features(FEATURES)
        .validate_all(module)
        .map_err(|_| ModuleRejected::Malformed)?;
    found.abi()
}

/// Integers, SIMD and bulk memory. No floating point: what a model says is one on every machine.
const FEATURES: WasmFeatures = WasmFeatures::SIMD
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SIGN_EXTENSION);

/// What a first pass over the sections found.
#[derive(Default)]
struct Found {
    code_bytes: usize,
    memory_bytes: usize,
    globals: Vec<Option<u32>>,
    exports: Exports,
}

#[derive(Default)]
struct Exports {
    count: usize,
    memory: bool,
    infer: bool,
    constants: [Option<u32>; 4],
}

const CONSTANTS: [&str; 4] = ["input_ptr", "input_len", "output_ptr", "output_len"];

impl Found {
    fn admit(
        &mut self,
        payload: Payload<'_>,
        limits: &SandboxLimits,
    ) -> Result<(), ModuleRejected> {
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } => Ok(()),
            Payload::TypeSection(section) => at_most(section.count(), MAX_TYPES),
            Payload::FunctionSection(section) => at_most(section.count(), MAX_FUNCTIONS),
            Payload::MemorySection(section) => self.memory(section, limits),
            Payload::GlobalSection(section) => self.globals(section),
            Payload::ExportSection(section) => self.exports(section),
            Payload::CodeSectionStart { count, size, .. } => {
                if size as usize > MAX_CODE_BYTES {
                    return Err(ModuleRejected::TooMuchCode);
                }
                at_most(count, MAX_FUNCTIONS)
            }
            Payload::CodeSectionEntry(body) => self.body(&body),
            Payload::DataCountSection { count, .. } => at_most(count, MAX_SEGMENTS),
            Payload::DataSection(section) => {
                at_most(section.count(), MAX_SEGMENTS)?;
                for data in section {
                    let data = data.map_err(|_| ModuleRejected::Malformed)?;
                    if !matches!(
                        data.kind,
                        DataKind::Active {
                            memory_index: 0,
                            ..
                        }
                    ) {
                        return Err(ModuleRejected::Section);
                    }
                }
                Ok(())
            }
            Payload::End(_) => Ok(()),
            Payload::ImportSection(_) => Err(ModuleRejected::Imports),
            Payload::StartSection { .. } => Err(ModuleRejected::Start),
            Payload::TableSection(_) | Payload::ElementSection(_) => Err(ModuleRejected::Table),
            _ => Err(ModuleRejected::Section),
        }
    }

    fn memory(
        &mut self,
        section: MemorySectionReader<'_>,
        limits: &SandboxLimits,
    ) -> Result<(), ModuleRejected> {
        let mut memories = section.into_iter();
        let (Some(Ok(memory)), None) = (memories.next(), memories.next()) else {
            return Err(ModuleRejected::Memory);
        };
        let bytes = memory.initial.checked_mul(PAGE);
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let fixed = memory.maximum == Some(memory.initial);
        if !fixed || memory.shared || memory.memory64 || memory.page_size_log2.is_some() {
            return Err(ModuleRejected::Memory);
        }
        self.memory_bytes = bytes
            .filter(|&bytes| bytes <= limits.memory_bytes)
            .ok_or(ModuleRejected::Memory)?;
        Ok(())
    }

    fn globals(&mut self, section: GlobalSectionReader<'_>) -> Result<(), ModuleRejected> {
        if section.count() as usize > CONSTANTS.len() {
            return Err(ModuleRejected::TooMany);
        }
        for global in section {
            let global = global.map_err(|_| ModuleRejected::Malformed)?;
            let constant = global.ty.content_type == ValType::I32 && !global.ty.mutable;
            let value = constant.then(|| i32_const(&global.init_expr)).flatten();
            self.globals.push(value);
        }
        Ok(())
    }

    fn exports(
        &mut self,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), ModuleRejected> {
        for export in section {
            let export = export.map_err(|_| ModuleRejected::Malformed)?;
            self.exports.count += 1;
            let constant = CONSTANTS.iter().position(|name| *name == export.name);
            match (export.name, export.kind, constant) {
                ("memory", ExternalKind::Memory, _) => self.exports.memory = true,
                ("infer", ExternalKind::Func, _) => self.exports.infer = true,
                (_, ExternalKind::Global, Some(place)) => {
                    let global = self.globals.get(export.index as usize).copied();
                    let value = global.flatten().ok_or(ModuleRejected::Abi)?;
                    self.exports.constants[place] = Some(value);
                }
                _ => return Err(ModuleRejected::Exports),
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), ModuleRejected> {
        let bytes = body.range().len();
        self.code_bytes += bytes;
        if bytes > MAX_FUNCTION_BYTES || self.code_bytes > MAX_CODE_BYTES {
            return Err(ModuleRejected::TooMuchCode);
        }
        let locals = body
            .get_locals_reader()
            .map_err(|_| ModuleRejected::Malformed)?;
        let mut count = 0_u32;
        for group in locals {
            let (locals, _) = group.map_err(|_| ModuleRejected::TooManyLocals)?;
            count = count.saturating_add(locals);
            if count > MAX_LOCALS {
                return Err(ModuleRejected::TooManyLocals);
            }
        }
        Ok(())
    }

    fn abi(&self) -> Result<Abi, ModuleRejected> {
        let exports = &self.exports;
        let complete = exports.memory && exports.infer && exports.count == 2 + CONSTANTS.len();
        let [Some(input), Some(inputs), Some(output), Some(outputs)] = exports.constants else {
            return Err(ModuleRejected::Exports);
        };
        if !complete {
            return Err(ModuleRejected::Exports);
        }
        Ok(Abi {
            input: self.array(input, inputs)?,
            output: self.array(output, outputs)?,
        })
    }

    /// The array, if it has elements and lies in memory that has no elements of another.
    fn array(&self, address: u32, elements: u32) -> Result<Array, ModuleRejected> {
        let end = u64::from(address) + 4 * u64::from(elements);
        if elements == 0 || end > self.memory_bytes as u64 {
            return Err(ModuleRejected::Abi);
        }
        Ok(Array {
            address: address as usize,
            elements: elements as usize,
        })
    }
}

fn at_most(count: u32, max: u32) -> Result<(), ModuleRejected> {
    if count <= max {
        Ok(())
    } else {
        Err(ModuleRejected::TooMany)
    }
}

/// The value of a constant expression that is one `i32.const`, as the address that it is.
fn i32_const(expression: &ConstExpr<'_>) -> Option<u32> {
    let mut operators = expression.get_operators_reader().into_iter();
    match (operators.next(), operators.next(), operators.next()) {
        (Some(Ok(Operator::I32Const { value })), Some(Ok(Operator::End)), None) => {
            Some(value.cast_unsigned())
        }
        _ => None,
    }
}
