//! The ratios as a picture: SVG, in light and dark, that loads nothing from anywhere.

use std::fmt::Write as _;

use crate::report::Report;
use crate::rounds::Summary;
use crate::targets::is_met;

/// One bar for each compared metric.
pub(crate) struct Chart {
    title: String,
    names: [&'static str; 2],
    bars: Vec<Bar>,
}

struct Bar {
    title: String,
    /// What both sides measured, as in the table.
    words: String,
    /// How many times better ours is: median, smallest, largest.
    ratio: (f64, f64, f64),
    /// The ratio at which the target is met exactly, and whether it is.
    target: Option<(f64, bool)>,
}

impl Chart {
    /// Of everything in a report that has a ratio.
    pub(crate) fn of(report: &Report) -> Self {
        let bar = |(result, metric, summary): (&_, &crate::rows::Metric, Summary)| {
            let target = report.target(result, metric).and_then(|target| {
                Some((target.as_ratio(metric, &summary)?, target.reached(&summary).is_some_and(is_met)))
            });
            let number = |value: f64| crate::table::grouped(value, metric.decimals);
            let words = format!("{} : {} {}", number(summary.ours), number(summary.theirs?), metric.unit);
            Some(Bar { title: metric.title.to_owned(), words, ratio: summary.ratio?, target })
        };
        let facts = &report.facts;
        let title = format!("{}, {}", facts.date, facts.machine());
        Chart { title, names: facts.against.names(), bars: report.figures().filter_map(bar).collect() }
    }

    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let height = TOP + self.bars.len() * ROW + BOTTOM;
        let scale = Scale::of(&self.bars);
        let [ours, theirs] = self.names;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{}\">\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" \
             rx=\"8\"/>\n",
            escaped(&self.title)
        );
        text(&mut svg, "title", 20, 30, &format!("How many times better {ours} is than {theirs}"));
        text(&mut svg, "note", 20, 50, &self.title);
        self.legend(&mut svg);
        let bottom = height - BOTTOM;
        for mark in scale.marks() {
            let x = scale.x(mark);
            let class = if mark == 1.0 { "one" } else { "grid" };
            let _ = writeln!(
                svg,
                "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>",
                TOP - 6
            );
            let _ = writeln!(svg, "<text class=\"axis\" x=\"{x:.1}\" y=\"{}\">{mark}×</text>", bottom + 16);
        }
        for (index, bar) in self.bars.iter().enumerate() {
            bar.draw(&mut svg, &scale, TOP + index * ROW);
        }
        svg + "</svg>\n"
    }

    fn legend(&self, svg: &mut String) {
        let y = 68;
        for (x, class, words) in
            [(20, "met", "target met"), (120, "missed", "target missed"), (240, "free", "no target")]
        {
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"2\"/>",
                y - 10
            );
            text(svg, "note", x + 18, y, words);
        }
        let _ = writeln!(svg, "<path class=\"target\" d=\"M342 {} v14\"/>", y - 11);
        text(svg, "note", 350, y, "target");
        let _ = writeln!(svg, "<path class=\"spread\" d=\"M412 {} h20\"/>", y - 4);
        let [ours, theirs] = self.names;
        text(
            svg,
            "note",
            438,
            y,
            &format!("least and most of the rounds; at 1× {ours} is as {theirs}; steps of the scale double"),
        );
    }
}

impl Bar {
    fn draw(&self, svg: &mut String, scale: &Scale, y: usize) {
        let (median, smallest, largest) = self.ratio;
        let class = match self.target {
            Some((_, true)) => "met",
            Some((_, false)) => "missed",
            None => "free",
        };
        let (one, end) = (scale.x(1.0), scale.x(median));
        let (left, width) = (one.min(end), (end - one).abs().max(1.0));
        let middle = y + ROW / 2;
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{}\" y=\"{}\">{}</text>",
            LEFT - 10,
            middle + 4,
            escaped(&self.title)
        );
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"/>",
            y + 4,
            ROW - 8
        );
        let (from, to) = (scale.x(smallest), scale.x(largest));
        let _ = writeln!(svg, "<path class=\"spread\" d=\"M{from:.1} {middle} H{to:.1}\"/>");
        let mut words = end.max(to).max(one);
        if let Some((ratio, _)) = self.target {
            let x = scale.x(ratio);
            let _ = writeln!(svg, "<path class=\"target\" d=\"M{x:.1} {} v{}\"/>", y + 1, ROW - 2);
            words = words.max(x);
        }
        let _ = writeln!(
            svg,
            "<text class=\"value\" x=\"{:.1}\" y=\"{}\">{median:.2}× <tspan class=\"note\">{}</tspan></text>",
            words + 8.0,
            middle + 4,
            escaped(&self.words)
        );
    }
}

