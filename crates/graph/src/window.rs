//! Windows that move over planes: the geometry of convolutions and pools.

/// A window over `channels` planes of `height` times `width`, padded on all four sides.
///
/// Planes are row-major, one channel after the other. A signal is a plane of height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Planes of the input.
    pub channels: u32,
    /// Rows of a plane.
    pub height: u32,
    /// Columns of a plane.
    pub width: u32,
    /// Rows and columns of the window.
    pub kernel: [u32; 2],
    /// How far the window moves: down, right.
    pub stride: [u32; 2],
    /// Distance between the window's own rows, and columns.
    pub dilation: [u32; 2],
    /// Padding: rows above, columns left, rows below, columns right.
    pub pads: [u32; 4],
}

impl Window {
    /// A window of one element that visits every element.
    #[must_use]
    pub const fn point(channels: u32, height: u32, width: u32) -> Self {
        Self {
            channels,
            height,
            width,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
        }
    }

    /// Elements that the window reads; 0 if there are more than an index holds.
    #[must_use]
    pub const fn elements(&self) -> usize {
        product([self.channels, self.height, self.width])
    }

    /// Elements under the window in one plane.
    #[must_use]
    pub const fn taps(&self) -> usize {
        product([1, self.kernel[0], self.kernel[1]])
    }

    /// Rows of an output plane; 0 if the window does not fit.
    #[must_use]
    pub fn output_height(&self) -> u32 {
        self.steps(0, self.height)
    }

    /// Columns of an output plane; 0 if the window does not fit.
    #[must_use]
    pub fn output_width(&self) -> u32 {
        self.steps(1, self.width)
    }

    /// Positions of the window in one plane: elements of an output plane.
    #[must_use]
    pub fn positions(&self) -> usize {
        product([1, self.output_height(), self.output_width()])
    }

    /// Rows of a plane with its padding.
    #[must_use]
    pub const fn padded_height(&self) -> u64 {
        self.height as u64 + self.pads[0] as u64 + self.pads[2] as u64
    }

    /// Columns of a plane with its padding.
    #[must_use]
    pub const fn padded_width(&self) -> u64 {
        self.width as u64 + self.pads[1] as u64 + self.pads[3] as u64
    }

    /// The element of a plane under tap `(down, right)` of the window at `(row, column)`, or
    /// `None` where it is padding.
    #[must_use]
    pub fn tap(&self, at: [u32; 2], tap: [u32; 2]) -> Option<usize> {
        let place = |axis: usize, extent: u32| {
            let moved = u64::from(at[axis]) * u64::from(self.stride[axis])
                + u64::from(tap[axis]) * u64::from(self.dilation[axis]);
            let inside = moved.checked_sub(self.pads[axis].into())?;
            (inside < extent.into()).then_some(inside)
        };
        let (row, column) = (place(0, self.height)?, place(1, self.width)?);
        usize::try_from(row * u64::from(self.width) + column).ok()
    }

    /// Whether sizes and steps are above zero, the window fits, and the padded planes have at most
    /// `most` elements.
    pub(crate) fn sound(&self, most: usize) -> bool {
        let counts = [self.channels, self.height, self.width];
        let steps = [self.kernel, self.stride, self.dilation];
        let positive = counts.iter().all(|&n| n > 0) && steps.iter().flatten().all(|&n| n > 0);
        let padded = u128::from(self.channels)
            * u128::from(self.padded_height())
            * u128::from(self.padded_width());
        positive && padded <= most as u128 && self.positions() > 0
    }

    /// Whether the window, wherever it is, covers an element that is not padding.
    pub(crate) fn always_covers(&self) -> bool {
        let axis = |axis: usize, extent: u32, steps: u32| {
            let (kernel, dilation) = (self.kernel[axis], u64::from(self.dilation[axis]));
            (0..u64::from(steps)).all(|at| {
                let start = at * u64::from(self.stride[axis]);
                let padding = u64::from(self.pads[axis]).saturating_sub(start);
                let tap = padding.div_ceil(dilation);
                let inside = (start + tap * dilation).checked_sub(self.pads[axis].into());
                tap < u64::from(kernel) && inside.is_some_and(|at| at < u64::from(extent))
            })
        };
        axis(0, self.height, self.output_height()) && axis(1, self.width, self.output_width())
    }

    fn steps(&self, axis: usize, extent: u32) -> u32 {
        let padded =
            u64::from(extent) + u64::from(self.pads[axis]) + u64::from(self.pads[axis + 2]);
        let (kernel, dilation) = (self.kernel[axis], self.dilation[axis]);
        let (Some(last), stride @ 1..) = (kernel.checked_sub(1), self.stride[axis]) else {
            return 0;
        };
        let spread = u64::from(last) * u64::from(dilation) + 1;
        let room = padded.checked_sub(spread);
        room.map_or(0, |room| {
            u32::try_from(room / u64::from(stride) + 1).unwrap_or(0)
        })
    }
}

const fn product(factors: [u32; 3]) -> usize {
    let [a, b, c] = factors;
    match (a as usize).checked_mul(b as usize) {
        Some(ab) => match ab.checked_mul(c as usize) {
            Some(product) => product,
            None => 0,
        },
        None => 0,
    }
}
