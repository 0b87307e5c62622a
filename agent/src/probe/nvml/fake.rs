//! A library of GPUs as tables of answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::library::{
    Answer, Ask, DriverNews, Field, GpuError, GpuLibrary, GpuReader, Identity, Told,
};
use crate::probe::numbers::Mig;

#[derive(Clone, Debug)]
pub(super) struct FakeGpu {
    pub(super) uuid: String,
    pub(super) identity: Identity,
    pub(super) fields: BTreeMap<Field, Answer<i64>>,
    pub(super) answers: BTreeMap<Ask, Answer<i64>>,
    pub(super) news: Vec<DriverNews>,
    pub(super) mig: Option<Mig>,
}

impl FakeGpu {
    pub(super) fn h100(uuid: &str) -> Self {
        let answers = [
            (Ask::Energy, 5_000_000),
            (Ask::Power, 300_000),
            (Ask::Celsius, 45),
            (Ask::MarginCelsius, 41),
            (Ask::Utilization, 97),
            (Ask::MemoryUtilization, 31),
            (Ask::PowerLimit, 700_000),
            (Ask::MemoryUsed, 64 << 30),
            (Ask::MemorySize, 80 << 30),
            (Ask::ClockSm, 1_980),
            (Ask::ClockMemory, 2_619),
            (Ask::ThrottleReasons, 1 << 40),
            (Ask::PerformanceState, 0),
            (Ask::Processes, 2),
            (Ask::EccCorrected, 17),
            (Ask::EccUncorrected, 0),
            (Ask::SramThreshold, 0),
            (Ask::RemapBanksSpent, 0),
            (Ask::PcieGeneration, 5),
            (Ask::PcieWidth, 16),
            (Ask::MigInstances, 0),
        ];
        let fields = [
            (83, 5_000_000),
            (185, 300_000),
            (186, 310_000),
            (82, 47),
            (230, 0),
            (74, 9_000_000_000),
            (251, 0),
            (252, 5_000_000),
            (253, 0),
            (142, 0),
            (143, 1),
            (144, 1),
            (145, 0),
            (94, 3),
            (194, -2),
        ];
        let links = (0..2).flat_map(|scope| {
            [(161, 4), (162, 1), (163, 0), (165, 1)].map(|(number, value)| (number, scope, value))
        });
        let fields = fields.into_iter().map(|(number, value)| (number, 0, value)).chain(links);
        let field = |(number, scope, value)| (Field { number, scope }, Ok(value));
        Self {
            uuid: uuid.to_owned(),
            identity: Identity {
                index: Some(3),
                name: "NVIDIA H100".to_owned(),
                serial: "165".to_owned(),
                pci: "00000000:19:00.0".to_owned(),
                power_mw_max: Some(700_000),
                links: 2,
                ..Identity::default()
            },
            fields: fields.map(field).collect(),
            answers: answers.into_iter().map(|(ask, value)| (ask, Ok(value))).collect(),
            news: Vec::new(),
            mig: None,
        }
    }

    pub(super) fn set(&mut self, field: Field, value: i64) {
        self.fields.insert(field, Ok(value));
    }
}

#[derive(Debug)]
pub(super) struct Tables {
    gpus: Mutex<Vec<FakeGpu>>,
    lost: Mutex<BTreeSet<String>>,
    driver: Mutex<String>,
    is_gone: Mutex<bool>,
    asked: Mutex<Vec<Ask>>,
}

/// What a test holds: the machine with its GPUs and driver.
#[derive(Clone, Debug)]
pub(super) struct Machine(Arc<Tables>);

/// What a probe holds: the library, opened.
#[derive(Debug)]
struct Opened(Arc<Tables>);

impl Machine {
    pub(super) fn of(gpus: Vec<FakeGpu>) -> Self {
        Self(Arc::new(Tables {
            gpus: Mutex::new(gpus),
            lost: Mutex::default(),
            driver: Mutex::new("580.105.08".to_owned()),
            is_gone: Mutex::new(false),
            asked: Mutex::default(),
        }))
    }

