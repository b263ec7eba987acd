//! What benches measure of a server, and how they tell it.

#![allow(dead_code, unreachable_pub, reason = "each bench takes its own part")]

pub mod mirror;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::process::Process;

/// Processor seconds of a server so far, all of its processes together.
pub fn processor_seconds(process: &Process) -> f64 {
    // Linux counts in hundredths of a second whatever the machine (USER_HZ).
    let ticks = |pid: &String| -> f64 {
        let stat = read(&format!("/proc/{pid}/stat"));
        let after_name = stat.rsplit_once(')').unwrap().1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    };
    pids(process).iter().map(ticks).sum::<f64>() / 100.0
}

/// The highest resident memory (VmHWM) of a server, all of its processes together.
pub fn peak_mebibytes(process: &Process) -> f64 {
    let kibibytes = |pid: &String| -> f64 {
        let status = read(&format!("/proc/{pid}/status"));
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    };
    pids(process).iter().map(kibibytes).sum::<f64>() / 1024.0
}

/// The process, and its workers where it has some.
fn pids(process: &Process) -> Vec<String> {
    let pid = process.pid().to_string();
    let children = read(&format!("/proc/{pid}/task/{pid}/children"));
    let children = children.split_whitespace().map(str::to_owned);
    children.chain([pid.clone()]).collect()
}

/// What a command has used, from its start to its end, with all of its children.
pub struct Used {
    /// Processor seconds.
    pub processor: f64,
    /// Seconds on the wall.
    pub wall: f64,
    /// The highest resident memory of any one process, in MiB.
    pub peak: f64,
}

/// Runs a command to its end, with its standard output in a file.
pub fn run(command: &Command, output: &Path) -> Used {
    // The standard library has no getrusage.
    const SCRIPT: &str = r#"
import resource, subprocess, sys, time
begun = time.monotonic()
with open(sys.argv[1], "wb") as output:
    subprocess.run(sys.argv[2:], stdout=output)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, time.monotonic() - begun, used.ru_maxrss / 1024)
"#;
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).arg(output);
    python.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => python.env(name, value),
            None => python.env_remove(name),
        };
    }
    let told = python.stderr(Stdio::inherit()).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let numbers: Vec<f64> = told
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [processor, wall, peak] = numbers.try_into().unwrap();
    Used {
        processor,
        wall,
        peak,
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether a goal is met: a sentence.
pub fn goal(what: &str, ratio: f64, at_least: f64) {
    let met = match ratio >= at_least {
        true => "met",
        false => "NOT met",
    };
    println!("goal: {what} at least {at_least}: {met} ({ratio:.2})");
}

/// The machine, for whoever compares numbers.
pub fn machine() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |text| text.trim_start_matches([' ', '\t', ':']));
    println!("machine: {cores} cores, {model}");
    if cfg!(debug_assertions) && std::env::var_os("TEST_BINARY").is_none() {
        println!("this is NOT an optimised build: its numbers say nothing");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{path}: {why}"))
}
