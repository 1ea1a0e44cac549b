//! The operators under windows and on single elements, against formulas written another way:
//! scattering instead of gathering, nested indices instead of flat ones, comparisons instead of
//! arithmetic. Ten thousand random inputs an operator, and every boundary.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_graph::{
    Conv, Graph, GraphError, InputType, Node, Operator, Select, ValueId, Weights, Window,
};

const ROUNDS: usize = 250;
const INPUTS: usize = 40;

fn one(elements: usize, ends: [i32; 2], operator: Operator) -> Result<Graph, GraphError> {
    let input = InputType {
        elements: elements as u32,
        lo: ends[0],
        hi: ends[1],
    };
    Graph::new(input, vec![Node::unary(operator, ValueId(0))])
}

fn window(rng: &mut impl Rng) -> Window {
    loop {
        let mut pick = |most: u32| rng.random_range(1..=most);
        let window = Window {
            channels: pick(4),
            height: pick(6),
            width: pick(9),
            kernel: [pick(3), pick(4)],
            stride: [pick(3), pick(3)],
            dilation: [pick(2), pick(2)],
            pads: [pick(3) - 1, pick(3) - 1, pick(3) - 1, pick(3) - 1],
        };
        if window.positions() > 0 {
            return window;
        }
    }
}

/// Boundary inputs, then random ones.
fn inputs(graph: &Graph, rng: &mut impl Rng) -> Vec<Vec<i32>> {
    let InputType { elements, lo, hi } = graph.input();
    let all = |x: i32| vec![x; elements as usize];
    let alternate = |a: i32, b: i32| (0..elements).map(move |i| if i % 2 == 0 { a } else { b });
    let mut inputs = vec![all(lo), all(hi), all(0.clamp(lo, hi))];
    inputs.push(alternate(lo, hi).collect());
    inputs.push(alternate(hi, lo).collect());
    for _ in 0..INPUTS {
        inputs.push((0..elements).map(|_| rng.random_range(lo..=hi)).collect());
    }
    inputs
}

/// The padded plane of channel `c`: rows of columns, `None` for padding.
fn padded(window: &Window, x: &[i32], c: usize) -> Vec<Vec<Option<i64>>> {
    let (height, width) = (window.height as usize, window.width as usize);
    let [top, left, bottom, right] = window.pads.map(|p| p as usize);
    let mut rows = vec![vec![None; left + width + right]; top + height + bottom];
    for r in 0..height {
        for column in 0..width {
            rows[top + r][left + column] = Some(x[(c * height + r) * width + column].into());
        }
    }
    rows
}

/// The padded elements at each position: kernel row by kernel row.
fn patches(window: &Window, x: &[i32], c: usize) -> Vec<Vec<Option<i64>>> {
    let rows = padded(window, x, c);
    let axis = |axis: usize, extent: usize| {
        let spread = (window.kernel[axis] as usize - 1) * window.dilation[axis] as usize + 1;
        (0..=extent - spread).step_by(window.stride[axis] as usize)
    };
    let mut all = Vec::new();
    for top in axis(0, rows.len()) {
        for left in axis(1, rows[0].len()) {
            let down = (0..window.kernel[0]).map(|k| top + (k * window.dilation[0]) as usize);
            let across = |k: u32| left + (k * window.dilation[1]) as usize;
            let patch = down.flat_map(|r| (0..window.kernel[1]).map(move |k| (r, k)));
            all.push(patch.map(|(r, k)| rows[r][across(k)]).collect());
        }
    }
    all
}

#[test]
fn a_convolution_is_the_sum_over_patches() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut ran, mut grouped) = (0, 0);
    while ran < ROUNDS {
        let window = window(&mut rng);
        let groups = [1, window.channels][rng.random_range(0..2)];
        let outputs = groups * rng.random_range(1..=3);
        let depth = (window.channels / groups) as usize;
        let count = outputs as usize * depth * window.taps();
        let wide = rng.random::<bool>();
        let weights: Vec<i16> = (0..count)
            .map(|_| {
                if wide {
                    rng.random()
                } else {
                    rng.random::<i8>().into()
                }
            })
            .collect();
        let bias: Vec<i32> = (0..outputs)
            .map(|_| rng.random_range(-999_999..=999_999))
            .collect();
        let conv = Conv {
            window,
            groups,
            weights: if wide {
                Weights::Wide(weights.clone())
            } else {
                Weights::Narrow(weights.iter().map(|&w| w as i8).collect())
            },
            bias: bias.clone(),
        };
        let ends = if wide { [-200, 127] } else { [-20_000, 20_000] };
        let graph = one(window.elements(), ends, Operator::Conv(conv)).unwrap();
        for x in inputs(&graph, &mut rng) {
            let mut expected = Vec::new();
            for o in 0..outputs as usize {
                let first = o / (outputs / groups) as usize * depth;
                let mut sums = vec![i64::from(bias[o]); window.positions()];
                for channel in 0..depth {
                    let kernel = &weights[(o * depth + channel) * window.taps()..];
                    let patches = patches(&window, &x, first + channel);
                    assert_eq!(patches.len(), sums.len());
                    for (sum, patch) in sums.iter_mut().zip(patches) {
                        let products = patch.iter().zip(kernel);
                        *sum += products
                            .map(|(x, &w)| x.unwrap_or(0) * i64::from(w))
                            .sum::<i64>();
                    }
                }
                expected.extend(sums.into_iter().map(|sum| sum as i32));
            }
            assert_eq!(graph.run(&x), Ok(expected));
        }
        ran += 1;
        grouped += u32::from(groups > 1);
    }
    assert!(grouped > 30);
}

