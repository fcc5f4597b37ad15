//! A server of our own, and what a process takes of the machine.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep};

/// How long a model may load.
const READY_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at a process.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Last lines of the log that are shown when the server does not come up.
const SHOWN_LOG_LINES: usize = 20;
/// The kernel counts processor time in these for every program, whatever its own clock is.
const TICKS_PER_SECOND: f64 = 100.;

/// A running server on a port of its own, ended when this is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    /// Starts `binary serve ARGUMENTS --port 0` and waits until a model answers.
    ///
    /// # Errors
    /// The program does not start, ends, or does not become ready.
    pub async fn start(binary: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(binary)
            .arg("serve")
            .args(arguments)
            .args(["--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {}: {error}", binary.display())))?;
        let log = child.stderr.take().map(BufReader::new);
        // From here on it ends with us, whatever goes wrong.
        let mut server = Self { child, url: String::new() };
        let log = log.ok_or_else(|| io::Error::other("the server has no log"))?;
        server.url = tokio::task::spawn_blocking(|| wait_for_address(log)).await.map_err(io::Error::other)??;
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Where it listens, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn wait_until_ready(&mut self) -> io::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        let probe = format!("{}/readyz", self.url);
        let started = Instant::now();
        while started.elapsed() < READY_TIMEOUT {
            if client.get(&probe).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if !self.is_running() {
                return Err(io::Error::other("the server ended while it loaded its model"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("the server is not ready after {} s", READY_TIMEOUT.as_secs())))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log up to the line that names the address, and goes on reading in the background: a full pipe would stop
/// the server.
fn wait_for_address(mut log: BufReader<ChildStderr>) -> io::Result<String> {
    let mut seen = VecDeque::new();
    loop {
        let mut line = String::new();
        if log.read_line(&mut line)? == 0 {
            let seen: String = seen.into_iter().collect();
            return Err(io::Error::other(format!("the server ended before it listened:\n{seen}")));
        }
        if let Some((_, address)) = line.split_once("listening on http://") {
            let url = format!("http://{}", address.split(['"', '\n']).next().unwrap_or_default());
            std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
            return Ok(url);
        }
        seen.push_back(line);
        if seen.len() > SHOWN_LOG_LINES {
            seen.pop_front();
        }
    }
}

/// What a process holds at a moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Usage {
    /// Resident memory.
    pub rss_kib: u64,
    /// The most that it ever was.
    pub peak_rss_kib: u64,
    pub threads: u64,
    /// Open files and connections.
    pub descriptors: u64,
    /// Processor time of all threads since it started.
    pub cpu_s: f64,
}

impl Usage {
    /// Reads it from `/proc`; `None` without such a process, or on a system without `/proc`.
    pub fn of(process_id: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(process_id.to_string());
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        Some(Self {
            rss_kib: field("VmRSS:")?,
            peak_rss_kib: field("VmHWM:")?,
            threads: field("Threads:")?,
            descriptors: std::fs::read_dir(folder.join("fd")).ok()?.count() as u64,
            cpu_s: cpu_seconds(&stat)?,
        })
    }
}

/// Time in the program and for it in the kernel. The name before it, in parentheses, may hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Processor time that the whole machine has spent since it started; `None` on a system without `/proc`.
pub fn machine_cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, waiting for disks, interrupts (two), stolen by other machines; guests are in user.
    let [user, nice, system, _, _, hard, soft, stolen] = *ticks.first_chunk()?;
    Some((user + nice + system + hard + soft + stolen) / TICKS_PER_SECOND)
}

/// Looks at a process again and again until told to stop.
pub struct Watch {
    stop: oneshot::Sender<()>,
    samples: JoinHandle<Vec<Usage>>,
}

impl Watch {
    /// Begins to look at a process.
    pub fn start(process_id: u32) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let samples = tokio::spawn(async move {
            let mut ticks = interval(WATCH_INTERVAL);
            let mut samples = vec![];
            loop {
                tokio::select! {
                    _ = ticks.tick() => samples.extend(Usage::of(process_id)),
                    _ = &mut stopped => break,
                }
            }
            // Once more, so that the last sample is the state afterwards.
            samples.extend(Usage::of(process_id));
            samples
        });
        Self { stop, samples }
    }

    /// All that was seen, in order: one sample every 250 ms. Empty if there was no such process.
    pub async fn finish(self) -> Vec<Usage> {
        let _ = self.stop.send(());
        self.samples.await.unwrap_or_default()
    }
}
