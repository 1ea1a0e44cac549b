//! Whether times follow a law: the test of Kolmogorov and Smirnov.

/// Largest distance between the distribution of `gaps` and the exponential law of rate `lambda`.
pub fn distance_from_exponential(gaps: &[f64], lambda: f64) -> f64 {
    let sorted = sorted(gaps);
    let n = sorted.len() as f64;
    let distance = |(place, gap): (usize, &f64)| {
        let law = 1.0 - (-lambda * gap).exp();
        let below = place as f64 / n;
        (law - below).abs().max((law - below - 1.0 / n).abs())
    };
    sorted.iter().enumerate().map(distance).fold(0.0, f64::max)
}

/// Largest distance between the distributions of two samples.
pub fn distance(left: &[f64], right: &[f64]) -> f64 {
    let (left, right) = (sorted(left), sorted(right));
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < left.len() && j < right.len() {
        let at = left[i].min(right[j]);
        i += left[i..].iter().take_while(|x| **x <= at).count();
        j += right[j..].iter().take_while(|x| **x <= at).count();
        let apart = i as f64 / left.len() as f64 - j as f64 / right.len() as f64;
        largest = largest.max(apart.abs());
    }
    largest
}

/// The distance that samples of one law exceed once in a hundred times.
pub fn bound(n: usize) -> f64 {
    1.628 / (n as f64).sqrt()
}

/// The same for two samples.
pub fn bound_of_two(n: usize, m: usize) -> f64 {
    let (n, m) = (n as f64, m as f64);
    1.628 * ((n + m) / (n * m)).sqrt()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}
