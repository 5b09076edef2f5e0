//! Shares, agreement and scatter, each with a 95 % interval. Pure; the same input gives the same output.

/// Draws of a bootstrap.
const DRAWS: usize = 2000;
const SEED: u64 = 0x736b_696e_2d65_7661;
/// Of the normal distribution, for intervals of shares.
const Z_95: f64 = 1.959_964;

/// SplitMix64, by its public definition: small, fast, the same everywhere.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((u128::from(self.next()) * limit as u128) >> 64).expect("below the limit")
    }

    pub(crate) fn between(&mut self, least: f64, most: f64) -> f64 {
        // The upper 53 bits are what a double holds.
        least + (most - least) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of a normal distribution with variance 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, turn) = (self.between(f64::MIN_POSITIVE, 1.0), self.between(0.0, std::f64::consts::TAU));
        (-2.0 * radius.ln()).sqrt() * turn.cos()
    }
}

/// The mean; NaN of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The value below which this share of all lies, between neighbours in proportion; NaN of nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length")]
pub(crate) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let at = share * (values.len() - 1) as f64;
    let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The 95 % interval of a share by Wilson 1927, which also holds where all or none are counted; the whole of 0 to 1 of
/// nothing.
pub(crate) fn share_interval(counted: usize, of: usize) -> [f64; 2] {
    if of == 0 {
        return [0.0, 1.0];
    }
    let (n, share, z2) = (of as f64, counted as f64 / of as f64, Z_95 * Z_95);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// The 95 % interval of a statistic of people, by drawing people with replacement; `None` below three people, or where the
/// statistic is none for more than half of the draws.
pub(crate) fn interval_over_people(
    people: usize,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    if people < 3 {
        return None;
    }
    let mut random = SplitMix(SEED);
    let mut draw = Vec::with_capacity(people);
    let values: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            draw.clear();
            draw.extend((0..people).map(|_| random.below(people)));
            statistic(&draw)
        })
        .collect();
    (DRAWS / 2 < values.len()).then(|| [0.025, 0.975].map(|share| quantile(values.clone(), share)))
}

/// One value of each person under each condition; where the gate refused, there is none.
pub(crate) struct Agreement {
    /// Mean of each person, and variance around it.
    people: Vec<(f64, f64)>,
    /// Sum of squared differences and number of pairs between two people's values under different conditions; on the
    /// diagonal, within one person.
    pairs: Vec<Vec<(f64, f64)>>,
}

impl Agreement {
    /// People with fewer than two values say nothing about repetition and are left out.
    pub(crate) fn of(table: &[Vec<Option<f64>>]) -> Self {
        let rows: Vec<&Vec<Option<f64>>> =
            table.iter().filter(|row| 2 <= row.iter().flatten().count()).collect();
        let people = rows
            .iter()
            .map(|row| {
                let values: Vec<f64> = row.iter().flatten().copied().collect();
                let mean = mean(&values);
                let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                (mean, squares / (values.len() - 1) as f64)
            })
            .collect();
        let pairs = rows.iter().map(|one| rows.iter().map(|other| squared_differences(one, other)).collect());
        Self { people, pairs: pairs.collect() }
    }

    pub(crate) fn people(&self) -> usize {
        self.people.len()
    }

    /// ICC(2,1) of Shrout and Fleiss 1979: two-way random effects, absolute agreement, one measurement.
    ///
    /// Estimated from pairs: two values of one person under two conditions differ by the conditions and by chance, two values
    /// of two people under two conditions differ by the people too. With nothing missing this equals the estimate from mean
    /// squares (both are the one unbiased symmetric quadratic form); with refused captures it stays unbiased, and no column
    /// has to be dropped. `None` below two people, or where all values are the same.
    pub(crate) fn icc(&self) -> Option<f64> {
        self.icc_of(&(0..self.people()).collect::<Vec<_>>())
    }

    pub(crate) fn icc_interval(&self) -> Option<[f64; 2]> {
        interval_over_people(self.people(), |drawn| self.icc_of(drawn))
    }

    fn icc_of(&self, drawn: &[usize]) -> Option<f64> {
        Some(1.0 - self.within(drawn) / self.between(drawn)).filter(|icc| icc.is_finite())
    }

    /// The mean squared difference of two values of one person.
    fn within(&self, drawn: &[usize]) -> f64 {
        self.mean_square(drawn.iter().map(|person| (*person, *person)))
    }

