//! Starts a process again whenever it has ended, as a kubelet does.

use super::process::Process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Keeps a process running until it is dropped.
pub struct Kubelet {
    running: Arc<Mutex<Running>>,
    task: JoinHandle<()>,
}

struct Running {
    process: Process,
    starts: usize,
}

impl Kubelet {
    /// Keeps running what `start` starts; it is told how often that was done before.
    pub fn keep(start: impl Fn(usize) -> Process + Send + 'static) -> Self {
        let process = start(0);
        let running = Arc::new(Mutex::new(Running { process, starts: 1 }));
        let kept = running.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let mut running = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if running.process.ended().is_some() {
                    running.process = start(running.starts);
                    running.starts += 1;
                }
            }
        });
        Self { running, task }
    }

    /// How often it was started.
    pub fn starts(&self) -> usize {
        self.running().starts
    }

    /// The number of the process that runs now.
    pub fn pid(&self) -> u32 {
        self.running().process.pid()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}
