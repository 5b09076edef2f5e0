//! Medians and their uncertainty by a bootstrap over blocks, with a fixed seed: the same pixels give the
//! same interval.

use std::collections::BTreeMap;

/// Draws of the bootstrap.
const DRAWS: usize = 200;
/// Blocks with fewer samples say too little by themselves.
const BLOCK_SAMPLES_MIN: usize = 24;
/// Fewer blocks than this have no interval.
pub(crate) const BLOCKS_MIN: usize = 4;

/// The median; NaN of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let middle = values.len() / 2;
    let (_, value, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    *value
}

/// The value below which this share of all lies; NaN of nothing.
pub(crate) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length")]
    let at = (share * (values.len() - 1) as f64).round() as usize;
    let (_, value, _) = values.select_nth_unstable_by(at, f64::total_cmp);
    *value
}

/// Medians of several channels for each block of neighbouring samples.
pub(crate) fn block_medians<T, const N: usize>(
    samples: impl Iterator<Item = T>,
    block: impl Fn(&T) -> (u32, u32),
    channels: impl Fn(&T) -> [f64; N],
) -> Vec<[f64; N]> {
    // Sorted by block, so that the order of the draws does not depend on a hasher.
    let mut blocks: BTreeMap<(u32, u32), Vec<[f64; N]>> = BTreeMap::new();
    for sample in samples {
        blocks.entry(block(&sample)).or_default().push(channels(&sample));
    }
    blocks
        .into_values()
        .filter(|values| BLOCK_SAMPLES_MIN <= values.len())
        .map(|values| std::array::from_fn(|at| median(values.iter().map(|value| value[at]).collect())))
        .collect()
}

/// Half the width of the 95 % interval of `value`, by drawing blocks with replacement; `None` with too few
/// blocks.
pub(crate) fn half_interval_95<B: Copy>(blocks: &[B], value: impl Fn(&[B]) -> f64) -> Option<f64> {
    if blocks.len() < BLOCKS_MIN {
        return None;
    }
    let mut random = SplitMix(0x5354_4f52_4548_5542);
    let mut draw = Vec::with_capacity(blocks.len());
    let values: Vec<f64> = (0..DRAWS)
        .map(|_| {
            draw.clear();
            draw.extend((0..blocks.len()).map(|_| blocks[random.below(blocks.len())]));
            value(&draw)
        })
        .collect();
    let (low, high) = (quantile(values.clone(), 0.025), quantile(values, 0.975));
    Some((high - low) / 2.0)
}

/// Half the 95 % interval of one more value like these, by their standard deviation; nought of fewer than two.
pub(crate) fn spread_95(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    1.96 * (squares / (values.len() - 1) as f64).sqrt()
}

/// SplitMix64, by its public definition: small, fast, the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from((u128::from(z) * limit as u128) >> 64).expect("below the limit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_values_of_the_list() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
        assert_eq!(quantile((0..101).map(f64::from).collect(), 0.05), 5.0);
    }

    #[test]
    fn an_interval_is_the_same_each_time_and_wider_for_rougher_skin() {
        let smooth: Vec<f64> = (0..40).map(|at| 50.0 + f64::from(at % 3)).collect();
        let rough: Vec<f64> = (0..40).map(|at| 50.0 + 5.0 * f64::from(at % 3)).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let narrow = half_interval_95(&smooth, mean).unwrap();
        assert_eq!(half_interval_95(&smooth, mean), Some(narrow));
        assert!(0.0 < narrow && narrow * 3.0 < half_interval_95(&rough, mean).unwrap());
        assert_eq!(half_interval_95(&smooth[..3], mean), None);
    }
}
