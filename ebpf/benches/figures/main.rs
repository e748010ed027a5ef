//! Draws the curves of docs/benchmarks.md from what the benchmarks have written, beside this file. `make bench-figures`.

#[path = "../kit/mod.rs"]
mod kit;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::*,
};
use serde_json::Value;

/// One line: its name, its colour, and a point for each number of rules.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

const BLUE: RGBColor = RGBColor(31, 98, 180);
const ORANGE: RGBColor = RGBColor(214, 98, 20);
const GREY: RGBColor = RGBColor(120, 120, 120);
const GREEN: RGBColor = RGBColor(40, 140, 70);

fn main() -> Result<(), Box<dyn Error>> {
    decisions("hot", "above_empty", "The same packet again and again")?;
    decisions("cold", "cold_above_empty", "Each packet for another rule")?;
    apply()
}

fn decisions(figure: &str, measure: &str, what: &str) -> Result<(), Box<dyn Error>> {
    let results = load("decisions")?;
    let of = |name, colour| Curve {
        name,
        colour,
        points: points(&results["cases"], measure, |case| case["name"] == name),
    };
    let curves = [
        of("single trie, hit", ORANGE),
        of("hit", BLUE),
        of("miss", GREEN),
        of("not through a VRF", GREY),
    ];
    let top = highest(&curves) * 1.15;
    let caption = format!("{what}: ns above an empty program");
    let page = Page {
        file: file(&format!("decisions-{figure}")),
        caption: &caption,
        machine: &results["machine"],
        axes: ["rules", "ns"],
    };
    page.draw(&curves, 0.0..top)
}

fn apply() -> Result<(), Box<dyn Error>> {
    let results = load("apply")?;
    let of = |name, measure, colour| Curve {
        name,
        colour,
        points: entries(&results["sizes"], measure),
    };
    let curves = [
        of("all rules, clients connecting", "all_under_load", ORANGE),
        of("all rules", "all", BLUE),
        of("one of them, after a restart", "one_after_restart", GREEN),
        of("one of them", "one", GREY),
    ];
    let bottom = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.1)
        .fold(f64::MAX, f64::min);
    let page = Page {
        file: file("apply"),
        caption: "Rules into a live gate: ms",
        machine: &results["machine"],
        axes: ["rules, times addresses of each", "ms"],
    };
    page.draw(&curves, (bottom / 2.0..highest(&curves) * 2.0).log_scale())
}

/// One figure: curves over the number of rules.
struct Page<'a> {
    file: PathBuf,
    caption: &'a str,
    machine: &'a Value,
    /// What is drawn from left to right, and what upwards.
    axes: [&'a str; 2],
}

impl Page<'_> {
    fn draw<Y>(&self, curves: &[Curve], upwards: Y) -> Result<(), Box<dyn Error>>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = SVGBackend::new(&self.file, (760, 420)).into_drawing_area();
        let area = framed(&area, self.caption, self.machine)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(32)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d((1.0..100_000.0).log_scale(), upwards)?;
        let [across, up] = self.axes;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|rules| format!("{rules:.0}"))
            .x_desc(across)
            .y_desc(up)
            .draw()?;
        for curve in curves {
            let line = curve.colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), line).point_size(3))?
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], line));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(GREY)
            .draw()?;
        area.present()?;
        println!("drawn: {}", self.file.display());
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// White ground, a caption, and what the figures were measured on.
fn framed<'a>(area: &Area<'a>, caption: &str, machine: &Value) -> Result<Area<'a>, Box<dyn Error>> {
    area.fill(&WHITE)?;
    let area = area.titled(caption, ("sans-serif", 18))?;
    let of = |key: &str| machine[key].as_str().unwrap_or_default().to_owned();
    let (rest, foot) = area.split_vertically(376);
    let where_and_when = format!("{}, Linux {}, {}", of("cpu"), of("kernel"), of("date"));
    let style = ("sans-serif", 12).into_font().color(&GREY);
    foot.draw(&Text::new(where_and_when, (14, 2), style))?;
    Ok(rest)
}

fn load(name: &str) -> Result<Value, Box<dyn Error>> {
    let path = kit::directory().join(format!("{name}.json"));
    let text = fs::read(&path).map_err(|error| {
        format!(
            "reading {} (`make bench-{name}` writes it): {error}",
            path.display()
        )
    })?;
    Ok(serde_json::from_slice(&text)?)
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/figures/{name}.svg"))
}

fn points(rows: &Value, measure: &str, wanted: impl Fn(&Value) -> bool) -> Vec<(f64, f64)> {
    let rows = rows.as_array().into_iter().flatten();
    rows.filter(|row| wanted(row))
        .filter_map(|row| Some((row["rules"].as_f64()?, row[measure]["median"].as_f64()?)))
        .collect()
}

/// Of the rule sets that `vrfgate run` takes, over their entries.
fn entries(sizes: &Value, measure: &str) -> Vec<(f64, f64)> {
    let sizes = sizes.as_array().into_iter().flatten();
    sizes
        .filter(|size| size["rules"].as_u64() <= Some(1000))
        .filter_map(|size| Some((size["entries"].as_f64()?, size[measure]["median"].as_f64()?)))
        .collect()
}

fn highest(curves: &[Curve]) -> f64 {
    let points = curves.iter().flat_map(|curve| &curve.points);
    points.map(|point| point.1).fold(1.0, f64::max)
}
