//! Trees walked side by side, every one to the same depth; nothing branches on a feature.

use graph::{MISSING, TreeEnsemble};
use wasm_encoder::Instruction as I;

use super::{load, load_wide, store};
use crate::module::body::{BESIDE, Body, CURSORS, FROM, INNER, Local, OUTER, TO, WEIGHTS, X, at};
use crate::module::layout::forest::{Forest, HEAD, Run, heeds_missing, number_bytes};
use crate::module::layout::{Place, Storage};

pub(super) fn trees(
    from: Place,
    to: Place,
    ensemble: &TreeEnsemble,
    [table, roots]: [u32; 2],
    scratch: u32,
) -> Body {
    let forest = Forest::new(ensemble, from.storage, from.elements as usize);
    let biases = roots + 8 * u32::try_from(forest.roots()).expect("at most MAX_MEMORY");
    let mut body = Body::default();
    let features = if heeds_missing(ensemble) {
        copies(&mut body, from, scratch);
        Place {
            address: scratch,
            storage: Storage::Word,
            ..from
        }
    } else {
        from
    };
    start(&mut body, to, biases);
    body.point(WEIGHTS, roots);
    for Run { groups, depth } in &forest.runs {
        body.repeat(*groups, OUTER, |body| {
            let cursors = CURSORS.into_iter().take(forest.lanes).zip(0..);
            for (cursor, lane) in cursors.clone() {
                body.get(WEIGHTS)
                    .op(I::I32Load(at(8 * lane, 2)))
                    .set(cursor);
            }
            body.repeat(*depth, INNER, |body| {
                for (cursor, _) in cursors.clone() {
                    step(body, cursor, table, features);
                }
            });
            for (cursor, lane) in cursors.clone() {
                body.get(WEIGHTS)
                    .op(I::I32Load(at(8 * lane + 4, 2)))
                    .set(BESIDE);
                add_leaf(body, cursor, table, to, ensemble);
            }
            let group = 8 * u32::try_from(forest.lanes).expect("at most eight");
            body.advance(WEIGHTS, group);
        });
    }
    body
}

/// The features as they are, and behind them with the smallest integer for each that is missing.
fn copies(body: &mut Body, from: Place, scratch: u32) {
    let behind = 4 * from.elements;
    body.point(FROM, from.address)
        .point(TO, scratch)
        .repeat(from.elements, OUTER, |body| {
            load(body, FROM, from.storage);
            body.set(X);
            body.get(TO).get(X).op(I::I32Store(at(0, 2)));
            body.get(TO).constant(i32::MIN).get(X);
            body.get(X).constant(MISSING).op(I::I32Eq).op(I::Select);
            body.op(I::I32Store(at(behind, 2)));
            body.advance(FROM, from.storage.bytes()).advance(TO, 4);
        });
}

/// Each output starts from its bias.
fn start(body: &mut Body, to: Place, biases: u32) {
    body.point(BESIDE, biases)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            body.get(TO);
            if to.storage == Storage::Long {
                load_wide(body, BESIDE, Storage::Word);
                body.op(I::I64Store(at(0, 3)));
            } else {
                load(body, BESIDE, Storage::Word);
                store(body, to.storage);
            }
            body.advance(BESIDE, 4).advance(TO, to.storage.bytes());
        });
}

/// Moves `cursor` to the child of its split.
fn step(body: &mut Body, cursor: Local, table: u32, features: Place) {
    body.get(cursor).op(I::I32Load(at(table + 8, 2)));
    body.get(cursor).op(I::I32Load(at(table + 12, 2)));
    body.get(cursor).op(I::I32Load(at(table + 4, 2)));
    body.op(match features.storage {
        Storage::Short => I::I32Load16S(at(features.address, 1)),
        Storage::Word | Storage::Long => I::I32Load(at(features.address, 2)),
    });
    body.get(cursor).op(I::I32Load(at(table, 2)));
    body.op(I::I32LeS).op(I::Select).set(cursor);
}

/// Adds the numbers of the leaf at `cursor` to the outputs `BESIDE` bytes behind the first.
fn add_leaf(body: &mut Body, cursor: Local, table: u32, to: Place, ensemble: &TreeEnsemble) {
    let numbers = table + u32::try_from(HEAD).expect("16");
    let wide = to.storage == Storage::Long;
    let lanes = 16 / number_bytes(ensemble) as u32;
    let (vectors, rest) = (ensemble.width / lanes, ensemble.width % lanes);
    body.repeat(vectors, INNER, |body| {
        body.get(BESIDE).get(BESIDE);
        body.op(I::V128Load(at(to.address, 2)));
        body.get(cursor).op(I::V128Load(at(numbers, 2)));
        body.op(if wide { I::I64x2Add } else { I::I32x4Add });
        body.op(I::V128Store(at(to.address, 2)));
        body.advance(BESIDE, 16).advance(cursor, 16);
    });
    for place in 0..rest {
        body.get(BESIDE).get(BESIDE);
        if wide {
            body.op(I::I64Load(at(to.address + 8 * place, 3)));
            body.get(cursor).op(I::I64Load(at(numbers + 8 * place, 3)));
            body.op(I::I64Add)
                .op(I::I64Store(at(to.address + 8 * place, 3)));
        } else {
            body.op(I::I32Load(at(to.address + 4 * place, 2)));
            body.get(cursor).op(I::I32Load(at(numbers + 4 * place, 2)));
            body.op(I::I32Add)
                .op(I::I32Store(at(to.address + 4 * place, 2)));
        }
    }
}
