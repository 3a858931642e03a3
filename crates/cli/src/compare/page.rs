//! The comparison as one page: charts drawn as SVG, and the table; no script, nothing loaded.

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1c2330;--dim:#5b6576;--line:#d9dee7;\
--native:#8b95a5;--process:#2f6fde;--hyperv:#b4540a}\
@media(prefers-color-scheme:dark){:root{--back:#12161d;--text:#e6e9ef;--dim:#9aa5b6;--line:#2c3442;\
--native:#7a8494;--process:#6ea0ff;--hyperv:#f0994a}}\
*{box-sizing:border-box}body{margin:0 auto;padding:24px 16px;max-width:1180px;background:var(--back);\
color:var(--text);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}\
h2{font-size:1rem;margin:0 0 8px}p{color:var(--dim);margin:4px 0 24px}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:24px}\
figure{margin:0}svg{width:100%;height:auto;display:block}svg text{fill:var(--text);font-size:13px}\
.native{fill:var(--native)}.process{fill:var(--process)}.hyperv{fill:var(--hyperv)}\
table{width:100%;border-collapse:collapse;margin-top:32px;font-size:.9rem}\
th,td{text-align:left;vertical-align:top;padding:6px 12px 6px 0;border-bottom:1px solid var(--line);\
overflow-wrap:anywhere}th{font-weight:600}\
@media(max-width:600px){thead{display:none}tr{display:block;border-bottom:1px solid var(--line);padding:8px 0}\
th,td{display:block;border:0;padding:1px 0}td::before{content:attr(data-side) ': ';color:var(--dim)}}";

const SIDES: [&str; 3] = ["native", "process", "hyperv"];
/// Title, key of the figure, what it is divided by, unit.
const CHARTS: [(&str, &str, f64, &str); 4] = [
    ("Start, median", "startMs", 1.0, "ms"),
    ("Memory on the host", "memoryBytes", 1_048_576.0, "MiB"),
    ("100,000 rounds of a loop", "cpuSeconds", 1.0, "s"),
    ("32 MiB written and synced", "diskSeconds", 1.0, "s"),
];

/// The page for a comparison.
pub(super) fn of(document: &Value) -> String {
    let image = escaped(document["image"].as_str().unwrap_or_default());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{image} behind both walls</title><style>{STYLE}</style></head><body>\
         <h1>{image} behind both walls</h1>\
         <p>The same image with the host's kernel (process) and in a virtual machine (hyperv), \
         measured by hull compare; shorter bars are better.</p><div class=\"charts\">"
    );
    for chart in CHARTS {
        page.push_str(&figure(document, chart));
    }
    page.push_str("</div><table><thead><tr><th></th>");
    for side in SIDES {
        write!(page, "<th>{side}</th>").expect("a string takes all");
    }
    page.push_str("</tr></thead><tbody>");
    for row in super::rows(document) {
        write!(page, "<tr><th>{}</th>", escaped(&row[0])).expect("a string takes all");
        for (side, cell) in SIDES.iter().zip(&row[1..]) {
            write!(page, "<td data-side=\"{side}\">{}</td>", escaped(cell))
                .expect("a string takes all");
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></body></html>");
    page
}

/// Bars, one a side that has the figure.
fn figure(document: &Value, (title, key, scale, unit): (&str, &str, f64, &str)) -> String {
    let value = |side: &&str| Some((document[*side][key].as_f64()? / scale, (*side).to_owned()));
    let bars: Vec<(f64, String)> = SIDES.iter().filter_map(value).collect();
    let most = bars.iter().map(|(value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height = bars.len() * 30;
    let mut svg = format!(
        "<figure><h2>{title}</h2><svg viewBox=\"0 0 360 {height}\" role=\"img\" aria-label=\"{title}\">"
    );
    for (at, (value, side)) in bars.iter().enumerate() {
        let (top, line) = (at * 30 + 4, at * 30 + 19);
        let width = (value / most * 200.0).max(1.0);
        let digits = if *value < 10.0 { 2 } else { 0 };
        write!(
            svg,
            "<text x=\"0\" y=\"{line}\">{side}</text>\
             <rect class=\"{side}\" x=\"64\" y=\"{top}\" width=\"{width:.1}\" height=\"20\" rx=\"3\"/>\
             <text x=\"{:.1}\" y=\"{line}\">{value:.digits$} {unit}</text>",
            width + 72.0
        )
        .expect("a string takes all");
    }
    svg.push_str("</svg></figure>");
    svg
}

/// Text that can be nothing else in a page.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_an_image_are_text_and_bars_are_in_proportion() {
        let document = json!({
            "image": "<script>", "process": { "startMs": 50.0 }, "hyperv": { "startMs": 200.0 },
        });
        let page = of(&document);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
        assert!(page.contains("class=\"process\" x=\"64\" y=\"4\" width=\"50.0\""), "{page}");
        assert!(page.contains("class=\"hyperv\" x=\"64\" y=\"34\" width=\"200.0\""), "{page}");
    }
}