#[test]
fn pools_are_the_largest_and_the_sum_of_patches() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let (mut maxima, mut sums) = (0, 0);
    while maxima < ROUNDS || sums < ROUNDS {
        let window = window(&mut rng);
        let bias = rng.random_range(-9999..=9999);
        let ends = [-32_768, 32_767];
        if let Ok(graph) = one(window.elements(), ends, Operator::MaxPool(window)) {
            for x in inputs(&graph, &mut rng) {
                let planes = 0..window.channels as usize;
                let patches = planes.flat_map(|c| patches(&window, &x, c));
                let largest = |p: Vec<Option<i64>>| p.into_iter().flatten().max().unwrap() as i32;
                assert_eq!(graph.run(&x), Ok(patches.map(largest).collect()));
            }
            maxima += 1;
        } else {
            let x = vec![0; window.elements()];
            let mut patches = patches(&window, &x, 0).into_iter();
            assert!(patches.any(|p| p.iter().all(Option::is_none)), "{window:?}");
        }
        let graph = one(window.elements(), ends, Operator::SumPool { window, bias }).unwrap();
        for x in inputs(&graph, &mut rng) {
            let planes = 0..window.channels as usize;
            let patches = planes.flat_map(|c| patches(&window, &x, c));
            let sum = |p: Vec<Option<i64>>| p.into_iter().flatten().sum::<i64>() as i32 + bias;
            assert_eq!(graph.run(&x), Ok(patches.map(sum).collect()));
        }
        sums += 1;
    }
}

#[test]
fn select_reads_its_inputs_one_after_the_other() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for _ in 0..ROUNDS {
        let (count, fill) = (rng.random_range(1..9_u32), rng.random_range(-99..=99));
        let clamp = Operator::Clamp { lo: -5, hi: 7 };
        let mut indices: Vec<u32> = (0..rng.random_range(1..20))
            .map(|_| rng.random_range(0..2 * count))
            .collect();
        indices.push(Select::FILL);
        let select = Select {
            indices: indices.clone(),
            fill,
        };
        let nodes = vec![
            Node::unary(clamp, ValueId(0)),
            Node {
                operator: Operator::Select(select),
                inputs: vec![ValueId(0), ValueId(1)],
            },
        ];
        let input = InputType {
            elements: count,
            lo: -40,
            hi: 40,
        };
        let graph = Graph::new(input, nodes).unwrap();
        for x in inputs(&graph, &mut rng) {
            let expected = indices.iter().map(|&i| match i {
                Select::FILL => fill,
                i if i < count => x[i as usize],
                i => x[(i - count) as usize].clamp(-5, 7),
            });
            assert_eq!(graph.run(&x), Ok(expected.collect()));
        }
    }
}

#[test]
fn tables_slopes_and_products_say_what_they_say() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for _ in 0..ROUNDS {
        let lo = rng.random_range(-300..300);
        let entries: Vec<i16> = (0..rng.random_range(1..300))
            .map(|_| rng.random())
            .collect();
        let hi = lo + entries.len() as i32 - 1;
        let table = |entries: &[i16]| Operator::Table {
            lo,
            entries: entries.to_vec(),
        };
        let graph = one(5, [lo, hi], table(&entries)).unwrap();
        for x in inputs(&graph, &mut rng) {
            let mut expected = Vec::new();
            for x in x.iter().copied() {
                let known = (lo..).zip(&entries).find(|&(at, _)| at == x).unwrap().1;
                expected.push(i32::from(*known));
            }
            assert_eq!(graph.run(&x), Ok(expected));
        }
        let beyond = one(5, [lo, hi + 1], table(&entries));
        assert_eq!(beyond, Err(GraphError::InputTooWide { node: 0 }));

        let (below, above) = (rng.random::<i16>(), rng.random::<i16>());
        let slopes = Operator::Slopes { below, above };
        let graph = one(5, [-60_000, 60_000], slopes).unwrap();
        for x in inputs(&graph, &mut rng) {
            let part = |x: i32| x.max(0) * i32::from(above) + x.min(0) * i32::from(below);
            assert_eq!(graph.run(&x), Ok(x.iter().map(|&x| part(x)).collect()));
        }

        let nodes = vec![
            Node::unary(Operator::Clamp { lo: -50, hi: 60 }, ValueId(0)),
            Node {
                operator: Operator::Multiply,
                inputs: vec![ValueId(1), ValueId(0)],
            },
        ];
        let input = InputType {
            elements: 4,
            lo: -9_000_000,
            hi: 9_000_000,
        };
        let graph = Graph::new(input, nodes).unwrap();
        for x in inputs(&graph, &mut rng) {
            let product = |x: &i32| x * x.clamp(&-50, &60);
            assert_eq!(graph.run(&x), Ok(x.iter().map(product).collect()));
        }
    }
}

