//! One number of a device: by which objects it is known, what it means, and what is told of it.

use bijli_wire::Quantity;
use bijli_wire::quantity::Decimal;
use bijli_wire::series::CATALOGUE;

use super::answer::{Answers, Missing, ObjectId, integer};
use super::profile::{Condition as Written, Object, Point, name};
use crate::probe::scale::{Number as Shown, Scale, units_of};
use crate::probe::{How, Note};

/// Lines of one device: a UPS has one or three.
pub(super) const LINES_MAX: u32 = 6;
/// ENTITY-SENSOR-MIB: a negative precision counts accurate digits, and moves no point.
const DECIMALS: std::ops::RangeInclusive<i128> = -8..=9;
/// ENTITY-SENSOR-MIB: 1 is yocto, 17 is yotta.
const PREFIXES: std::ops::RangeInclusive<i128> = 1..=17;
const PREFIX_OF_UNITS: i32 = 9;

/// One number, understood.
#[derive(Clone, Debug)]
pub(super) struct Number {
    /// Index of its meter in the configuration.
    pub(super) meter: usize,
    pub(super) quantity: Quantity,
    pub(super) part: u32,
    /// What is added up: one object, or one for each line.
    pub(super) terms: Vec<ObjectId>,
    /// As the profile has it; what the device adds to it is read in each row.
    pub(super) scale: Scale,
    /// An energy register is shipped raw, under this scale.
    pub(super) declared: Option<Scale>,
    decimals: Option<ObjectId>,
    prefix: Option<ObjectId>,
    fits: Vec<Condition>,
    works: Vec<Condition>,
    codes: Option<(Vec<i64>, Vec<i64>)>,
    pub(super) is_resettable: bool,
    /// What its MIB calls it.
    pub(super) documented: String,
    /// What the count hangs on: another one is another count.
    pub(super) identity: String,
}

#[derive(Clone, Debug)]
struct Condition {
    name: ObjectId,
    documented: String,
    is: Vec<i64>,
}

impl Condition {
    fn new(written: &Written, index: &str, line: u32) -> Result<Self, String> {
        let name = name(&written.oid, index, line)?;
        Ok(Self { name, documented: written.documented.clone(), is: written.is.clone() })
    }

    fn holds(&self, answers: &Answers) -> Result<(), Missing> {
        let unfit = |found: String| Missing::Unfit { name: self.documented.clone(), found };
        match integer(answers, &self.name) {
            Ok(found) if self.is.iter().any(|wanted| i128::from(*wanted) == found) => Ok(()),
            Ok(found) => Err(unfit(found.to_string())),
            Err(Missing::Absent) => Err(unfit("not there".to_owned())),
            Err(why) => Err(why),
        }
    }
}

/// How many lines the object of that name shows; `None`: it does not tell.
pub(super) type Lines<'a> = &'a dyn Fn(&ObjectId) -> Option<u32>;

impl Number {
    /// All numbers of a point.
    ///
    /// # Errors
    /// Names the object and says what is wrong with it: a mistake of the profile.
    pub(super) fn of(
        point: &Point,
        index: &str,
        meter: usize,
        lines: Lines<'_>,
    ) -> Result<Vec<Self>, String> {
        let mut numbers = Vec::new();
        for object in &point.objects {
            let of = Self::of_object(object, index, meter, lines);
            numbers.extend(of.map_err(|why| format!("{}: {why}", object.documented))?);
        }
        Ok(numbers)
    }

    fn of_object(
        object: &Object,
        index: &str,
        meter: usize,
        lines: Lines<'_>,
    ) -> Result<Vec<Self>, String> {
        let Some(counted_by) = &object.lines else {
            return Ok(vec![Self::new(object, index, meter, 1)?]);
        };
        let count = lines(&name(counted_by, index, 1)?).unwrap_or(0).min(LINES_MAX);
        let of_line = |line| Ok(Self { part: line, ..Self::new(object, index, meter, line)? });
        let each: Result<Vec<Self>, String> = (1..=count).map(of_line).collect();
        let each = each?;
        let mut numbers = Vec::new();
        if object.is_summed
            && let Some(first) = each.first()
        {
            let terms = each.iter().flat_map(|one| one.terms.clone()).collect();
            numbers.push(Self { part: 0, terms, ..first.clone() });
        }
        // One line is the whole: it needs no part of its own.
        if !object.is_summed || count > 1 {
            numbers.extend(each);
        }
        Ok(numbers)
    }