    pub(super) fn open(&self) -> Arc<dyn GpuLibrary> {
        *self.0.is_gone.lock().unwrap() = false;
        Arc::new(Opened(Arc::clone(&self.0)))
    }

    pub(super) fn lose(&self, uuid: &str) {
        self.0.lost.lock().unwrap().insert(uuid.to_owned());
    }

    pub(super) fn heal(&self, uuid: &str) {
        self.0.lost.lock().unwrap().remove(uuid);
    }

    pub(super) fn change(&self, change: impl Fn(&mut FakeGpu)) {
        self.0.gpus.lock().unwrap().iter_mut().for_each(change);
    }

    /// Another driver, under whoever holds the former one.
    pub(super) fn reload(&self, version: &str) {
        *self.0.driver.lock().unwrap() = version.to_owned();
        *self.0.is_gone.lock().unwrap() = true;
    }

    pub(super) fn asked(&self) -> Vec<Ask> {
        std::mem::take(&mut *self.0.asked.lock().unwrap())
    }
}

impl Tables {
    fn gpu(&self, uuid: &str) -> Answer<FakeGpu> {
        if *self.is_gone.lock().unwrap() {
            return Err(GpuError::Gone);
        }
        if self.lost.lock().unwrap().contains(uuid) {
            return Err(GpuError::Lost);
        }
        let gpus = self.gpus.lock().unwrap();
        gpus.iter().find(|gpu| gpu.uuid == uuid).cloned().ok_or(GpuError::Lost)
    }
}

impl GpuLibrary for Opened {
    fn driver_version(&self) -> Answer<String> {
        if *self.0.is_gone.lock().unwrap() {
            return Err(GpuError::Gone);
        }
        Ok(self.0.driver.lock().unwrap().clone())
    }

    fn count(&self) -> Answer<u32> {
        Ok(u32::try_from(self.0.gpus.lock().unwrap().len()).unwrap())
    }

    fn uuid(&self, index: u32) -> Answer<String> {
        let uuid = self.0.gpus.lock().unwrap()[usize::try_from(index).unwrap()].uuid.clone();
        self.0.gpu(&uuid).map(|gpu| gpu.uuid)
    }

    fn minor(&self, index: u32) -> Answer<u32> {
        Ok(index)
    }

    fn mig(&self, index: u32) -> Answer<Option<Mig>> {
        let uuid = self.uuid(index)?;
        self.0.gpu(&uuid).map(|gpu| gpu.mig)
    }

    fn open(self: Arc<Self>, uuid: &str) -> Answer<Box<dyn GpuReader>> {
        self.0.gpu(uuid)?;
        Ok(Box::new(Reader { library: self, uuid: uuid.to_owned() }))
    }
}

struct Reader {
    library: Arc<Opened>,
    uuid: String,
}

impl GpuReader for Reader {
    fn identity(&self) -> Identity {
        self.library.0.gpu(&self.uuid).map(|gpu| gpu.identity).unwrap_or_default()
    }

    fn fields(&mut self, asked: &[Field]) -> Answer<Vec<Answer<Told>>> {
        let gpu = self.library.0.gpu(&self.uuid)?;
        let told = |field: &Field| {
            let value = gpu.fields.get(field).cloned().unwrap_or(Err(GpuError::NotSupported))?;
            Ok(Told { value, at_us: 0, latency_us: 12 })
        };
        Ok(asked.iter().map(told).collect())
    }

    fn ask(&mut self, question: Ask) -> Answer<i64> {
        self.library.0.asked.lock().unwrap().push(question);
        let gpu = self.library.0.gpu(&self.uuid)?;
        gpu.answers.get(&question).cloned().unwrap_or(Err(GpuError::NotSupported))
    }

    fn news(&mut self) -> Vec<DriverNews> {
        let mut gpus = self.library.0.gpus.lock().unwrap();
        let gpu = gpus.iter_mut().find(|gpu| gpu.uuid == self.uuid);
        gpu.map(|gpu| std::mem::take(&mut gpu.news)).unwrap_or_default()
    }
}
