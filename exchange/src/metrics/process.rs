//! What this process uses, by the names that Prometheus's own clients have for it.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::time::UnixTime;

/// Ticks in a second, as `/proc` counts them for everybody.
const TICKS: f64 = 100.0;

/// This process, looked at when somebody asks.
#[derive(Debug)]
pub(super) struct Process {
    started: UnixTime,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { started: UnixTime::now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        if let Some(used) = cpu() {
            let counter = ConstCounter::new(used);
            let help = "Processor time used";
            let described = encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            counter.encode(described)?;
        }
        let bytes = Unit::Bytes;
        let seconds = Unit::Seconds;
        let started = i64::try_from(self.started.as_secs()).ok();
        for (name, help, unit, value) in [
            ("process_resident_memory", "Memory in use", Some(&bytes), resident()),
            ("process_start_time", "When it started, since 1970", Some(&seconds), started),
            ("process_open_fds", "Open file descriptors", None, open_files()),
            ("process_max_fds", "Most file descriptors that it may open", None, most_files()),
        ] {
            // What the system does not tell is not there.
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

/// Seconds of processor time.
fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before may hold anything, and ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<f64>().ok();
    Some((ticks(fields.next())? + ticks(fields.next())?) / TICKS)
}

fn resident() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn most_files() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