    fn new(object: &Object, index: &str, meter: usize, line: u32) -> Result<Self, String> {
        let spec = CATALOGUE.iter().find(|spec| spec.name == object.quantity);
        let spec = spec.ok_or_else(|| format!("{:?} is no quantity", object.quantity))?;
        let quantity = spec.quantity;
        let factor = Decimal::parse(&object.scale);
        let factor = factor.ok_or_else(|| format!("scale {:?} is no decimal", object.scale))?;
        let scale = Scale::new(quantity, &object.unit, factor).ok_or_else(|| {
            let units = units_of(quantity);
            format!("{:?} is no unit of {}: use one of {units}", object.unit, object.quantity)
        })?;
        let some = |pattern: &Option<String>| -> Result<Option<ObjectId>, String> {
            pattern.as_deref().map(|pattern| name(pattern, index, line)).transpose()
        };
        let conditions = |written: &[Written]| -> Result<Vec<Condition>, String> {
            written.iter().map(|one| Condition::new(one, index, line)).collect()
        };
        let is_code = !object.yes.is_empty() || !object.no.is_empty();
        let term = name(&object.oid, index, line)?;
        Ok(Self {
            meter,
            quantity,
            part: object.part,
            identity: format!("{term} {} {}", object.unit, object.scale),
            terms: vec![term],
            scale,
            declared: None,
            decimals: some(&object.decimals)?,
            prefix: some(&object.prefix)?,
            fits: conditions(&object.fits)?,
            works: conditions(&object.works)?,
            codes: is_code.then(|| (object.yes.clone(), object.no.clone())),
            is_resettable: object.is_resettable,
            documented: object.documented.clone(),
        })
    }

    /// Every object that it needs.
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectId> {
        let conditions = self.fits.iter().chain(&self.works).map(|one| &one.name);
        self.terms.iter().chain(&self.decimals).chain(&self.prefix).chain(conditions)
    }

    /// Whether the object is this quantity at all.
    pub(super) fn fits(&self, answers: &Answers) -> Result<(), Missing> {
        self.fits.iter().try_for_each(|condition| condition.holds(answers))
    }

    /// Devices say -1 for "not supported", also where a negative number could be true.
    fn may_be_negative(&self) -> bool {
        self.quantity == Quantity::Temperature
    }

    /// The scale with what the device says of it now.
    pub(super) fn scale_now(&self, answers: &Answers) -> Result<Scale, Missing> {
        let told = |name: &Option<ObjectId>, range: &std::ops::RangeInclusive<i128>| {
            let Some(name) = name else { return Ok(None) };
            let told = integer(answers, name)?;
            let small = i32::try_from(told).ok().filter(|_| range.contains(&told));
            small.map(Some).ok_or(Missing::Untrue(told))
        };
        let decimals = told(&self.decimals, &DECIMALS)?.unwrap_or(0).max(0);
        let prefix = told(&self.prefix, &PREFIXES)?.unwrap_or(PREFIX_OF_UNITS);
        let exponent = 3 * (prefix - PREFIX_OF_UNITS) - decimals;
        self.scale.times_ten_to(exponent).ok_or(Missing::Untrue(i128::from(exponent)))
    }

