//! Function bodies that know what they cost: straight code, and loops of a constant count.

use wasm_encoder::{BlockType, Function, Instruction, MemArg, ValType};

/// A function's body, without parameters. Every function has the same locals.
#[derive(Debug, Default)]
pub(super) struct Body {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Once(Instruction<'static>),
    Repeat {
        times: u32,
        counter: Local,
        body: Body,
    },
}

/// A local, the same in every function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local(u32);

/// Counters of loops, outermost first.
pub(super) const OUTER: Local = Local(0);
pub(super) const INNER: Local = Local(1);
/// Addresses that move through memory.
pub(super) const FROM: Local = Local(2);
pub(super) const BESIDE: Local = Local(3);
pub(super) const WEIGHTS: Local = Local(4);
pub(super) const TO: Local = Local(5);
/// 32-bit values.
pub(super) const X: Local = Local(6);
pub(super) const Y: Local = Local(7);
pub(super) const Z: Local = Local(8);
/// A 64-bit value.
pub(super) const WIDE: Local = Local(9);
/// Vectors: eight sums, and two more.
pub(super) const SUMS: [Local; 8] = eight(10);
pub(super) const LANES: Local = Local(18);
pub(super) const MORE_LANES: Local = Local(19);
/// Addresses of eight trees' splits; or counters and addresses of loops over planes.
pub(super) const CURSORS: [Local; 8] = eight(20);

const LOCALS: [(u32, ValType); 4] = [
    (9, ValType::I32),
    (1, ValType::I64),
    (10, ValType::V128),
    (8, ValType::I32),
];

const fn eight(first: u32) -> [Local; 8] {
    let mut locals = [Local(first); 8];
    let mut place = 0;
    while place < 8 {
        locals[place] = Local(first + place as u32);
        place += 1;
    }
    locals
}

impl Body {
    /// The body that calls functions `0..count`, and returns what the first returns.
    pub(super) fn calls(count: usize) -> Self {
        let mut body = Self::default();
        for function in (0..).take(count) {
            body.op(Instruction::Call(function));
        }
        body
    }

    /// One instruction.
    pub(super) fn op(&mut self, instruction: Instruction<'static>) -> &mut Self {
        self.steps.push(Step::Once(instruction));
        self
    }

    /// What `body` writes, `times` times over, counted down in `counter`.
    pub(super) fn repeat(
        &mut self,
        times: u32,
        counter: Local,
        body: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let mut inner = Self::default();
        body(&mut inner);
        match times {
            0 => {}
            1 => self.steps.append(&mut inner.steps),
            _ => self.steps.push(Step::Repeat {
                times,
                counter,
                body: inner,
            }),
        }
        self
    }

    pub(super) fn get(&mut self, local: Local) -> &mut Self {
        self.op(Instruction::LocalGet(local.0))
    }

    pub(super) fn set(&mut self, local: Local) -> &mut Self {
        self.op(Instruction::LocalSet(local.0))
    }

    pub(super) fn constant(&mut self, value: i32) -> &mut Self {
        self.op(Instruction::I32Const(value))
    }

    /// Points `local` at `address`.
    pub(super) fn point(&mut self, local: Local, address: u32) -> &mut Self {
        self.constant(address.cast_signed()).set(local)
    }

    /// Moves the address in `local` by `bytes`.
    pub(super) fn advance(&mut self, local: Local, bytes: u32) -> &mut Self {
        self.get(local)
            .constant(bytes.cast_signed())
            .op(Instruction::I32Add)
            .set(local)
    }

    /// What wasmtime charges for one call: one for entering, one an instruction, nothing for
    /// `loop` and `end`.
    pub(super) fn fuel(&self) -> u64 {
        1 + self.cost()
    }

    fn cost(&self) -> u64 {
        let cost = |step: &Step| match step {
            Step::Once(_) => 1,
            Step::Repeat { times, body, .. } => 2 + u64::from(*times) * (body.cost() + 5),
        };
        self.steps.iter().map(cost).sum()
    }

    pub(super) fn encode(&self) -> Function {
        let mut function = Function::new(LOCALS);
        self.write(&mut function);
        function.instruction(&Instruction::End);
        function
    }

    fn write(&self, function: &mut Function) {
        for step in &self.steps {
            match step {
                Step::Once(instruction) => {
                    function.instruction(instruction);
                }
                Step::Repeat {
                    times,
                    counter,
                    body,
                } => {
                    function.instruction(&Instruction::I32Const(times.cast_signed()));
                    function.instruction(&Instruction::LocalSet(counter.0));
                    function.instruction(&Instruction::Loop(BlockType::Empty));
                    body.write(function);
                    function.instruction(&Instruction::LocalGet(counter.0));
                    function.instruction(&Instruction::I32Const(1));
                    function.instruction(&Instruction::I32Sub);
                    function.instruction(&Instruction::LocalTee(counter.0));
                    function.instruction(&Instruction::BrIf(0));
                    function.instruction(&Instruction::End);
                }
            }
        }
    }
}

/// A place in memory `offset` bytes behind an address, aligned to `1 << align`.
pub(super) fn at(offset: u32, align: u32) -> MemArg {
    MemArg {
        offset: offset.into(),
        align,
        memory_index: 0,
    }
}
