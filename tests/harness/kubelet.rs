//! The third-party kubelet of `tests/peers/kubelet.py`, and the pods that it lists.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::eventually;
use crate::program::Program;

/// grpcio on a unix socket.
#[derive(Debug)]
pub struct Kubelet {
    folder: PathBuf,
    program: Option<Program>,
}

/// A pod: its namespace and name, and its containers' resources with their device ids.
pub type Pod<'a> = (&'a str, &'a str, &'a [(&'a str, &'a [&'a str])]);

impl Kubelet {
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let mut kubelet = Self { folder: folder.to_owned(), program: None };
        kubelet.start_again();
        kubelet
    }

    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root");
        let mut command = Command::new(root.join(".venv/bin/python"));
        command.arg(root.join("tests/peers/kubelet.py"));
        command.arg(self.socket()).arg(self.folder.join("pods.textproto"));
        let program = Program::start(&mut command, &self.folder.join("kubelet.log"));
        eventually("a kubelet that listens", 60, || {
            program.printed().contains("listening").then_some(())
        });
        self.program = Some(program);
    }

    /// SIGKILL: its socket stays, and nobody answers.
    pub fn kill(&mut self) {
        self.program = None;
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("kubelet.sock")
    }

    /// Lists these from now on; and a pod whose claim of dynamic allocation has a GPU.
    ///
    /// # Panics
    /// When the disk does not take it.
    pub fn lists(&self, pods: &[Pod<'_>]) {
        let mut text = String::new();
        for (namespace, name, containers) in pods {
            writeln!(text, "pod_resources {{ name: {name:?} namespace: {namespace:?}")
                .expect("written");
            for (resource, ids) in *containers {
                let ids: Vec<String> = ids.iter().map(|id| format!("device_ids: {id:?}")).collect();
                writeln!(
                    text,
                    "containers {{ name: \"main\" cpu_ids: [0, 1] devices {{ resource_name: \
                     {resource:?} {} topology {{ ID: 1 }} }} }}",
                    ids.join(" ")
                )
                .expect("written");
            }
            text.push_str("}\n");
        }
        text.push_str(
            "pod_resources { name: \"dynamic\" namespace: \"dra\" containers { name: \"main\" \
             dynamic_resources { claim_name: \"a-gpu\" claim_namespace: \"dra\" claim_resources { \
             driver_name: \"gpu.nvidia.com\" pool_name: \"k1\" device_name: \"gpu-3\" } } } }\n",
        );
        // Whole or not at all: it is read at any moment.
        let path = self.folder.join("pods.textproto");
        let half = path.with_extension("half");
        std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, &path)).expect("written");
    }
}