    /// In the catalogue's unit, or as the raw count of a register.
    pub(super) fn value(&self, answers: &Answers) -> Result<i64, Missing> {
        self.fits(answers)?;
        self.works.iter().try_for_each(|condition| condition.holds(answers))?;
        let term = |name: &ObjectId| match integer(answers, name)? {
            below if below < 0 && !self.may_be_negative() => Err(Missing::Untrue(below)),
            value => Ok(value),
        };
        let terms: Result<Vec<i128>, Missing> = self.terms.iter().map(term).collect();
        // At most six numbers of 64 bits.
        let sum: i128 = terms?.iter().sum();
        if let Some((yes, no)) = &self.codes {
            let is = |codes: &[i64]| codes.iter().any(|code| i128::from(*code) == sum);
            return match (is(yes), is(no)) {
                (true, _) => Ok(1),
                (false, true) => Ok(0),
                (false, false) => Err(Missing::Code(sum)),
            };
        }
        let now = self.scale_now(answers)?;
        let scale = match self.declared {
            Some(declared) if declared != now => return Err(Missing::Rescaled),
            Some(_) => Scale { numerator: 1, denominator: 1 },
            None => now,
        };
        let value = scale.apply(Shown::Integer(sum)).ok_or(Missing::Untrue(sum))?;
        match self.quantity.spec().admits(value) {
            true => Ok(value),
            false => Err(Missing::Untrue(sum)),
        }
    }
}

/// The series that stands for the whole meter.
pub(super) fn is_main(number: &Number, quantity: Quantity) -> bool {
    number.quantity == quantity && number.part == 0
}

pub(super) fn is_power(number: &Number) -> bool {
    is_main(number, Quantity::PowerAverage) || is_main(number, Quantity::PowerInstant)
}

pub(super) fn label(number: &Number) -> String {
    let name = number.quantity.spec().name.replace('_', " ");
    if number.part == 0 { name } else { format!("{name}, part {}", number.part) }
}

