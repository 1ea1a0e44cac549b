//! From graph to WebAssembly (docs/spec/model.md, 5).
//!
//! A function a node; weights in data segments; activations on pages of their own, so that
//! instances share the pages of weights; no imports, and no branch that depends on data.

mod body;
mod kernels;
mod layout;

use graph::Graph;
use thiserror::Error;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, MemorySection, MemoryType, TypeSection, ValType,
};

use body::Body;
use layout::Layout;

/// A model as a WebAssembly module: no imports, memory of one size, exports as
/// docs/spec/model.md, 5 lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The binary format.
    pub bytes: Vec<u8>,
    /// What one inference costs in wasmtime's fuel: the same for every input.
    pub fuel: u64,
}

/// Why a graph does not become a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Parameters and values need more memory than a module may have.
    #[error("the model needs more than {} MiB of memory", max >> 20)]
    TooLarge {
        /// The bound, in bytes.
        max: u32,
    },
    /// There is an operator that has no kernel.
    #[error("node {node}: no kernel for this operator")]
    NoKernel {
        /// The node, counted from 0.
        node: usize,
    },
}

/// The module that computes what [`Graph::run`] computes, bit for bit.
///
/// # Errors
/// [`CompileError`] if the module would need too much memory.
pub fn compile(graph: &Graph) -> Result<Module, CompileError> {
    let layout = Layout::new(graph)?;
    let mut bodies = vec![kernels::admit_input(graph, &layout)];
    for node in 0..graph.nodes().len() {
        bodies.push(kernels::node(graph, &layout, node)?);
    }
    bodies.push(kernels::give_output(graph, &layout));
    let infer = Body::calls(bodies.len());
    let fuel = infer.fuel() + bodies.iter().map(Body::fuel).sum::<u64>();
    let bytes = assemble(&layout, &bodies, &infer);
    Ok(Module { bytes, fuel })
}

fn assemble(layout: &Layout, bodies: &[Body], infer: &Body) -> Vec<u8> {
    let mut module = wasm_encoder::Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([], [ValType::I32]);
    module.section(&types);

    // The first function and `infer` return the status.
    let mut functions = FunctionSection::new();
    functions.function(STATUS);
    for _ in 1..bodies.len() {
        functions.function(PLAIN);
    }
    functions.function(STATUS);
    module.section(&functions);

    let pages = Some(u64::from(layout.pages()));
    let mut memory = MemorySection::new();
    memory.memory(MemoryType {
        minimum: u64::from(layout.pages()),
        maximum: pages,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    module.section(&memory);

    let constants = layout.constants();
    let mut globals = GlobalSection::new();
    for (_, value) in constants {
        let kind = GlobalType {
            val_type: ValType::I32,
            mutable: false,
            shared: false,
        };
        globals.global(kind, &ConstExpr::i32_const(value.cast_signed()));
    }
    module.section(&globals);

    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("infer", ExportKind::Func, functions.len() - 1);
    for ((name, _), place) in constants.iter().zip(0..) {
        exports.export(name, ExportKind::Global, place);
    }
    module.section(&exports);

    let mut code = CodeSection::new();
    for body in bodies.iter().chain([infer]) {
        code.function(&body.encode());
    }
    module.section(&code);

    let mut segments = DataSection::new();
    for (address, bytes) in layout.segments() {
        let offset = ConstExpr::i32_const(address.cast_signed());
        segments.active(0, &offset, bytes.iter().copied());
    }
    module.section(&segments);
    module.finish()
}

/// Places in the type section.
const PLAIN: u32 = 0;
const STATUS: u32 = 1;

#[cfg(test)]
mod tests {
    use graph::{Accumulator, InputType, Node, Operator, ValueId, Weights};

    use super::*;

    #[test]
    fn a_model_that_padding_makes_too_large_is_refused() {
        let rows = 3 << 20;
        let dense = Operator::Dense {
            weights: Weights::Wide(vec![1; rows]),
            bias: vec![0; rows],
            accumulator: Accumulator::Narrow,
        };
        let input = InputType {
            elements: 1,
            lo: 0,
            hi: 1,
        };
        let graph = Graph::new(input, vec![Node::unary(dense, ValueId(0))]).unwrap();
        let max = 64 << 20;
        assert_eq!(compile(&graph), Err(CompileError::TooLarge { max }));
    }
}