#[test]
fn intervals_hold_at_their_ends() {
    let refused = GraphError::AccumulatorOverflow { node: 0 };
    let window = Window::point(1, 1, 4);
    let whole = Window {
        kernel: [1, 4],
        ..window
    };
    let sum = |bias| Operator::SumPool {
        window: whole,
        bias,
    };
    let most = (1 << 30) - 1 - 4 * 32_768;
    let graph = one(4, [-32_768, 32_767], sum(-most)).unwrap();
    assert_eq!(graph.run(&[-32_768; 4]), Ok(vec![1 - (1 << 30)]));
    assert_eq!(one(4, [-32_768, 0], sum(-most - 1)), Err(refused));

    let conv = |bias| {
        Operator::Conv(Conv {
            window: whole,
            groups: 1,
            weights: Weights::Wide(vec![i16::MIN, 0, 0, 0]),
            bias: vec![bias],
        })
    };
    let graph = one(4, [-32_767, 0], conv((1 << 30) - 1 - 32_767 * 32_768)).unwrap();
    assert_eq!(graph.run(&[-32_767, 0, 0, 0]), Ok(vec![(1 << 30) - 1]));
    assert_eq!(one(4, [-32_768, 0], conv(0)), Err(refused));

    // |a| |b| is below 2^30, and then 2^30.
    let product = |lo| {
        let nodes = vec![
            Node::unary(
                Operator::Clamp {
                    lo: i32::MIN,
                    hi: 0,
                },
                ValueId(0),
            ),
            Node {
                operator: Operator::Multiply,
                inputs: vec![ValueId(1), ValueId(0)],
            },
        ];
        let input = InputType {
            elements: 1,
            lo,
            hi: 32_767,
        };
        Graph::new(input, nodes)
    };
    assert!(product(-32_767).is_ok());
    let over = Err(GraphError::AccumulatorOverflow { node: 1 });
    assert_eq!(product(-32_768), over);
    let slopes = Operator::Slopes {
        below: 2,
        above: i16::MIN,
    };
    assert_eq!(
        one(1, [0, i32::MAX], slopes.clone()).map(|_| ()),
        Err(GraphError::WideOutput)
    );
    assert_eq!(
        one(1, [i32::MIN, 0], slopes).map(|_| ()),
        Err(GraphError::WideOutput)
    );
}

#[test]
fn the_interval_of_slopes_holds_zero_where_they_meet() {
    for (below, above, interval) in [
        (-1, 1, [0, 9]),
        (1, -1, [-9, 0]),
        (3, 1, [-15, 9]),
        (i16::MIN, 0, [0, 5 * 32_768]),
    ] {
        let graph = one(1, [-5, 9], Operator::Slopes { below, above }).unwrap();
        let range = graph.range(graph.output()).unwrap();
        assert_eq!([range.lo(), range.hi()], interval);
    }
}

#[test]
fn windows_that_are_not_windows_are_refused() {
    let sound = Window::point(2, 3, 4);
    let change = |change: fn(&mut Window)| {
        let mut window = sound;
        change(&mut window);
        one(24, [0, 1], Operator::SumPool { window, bias: 0 })
    };
    let bad = Err(GraphError::BadParameter { node: 0 });
    assert!(change(|_| {}).is_ok());
    assert_eq!(change(|w| w.kernel[0] = 0), bad);
    assert_eq!(change(|w| w.stride[1] = 0), bad);
    assert_eq!(change(|w| w.dilation[1] = 0), bad);
    assert_eq!(change(|w| w.kernel = [4, 1]), bad);
    assert_eq!(change(|w| w.kernel = [u32::MAX, u32::MAX]), bad);
    assert_eq!(change(|w| w.pads = [u32::MAX; 4]), bad);
    assert_eq!(
        change(|w| w.height = 4),
        Err(GraphError::WrongSize { node: 0 })
    );
    let all = Window {
        height: 1 << 11,
        width: 1 << 11,
        kernel: [1 << 10, 1 << 10],
        channels: 1,
        ..sound
    };
    let max = one(1 << 22, [0, 1], Operator::MaxPool(all));
    assert_eq!(max, Err(GraphError::TooManyProducts));
    let conv = |groups, weights, outputs| {
        let conv = Conv {
            window: sound,
            groups,
            weights: Weights::Narrow(vec![1; weights]),
            bias: vec![0; outputs],
        };
        one(24, [0, 1], Operator::Conv(conv))
    };
    assert!(conv(2, 2, 2).is_ok() && conv(1, 6, 3).is_ok());
    for (groups, weights, outputs) in [(0, 2, 2), (2, 3, 3), (3, 2, 2), (1, 5, 3), (1, 0, 0)] {
        let size = Err(GraphError::WrongSize { node: 0 });
        assert_eq!(conv(groups, weights, outputs), size);
    }
}
