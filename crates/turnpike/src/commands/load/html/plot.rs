//! Plots as SVG that stands within a page: lines over a linear axis, and histograms over a logarithmic one. Colours come
//! from the page's style, so that light and dark are its business.

use std::fmt::Write as _;

use super::escaped;
use super::words::percent;

/// Lines over one axis.
pub(super) struct Plot<'p> {
    pub(super) title: &'p str,
    pub(super) lines: Vec<Line<'p>>,
    /// How values read.
    pub(super) value: fn(f64) -> String,
    /// How places on the horizontal axis read.
    pub(super) place: fn(f64) -> String,
    /// What is shaded, from and to: what the results are about.
    pub(super) band: Option<(f64, f64)>,
    /// Upright lines with a word.
    pub(super) marks: Vec<(f64, String)>,
    /// The top of the vertical axis is at least this.
    pub(super) least_top: f64,
    /// Equal distances upwards are equal factors: for values that differ by orders of magnitude.
    pub(super) logarithmic: bool,
}

/// One line: its name, the number of its colour, and its points, in order.
pub(super) struct Line<'p> {
    pub(super) name: &'p str,
    pub(super) colour: usize,
    /// Filled down to the axis.
    pub(super) filled: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// A histogram's bars over a logarithmic axis.
pub(super) struct Bars<'p> {
    pub(super) title: &'p str,
    pub(super) name: &'p str,
    /// The number of its colour.
    pub(super) colour: usize,
    /// From, to, and share of the whole.
    pub(super) bars: Vec<(f64, f64, f64)>,
    pub(super) place: fn(f64) -> String,
    pub(super) marks: Vec<(f64, String)>,
}

impl Plot<'_> {
    /// The figure; nothing if there is nothing to show.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        if points().count() == 0 {
            return String::new();
        }
        let left = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        let right = points().map(|(x, _)| *x).fold(left + 1e-9, f64::max);
        let highest = points().map(|(_, y)| *y).fold(self.least_top, f64::max);
        let lowest = points().map(|(_, y)| *y).filter(|y| *y > 0.0).fold(highest, f64::min);
        let frame = match self.logarithmic && highest > 0.0 {
            true => Frame { left, right, bottom: Some(round_down(lowest)), top: round_up(highest) },
            false => Frame { left, right, bottom: None, top: nice(highest).0 },
        };
        let mut svg = String::new();
        frame.grid(&mut svg, self.value);
        if let Some((from, to)) = self.band {
            let (from, to) = (frame.x(from.max(left)), frame.x(to.min(right)));
            let (width, height) = ((to - from).max(0.0), BOTTOM - TOP);
            let _ = write!(
                svg,
                r#"<rect class="band" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#
            );
        }
        for place in ticks(left, right) {
            let x = frame.x(place);
            let _ = write!(
                svg,
                r#"<text class="tick" x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#,
                BOTTOM + 16.0,
                escaped(&(self.place)(place))
            );
        }
        self.lines.iter().for_each(|line| frame.line(&mut svg, line));
        for (index, (place, word)) in self.marks.iter().enumerate() {
            mark(&mut svg, frame.x(*place), word, index);
        }
        self.tips(&mut svg, &frame);
        let names = self.lines.iter().map(|line| (line.name, line.colour));
        figure(self.title, &legend(names), &svg)
    }

    /// What a pointer learns over each point of the first line.
    fn tips(&self, svg: &mut String, frame: &Frame) {
        let Some(first) = self.lines.first() else { return };
        let width = (frame.x(frame.right) - frame.x(frame.left)) / first.points.len().max(1) as f64;
        for (place, _) in &first.points {
            let mut words = (self.place)(*place);
            for line in &self.lines {
                if let Some((_, value)) = line.points.iter().find(|(x, _)| x == place) {
                    let _ = write!(words, "\n{}: {}", line.name, (self.value)(*value));
                }
            }
            let x = (frame.x(*place) - width / 2.0).max(LEFT);
            let _ = write!(
                svg,
                r#"<rect class="tip" x="{x:.1}" y="{TOP}" width="{width:.1}" height="{}"><title>{}</title></rect>"#,
                BOTTOM - TOP,
                escaped(&words)
            );
        }
    }
}

