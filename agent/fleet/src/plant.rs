//! Everything between the grid and the PDUs: supplies, UPS and battery, cooling, lighting.
//!
//! From the bottom up: the nodes say what they draw, each level adds exactly what it loses, and
//! whoever carries the hub supplies the sum.

use bijli_wire::Millijoules;
use bijli_wire::id::IdError;

use crate::meter::{Meter, Place, Role};
use crate::register::reading;
use crate::rng::{noise, spread};
use crate::shedding::Supply;
use crate::spec::FleetSpec;
use crate::truth::StoreEnergy;

const PPM: u64 = 1_000_000;
/// What a PDU's own transformer and breakers lose, and the bars above the PDUs.
const PDU_LOSS_PPM: u64 = 4_000;
const BARS_LOSS_PPM: u64 = 6_000;
/// A double-conversion UPS at half load: a fixed part for each node it was sized for, and a share.
const UPS_FIXED_MW_PER_NODE: u64 = 60_000;
const UPS_LOSS_PPM: u64 = 38_000;
/// The battery carries the fully loaded nodes for this long.
const BATTERY_S: u64 = 120;
const RECHARGE_MW_PER_NODE: u64 = 600_000;
/// Of what is put into the battery, this share can be drawn again.
const BATTERY_KEEPS_PPM: u64 = 900_000;
const DAY_S: i64 = 86_400;
/// The sun over Pakistan is about five hours ahead of UTC's. Physics, not a tariff's clock.
const SUN_AHEAD_S: i64 = 5 * 3_600;
const HOTTEST_S: i64 = 15 * 3_600;

#[derive(Clone, Debug)]
pub(crate) struct Plant {
    pub(crate) incomer: Meter,
    pub(crate) generator: Meter,
    pub(crate) ups_in: Meter,
    pub(crate) ups_out: Meter,
    pub(crate) pdus: Vec<Meter>,
    pub(crate) cooling: Meter,
    pub(crate) lighting: Meter,
    ups_loss_mw: u64,
    battery: Battery,
    chiller: Chiller,
    store: StoreEnergy,
    nodes: u64,
    seed: u64,
}

/// The UPS battery: what can still be drawn from it, and what flows in this second.
#[derive(Clone, Debug)]
struct Battery {
    charge_mj: u64,
    capacity_mj: u64,
    drawn_mw: u64,
    recharge_mw: u64,
}

/// The chilled water plant: heat reaches it late, and it needs its time to restart.
#[derive(Clone, Debug)]
struct Chiller {
    heat_mw: u64,
    /// Seconds since it last started.
    runs_s: u64,
}

impl Plant {
    /// `nodes_per_pdu` has a count for each PDU; a node draws at most `node_mw_max`.
    pub(crate) fn new(
        spec: &FleetSpec,
        nodes_per_pdu: &[u64],
        node_mw_max: u64,
    ) -> Result<Self, IdError> {
        let nodes = u64::from(spec.nodes);
        let it_mw = nodes * node_mw_max;
        let meter = |point: &str, role, fed_by, power_mw_max| {
            let place = Place { hub: &spec.hub, point, role, fed_by, seed: spec.seed };
            Meter::new(place, power_mw_max)
        };
        let pdu = |(number, nodes): (u64, &u64)| {
            let name = format!("pdu-{number}");
            meter(&name, Role::Pdu, Some("ups-out"), nodes * node_mw_max * 101 / 100)
        };
        let capacity_mj = it_mw * BATTERY_S;
        Ok(Self {
            incomer: meter("incomer", Role::Grid, None, it_mw * 2)?,
            generator: meter("generator", Role::Generator, None, it_mw * 2)?,
            ups_in: meter("ups-in", Role::UpsIn, None, it_mw * 13 / 10)?,
            ups_out: meter("ups-out", Role::UpsOut, Some("ups-in"), it_mw * 102 / 100)?,
            pdus: (1..).zip(nodes_per_pdu).map(pdu).collect::<Result<_, _>>()?,
            cooling: meter("cooling", Role::Cooling, None, it_mw * 6 / 10)?,
            lighting: meter(
                "lighting",
                Role::Lighting,
                None,
                lighting_mw(nodes, HOTTEST_S - SUN_AHEAD_S),
            )?,
            ups_loss_mw: 0,
            battery: Battery { charge_mj: capacity_mj, capacity_mj, drawn_mw: 0, recharge_mw: 0 },
            chiller: Chiller { heat_mw: it_mw / 3, runs_s: 3_600 },
            store: StoreEnergy::default(),
            nodes,
            seed: noise(spec.seed, 21, -1),
        })
    }

    /// In the order of the diagram: supplies first, each point after its feeder.
    pub(crate) fn meters(&self) -> impl Iterator<Item = &Meter> {
        [&self.incomer, &self.generator, &self.ups_in, &self.ups_out]
            .into_iter()
            .chain(&self.pdus)
            .chain([&self.cooling, &self.lighting])
    }

