//! One number of a meter: where it lies, what it means, and what people are told of it.

use bijli_wire::Quantity;
use bijli_wire::quantity::Decimal;
use bijli_wire::series::CATALOGUE;
use bijli_wire::units::human_energy;

use super::decode::{NumberType, Scale, WordOrder, number, units_of};
use super::link::Span;
use super::settings::RegisterConfig;
use crate::probe::{How, Note, admitted};

/// Who says in which order a meter's words lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) of_meter: Option<WordOrder>,
    pub(super) of_profile: Option<WordOrder>,
}

impl Order {
    fn of(self, register: Option<WordOrder>) -> WordOrder {
        register.or(self.of_meter).or(self.of_profile).unwrap_or_default()
    }

    /// What of it makes a count another count. Behind a profile nothing does: the order is found,
    /// and the count goes on in whichever order it comes.
    fn identity(self, register: Option<WordOrder>) -> String {
        match (self.of_profile, register) {
            (Some(_), None) => "profile".to_owned(),
            (None, _) | (_, Some(_)) => format!("{:?}", self.of(register)),
        }
    }
}

/// One configured number, understood.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) quantity: Quantity,
    pub(super) part: u32,
    pub(super) span: Span,
    pub(super) kind: NumberType,
    pub(super) order: WordOrder,
    pub(super) scale: Scale,
    /// The register's own configuration says its order: no enrolment finds it.
    pub(super) is_order_given: bool,
    /// An integer register is shipped raw, its scale in the declaration.
    pub(super) is_raw: bool,
    /// What the declaration hangs on: another one is another count.
    pub(super) identity: String,
}

impl Number {
    pub(super) fn new(config: &RegisterConfig, order: Order) -> Result<Self, String> {
        let wanted = config.quantity.as_str();
        let spec = CATALOGUE.iter().find(|spec| spec.name == wanted);
        let quantity = spec.map(|spec| spec.quantity).ok_or_else(|| {
            format!(
                "{wanted:?} is no quantity; for example energy_register, power_instant, voltage"
            )
        })?;
        let decimal = Decimal::parse(&config.scale);
        let decimal = decimal.ok_or_else(|| {
            format!("scale {:?} is no decimal number such as \"0.1\"", config.scale)
        })?;
        let scale = Scale::new(quantity, &config.unit, decimal).ok_or_else(|| {
            let units = units_of(quantity);
            match units.is_empty() {
                true => format!("{wanted} cannot be read from a meter"),
                false => format!(
                    "{:?} times {} is no unit of {wanted}: use one of {units}",
                    config.unit, config.scale
                ),
            }
        })?;
        let span =
            Span { function: config.function, first: config.register, words: config.kind.words() };
        span.end().ok_or("it reaches beyond register 65535")?;
        let is_raw = quantity == Quantity::EnergyRegister && !config.kind.is_float();
        let is_order_given = config.word_order.is_some();
        let RegisterConfig { function, register, kind, part, unit, scale: factor, .. } = config;
        let named = order.identity(config.word_order);
        let identity = format!("{function:?} {register} {kind:?} {named} {unit} {factor}");
        let order = order.of(config.word_order);
        let (part, kind) = (*part, *kind);
        Ok(Self { quantity, part, span, kind, order, scale, is_order_given, is_raw, identity })
    }

    /// In the catalogue's unit, or as the raw count of an integer register.
    pub(super) fn value(&self, words: &[u16]) -> Option<i64> {
        let number = number(words, self.kind, self.order)?;
        let scale = if self.is_raw { Scale { numerator: 1, denominator: 1 } } else { self.scale };
        admitted(self.quantity, scale.apply(number)?)
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

pub(super) fn found(number: &Number, value: Option<i64>) -> Note {
    let what = label(number);
    let register = number.span.first;
    match value {
        Some(count) if number.quantity == Quantity::EnergyRegister => {
            let mut words = format!("the meter's own register, at {register}");
            if number.kind == NumberType::F32 {
                // Its last digit is worth at most 2^-23 of the whole.
                let step = u128::try_from(count >> 23).unwrap_or(0);
                words.push_str("; a 32-bit float, which at this height moves in steps of up to ");
                words.push_str(&human_energy(step));
            }
            Note::new(How::Register, &what, words)
        }
        Some(_) => Note::new(How::Read, &what, format!("register {register}")),
        None => {
            let words = format!(
                "register {register} answers, but not with a number that can be true: check type, \
                 word order and unit"
            );
            Note::new(How::Missing, &what, words)
        }
    }
}