    /// The mean squared difference of values of two people.
    fn between(&self, drawn: &[usize]) -> f64 {
        self.mean_square(
            drawn
                .iter()
                .enumerate()
                .flat_map(|(at, one)| drawn[at + 1..].iter().map(move |other| (*one, *other))),
        )
    }

    fn mean_square(&self, of: impl Iterator<Item = (usize, usize)>) -> f64 {
        let (squares, pairs) = of.fold((0.0, 0.0), |(squares, pairs), (one, other)| {
            let (more, count) = self.pairs[one][other];
            (squares + more, pairs + count)
        });
        squares / pairs
    }

    /// What the agreement of all people would be if everybody's values scattered as these people's do: the variance between
    /// people of all, with the variance within a person of these. So groups are compared by how well they repeat, and not
    /// by how much the people in each happen to differ. `None` where nobody has two values, or all are the same.
    pub(crate) fn among(&self, all: &Self) -> Option<f64> {
        let everybody: Vec<usize> = (0..all.people()).collect();
        let apart = all.between(&everybody) - all.within(&everybody);
        let own = self.within(&(0..self.people()).collect::<Vec<_>>());
        Some(apart / (apart + own)).filter(|icc| icc.is_finite())
    }

    /// Root of the mean variance within a person.
    pub(crate) fn within_sd(&self) -> f64 {
        mean(&self.people.iter().map(|(_, variance)| *variance).collect::<Vec<_>>()).sqrt()
    }

    /// The mean over people of their own standard deviation over their own mean, in percent. `None` where a mean is not
    /// above zero: a share of nothing has no meaning.
    pub(crate) fn variation_pct(&self) -> Option<f64> {
        if self.people.is_empty() || self.people.iter().any(|(mean, _)| *mean <= 0.0) {
            return None;
        }
        Some(mean(&self.variations_pct()))
    }

    pub(crate) fn variation_interval(&self) -> Option<[f64; 2]> {
        self.variation_pct()?;
        let each = self.variations_pct();
        interval_over_people(each.len(), |drawn| {
            Some(mean(&drawn.iter().map(|person| each[*person]).collect::<Vec<_>>()))
        })
    }

    fn variations_pct(&self) -> Vec<f64> {
        self.people.iter().map(|(mean, variance)| 100.0 * variance.sqrt() / mean).collect()
    }
}