    fn meters_mut(&mut self) -> impl Iterator<Item = &mut Meter> {
        [&mut self.incomer, &mut self.generator, &mut self.ups_in, &mut self.ups_out]
            .into_iter()
            .chain(&mut self.pdus)
            .chain([&mut self.cooling, &mut self.lighting])
    }

    /// The air that the nodes breathe.
    pub(crate) fn inlet_mc(&self) -> i64 {
        self.cooling.supply_mc + 10_000
    }

    pub(crate) fn battery_is_ready(&self) -> bool {
        self.battery.charge_mj >= self.battery.capacity_mj / 2
    }

    pub(crate) fn store(&self) -> StoreEnergy {
        self.store
    }

    /// Lives the second: `pdu_mw` is what the nodes of each PDU draw. Nothing is counted yet.
    pub(crate) fn run(&mut self, supply: Supply, pdu_mw: &[u64], second: i64) {
        let mut pdus_mw = 0;
        for (pdu, nodes_mw) in self.pdus.iter_mut().zip(pdu_mw) {
            pdu.register.power_mw = nodes_mw + part(*nodes_mw, PDU_LOSS_PPM);
            pdus_mw += pdu.register.power_mw;
        }
        let out_mw = pdus_mw + part(pdus_mw, BARS_LOSS_PPM);
        self.ups_loss_mw = self.nodes * UPS_FIXED_MW_PER_NODE + part(out_mw, UPS_LOSS_PPM);
        let carried_mw = out_mw + self.ups_loss_mw;
        let is_up = supply != Supply::Battery;
        self.battery.run(is_up, carried_mw, self.nodes * RECHARGE_MW_PER_NODE);
        let cooling_mw = self.chiller.run(is_up, carried_mw, second);
        self.ups_out.register.power_mw = out_mw;
        self.ups_in.register.power_mw =
            carried_mw + self.battery.recharge_mw - self.battery.drawn_mw;
        self.cooling.register.power_mw = cooling_mw;
        self.lighting.register.power_mw = if is_up { lighting_mw(self.nodes, second) } else { 0 };
        let drawn_mw = self.ups_in.register.power_mw + cooling_mw + self.lighting.register.power_mw;
        self.incomer.register.power_mw = if supply == Supply::Grid { drawn_mw } else { 0 };
        self.generator.register.power_mw = if supply == Supply::Generator { drawn_mw } else { 0 };
        self.show(supply, second);
        self.show_water(is_up, carried_mw);
    }

    /// Counts the second into every register, the battery and the losses.
    pub(crate) fn count_second(&mut self) {
        self.meters_mut().for_each(|meter| meter.register.count_second());
        self.battery.count_second();
        let add = |sum: &mut Millijoules, mw| {
            *sum = sum.checked_add(Millijoules::new(mw)).expect("u64 mJ last for years");
        };
        add(&mut self.store.drawn, self.battery.drawn_mw);
        add(&mut self.store.charged, self.battery.recharge_mw);
        add(&mut self.store.ups_loss, self.ups_loss_mw);
    }

    fn show(&mut self, supply: Supply, second: i64) {
        let bits = noise(self.seed, 1, second);
        let sway =
            |half, turn: u32| reading(spread(bits.rotate_left(turn), 2 * half)) - reading(half);
        // Line to neutral, as the catalogue has voltages.
        let grid = (229_800 + sway(5_200, 0), 50_000 + sway(180, 16));
        let generator = (231_000 + sway(1_700, 0), 50_000 + sway(350, 16));
        let off = (0, 0);
        let (incomer, generator, board) = match supply {
            Supply::Grid => (grid, off, grid),
            Supply::Generator => (off, generator, generator),
            Supply::Battery => (off, off, off),
        };
        let inverter = (231_000 + sway(460, 32), 50_000 + sway(8, 48));
        self.incomer.show_electric(incomer.0, incomer.1);
        self.generator.show_electric(generator.0, generator.1);
        for meter in [&mut self.ups_in, &mut self.cooling, &mut self.lighting] {
            meter.show_electric(board.0, board.1);
        }
        self.ups_out.show_electric(inverter.0, inverter.1);
        self.pdus.iter_mut().for_each(|pdu| pdu.show_electric(inverter.0 - 870, inverter.1));
        self.ups_in.is_on_battery = supply == Supply::Battery;
        let charge_ppm = u128::from(self.battery.charge_mj) * u128::from(PPM)
            / u128::from(self.battery.capacity_mj);
        self.ups_in.battery_charge_ppm = i64::try_from(charge_ppm).expect("at most a million");
    }

