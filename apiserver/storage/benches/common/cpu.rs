//! CPU time of this process.

/// User and system time of all threads, from Linux's `/proc`.
pub(crate) fn ticks() -> Result<u64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no command in /proc/self/stat")?.1;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(times.sum::<Result<u64, _>>()?)
}

pub(crate) fn ticks_per_second() -> Result<f64, Box<dyn std::error::Error>> {
    let output = std::process::Command::new("getconf").arg("CLK_TCK").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