/// Equal steps for equal factors: half as good is as far from 1 as twice as good.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of(bars: &[Bar]) -> Self {
        let ratios = bars.iter().flat_map(|bar| {
            [bar.ratio.1, bar.ratio.2].into_iter().chain(bar.target.map(|(target, _)| target))
        });
        let (least, most) =
            ratios.fold((1.0_f64, 2.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        Scale { least: least.max(1.0 / FURTHEST).log2(), most: most.min(FURTHEST).log2() }
    }

    fn x(&self, ratio: f64) -> f64 {
        let at = (ratio.max(f64::MIN_POSITIVE).log2().clamp(self.least, self.most) - self.least)
            / (self.most - self.least);
        LEFT as f64 + at * (RIGHT - LEFT) as f64
    }

    /// The powers of two within it.
    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.least.ceil() as i32..=self.most.floor() as i32).map(|power| f64::from(power).exp2())
    }
}

fn text(svg: &mut String, class: &str, x: usize, y: usize, words: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(words));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const WIDTH: usize = 1000;
/// Where bars may begin, and end.
const LEFT: usize = 380;
const RIGHT: usize = 820;
const TOP: usize = 92;
const ROW: usize = 22;
const BOTTOM: usize = 30;
/// Ratios beyond are drawn as this one.
const FURTHEST: f64 = 128.0;
const STYLE: &str = "\
:root{color-scheme:light dark}\
text{font:12px system-ui,sans-serif;fill:#1b1f24}.title{font-size:17px;font-weight:600}\
.note,.axis{font-size:11px;fill:#59636e}.axis{text-anchor:middle}.label{text-anchor:end}.value{font-weight:600}\
.value .note{font-weight:400}.page{fill:#fff}.grid{stroke:#d9dee3}.one{stroke:#59636e;stroke-width:1.5}\
.met{fill:#2a9d63}.missed{fill:#d0752d}.free{fill:#8aa0b8}\
.target{stroke:#1b1f24;stroke-width:2.5;fill:none}.spread{stroke:#1b1f24;stroke-opacity:.55;stroke-width:1.5;fill:none}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.note,.axis{fill:#9aa5b1}.page{fill:#12161b}.grid{stroke:#2c343d}\
.one{stroke:#9aa5b1}.met{fill:#2f9e66}.missed{fill:#c96f2b}.free{fill:#5d7389}\
.target{stroke:#fff}.spread{stroke:#fff}}";

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(bars: Vec<Bar>) -> Chart {
        Chart { title: "a & b".to_owned(), names: ["ours", "coturn"], bars }
    }

    fn bar(ratio: f64, target: Option<(f64, bool)>) -> Bar {
        Bar {
            title: "cost <µs>".to_owned(),
            words: "2 : 4 µs".to_owned(),
            ratio: (ratio, ratio, ratio),
            target,
        }
    }

    #[test]
    fn twice_as_good_and_half_as_good_are_as_far_from_one() {
        let scale = Scale::of(&[bar(4.0, None), bar(0.25, None)]);
        let one = scale.x(1.0);
        assert_eq!((scale.x(2.0) - one).round(), (one - scale.x(0.5)).round());
        assert_eq!((scale.x(0.25), scale.x(4.0)), (LEFT as f64, RIGHT as f64));
        assert_eq!(scale.marks().collect::<Vec<_>>(), [0.25, 0.5, 1.0, 2.0, 4.0]);
    }

    #[test]
    fn a_bar_ends_at_its_ratio_and_its_target_is_marked() {
        let svg = chart(vec![bar(4.0, Some((2.0, true))), bar(1.5, Some((2.0, false)))]).svg();
        let scale = Scale { least: 0.0, most: 2.0 };
        assert!(svg.contains(&format!("width=\"{:.1}\"", scale.x(4.0) - scale.x(1.0))), "{svg}");
        assert_eq!(svg.matches(&format!("M{:.1} ", scale.x(2.0))).count(), 2, "{svg}");
        assert!(svg.contains("<rect class=\"met\"") && svg.contains("<rect class=\"missed\""), "{svg}");
        assert!(svg.contains("cost &lt;µs&gt;") && svg.contains("a &amp; b"), "{svg}");
    }

    #[test]
    fn a_ratio_out_of_all_proportion_stays_within_the_picture() {
        let scale = Scale::of(&[bar(1e9, None)]);
        assert_eq!(scale.x(1e9), RIGHT as f64);
        assert!(scale.x(0.0).is_finite());
    }
}