impl Bars<'_> {
    pub(super) fn svg(&self) -> String {
        let bars = || self.bars.iter();
        let left = bars().map(|(from, _, _)| from.max(1e-9)).fold(f64::INFINITY, f64::min);
        let right = bars().map(|(_, to, _)| *to).fold(0.0, f64::max);
        if right <= left {
            return String::new();
        }
        let (top, _) = nice(bars().map(|(_, _, share)| *share).fold(0.0, f64::max));
        let frame = Frame { left: left.log10(), right: right.log10(), bottom: None, top };
        let mut svg = String::new();
        frame.grid(&mut svg, percent);
        let mut last = f64::NEG_INFINITY;
        for power in frame.left.floor() as i32..=frame.right.ceil() as i32 {
            for part in [1.0, 2.0, 5.0] {
                let place = part * 10_f64.powi(power);
                if place < left || place > right {
                    continue;
                }
                let x = frame.x(place.log10());
                if x - last < CLOSEST_WORDS {
                    continue;
                }
                last = x;
                let words = escaped(&shortened(&(self.place)(place)));
                let _ = write!(
                    svg,
                    r#"<text class="tick" x="{x:.1}" y="{}" text-anchor="middle">{words}</text>"#,
                    BOTTOM + 16.0
                );
            }
        }
        self.bars.iter().for_each(|bar| self.bar(&mut svg, &frame, *bar));
        for (index, (place, word)) in self.marks.iter().enumerate() {
            mark(&mut svg, frame.x(place.max(left).log10()), word, index);
        }
        figure(self.title, &legend(std::iter::once((self.name, self.colour))), &svg)
    }

    fn bar(&self, svg: &mut String, frame: &Frame, (from, to, share): (f64, f64, f64)) {
        let (x, end) = (frame.x(from.max(1e-9).log10()), frame.x(to.log10()));
        let (width, height) = ((end - x - 0.5).max(0.5), (BOTTOM - frame.y(share)).max(0.5));
        let (y, colour) = (BOTTOM - height, self.colour);
        let words = format!("{} to {}: {}", (self.place)(from), (self.place)(to), percent(share));
        let _ = write!(
            svg,
            r#"<rect class="bar c{colour}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            escaped(&words)
        );
    }
}

/// The axes: what stands at the left and right edge, at the bottom (of a logarithmic axis) and at the top.
struct Frame {
    left: f64,
    right: f64,
    bottom: Option<f64>,
    top: f64,
}

impl Frame {
    fn x(&self, place: f64) -> f64 {
        LEFT + (place - self.left) / (self.right - self.left) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.bottom {
            None => value / self.top,
            Some(bottom) => (value.max(bottom) / bottom).log10() / (self.top / bottom).log10(),
        };
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn grid(&self, svg: &mut String, value: fn(f64) -> String) {
        for at in self.levels() {
            let y = self.y(at);
            let words = if at == 0.0 { "0".to_owned() } else { escaped(&shortened(&value(at))) };
            let _ = write!(svg, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/>"#);
            let (x, y) = (LEFT - 8.0, y + 4.0);
            let _ = write!(svg, r#"<text class="tick" x="{x}" y="{y:.1}" text-anchor="end">{words}</text>"#);
        }
    }

    /// Round values from the bottom to the top.
    fn levels(&self) -> Vec<f64> {
        let Some(bottom) = self.bottom else {
            let (_, step) = nice(self.top);
            return (0..=(self.top / step).round() as u32).map(|index| step * f64::from(index)).collect();
        };
        let (first, last) = (bottom.log10().floor() as i32, self.top.log10().ceil() as i32);
        // Wide axes are divided by powers of ten alone.
        let parts: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let levels = (first..=last).flat_map(|power| parts.iter().map(move |part| part * 10_f64.powi(power)));
        levels.filter(|level| *level >= bottom * 0.999 && *level <= self.top * 1.001).collect()
    }

    fn line(&self, svg: &mut String, line: &Line<'_>) {
        let mut path = String::new();
        for (index, (x, y)) in line.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
        }
        let (Some((first, _)), Some((last, _))) = (line.points.first(), line.points.last()) else { return };
        let colour = line.colour;
        if line.filled {
            let (first, last) = (self.x(*first), self.x(*last));
            let _ = write!(
                svg,
                r#"<path class="area c{colour}" d="{path}L{last:.1} {BOTTOM}L{first:.1} {BOTTOM}Z"/>"#
            );
        }
        let _ = write!(svg, r#"<path class="line c{colour}" d="{path}"/>"#);
    }
}

fn figure(title: &str, legend: &str, svg: &str) -> String {
    let title = escaped(title);
    format!(
        "<figure><figcaption><span>{title}</span>{legend}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>\n"
    )
}

fn legend<'n>(names: impl Iterator<Item = (&'n str, usize)>) -> String {
    let entries =
        names.map(|(name, colour)| format!("<span class=\"key c{colour}\">{}</span>", escaped(name)));
    format!("<span class=\"legend\">{}</span>", entries.collect::<String>())
}

/// An upright line with its word, lower for each that stands before it.
fn mark(svg: &mut String, x: f64, word: &str, index: usize) {
    let (anchor, at) = if x > RIGHT - 90.0 { ("end", x - 5.0) } else { ("start", x + 5.0) };
    let (y, word) = (TOP + 10.0 + 14.0 * index as f64, escaped(word));
    let _ = write!(svg, r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{BOTTOM}"/>"#);
    let _ = write!(svg, r#"<text class="word" x="{at:.1}" y="{y}" text-anchor="{anchor}">{word}</text>"#);
}

/// A round number at or above the highest value, and the distance of the lines up to it.
fn nice(highest: f64) -> (f64, f64) {
    if highest <= 0.0 {
        return (1.0, 1.0);
    }
    let power = 10_f64.powf((highest / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|part| part * power).into_iter().find(|step| step * 5.0 >= highest);
    let step = step.unwrap_or(power * 10.0);
    ((highest / step - 1e-9).ceil().max(1.0) * step, step)
}

/// The round numbers of a logarithmic axis around a value.
fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0].map(|part| part * power).into_iter().find(|round| *round <= value).unwrap_or(power)
}

fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].map(|part| part * power).into_iter().find(|round| *round > value).unwrap_or(power * 10.0)
}

