//! Who has which GPU of this node in Kubernetes, by the kubelet's own list (PodResources v1).
//!
//! # Traps
//! - The kubelet goes on listing pods that have ended (kubernetes issues 119423 and 132020), so one
//!   GPU may be in two pods: in the books the one that began last has it.
//! - Time slices are `<GPU>::<n>`, instances `MIG-…`, slices of instances `MIG-…::<n>`.
//! - A claim of dynamic resource allocation names no GPU by its UUID (`gpu-0` is a minor number in
//!   newer drivers and an index in elder ones), so what such a pod has is not told at all.
//!
//! The namespace is the project, unless the configuration says another one.

mod client;
mod message;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bijli_wire::message::Witness;
use bijli_wire::quantity::de_duration;
use bijli_wire::{ClusterId, Millis, ProjectId};
use serde::Deserialize;

use self::message::{Container, Listed, Pod};
use super::course::{Claim, Whose};
use super::{Source, Watched, check_every};
use crate::probe::numbers::Numbered;

/// A job's name is at most so long in the books.
const NAME_BYTES_MAX: usize = 96;

/// `[kubelet]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubeletConfig {
    pub enabled: bool,
    pub socket: PathBuf,
    #[serde(deserialize_with = "de_duration")]
    pub every: Millis,
    #[serde(deserialize_with = "de_duration")]
    pub timeout: Millis,
    /// The cluster's name.
    pub cluster: String,
    /// Resources of device plugins whose names begin so are GPUs.
    pub resources: Vec<String>,
    /// Drivers of dynamic resource allocation whose claims may be GPUs.
    pub drivers: Vec<String>,
    /// By namespace, where the project is called otherwise.
    pub projects: BTreeMap<String, String>,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            socket: PathBuf::from("/var/lib/kubelet/pod-resources/kubelet.sock"),
            every: Millis::new(10_000),
            timeout: Millis::new(5_000),
            cluster: "kubernetes".to_owned(),
            resources: vec!["nvidia.com/".to_owned()],
            drivers: vec!["gpu.nvidia.com".to_owned()],
            projects: BTreeMap::new(),
        }
    }
}

impl KubeletConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        check_every(self.every)?;
        if !(100..=60_000).contains(&self.timeout.get()) {
            return Err("timeout is from \"100ms\" to \"60s\"".to_owned());
        }
        ClusterId::new(&self.cluster).map_err(|e| e.to_string())?;
        if self.resources.iter().any(String::is_empty) {
            return Err(
                "an empty name in resources is every resource: write \"nvidia.com/\"".into()
            );
        }
        for (namespace, project) in &self.projects {
            ProjectId::new(project).map_err(|e| format!("projects.{namespace}: {e}"))?;
        }
        Ok(())
    }
}

pub(super) fn watched(config: &KubeletConfig) -> Watched {
    Watched {
        name: "kubelet",
        witness: Witness::Kubelet,
        cluster: ClusterId::new(&config.cluster).expect("checked with the configuration"),
        every: config.every,
        source: Box::new(Kubelet(config.clone())),
    }
}

struct Kubelet(KubeletConfig);

impl Source for Kubelet {
    fn look(&mut self, _gpus: &[Numbered]) -> Result<Vec<Claim>, String> {
        let listed = client::list(&self.0.socket, self.0.timeout)
            .map_err(|words| format!("{}: {words}", self.0.socket.display()))?;
        Ok(claims(&self.0, &listed))
    }
}

/// The pods that have GPUs.
fn claims(config: &KubeletConfig, listed: &Listed) -> Vec<Claim> {
    let has_any = |claim: &Claim| !claim.ids.is_empty() || claim.unclear.is_some();
    listed.pods.iter().map(|pod| claim(config, pod)).filter(has_any).collect()
}

fn claim(config: &KubeletConfig, pod: &Pod) -> Claim {
    let is_gpu = |name: &str| config.resources.iter().any(|start| name.starts_with(start.as_str()));
    let of_container = |container: &Container| {
        let devices = container.devices.iter().filter(|devices| is_gpu(&devices.resource_name));
        devices.flat_map(|devices| devices.device_ids.clone()).collect::<Vec<String>>()
    };
    let project = config.projects.get(&pod.namespace).unwrap_or(&pod.namespace);
    Claim {
        job: name(&pod.namespace, &pod.name),
        project: Whose::Named(project.clone()),
        user: String::new(),
        ids: pod.containers.iter().flat_map(of_container).collect(),
        unclear: pod.containers.iter().find_map(|container| dynamic(config, container)),
    }
}