/// What was found of it, for people.
pub(super) fn found(number: &Number, value: &Result<i64, Missing>) -> Note {
    let what = label(number);
    let documented = &number.documented;
    match value {
        Ok(_) if number.quantity == Quantity::EnergyRegister => {
            let mut words = format!("the device's own count, {documented}");
            if number.is_resettable {
                words.push_str("; anybody at the device can set it back, which is told");
            }
            Note::new(How::Register, &what, words)
        }
        Ok(_) => Note::new(How::Read, &what, documented.clone()),
        Err(why) => Note::new(How::Missing, &what, format!("{documented}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Answer;
    use super::super::profile;
    use super::*;
    use proptest::prelude::*;

    fn numbers(profile: &str, at: &str, index: &str, lines: u32) -> Vec<Number> {
        let profile = profile::find(profile).expect("shipped");
        let (point, index) = profile.point(Some(at), Some(index)).expect("a point");
        Number::of(point, index, 0, &|_| Some(lines)).expect("whole")
    }

    fn one(numbers: &[Number], quantity: Quantity, part: u32) -> &Number {
        let found = numbers.iter().find(|n| n.quantity == quantity && n.part == part);
        found.unwrap_or_else(|| panic!("no {quantity:?}, part {part}"))
    }

    fn answers(shown: &[(&str, i128)]) -> Answers {
        let of = |(name, value): &(&str, i128)| {
            (ObjectId::parse(name).expect("a name"), Answer::Integer(*value))
        };
        shown.iter().map(of).collect()
    }

    const VALUE: &str = "1.3.6.1.2.1.99.1.1.1.4.9";

    /// The type, scale, precision, value and status of a sensor, as ENTITY-SENSOR-MIB has them.
    fn sensor(kind: i128, prefix: i128, precision: i128, value: i128, status: i128) -> Answers {
        answers(&[
            ("1.3.6.1.2.1.99.1.1.1.1.9", kind),
            ("1.3.6.1.2.1.99.1.1.1.2.9", prefix),
            ("1.3.6.1.2.1.99.1.1.1.3.9", precision),
            (VALUE, value),
            ("1.3.6.1.2.1.99.1.1.1.5.9", status),
        ])
    }

    #[test]
    fn sensors_by_table() {
        use Quantity::{Current, PowerInstant, Temperature, Voltage};
        let numbers = numbers("entity-sensor", "sensor", "9", 1);
        let unfit = |name: &str, found: &str| Missing::Unfit {
            name: name.to_owned(),
            found: found.to_owned(),
        };
        for (quantity, kind, prefix, precision, value, status, expected) in [
            (PowerInstant, 6, 9, 0, 412, 1, Ok(412_000)),
            (PowerInstant, 6, 9, 1, 4_125, 1, Ok(412_500)),
            (PowerInstant, 6, 10, 2, 512, 1, Ok(5_120_000)),
            (PowerInstant, 6, 8, 0, 412_000, 1, Ok(412_000)),
            (PowerInstant, 6, 9, -8, 412, 1, Ok(412_000)),
            (Voltage, 3, 9, 1, 2_301, 1, Ok(230_100)),
            (Current, 5, 8, 0, 1_420, 1, Ok(1_420)),
            (Temperature, 8, 9, 0, -5, 1, Ok(-5_000)),
            // Unavailable, non-operational, another kind, nonsense.
            (PowerInstant, 6, 9, 0, 412, 2, Err(unfit("entPhySensorOperStatus", "2"))),
            (PowerInstant, 6, 9, 0, 412, 3, Err(unfit("entPhySensorOperStatus", "3"))),
            (PowerInstant, 8, 9, 0, 412, 1, Err(unfit("entPhySensorType", "8"))),
            (PowerInstant, 6, 0, 0, 412, 1, Err(Missing::Untrue(0))),
            (PowerInstant, 6, 18, 0, 412, 1, Err(Missing::Untrue(18))),
            (PowerInstant, 6, 9, 10, 412, 1, Err(Missing::Untrue(10))),
            (PowerInstant, 6, 17, 0, 412, 1, Err(Missing::Untrue(24))),
            (PowerInstant, 6, 9, 0, -1, 1, Err(Missing::Untrue(-1))),
            (PowerInstant, 6, 9, 9, -1, 1, Err(Missing::Untrue(-1))),
        ] {
            let number = one(&numbers, quantity, 0);
            let got = number.value(&sensor(kind, prefix, precision, value, status));
            assert_eq!(got, expected, "{quantity:?} {kind} {prefix} {precision} {value} {status}");
        }
    }

    #[test]
    fn what_is_no_number_is_missing_with_its_reason() {
        let numbers = numbers("entity-sensor", "sensor", "9", 1);
        let power = one(&numbers, Quantity::PowerInstant, 0);
        let name = ObjectId::parse(VALUE).expect("a name");
        for (answer, expected) in [
            (Some(Answer::Absent), "the device has no such object"),
            (Some(Answer::Text("412".to_owned())), "not a number but a text"),
            (Some(Answer::Name(name.clone())), "not a number but an object's name"),
            (Some(Answer::Other("an address")), "not a number but an address"),
            (None, "the answer was cut short"),
        ] {
            let mut answers = sensor(6, 9, 0, 412, 1);
            match answer {
                Some(answer) => answers.insert(name.clone(), answer),
                None => answers.remove(&name),
            };
            assert_eq!(power.value(&answers).expect_err("missing").to_string(), expected);
        }
    }

    /// Guards against a third of a UPS being booked as the whole.
    #[test]
    fn three_lines_are_added_and_one_that_is_missing_is_no_zero() {
        let numbers = numbers("ups-mib", "output", "0", 3);
        let power = one(&numbers, Quantity::PowerInstant, 0);
        let column = "1.3.6.1.2.1.33.1.4.4.1.4";
        let line = |line: u32| format!("{column}.{line}");
        let shown = [(line(1), 1_000), (line(2), 0), (line(3), 2_500)];
        let shown: Vec<(&str, i128)> =
            shown.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(power.value(&answers(&shown)), Ok(3_500_000));
        assert_eq!(power.value(&answers(&shown[..2])), Err(Missing::Unanswered));
        let unsupported = [shown[0], shown[1], (shown[2].0, -1)];
        assert_eq!(power.value(&answers(&unsupported)), Err(Missing::Untrue(-1)));
        assert_eq!(one(&numbers, Quantity::PowerInstant, 3).value(&answers(&shown)), Ok(2_500_000));
        let single = super::tests::numbers("ups-mib", "output", "0", 1);
        let of_power = single.iter().filter(|n| n.quantity == Quantity::PowerInstant);
        assert_eq!(of_power.count(), 1, "one line is the whole");
    }

    #[test]
    fn codes_of_a_ups_by_table() {
        let numbers = numbers("ups-mib", "output", "0", 1);
        let on_battery = one(&numbers, Quantity::OnBattery, 0);
        for (code, expected) in [
            (1, Err(Missing::Code(1))),
            (2, Ok(0)),
            (3, Ok(0)),
            (4, Ok(0)),
            (5, Ok(1)),
            (7, Ok(0)),
            (8, Err(Missing::Code(8))),
            (-1, Err(Missing::Untrue(-1))),
        ] {
            let shown = answers(&[("1.3.6.1.2.1.33.1.4.1.0", code)]);
            assert_eq!(on_battery.value(&shown), expected, "{code}");
        }
    }

    /// Goal: a firmware that moves the point does not move the energy.
    #[test]
    fn s9_a_scale_that_changes_is_missing_until_it_is_declared_anew() {
        let numbers = numbers("raritan-pdu2", "inlet", "1.1", 1);
        let mut energy = one(&numbers, Quantity::EnergyRegister, 0).clone();
        let shown = |decimals, value| {
            answers(&[
                ("1.3.6.1.4.1.13742.6.5.2.3.1.4.1.1.8", value),
                ("1.3.6.1.4.1.13742.6.5.2.3.1.2.1.1.8", 1),
                ("1.3.6.1.4.1.13742.6.3.3.4.1.6.1.1.8", 5),
                ("1.3.6.1.4.1.13742.6.3.3.4.1.7.1.1.8", decimals),
            ])
        };
        energy.declared = energy.scale_now(&shown(0, 84_521_300)).ok();
        assert_eq!(energy.value(&shown(0, 84_521_300)), Ok(84_521_300), "raw");
        assert_eq!(energy.value(&shown(1, 845_213_000)), Err(Missing::Rescaled));
        energy.declared = energy.scale_now(&shown(1, 845_213_000)).ok();
        assert_eq!(energy.declared, Some(Scale { numerator: 360_000, denominator: 1 }));
        assert_eq!(energy.value(&shown(1, 845_213_000)), Ok(845_213_000));
    }

    proptest! {
        /// Against rationals: value x 10^(3 (prefix - 9) - precision) watts in milliwatts.
        #[test]
        fn sensors_scale_like_rationals(
            value in 0_i128..1_000_000,
            prefix in 8_i128..=10,
            precision in -8_i128..=6,
        ) {
            let numbers = numbers("entity-sensor", "sensor", "9", 1);
            let power = one(&numbers, Quantity::PowerInstant, 0);
            let got = power.value(&sensor(6, prefix, precision, value, 1)).expect("small");
            let zeros = u32::try_from(3 * (prefix - 8)).expect("small");
            let point = 10_i128.pow(u32::try_from(precision.max(0)).expect("small"));
            let exact = value * 10_i128.pow(zeros);
            prop_assert!((2 * (i128::from(got) * point - exact)).abs() <= point);
        }

        #[test]
        fn no_answer_panics_and_none_is_out_of_range(shown in proptest::collection::vec(
            prop_oneof![any::<i64>().prop_map(i128::from), -20_i128..20, any::<u64>().prop_map(
                i128::from
            )], 5
        )) {
            let numbers = numbers("entity-sensor", "sensor", "9", 1);
            let answers = sensor(shown[0], shown[1], shown[2], shown[3], shown[4]);
            for number in &numbers {
                if let Ok(value) = number.value(&answers) {
                    prop_assert!(number.quantity.spec().admits(value));
                }
            }
        }
    }
}
