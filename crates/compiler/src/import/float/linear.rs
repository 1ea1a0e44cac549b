//! Sums of products: dense layers, convolutions, factors, and the windows of pools.

use graph::Window;

/// `y = W x + b`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Dense {
    pub(in crate::import) weights: Vec<f32>,
    pub(in crate::import) bias: Vec<f32>,
}

impl Dense {
    /// The weights of output `row`.
    pub(in crate::import) fn row(&self, row: usize) -> &[f32] {
        let columns = self.weights.len() / self.bias.len();
        &self.weights[row * columns..(row + 1) * columns]
    }

    pub(super) fn run(&self, x: &[f64]) -> Vec<f64> {
        let output = |(row, bias): (usize, &f32)| {
            let products = self.row(row).iter().zip(x).map(|(w, x)| f64::from(*w) * x);
            f64::from(*bias) + products.sum::<f64>()
        };
        self.bias.iter().enumerate().map(output).collect()
    }
}

/// `y_o = b_o + sum W_{o,i} * x_{g,i}` under a window, `i` over the channels of `o`'s group.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Conv {
    pub(in crate::import) window: Window,
    pub(in crate::import) groups: usize,
    /// Outputs times channels of a group times taps.
    pub(in crate::import) weights: Vec<f32>,
    /// One an output channel.
    pub(in crate::import) bias: Vec<f32>,
}

impl Conv {
    /// The weights of output channel `channel`.
    pub(in crate::import) fn row(&self, channel: usize) -> &[f32] {
        let columns = self.weights.len() / self.bias.len();
        &self.weights[channel * columns..(channel + 1) * columns]
    }

    pub(super) fn run(&self, x: &[f64]) -> Vec<f64> {
        let window = &self.window;
        let plane = window.height as usize * window.width as usize;
        let taps = taps(window);
        let depth = window.channels as usize / self.groups;
        let outputs = self.bias.len() / self.groups;
        let positions = window.positions();
        let mut y: Vec<f64> = Vec::with_capacity(self.bias.len() * positions);
        for (channel, bias) in self.bias.iter().enumerate() {
            let planes = &x[channel / outputs * depth * plane..];
            let weights = self.row(channel);
            for under in taps.chunks(window.taps()) {
                let products = weights.iter().enumerate().map(|(place, w)| {
                    let (plane_of, tap) = (place / under.len(), place % under.len());
                    under[tap].map_or(0.0, |at| f64::from(*w) * planes[plane_of * plane + at])
                });
                y.push(f64::from(*bias) + products.sum::<f64>());
            }
        }
        y
    }
}

/// `y_i = scale_c x_i + shift_c`, `c = floor(i / inner) mod count`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Affine {
    pub(in crate::import) scale: Vec<f64>,
    pub(in crate::import) shift: Vec<f64>,
    pub(in crate::import) inner: usize,
}

impl Affine {
    /// One factor and one shift for all elements.
    pub(in crate::import) fn uniform(scale: f64, shift: f64) -> Self {
        Self {
            scale: vec![scale],
            shift: vec![shift],
            inner: 1,
        }
    }

    /// Factor and shift of element `i`.
    pub(in crate::import) fn at(&self, i: usize) -> (f64, f64) {
        let c = i / self.inner % self.scale.len();
        (self.scale[c], self.shift[c])
    }

    /// Factor and shift, if there is one of each.
    pub(in crate::import) fn as_uniform(&self) -> Option<(f64, f64)> {
        match (self.scale.as_slice(), self.shift.as_slice()) {
            ([scale], [shift]) => Some((*scale, *shift)),
            _ => None,
        }
    }

    pub(super) fn run(&self, x: &[f64]) -> Vec<f64> {
        let each = |(i, x): (usize, &f64)| {
            let (scale, shift) = self.at(i);
            scale * x + shift
        };
        x.iter().enumerate().map(each).collect()
    }
}

/// Folds what is under the window, at each of its positions in each plane.
pub(super) fn pool(
    window: &Window,
    x: &[f64],
    start: f64,
    fold: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let plane = window.height as usize * window.width as usize;
    let taps = taps(window);
    let mut y = Vec::with_capacity(window.channels as usize * window.positions());
    for plane in x.chunks(plane) {
        for under in taps.chunks(window.taps()) {
            let elements = under.iter().flatten().map(|&at| plane[at]);
            y.push(elements.fold(start, &fold));
        }
    }
    y
}

/// What lies under each tap at each position: positions times taps.
fn taps(window: &Window) -> Vec<Option<usize>> {
    let mut places = Vec::with_capacity(window.positions() * window.taps());
    for row in 0..window.output_height() {
        for column in 0..window.output_width() {
            for down in 0..window.kernel[0] {
                for right in 0..window.kernel[1] {
                    places.push(window.tap([row, column], [down, right]));
                }
            }
        }
    }
    places
}