/// `5.00 ms` as `5 ms`: on an axis numbers are round.
fn shortened(words: &str) -> String {
    match words.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => words.to_owned(),
    }
}

/// Round places between two ends.
fn ticks(left: f64, right: f64) -> Vec<f64> {
    let (_, step) = nice(right - left);
    let first = (left / step - 1e-9).ceil();
    (0..12)
        .map(|index| (first + f64::from(index)) * step)
        .take_while(|place| *place <= right + step * 1e-6)
        .collect()
}

/// Words on an axis stand at least so far apart.
const CLOSEST_WORDS: f64 = 46.0;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 628.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 184.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_that_hold_everything() {
        for highest in [0.000_3, 0.07, 1.0, 9.99, 10.0, 37.0, 48_211.0] {
            let (top, step) = nice(highest);
            assert!(top >= highest * 0.999_999 && top <= highest * 2.0, "{highest}: {top}");
            let lines = top / step;
            assert!(
                (lines - lines.round()).abs() < 1e-6 && (1.0..=5.0).contains(&lines.round()),
                "{highest}: {lines}"
            );
        }
        for value in [0.000_07, 0.001, 0.9, 3.0] {
            assert!(round_down(value) <= value && round_up(value) > value && round_up(value) <= value * 10.0);
        }
        assert_eq!(
            ["5.00 ms", "0.50 ms", "10 s", "1,000", "30.0 %"].map(shortened),
            ["5 ms", "0.5 ms", "10 s", "1,000", "30 %"]
        );
        assert_eq!(nice(0.0), (1.0, 1.0));
        assert_eq!(ticks(0.0, 30.0), [0.0, 10.0, 20.0, 30.0]);
    }

    #[test]
    fn a_plot_without_points_is_left_out() {
        let plot = Plot {
            title: "nothing",
            lines: vec![Line { name: "none", colour: 0, filled: false, points: Vec::new() }],
            value: |value| value.to_string(),
            place: |place| place.to_string(),
            band: None,
            marks: Vec::new(),
            least_top: 0.0,
            logarithmic: false,
        };
        assert_eq!(plot.svg(), "");
        let bars = Bars {
            title: "nothing",
            name: "none",
            colour: 0,
            bars: Vec::new(),
            place: |place| place.to_string(),
            marks: Vec::new(),
        };
        assert_eq!(bars.svg(), "");
    }

    #[test]
    fn lines_stay_within_their_frame() {
        let frame = Frame { left: 5.0, right: 10.0, bottom: None, top: 2.0 };
        assert_eq!((frame.x(5.0), frame.x(10.0)), (LEFT, RIGHT));
        assert_eq!((frame.y(0.0), frame.y(2.0), frame.y(99.0)), (BOTTOM, TOP, TOP));
        let frame = Frame { bottom: Some(0.001), top: 0.1, ..frame };
        assert_eq!((frame.y(0.0), frame.y(0.001), frame.y(0.1), frame.y(9.0)), (BOTTOM, BOTTOM, TOP, TOP));
        assert!((frame.y(0.01) - (TOP + BOTTOM) / 2.0).abs() < 1e-9);
    }
}
