//! How much CPU time and memory the gateway uses.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};

/// The gateway's processes, as they were once it was ready.
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// A process and its descendants.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").context("the bench needs Linux's /proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that has ended meanwhile is nobody's child.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            parents.extend(parent(&stat).map(|parent| (pid, parent)));
        }
        if !parents.iter().any(|(pid, _)| *pid == root) {
            bail!("the gateway's process {root} is not there");
        }
        Ok(Self(family(root, &parents)))
    }

    /// The time on a CPU, in user and in system mode, of all their threads.
    ///
    /// It is what `utime` and `stime` in `/proc/PID/stat` add up to; those count hundredths of a
    /// second, this nanoseconds.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let mut ns = 0;
        for pid in &self.0 {
            let threads = fs::read_dir(format!("/proc/{pid}/task"))
                .with_context(|| format!("the gateway's process {pid} has ended"))?;
            for thread in threads {
                let file = thread?.path().join("schedstat");
                // A thread that has just ended is none of those that handle requests.
                let Ok(text) = fs::read_to_string(&file) else { continue };
                let on_cpu = text.split(' ').next().and_then(|on_cpu| on_cpu.parse::<u64>().ok());
                ns += on_cpu.with_context(|| format!("{}: no time in {text:?}", file.display()))?;
            }
        }
        if ns == 0 {
            bail!("this kernel does not count CPU time in /proc/PID/task/TID/schedstat");
        }
        Ok(Duration::from_nanos(ns))
    }
}

impl Processes {
    /// The memory of each that is its own alone, in bytes: without the zones that all share.
    pub(crate) fn memory(&self) -> Result<Vec<u64>> {
        self.0.iter().map(|pid| status_bytes(*pid, "RssAnon:")).collect()
    }
}

/// What the kernel says in `field` of a process's status, in bytes.
pub(crate) fn status_bytes(pid: u32, field: &str) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let status =
        fs::read_to_string(&file).with_context(|| format!("the process {pid} has ended"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = kib.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{file}: no {field}"))? * 1024)
}

/// The parent in a line of `/proc/PID/stat`: the second field after the name, which may contain
/// anything and ends with the last parenthesis.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn family(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![root];
    let children = parents.iter().filter(|(_, parent)| *parent == root);
    family.extend(children.flat_map(|(child, _)| self::family(*child, parents)));
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        assert_eq!(parent("12 (a) b) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent(""), None);
    }

    #[test]
    fn descendants_belong_to_it_and_strangers_do_not() {
        assert_eq!(family(2, &[(1, 0), (2, 1), (3, 2), (4, 3), (5, 1)]), [2, 3, 4]);
    }

    #[test]
    fn what_is_kept_shows_as_memory() {
        let own = Processes::of(std::process::id()).unwrap();
        let before = own.memory().unwrap()[0];
        let kept = vec![1_u8; 64 * 1024 * 1024];
        assert!(own.memory().unwrap()[0] > before + 32 * 1024 * 1024, "{}", kept.len());
    }

    #[test]
    fn work_shows_as_cpu_time() {
        let own = Processes::of(std::process::id()).unwrap();
        let before = own.cpu_time().unwrap();
        while own.cpu_time().unwrap() <= before {}
    }
}
