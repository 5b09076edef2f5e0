//! Least squares with a few unknowns, by normal equations.

/// Pivots below this share of the largest entry are those of equations that do not fix the unknowns.
const SINGULAR: f64 = 1e-12;

/// The sums of a least squares problem with `N` unknowns.
pub(crate) struct LeastSquares<const N: usize> {
    matrix: [[f64; N]; N],
    right: [f64; N],
}

impl<const N: usize> LeastSquares<N> {
    pub(crate) fn new() -> Self {
        Self { matrix: [[0.0; N]; N], right: [0.0; N] }
    }

    /// Adds the equation `coefficients · unknowns = value`.
    pub(crate) fn add(&mut self, coefficients: [f64; N], value: f64) {
        for (row, left) in self.matrix.iter_mut().zip(coefficients) {
            for (entry, right) in row.iter_mut().zip(coefficients) {
                *entry += left * right;
            }
        }
        for (sum, coefficient) in self.right.iter_mut().zip(coefficients) {
            *sum += coefficient * value;
        }
    }

    /// The unknowns, with the diagonal enlarged by this share (0 for plain least squares, more for shorter steps);
    /// `None` when the equations do not fix them.
    pub(crate) fn solve(&self, damping: f64) -> Option<[f64; N]> {
        let (mut matrix, mut right) = (self.matrix, self.right);
        let largest = matrix.iter().flatten().fold(0.0_f64, |most, entry| most.max(entry.abs()));
        for (at, row) in matrix.iter_mut().enumerate() {
            row[at] *= 1.0 + damping;
        }
        for column in 0..N {
            let pivot =
                (column..N).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
            let size = matrix[pivot][column].abs();
            if size.is_nan() || size <= SINGULAR * largest {
                return None;
            }
            matrix.swap(column, pivot);
            right.swap(column, pivot);
            for below in column + 1..N {
                let share = matrix[below][column] / matrix[column][column];
                let upper = matrix[column];
                for (entry, above) in matrix[below].iter_mut().zip(upper) {
                    *entry -= share * above;
                }
                right[below] -= share * right[column];
            }
        }
        for row in (0..N).rev() {
            let known: f64 = (row + 1..N).map(|column| matrix[row][column] * right[column]).sum();
            right[row] = (right[row] - known) / matrix[row][row];
        }
        right.iter().all(|value| value.is_finite()).then_some(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_points_is_found_and_one_point_fixes_none() {
        let mut line = LeastSquares::<2>::new();
        line.add([1.0, 0.0], 3.0);
        assert_eq!(line.solve(0.0), None);
        for x in [1.0, 2.0, 5.0] {
            line.add([1.0, x], 3.0 - 2.0 * x);
        }
        let [offset, slope] = line.solve(0.0).unwrap();
        assert!((offset - 3.0).abs() < 1e-12 && (slope + 2.0).abs() < 1e-12);
    }
}