fn squared_differences(one: &[Option<f64>], other: &[Option<f64>]) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for (at, one) in one.iter().enumerate() {
        for (with, other) in other.iter().enumerate() {
            if let (Some(one), Some(other)) = (one, other)
                && at != with
            {
                sum = (sum.0 + (one - other).powi(2), sum.1 + 1.0);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 2 of Shrout and Fleiss 1979: six people, four judges.
    const SHROUT_FLEISS: [[f64; 4]; 6] = [
        [9.0, 2.0, 5.0, 8.0],
        [6.0, 1.0, 3.0, 2.0],
        [8.0, 4.0, 6.0, 8.0],
        [7.0, 1.0, 2.0, 6.0],
        [10.0, 5.0, 6.0, 9.0],
        [6.0, 2.0, 4.0, 7.0],
    ];

    fn table() -> Vec<Vec<Option<f64>>> {
        SHROUT_FLEISS.iter().map(|row| row.iter().copied().map(Some).collect()).collect()
    }

    /// ICC(2,1) from mean squares, as the paper gives it.
    fn by_mean_squares(rows: &[[f64; 4]]) -> f64 {
        let (n, k) = (rows.len() as f64, 4.0);
        let grand = rows.iter().flatten().sum::<f64>() / (n * k);
        let row_means: Vec<f64> = rows.iter().map(|row| mean(row)).collect();
        let column = |at: usize| rows.iter().map(|row| row[at]).sum::<f64>() / n;
        let between_rows = k * row_means.iter().map(|m| (m - grand).powi(2)).sum::<f64>() / (n - 1.0);
        let between_columns = n * (0..4).map(|at| (column(at) - grand).powi(2)).sum::<f64>() / (k - 1.0);
        let left: f64 = rows
            .iter()
            .zip(&row_means)
            .flat_map(|(row, m)| (0..4).map(move |at| (row[at] - m, at)))
            .map(|(off, at)| (off - column(at) + grand).powi(2))
            .sum();
        let error = left / ((n - 1.0) * (k - 1.0));
        (between_rows - error) / (between_rows + (k - 1.0) * error + k * (between_columns - error) / n)
    }

    #[test]
    fn icc_is_that_of_the_paper_and_equals_the_estimate_from_mean_squares() {
        let icc = Agreement::of(&table()).icc().unwrap();
        assert!((icc - 0.29).abs() < 0.005, "{icc}");
        assert!((icc - by_mean_squares(&SHROUT_FLEISS)).abs() < 1e-12, "{icc}");
    }

    #[test]
    fn a_group_is_judged_by_how_it_repeats_and_not_by_how_alike_its_people_are() {
        let row = |mean: f64, off: f64| (0..6).map(|at| Some(mean + off * f64::from(at % 3))).collect();
        // Two groups that repeat equally well; the people of the first are nearly the same.
        let alike: Vec<Vec<Option<f64>>> = (0..4).map(|at| row(10.0 + 0.1 * f64::from(at), 1.0)).collect();
        let apart: Vec<Vec<Option<f64>>> = (0..4).map(|at| row(20.0 * f64::from(at), 1.0)).collect();
        let all = Agreement::of(&[alike.clone(), apart.clone()].concat());
        let [alike, apart] = [alike, apart].map(|rows| Agreement::of(&rows));
        assert!(alike.icc().unwrap() < 0.1 && 0.9 < apart.icc().unwrap());
        let (one, other) = (alike.among(&all).unwrap(), apart.among(&all).unwrap());
        assert!((one - other).abs() < 1e-12 && 0.9 < one, "{one} {other}");
        assert!((all.among(&all).unwrap() - all.icc().unwrap()).abs() < 1e-12);
        assert_eq!(Agreement::of(&[]).among(&all), None);
    }

    #[test]
    fn icc_tells_people_apart_and_survives_missing_values() {
        let apart: Vec<Vec<Option<f64>>> = (0..8)
            .map(|person| (0..5).map(|at| Some(f64::from(person) * 10.0 + f64::from(at % 2))).collect())
            .collect();
        let whole = Agreement::of(&apart).icc().unwrap();
        assert!(0.99 < whole, "{whole}");
        let mut holes = apart;
        holes[2][3] = None;
        holes[5][0] = None;
        holes[7] = vec![Some(1.0), None, None, None, None];
        let agreement = Agreement::of(&holes);
        assert_eq!(agreement.people(), 7, "one value is no repetition");
        assert!((agreement.icc().unwrap() - whole).abs() < 0.005);
        assert_eq!(Agreement::of(&holes[..1]).icc(), None);
        assert_eq!(Agreement::of(&vec![vec![Some(4.0); 3]; 4]).icc(), None, "nobody differs from anybody");
    }

    #[test]
    fn variation_is_the_scatter_over_the_mean_and_only_of_positive_quantities() {
        let agreement = Agreement::of(&[vec![Some(9.0), Some(11.0)], vec![Some(95.0), Some(105.0)]]);
        let expected = 100.0 * (2.0_f64.sqrt() / 10.0 + 50.0_f64.sqrt() / 100.0) / 2.0;
        assert!((agreement.variation_pct().unwrap() - expected).abs() < 1e-9);
        assert!((agreement.within_sd() - 26.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(Agreement::of(&[vec![Some(-1.0), Some(1.0)]]).variation_pct(), None);
    }

    #[test]
    fn a_bootstrap_gives_the_same_interval_each_time_and_one_around_the_value() {
        let agreement = Agreement::of(&table());
        let [low, high] = agreement.icc_interval().unwrap();
        assert_eq!(agreement.icc_interval(), Some([low, high]));
        assert!(low < 0.29 && 0.29 < high, "{low} {high}");
        assert_eq!(interval_over_people(2, |_| Some(1.0)), None);
    }

    #[test]
    fn an_interval_of_a_share_is_wilsons() {
        let [low, high] = share_interval(20, 20);
        assert!((low - 0.838_9).abs() < 1e-3 && (high - 1.0).abs() < 1e-9, "{low} {high}");
        let [low, high] = share_interval(5, 10);
        assert!((low - 0.236_6).abs() < 1e-3 && (high - 0.763_4).abs() < 1e-3, "{low} {high}");
        assert_eq!(share_interval(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert!((quantile(vec![3.0, 1.0, 2.0], 0.5) - 2.0).abs() < 1e-12);
        assert!((quantile(vec![0.0, 1.0], 0.25) - 0.25).abs() < 1e-12);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }
}
