//! The modules of a matrix symbol: all of them, once it is read, and before that those that every QR code of its size has.

/// The modules of a matrix symbol, upright as it was printed, without its quiet zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modules {
    columns: u32,
    dark: Vec<bool>,
}

impl Modules {
    /// Row by row from the top left module on, `true` where it is dark. `None` unless there are whole rows, at least
    /// one, of at least one column.
    #[must_use]
    pub fn new(columns: u32, dark: Vec<bool>) -> Option<Self> {
        let rows = u32::try_from(dark.len()).ok()?.checked_div(columns)?;
        (0 < rows && dark.len() == columns as usize * rows as usize).then_some(Self { columns, dark })
    }

    /// Modules in a row.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// Modules in a column.
    #[must_use]
    pub fn rows(&self) -> u32 {
        u32::try_from(self.dark.len()).expect("checked in `new`") / self.columns
    }

    /// Height by width.
    #[must_use]
    pub fn aspect(&self) -> f64 {
        f64::from(self.rows()) / f64::from(self.columns)
    }

    /// Whether a module is dark; what lies around the symbol is light.
    #[must_use]
    pub fn is_dark(&self, column: i64, row: i64) -> bool {
        let (Ok(column), Ok(row)) = (usize::try_from(column), usize::try_from(row)) else { return false };
        let columns = self.columns as usize;
        column < columns && self.dark.get(row * columns + column) == Some(&true)
    }
}

/// What is known of a symbol's modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    columns: u32,
    /// `Some(true)` where it is dark, `None` where it may be either.
    cells: Vec<Option<bool>>,
}

impl From<&Modules> for Pattern {
    fn from(modules: &Modules) -> Self {
        Self { columns: modules.columns, cells: modules.dark.iter().copied().map(Some).collect() }
    }
}

/// Sizes of QR codes.
pub(crate) const QR_VERSIONS: std::ops::RangeInclusive<u32> = 1..=40;

impl Pattern {
    /// What all QR codes of a version share (ISO/IEC 18004, 6.3): finder patterns with their separators, timing patterns,
    /// alignment patterns, and one dark module.
    pub(crate) fn of_qr(version: u32) -> Self {
        assert!(QR_VERSIONS.contains(&version), "versions are 1 to 40");
        let side = 17 + 4 * i64::from(version);
        let columns = 17 + 4 * version;
        let mut pattern = Self { columns, cells: vec![None; (columns * columns) as usize] };
        for at in 8..side - 8 {
            pattern.set(at, 6, at % 2 == 0);
            pattern.set(6, at, at % 2 == 0);
        }
        let places = alignment_places(version);
        for (i, x) in places.iter().enumerate() {
            for (j, y) in places.iter().enumerate() {
                let last = places.len() - 1;
                // Finder patterns stand in three of the corners.
                if !matches!((i, j), (0, 0)) && (i, j) != (0, last) && (i, j) != (last, 0) {
                    pattern.square(*x, *y, 2, |ring| ring != 1);
                }
            }
        }
        for (x, y) in [(3, 3), (side - 4, 3), (3, side - 4)] {
            pattern.square(x, y, 4, |ring| ring != 2 && ring != 4);
        }
        pattern.set(8, side - 8, true);
        pattern
    }

    /// Rings around a centre, of which `is_dark` tells by their distance to it.
    fn square(&mut self, x: i64, y: i64, reach: i64, is_dark: impl Fn(i64) -> bool) {
        for row in -reach..=reach {
            for column in -reach..=reach {
                self.set(x + column, y + row, is_dark(column.abs().max(row.abs())));
            }
        }
    }

    fn set(&mut self, column: i64, row: i64, is_dark: bool) {
        let columns = i64::from(self.columns);
        if (0..columns).contains(&column) && (0..columns).contains(&row) {
            let at = usize::try_from(row * columns + column).expect("not below nought");
            self.cells[at] = Some(is_dark);
        }
    }

    pub(crate) fn columns(&self) -> u32 {
        self.columns
    }

    pub(crate) fn rows(&self) -> u32 {
        u32::try_from(self.cells.len()).expect("at most 177 by 177") / self.columns
    }

    /// Whether a module is dark, where that is known; what lies around the symbol is light.
    pub(crate) fn cell(&self, column: i64, row: i64) -> Option<bool> {
        let (Ok(column), Ok(row)) = (usize::try_from(column), usize::try_from(row)) else {
            return Some(false);
        };
        let columns = self.columns as usize;
        if columns <= column {
            return Some(false);
        }
        self.cells.get(row * columns + column).copied().unwrap_or(Some(false))
    }
}

/// The rows and columns in which alignment patterns have their centres (ISO/IEC 18004, annex E): from 6 to the sixth last,
/// all steps alike and even but for the first, which takes what is left.
fn alignment_places(version: u32) -> Vec<i64> {
    if version == 1 {
        return Vec::new();
    }
    let count = i64::from(version / 7 + 2);
    let last = 17 + 4 * i64::from(version) - 7;
    let span = last - 6;
    // Version 32 alone has the step below.
    let step = if version == 32 { 26 } else { 2 * (span + 2 * (count - 1) - 1).div_euclid(2 * (count - 1)) };
    let mut places: Vec<i64> = (0..count - 1).map(|at| last - at * step).collect();
    places.push(6);
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_qr_code_shows_the_pattern_of_its_version() {
        for version in QR_VERSIONS {
            let size = qrcode::Version::Normal(i16::try_from(version).unwrap());
            let code = qrcode::QrCode::with_version(b"any", size, qrcode::EcLevel::M).unwrap();
            let pattern = Pattern::of_qr(version);
            assert_eq!(code.width(), pattern.columns() as usize);
            let mut known = 0;
            for row in 0..code.width() {
                for column in 0..code.width() {
                    let expected = code[(column, row)] == qrcode::Color::Dark;
                    if let Some(dark) = pattern.cell(column as i64, row as i64) {
                        assert_eq!(dark, expected, "version {version}, column {column}, row {row}");
                        known += 1;
                    }
                }
            }
            // Three finder patterns with separators, two timing patterns, one module.
            let least = 3 * 64 + 2 * (code.width() - 16) + 1;
            assert!(least <= known && known < code.width() * code.width() / 2 + 60, "{version}: {known}");
        }
    }

    #[test]
    fn around_a_symbol_it_is_light() {
        let pattern = Pattern::of_qr(2);
        assert_eq!([(-1, 3), (3, -1), (25, 3), (3, 25)].map(|(x, y)| pattern.cell(x, y)), [Some(false); 4]);
        assert_eq!(pattern.cell(12, 12), None, "data");
    }
}