    /// Water warms while the plant stands still, and takes a minute to come back.
    fn show_water(&mut self, is_up: bool, heat_mw: u64) {
        const SET_MC: i64 = 12_000;
        let cooling = &mut self.cooling;
        if !is_up {
            cooling.flow_ml_per_s = 0;
            cooling.supply_mc = (cooling.supply_mc + 120).min(30_000);
            return;
        }
        // Sized for 6 kW of each node at 5 K: 287 mL/s. Water takes 4.186 J per mL and K.
        let flow = self.nodes * 287;
        cooling.flow_ml_per_s = reading(flow);
        cooling.supply_mc += (SET_MC - cooling.supply_mc) / 30;
        cooling.return_mc = cooling.supply_mc + reading(heat_mw * 1_000 / (flow * 4_186));
    }
}

impl Battery {
    fn run(&mut self, is_up: bool, carried_mw: u64, recharge_mw_max: u64) {
        let missing_mj = self.capacity_mj - self.charge_mj;
        let wanted_mw = missing_mj.saturating_mul(PPM).div_ceil(BATTERY_KEEPS_PPM);
        self.drawn_mw = if is_up { 0 } else { carried_mw };
        self.recharge_mw = if is_up { wanted_mw.min(recharge_mw_max) } else { 0 };
    }

    fn count_second(&mut self) {
        let kept_mj = part(self.recharge_mw, BATTERY_KEEPS_PPM);
        self.charge_mj = (self.charge_mj + kept_mj).min(self.capacity_mj);
        self.charge_mj = self
            .charge_mj
            .checked_sub(self.drawn_mw)
            .expect("the generator starts long before half a battery is empty");
    }
}

impl Chiller {
    /// What the plant draws: more by day than by night, nothing while it is down, and for a
    /// minute after its start some more, to catch up.
    fn run(&mut self, is_up: bool, heat_mw: u64, second: i64) -> u64 {
        self.heat_mw = (self.heat_mw * 29 + heat_mw) / 30;
        self.runs_s = if is_up { self.runs_s.saturating_add(1) } else { 0 };
        let ramp_ppm = match self.runs_s {
            0 => 0,
            runs_s @ 1..20 => runs_s * 50_000,
            20..80 => 1_150_000,
            80.. => PPM,
        };
        let share_ppm = 210_000 + 90_000 * warmth(second) / 1_000;
        part(part(self.heat_mw, share_ppm), ramp_ppm)
    }
}

fn part(whole: u64, ppm: u64) -> u64 {
    whole * ppm / PPM
}

/// 1,000 at the hottest time of the day, 0 twelve hours from it.
fn warmth(second: i64) -> u64 {
    let of_day_s = (second + SUN_AHEAD_S).rem_euclid(DAY_S);
    let away_s = (of_day_s - HOTTEST_S).abs();
    let away_s = away_s.min(DAY_S - away_s);
    u64::try_from((DAY_S / 2 - away_s) * 1_000 / (DAY_S / 2)).expect("at most half a day away")
}

/// Lamps, offices, guards: more by day, when people are there.
fn lighting_mw(nodes: u64, second: i64) -> u64 {
    let of_day_s = (second + SUN_AHEAD_S).rem_euclid(DAY_S);
    let people_mw = if (8 * 3_600..20 * 3_600).contains(&of_day_s) { 75_000 } else { 0 };
    1_200_000 + nodes * (55_000 + people_mw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_hottest_at_three_and_coldest_at_three() {
        let local = |hour: i64| hour * 3_600 - SUN_AHEAD_S;
        assert_eq!((warmth(local(15)), warmth(local(3))), (1_000, 0));
        assert_eq!((warmth(local(9)), warmth(local(21))), (500, 500));
        assert!(lighting_mw(16, local(12)) > lighting_mw(16, local(2)));
    }

    #[test]
    fn the_plant_stops_without_supply_and_catches_up_afterwards() {
        let mut chiller = Chiller { heat_mw: 100_000_000, runs_s: 3_600 };
        let steady = chiller.run(true, 100_000_000, 0);
        assert_eq!(chiller.run(false, 100_000_000, 1), 0);
        let drawn: Vec<u64> = (2..90).map(|s| chiller.run(true, 100_000_000, s)).collect();
        assert!(drawn[0] < steady / 10 && drawn[30] > steady * 11 / 10);
        // The day has gone on a little meanwhile.
        assert!((steady..steady * 101 / 100).contains(&drawn[87]));
    }

    #[test]
    fn a_battery_recharges_to_full_and_no_further() {
        let mut battery = Battery { charge_mj: 0, capacity_mj: 1_000, drawn_mw: 0, recharge_mw: 0 };
        for _ in 0..20 {
            battery.run(true, 50, 100);
            battery.count_second();
        }
        assert_eq!((battery.charge_mj, battery.recharge_mw), (1_000, 0));
    }
}
