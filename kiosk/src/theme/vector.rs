//! Paints our own drawings: paths on a small grid become a smooth mask of any size, once, on the CPU.
//!
//! Pure. A path is a text of commands and numbers with spaces between: `M x y`, `L x y`, `C x1 y1 x2 y2 x y`, `Z` as in
//! SVG, and `O x y r` for a circle and `R x y w h r` for a rounded rectangle. Coordinates are units of the grid.

/// How a path becomes ink.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pen {
    /// A round line of this width.
    Line(f32),
    /// What the path encloses (even-odd).
    Fill,
}

/// A path and its pen.
pub type Stroke = (Pen, &'static str);

/// Connected points; a closed one ends where it began.
pub type Polyline = Vec<[f32; 2]>;

/// Steps of a Bézier curve, and a third of those of a circle.
const CURVE_STEPS: u8 = 16;

/// The points of a path. What cannot be read ends it; a test reads every path of ours.
#[must_use]
pub fn polylines(path: &str) -> Vec<Polyline> {
    try_polylines(path).unwrap_or_default()
}

fn try_polylines(path: &str) -> Option<Vec<Polyline>> {
    let mut words = path.split_whitespace();
    let mut lines: Vec<Polyline> = Vec::new();
    while let Some(command) = words.next() {
        let mut number = || words.next()?.parse::<f32>().ok();
        match command {
            "M" => lines.push(vec![[number()?, number()?]]),
            "L" => {
                let to = [number()?, number()?];
                lines.last_mut()?.push(to);
            }
            "C" => {
                let line = lines.last_mut()?;
                let from = *line.last()?;
                let points = [from, [number()?, number()?], [number()?, number()?], [number()?, number()?]];
                line.extend(
                    (1..=CURVE_STEPS).map(|step| bezier(points, f32::from(step) / f32::from(CURVE_STEPS))),
                );
            }
            "Z" => {
                let line = lines.last_mut()?;
                line.push(*line.first()?);
            }
            "O" => lines.push(arc(
                [number()?, number()?],
                number()?,
                0.0,
                std::f32::consts::TAU,
                CURVE_STEPS * 3,
            )),
            "R" => lines.push(rounded([number()?, number()?], [number()?, number()?], number()?)),
            _ => return None,
        }
    }
    Some(lines)
}

fn bezier([a, b, c, d]: [[f32; 2]; 4], at: f32) -> [f32; 2] {
    let rest = 1.0 - at;
    let weights = [rest * rest * rest, 3.0 * rest * rest * at, 3.0 * rest * at * at, at * at * at];
    [0, 1]
        .map(|axis| a[axis] * weights[0] + b[axis] * weights[1] + c[axis] * weights[2] + d[axis] * weights[3])
}

fn arc([x, y]: [f32; 2], radius: f32, from: f32, to: f32, steps: u8) -> Polyline {
    (0..=steps)
        .map(|step| {
            let angle = from + (to - from) * f32::from(step) / f32::from(steps);
            [x + radius * angle.cos(), y + radius * angle.sin()]
        })
        .collect()
}

fn rounded([x, y]: [f32; 2], [width, height]: [f32; 2], radius: f32) -> Polyline {
    use std::f32::consts::FRAC_PI_2;
    let corners = [
        ([x + width - radius, y + radius], -1.0),
        ([x + width - radius, y + height - radius], 0.0),
        ([x + radius, y + height - radius], 1.0),
        ([x + radius, y + radius], 2.0),
    ];
    let mut line: Polyline = corners
        .iter()
        .flat_map(|(middle, quarter)| {
            arc(*middle, radius, quarter * FRAC_PI_2, (quarter + 1.0) * FRAC_PI_2, CURVE_STEPS / 2)
        })
        .collect();
    line.extend(line.first().copied());
    line
}

/// A mask under construction.
#[derive(Debug, Clone)]
pub struct Mask {
    side: u32,
    scale: f32,
    ink: Vec<f32>,
}

impl Mask {
    /// An empty square of `side` pixels that shows `grid` units.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mask has at most a few thousand pixels on a side")]
    pub fn new(side: u32, grid: f32) -> Self {
        Self { side, scale: side as f32 / grid, ink: vec![0.0; side as usize * side as usize] }
    }

    /// Draws strokes.
    pub fn draw(&mut self, strokes: &[Stroke]) {
        for (pen, path) in strokes {
            let lines = polylines(path);
            match pen {
                Pen::Line(width) => lines.iter().for_each(|line| self.line(line, *width, 1.0)),
                Pen::Fill => self.fill(&lines),
            }
        }
    }

    /// Draws a line of `width` units with `strength` from 0 to 1.
    pub fn line(&mut self, line: &[[f32; 2]], width: f32, strength: f32) {
        let half = width * self.scale / 2.0;
        for pair in line.windows(2) {
            let [from, to] = [pair[0], pair[1]].map(|point| point.map(|value| value * self.scale));
            self.segment(from, to, half, strength);
        }
    }

    fn segment(&mut self, from: [f32; 2], to: [f32; 2], half: f32, strength: f32) {
        let reach = half + 1.0;
        let columns = self.span(from[0].min(to[0]) - reach, from[0].max(to[0]) + reach);
        for y in self.span(from[1].min(to[1]) - reach, from[1].max(to[1]) + reach) {
            for x in columns.clone() {
                let distance = distance(from, to, middle(x, y));
                let covered = (half + 0.5 - distance).clamp(0.0, 1.0) * strength;
                let ink = &mut self.ink[y * self.side as usize + x];
                *ink = ink.max(covered);
            }
        }
    }

    /// Fills what closed lines enclose.
    fn fill(&mut self, lines: &[Polyline]) {
        // Four rows and four columns of points in each pixel are smooth enough beside a line's exact edge.
        const POINTS: u8 = 4;
        let lines: Vec<Polyline> = lines
            .iter()
            .map(|line| line.iter().map(|point| point.map(|value| value * self.scale)).collect())
            .collect();
        let bound = |axis: usize, pick: fn(f32, f32) -> f32, start: f32| {
            lines.iter().flatten().map(|point| point[axis]).fold(start, pick)
        };
        let columns = self.span(bound(0, f32::min, f32::MAX), bound(0, f32::max, 0.0) + 1.0);
        for y in self.span(bound(1, f32::min, f32::MAX), bound(1, f32::max, 0.0) + 1.0) {
            for x in columns.clone() {
                let [left, top] = middle(x, y).map(|value| value - 0.5);
                let points = (0..POINTS).flat_map(|row| (0..POINTS).map(move |column| (row, column)));
                let inside = points
                    .filter(|(row, column)| {
                        let at = |step: &u8| (f32::from(*step) + 0.5) / f32::from(POINTS);
                        contains(&lines, [left + at(column), top + at(row)])
                    })
                    .count();
                #[expect(clippy::cast_precision_loss, reason = "there are sixteen points")]
                let covered = inside as f32 / f32::from(POINTS * POINTS);
                let ink = &mut self.ink[y * self.side as usize + x];
                *ink = ink.max(covered);
            }
        }
    }

    /// Whole pixels between two places, inside of the mask.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "both ends are clamped to the mask first"
    )]
    fn span(&self, low: f32, high: f32) -> std::ops::Range<usize> {
        let side = self.side as f32;
        low.clamp(0.0, side).floor() as usize..high.clamp(0.0, side).ceil() as usize
    }

    /// White pixels whose opacity is the mask, four bytes each.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ink lies between 0 and 1")]
    pub fn rgba(&self) -> Vec<u8> {
        self.ink.iter().flat_map(|ink| [0xFF, 0xFF, 0xFF, (ink * 255.0).round() as u8]).collect()
    }

    /// Its side in pixels.
    #[must_use]
    pub fn side(&self) -> u32 {
        self.side
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mask has at most a few thousand pixels on a side")]
fn middle(x: usize, y: usize) -> [f32; 2] {
    [x as f32 + 0.5, y as f32 + 0.5]
}

fn distance([ax, ay]: [f32; 2], [bx, by]: [f32; 2], [x, y]: [f32; 2]) -> f32 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = (dx * dx + dy * dy).max(f32::EPSILON);
    let along = (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0);
    (x - ax - along * dx).hypot(y - ay - along * dy)
}

