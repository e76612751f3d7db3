//! A report that any browser shows without a network: tables from here, plots by a script that is
//! part of the page.

use std::fmt::Write as _;

use crate::measure::Spread;
use crate::outcome::Better;
use crate::record::Record;
use crate::record::Row;
use crate::table::number;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
/// Draws the plots; see `uplot/README.md`.
const UPLOT: &str = include_str!("uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("uplot/uPlot.min.css");

/// The page of some records.
///
/// # Errors
///
/// There is no record.
pub fn page(records: &[Record]) -> anyhow::Result<String> {
    let Some(first) = records.first() else { anyhow::bail!("there is nothing to report") };
    let mut page = Page::default();
    let title = escape(&first.title);
    page.add(&format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{UPLOT_STYLE}\n{STYLE}</style></head><body>\n"
    ));
    for (index, record) in records.iter().enumerate() {
        page.record(record, index);
    }
    // A text inside of the data must not end the element that holds it.
    let data = serde_json::to_string(records)?.replace("</", "<\\/");
    page.add(&format!(
        "<script type=\"application/json\" id=\"records\">{data}</script>\n\
         <script>{UPLOT}</script>\n<script>{SCRIPT}</script>\n</body></html>\n"
    ));
    Ok(page.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// HTML that grows.
#[derive(Default)]
struct Page(String);

impl Page {
    fn add(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn record(&mut self, record: &Record, index: usize) {
        let title = escape(&record.title);
        let badge = if record.is_clean {
            "<span class=\"badge good\">clean</span>"
        } else {
            "<span class=\"badge bad\">NOT CLEAN</span>"
        };
        let button = if index == 0 {
            "<button id=\"theme\" type=\"button\">light / dark</button>"
        } else {
            ""
        };
        self.add(&format!("<header><h1>{title}</h1>{badge}{button}</header>\n"));
        let environment = &record.environment;
        let rounds = record.runs.iter().map(|it| it.round).max().unwrap_or(0);
        self.add(&format!(
            "<p class=\"dim\">{} · {} CPUs · {} · {rounds} {} · load {:.2} at the start</p>\n",
            escape(&environment.cpu_model),
            environment.cpus_count,
            escape(environment.kernel.split(" #").next().unwrap_or_default()),
            if rounds == 1 { "round" } else { "rounds" },
            environment.load_average
        ));
        self.faults(record);
        self.rows(record);
        self.add(&format!("<div id=\"plots-{index}\"></div>\n"));
        self.subjects(record);
        self.how(record);
    }

    fn faults(&mut self, record: &Record) {
        let place = |run: &crate::record::Run| {
            let case = escape(&record.cases[run.case].name);
            format!("{case}, {}, round {}", escape(&record.subjects[run.subject].name), run.round)
        };
        let mut faults = String::new();
        for failure in &record.failures {
            faults.push_str(&format!("<li class=\"bad\">{}</li>\n", escape(failure)));
        }
        let mut warnings = String::new();
        let mut warned_count = 0;
        for run in &record.runs {
            for fault in &run.outcome.faults {
                let fault = escape(fault);
                faults.push_str(&format!("<li class=\"bad\">{}: {fault}</li>\n", place(run)));
            }
            let reasons = run.outcome.closings.iter().chain(&run.outcome.failures);
            for (why, count) in reasons.take(20) {
                let why = escape(why);
                faults.push_str(&format!("<li>{}: {count} × {why}</li>\n", place(run)));
            }
            for warning in &run.outcome.warnings {
                warned_count += 1;
                let warning = escape(warning);
                warnings.push_str(&format!("<li class=\"warn\">{}: {warning}</li>\n", place(run)));
            }
        }
        if !faults.is_empty() {
            self.add(&format!("<ul>\n{faults}</ul>\n"));
        }
        if warned_count != 0 {
            self.add(&format!(
                "<details><summary class=\"warn\">{warned_count} warnings</summary><ul>\n\
                 {warnings}</ul></details>\n"
            ));
        }
    }

    fn rows(&mut self, record: &Record) {
        let has = |of: fn(&Row) -> Option<Spread>| record.rows.iter().any(|it| of(it).is_some());
        let (has_ratio, has_case_ratio) = (has(|it| it.ratio), has(|it| it.case_ratio));
        let has_cases = 1 < record.cases.len();
        let has_subjects = 1 < record.subjects.len();
        let head = |is_shown: bool, text: &str, class: &str| {
            if is_shown { format!("<th{class}>{}</th>", escape(text)) } else { String::new() }
        };
        let right = " class=\"n\"";
        let is_long = 40 < record.rows.len();
        let open = if is_long { "<details><summary>All figures</summary>" } else { "" };
        self.add(&format!("<h2>Figures</h2>{open}<div class=\"scroll\"><table><tr>"));
        self.add(&head(has_cases, "case", ""));
        self.add(&head(true, "figure", ""));
        self.add(&head(has_subjects, "subject", ""));
        self.add(&head(true, "median", right));
        self.add(&head(true, "min … max", right));
        self.add(&head(true, "unit", ""));
        self.add(&head(has_ratio, &format!("× {}", record.subjects[0].name), right));
        self.add(&head(has_case_ratio, &format!("× {}", record.cases[0].name), right));
        self.add("</tr>\n");
        let mut rows: Vec<&Row> = record.rows.iter().collect();
        let place = |row: &Row| {
            let is_same = |it: &Row| it.case == row.case && it.metric == row.metric;
            record.rows.iter().position(is_same).unwrap_or(0)
        };
        rows.sort_by_key(|row| (row.case, place(row), row.subject));
        let mut last = None;
        for row in rows {
            let group = Some((row.case, &row.metric));
            let class = if last != group && has_subjects { " class=\"group\"" } else { "" };
            last = group;
            self.add(&format!("<tr{class}>"));
            let cell = |is_shown: bool, text: &str, class: &str| {
                if is_shown { format!("<td{class}>{}</td>", escape(text)) } else { String::new() }
            };
            let minor = if row.better == Better::Neither { " class=\"minor\"" } else { "" };
            let Spread { median, min, max } = row.spread;
            let spread = format!("{} … {}", number(min), number(max));
            self.add(&cell(has_cases, &record.cases[row.case].name, ""));
            self.add(&cell(true, &row.metric, minor));
            self.add(&cell(has_subjects, &record.subjects[row.subject].name, ""));
            self.add(&cell(true, &number(median), right));
            self.add(&cell(true, if min < max { &spread } else { "" }, right));
            self.add(&cell(true, &row.unit, minor));
            self.add(&cell(has_ratio, &ratio(row.ratio), right));
            self.add(&cell(has_case_ratio, &ratio(row.case_ratio), right));
            self.add("</tr>\n");
        }
        self.add("</table></div>");
        self.add(if is_long { "</details>\n" } else { "\n" });
    }

    fn subjects(&mut self, record: &Record) {
        self.add("<h2>Who was measured</h2><div class=\"scroll\"><table><tr><th>subject</th>");
        self.add("<th>version</th><th>driver</th><th>started as, or reached at</th></tr>\n");
        for subject in &record.subjects {
            let text = |text: &Option<String>| escape(text.as_deref().unwrap_or("–"));
            self.add(&format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>\n",
                escape(&subject.name),
                text(&subject.version),
                text(&subject.driver),
                escape(&subject.server)
            ));
        }
        self.add("</table></div>\n");
    }

    /// What is needed to do it again.
    fn how(&mut self, record: &Record) {
        let environment = &record.environment;
        let mut text = format!("{}\n\n", environment.command.join(" "));
        let mut line = |name: &str, value: &str| {
            writeln!(text, "{name:<34}{value}").expect("a string takes all that is written");
        };
        line("kernel", &environment.kernel);
        line("CPU", &format!("{} × {}", environment.cpus_count, environment.cpu_model));
        line("memory", &format!("{} MB", environment.memory_bytes / 1_000_000));
        line("open files", &environment.nofile.to_string());
        for (name, value) in &environment.sysctls {
            line(name, value);
        }
        line("ringway-bench", &environment.bench_version);
        line("started, seconds since 1970", &environment.started_at_unix.to_string());
        self.add(&format!("<h2>How it was made</h2><pre>{}</pre>\n", escape(&text)));
        let mut seen = Vec::new();
        for run in &record.runs {
            if seen.contains(&(run.case, run.subject)) {
                continue;
            }
            seen.push((run.case, run.subject));
            let plan = serde_json::to_string_pretty(&run.plan).unwrap_or_default();
            let case = escape(&record.cases[run.case].name);
            let subject = escape(&record.subjects[run.subject].name);
            self.add(&format!(
                "<details><summary>Settings of {case} for {subject}</summary><pre>{}</pre>\
                 </details>\n",
                escape(&plan)
            ));
        }
    }
}

fn ratio(ratio: Option<Spread>) -> String {
    match ratio {
        Some(Spread { median, min, max }) if min < max => {
            format!("{median:.3} ({min:.3} … {max:.3})")
        }
        Some(Spread { median, .. }) => format!("{median:.3}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::record;

    #[test]
    fn a_page_stands_by_itself_and_no_text_of_a_server_can_end_its_script() {
        let name = "</script><b>&".to_owned();
        let record = Record {
            format: record::FORMAT.to_owned(),
            version: record::VERSION,
            title: name.clone(),
            environment: Environment::default(),
            subjects: vec![record::Subject { name, ..record::Subject::default() }],
            cases: vec![record::Case::default()],
            runs: Vec::new(),
            failures: Vec::new(),
            rows: Vec::new(),
            is_clean: true,
        };
        let page = page(&[record]).unwrap();
        assert!(page.contains("<h1>&lt;/script&gt;&lt;b&gt;&amp;</h1>"));
        assert_eq!(page.matches("</script>").count(), 3);
        for far in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!page.contains(far), "{far}");
        }
        assert!(super::page(&[]).is_err());
    }
}
