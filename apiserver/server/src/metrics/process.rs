//! What the kernel says of this process, where it has `/proc`: the names are those of Prometheus' clients.

use std::fs;

use super::text::{Kind, Text};

/// Ticks of a second in `/proc`: `USER_HZ`, which is part of the kernel's interface and 100 on every machine this runs on.
const TICKS: f64 = 100.0;

/// What is known of the process; nothing of what cannot be read.
pub(super) fn write(text: &mut Text) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, status, limits) =
        (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/self/limits"));
    let open = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge }, help);
            text.sample(name, &[], value);
        }
    };
    gauge("process_cpu_seconds_total", "Seconds of CPU time of this process.", cpu_seconds(&stat));
    gauge("process_max_fds", "File descriptors that may be open.", limit(&limits, "Max open files"));
    gauge("process_open_fds", "File descriptors that are open.", open.map(|count| count as f64));
    gauge("process_resident_memory_bytes", "Bytes of resident memory.", kilobytes(&status, "VmRSS:"));
    let started = started(&stat, &read("/proc/stat"));
    gauge("process_start_time_seconds", "When this process began, in seconds since 1970.", started);
    gauge("process_virtual_memory_bytes", "Bytes of virtual memory.", kilobytes(&status, "VmSize:"));
    let most = limit(&limits, "Max address space");
    gauge("process_virtual_memory_max_bytes", "Bytes of virtual memory that there may be.", most);
}

/// A field of `/proc/self/stat`, counted from 1. The second is a name in brackets that may have anything in it.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS)
}

/// When the process began: so many ticks after the machine.
fn started(stat: &str, machine: &str) -> Option<f64> {
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
    Some(booted + field(stat, 22)? / TICKS)
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

/// The soft limit; what has none is said to have the greatest number.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 9 0 12345 1000 200 18446744073709551615";
        assert_eq!((cpu_seconds(stat), started(stat, "cpu 1\nbtime 1000\n")), (Some(3.0), Some(1123.45)));
        assert_eq!(kilobytes("VmSize:\t  12 kB\nVmRSS:\t   3 kB\n", "VmRSS:"), Some(3072.0));
        let limits = "Max open files            1024                 4096                 files\n\
                      Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(18446744073709552000.0));
        assert_eq!((cpu_seconds(""), kilobytes("", "VmRSS:"), limit("", "x")), (None, None, None));
    }
}