fn contains(lines: &[Polyline], [x, y]: [f32; 2]) -> bool {
    let crossings = lines
        .iter()
        .flat_map(|line| line.windows(2))
        .filter(|pair| {
            let ([ax, ay], [bx, by]) = (pair[0], pair[1]);
            (ay <= y) != (by <= y) && x < ax + (y - ay) / (by - ay) * (bx - ax)
        })
        .count();
    crossings % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(mask: &Mask, x: usize, y: usize) -> u8 {
        mask.rgba()[(y * mask.side() as usize + x) * 4 + 3]
    }

    #[test]
    fn a_line_is_solid_in_its_middle_and_nothing_far_away() {
        let mut mask = Mask::new(48, 24.0);
        mask.draw(&[(Pen::Line(2.0), "M 4 12 L 20 12")]);
        assert_eq!(ink(&mask, 24, 24), 255);
        assert_eq!(ink(&mask, 24, 40), 0);
        assert_eq!(ink(&mask, 4, 24), 0, "before its beginning");
    }

    #[test]
    fn a_ring_is_hollow_and_a_disc_is_full() {
        let mut ring = Mask::new(40, 40.0);
        ring.draw(&[(Pen::Line(2.0), "O 20 20 12")]);
        assert_eq!(ink(&ring, 20, 20), 0);
        assert!(230 < ink(&ring, 32, 20), "a circle of chords is a little smaller than a circle");
        let mut disc = Mask::new(40, 40.0);
        disc.draw(&[(Pen::Fill, "O 20 20 12")]);
        assert_eq!((ink(&disc, 20, 20), ink(&disc, 38, 20)), (255, 0));
    }

    #[test]
    fn what_cannot_be_read_draws_nothing() {
        for path in ["L 1 2", "M 1", "X 1 2", "M a b"] {
            assert_eq!(try_polylines(path), None, "{path}");
        }
    }
}
