//! `cargo stack report`: all benches, one after the other, as a page with charts.

use std::{fmt::Write, fs, path::PathBuf, process::Command, thread};

use anyhow::{Context, Result};
use clap::{Args, FromArgMatches, ValueEnum};

use super::{ai, chart::Chart, exchange, verdict::Verdict};
use crate::{artifacts, host::HostKind, interrupt::unless_interrupted};

/// Where to.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The folder for the page and its charts, in one for each host
    #[arg(long, default_value = "target/report")]
    pub folder: PathBuf,
}

/// A bench: its command, how it is asked, and what is said of it.
struct Bench {
    title: &'static str,
    command: &'static str,
    arguments: &'static [&'static str],
}

const GATE: Bench = Bench {
    title: "What a request costs",
    command: "bench",
    arguments: &["--rounds", "15", "--seconds", "0.5"],
};

const AI: Bench =
    Bench { title: "What a call of a model costs", command: "ai-bench", arguments: &[] };

const EXCHANGE: Bench = Bench {
    title: "What a login costs, and what the exchange takes",
    command: "exchange-bench",
    arguments: &[],
};

/// What one bench found.
struct Section {
    bench: Bench,
    text: String,
    verdicts: Vec<Verdict>,
    /// The charts, each with the name of its file.
    charts: Vec<(&'static str, Chart)>,
}

/// Measures everything, and writes it down.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<()> {
    let kind = HostKind::choose(host)?;
    let sections = unless_interrupted(measure(kind)).await?;
    let name = kind.to_possible_value().context("every host has a name")?;
    let folder = settings.folder.join(name.get_name());
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, chart) in sections.iter().flat_map(|section| &section.charts) {
        write(&format!("{name}.svg"), chart.to_string())?;
    }
    write("README.md", page(kind, &about()?, &sections)?)?;
    println!("{}", folder.join("README.md").display());
    Ok(())
}

async fn measure(kind: HostKind) -> Result<Vec<Section>> {
    let gate = super::measure(GATE.settings()?, Some(kind)).await?;
    let ai = ai::measure(AI.settings()?, Some(kind)).await?;
    let exchange = exchange::measure(EXCHANGE.settings()?, Some(kind)).await?;
    Ok(vec![
        Section {
            bench: GATE,
            text: gate.to_string(),
            verdicts: gate.verdicts(),
            charts: vec![("request", gate.chart())],
        },
        Section {
            bench: AI,
            text: ai.to_string(),
            verdicts: ai.verdicts(),
            charts: vec![("call", ai.chart())],
        },
        Section {
            bench: EXCHANGE,
            text: exchange.to_string(),
            verdicts: exchange.verdicts(),
            charts: vec![("login", exchange.login_chart()), ("settled", exchange.settled_chart())],
        },
    ])
}

impl Bench {
    /// Its settings, as the command line would have them.
    fn settings<T: Args + FromArgMatches>(&self) -> Result<T> {
        let command = T::augment_args(clap::Command::new(self.command).no_binary_name(true));
        Ok(T::from_arg_matches(&command.try_get_matches_from(self.arguments)?)?)
    }
}

/// What it was measured on, and of what.
fn about() -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let after = |text: &str, start: &str| -> Option<String> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(start))?;
        Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let of = |program: &str, arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(artifacts::source());
        Ok(artifacts::output(&mut command)?.trim().to_owned())
    };
    let processor = after(&read("/proc/cpuinfo")?, "model name");
    let memory =
        after(&read("/proc/meminfo")?, "MemTotal").context("/proc/meminfo: no MemTotal")?;
    let memory: u64 = memory.trim_end_matches(" kB").parse().context("/proc/meminfo: MemTotal")?;
    let cores = thread::available_parallelism()?;
    let modules = fs::read_to_string(artifacts::source().join("tests/kombistack/go.mod"))?;
    let pocketbase = after(&modules, "require github.com/pocketbase/pocketbase");
    Ok(vec![
        format!(
            "{}, commit {}",
            of("date", &["-u", "+%F"])?,
            of("git", &["describe", "--always", "--dirty"])?
        ),
        format!(
            "{}, {cores} cores, {} GB, Linux {}",
            processor.unwrap_or_else(|| "a processor without a name".to_owned()),
            memory / 1_000_000,
            of("uname", &["-r"])?
        ),
        format!(
            "{}, PocketBase {}",
            of("rustc", &["--version"])?,
            pocketbase.context("tests/kombistack/go.mod requires no PocketBase")?
        ),
    ])
}

fn page(kind: HostKind, about: &[String], sections: &[Section]) -> Result<String> {
    let mut page = format!(
        "# What it costs, on {kind}\n\n{}.\n\n\
         Measured in one run of `cargo stack report`. What is compared took turns on the same machine within that run: \
         ratios and differences can be repeated elsewhere, absolute figures cannot. No seed: nothing in it is drawn by lot.\n\n\
         | compared | found | wanted |\n|---|---:|---:|\n",
        about.join("; ")
    );
    for verdict in sections.iter().flat_map(|section| &section.verdicts) {
        writeln!(page, "{verdict}")?;
    }
    for Section { bench, text, charts, .. } in sections {
        let command = [&["cargo stack", bench.command], bench.arguments].concat().join(" ");
        writeln!(page, "\n## {}\n\n`{command}`\n", bench.title)?;
        for (name, chart) in charts {
            writeln!(page, "![{}]({name}.svg)", chart.title)?;
        }
        writeln!(page, "\n{}", text.trim_end())?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bench_can_be_asked_as_the_page_says() {
        GATE.settings::<super::super::Settings>().unwrap();
        AI.settings::<ai::Settings>().unwrap();
        EXCHANGE.settings::<exchange::Settings>().unwrap();
    }

    #[test]
    fn the_page_has_every_figure_with_what_was_wanted() {
        let chart = Chart { title: "ms", bars: Vec::new() };
        let section = Section {
            bench: EXCHANGE,
            text: "a table\n".to_owned(),
            verdicts: vec![Verdict::at_most("login / other", 3.0, 2.5)],
            charts: vec![("login", chart)],
        };
        let page = page(HostKind::Envoy, &about().unwrap(), &[section]).unwrap();
        for part in [
            "# What it costs, on Envoy\n",
            " cores, ",
            "PocketBase v0.",
            "| login / other | 3.00 | ≤ 2.50: missed |\n",
            "`cargo stack exchange-bench`\n\n![ms](login.svg)\n\na table\n",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