/// A claim that may be of GPUs, in words.
fn dynamic(config: &KubeletConfig, container: &Container) -> Option<String> {
    let claims = container.dynamic_resources.iter();
    let mut resources = claims.flat_map(|claim| claim.resources.iter().map(move |of| (claim, of)));
    let (claim, of) = resources.find(|(_, of)| config.drivers.contains(&of.driver_name))?;
    Some(format!(
        "claim {} has {} of {}, which names no GPU by its UUID: what the pod has is not told",
        claim.claim_name, of.device_name, of.driver_name
    ))
}

/// Of a pod, `<namespace>/<name>`; a long one is cut, and told apart by its hash.
fn name(namespace: &str, pod: &str) -> String {
    let whole = format!("{namespace}/{pod}");
    if whole.len() <= NAME_BYTES_MAX {
        return whole;
    }
    let hash = format!("-{:016x}", crate::probe::epoch(&[namespace, pod]));
    let start: String = whole.chars().take(NAME_BYTES_MAX - hash.len()).collect();
    format!("{start}{hash}")
}

#[cfg(test)]
mod tests {
    use super::message::{Devices, Dynamic, DynamicOf};
    use super::*;

    fn devices(resource: &str, ids: &[&str]) -> Devices {
        let device_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Devices { resource_name: resource.to_owned(), device_ids }
    }

    fn pod(namespace: &str, name: &str, devices: &[Devices]) -> Pod {
        let container = Container { devices: devices.to_vec(), ..Container::default() };
        let containers = vec![container];
        Pod { namespace: namespace.to_owned(), name: name.to_owned(), containers }
    }

    #[test]
    fn pods_with_gpus_are_claims_of_their_namespaces_projects() {
        let projects = [("team-a".to_owned(), "climate".to_owned())].into();
        let config = KubeletConfig { projects, ..KubeletConfig::default() };
        let mut two = pod("team-b", "two", &[devices("nvidia.com/gpu", &["GPU-0"])]);
        two.containers.push(Container {
            devices: vec![
                devices("nvidia.com/mig-1g.10gb", &["MIG-a"]),
                devices("cpu.org/x", &["7"]),
            ],
            ..Container::default()
        });
        let listed = Listed {
            pods: vec![
                pod(
                    "team-a",
                    "one",
                    &[devices("nvidia.com/gpu.shared", &["GPU-0::1", "GPU-1::0"])],
                ),
                two,
                pod("kube-system", "none", &[devices("vendor.com/nic", &["eth0"])]),
                pod("kube-system", "empty", &[]),
            ],
        };
        let claims = claims(&config, &listed);
        let told: Vec<(&str, &Whose, String)> =
            claims.iter().map(|c| (c.job.as_str(), &c.project, c.ids.join(" "))).collect();
        let named = |name: &str| Whose::Named(name.to_owned());
        assert_eq!(
            told,
            [
                ("team-a/one", &named("climate"), "GPU-0::1 GPU-1::0".to_owned()),
                ("team-b/two", &named("team-b"), "GPU-0 MIG-a".to_owned()),
            ]
        );
    }

    /// Goal: a GPU that nobody names is nobody's, and somebody hears of it.
    #[test]
    fn a_dynamic_claim_is_unclear_and_says_why() {
        let of = |driver: &str| {
            let resource = DynamicOf {
                driver_name: driver.to_owned(),
                device_name: "gpu-0".to_owned(),
                ..DynamicOf::default()
            };
            let claim_name = "training-gpu".to_owned();
            let claim = Dynamic { claim_name, resources: vec![resource], ..Dynamic::default() };
            let mut pod = pod("team-a", "one", &[]);
            pod.containers[0].dynamic_resources.push(claim);
            claims(&KubeletConfig::default(), &Listed { pods: vec![pod] })
        };
        let words = of("gpu.nvidia.com")[0].unclear.clone().expect("unclear");
        assert!(words.contains("training-gpu") && words.contains("gpu-0"), "{words}");
        assert_eq!(of("nic.example.com"), Vec::new());
    }

    #[test]
    fn long_names_are_cut_and_told_apart() {
        let one = name(&"n".repeat(63), &format!("{}-1", "p".repeat(200)));
        let other = name(&"n".repeat(63), &format!("{}-2", "p".repeat(200)));
        assert_eq!((one.len(), other.len()), (96, 96));
        assert_ne!(one, other);
        assert_eq!(name("ns", "pod"), "ns/pod");
    }

    #[test]
    fn what_no_type_can_say_is_checked() {
        let config = |project: &str, resource: &str| KubeletConfig {
            projects: [("ns".to_owned(), project.to_owned())].into(),
            resources: vec![resource.to_owned()],
            ..KubeletConfig::default()
        };
        assert_eq!(config("p", "nvidia.com/").check(), Ok(()));
        assert!(config("a b", "nvidia.com/").check().expect_err("blank").contains("projects.ns"));
        assert!(config("p", "").check().expect_err("all").contains("every resource"));
    }
}
