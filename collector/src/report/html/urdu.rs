//! The first page in Urdu, set from right to left. Numbers are in Western digits, as Pakistan's
//! meters and bills have them; what is not Urdu is isolated, so that it does not turn round.

use bijli_ledger::Month;
use maud::{Markup, html};

use super::Report;
use super::unit::Unit;

const MONTHS: [&str; 12] = [
    "جنوری",
    "فروری",
    "مارچ",
    "اپریل",
    "مئی",
    "جون",
    "جولائی",
    "اگست",
    "ستمبر",
    "اکتوبر",
    "نومبر",
    "دسمبر",
];

pub(super) fn headline(report: &Report<'_>) -> Markup {
    let (figures, statement) = (report.figures, &report.document.statement);
    let unit = report.unit();
    let sums = figures.sums();
    let [it, cooling, losses, rest] = sums.four();
    let counts = &statement.intervals;
    html! {
        section.urdu #urdu lang="ur" dir="rtl" aria-labelledby="h-urdu" {
            h2 #h-urdu { "ماہانہ توانائی رپورٹ" }
            p.month { bdi { (figures.title) } "، " (month(figures.month)) }
            p class={ "status " (statement.status) } { (status(statement.status)) }
            (figure(report))
            dl.tiles {
                (tile("کل فراہم شدہ توانائی", sums.supplied(), unit))
                (tile("آئی ٹی آلات", it, unit))
                (tile("ٹھنڈک کا نظام", cooling, unit))
                (tile("یو پی ایس اور ترسیل کے نقصانات", losses, unit))
                (tile("روشنی، دیگر اور بے پیمائش", rest, unit))
            }
            p { "توانائی کا ہر ملی جول صرف ایک بار درج کیا گیا ہے: جس ذریعے سے آیا اس کے کھاتے سے اُس کھاتے میں جہاں استعمال ہوا۔ "
                "منصوبوں کی تعداد " (number(statement.projects)) " اور نوڈز کی تعداد "
                (number(statement.nodes)) " ہے۔" }
            p { "کل " (number(counts.expected)) " وقفوں میں سے " (number(counts.complete)) " مکمل ہیں، "
                (number(counts.incomplete)) " نامکمل، " (number(counts.disputed)) " متنازع، اور "
                (number(counts.missing)) " درج نہیں ہوئے۔ بند ہونے کے بعد کی گئی تصحیحات: "
                (number(statement.corrections)) "۔" }
            @if statement.checks_failed > 0 {
                p { strong.bad { "ناکام جانچیں: " (number(statement.checks_failed)) "۔" } }
            }
            p.hint { "اصل رپورٹ " bdi dir="ltr" { "report.json" } " ہے؛ یہ صفحہ اسی کا خلاصہ ہے۔" }
        }
    }
}

fn figure(report: &Report<'_>) -> Markup {
    html! {
        div.figure.none[report.figures.pue.is_err()] {
            @match &report.figures.pue {
                Ok(pue) => {
                    p.label { "بجلی کے استعمال کی کارکردگی (" bdi dir="ltr" { "PUE" } ")" }
                    p.value { bdi dir="ltr" { (pue.value()) } }
                    p.words { bdi dir="ltr" { (pue.to_string()) } }
                }
                Err(_) => {
                    p.value { bdi dir="ltr" { "PUE" } " دستیاب نہیں" }
                    p.words { "وجہ انگریزی حصے میں درج ہے۔" }
                }
            }
        }
    }
}

fn tile(label: &str, amount: u128, unit: Unit) -> Markup {
    html! {
        div.tile {
            dt { (label) }
            dd { data value=(amount) { bdi dir="ltr" { (unit.show(amount)) } } small { (unit.urdu) } }
        }
    }
}

fn number(count: u64) -> Markup {
    html! { bdi dir="ltr" { (super::unit::grouped(count.into())) } }
}

fn month(month: Month) -> String {
    let place = usize::from(month.number()).saturating_sub(1);
    format!("{} {}", MONTHS.get(place).copied().unwrap_or(""), month.year())
}

/// Whether the figures can still change.
fn status(word: &str) -> &'static str {
    match word {
        "settled" => "طے شدہ: اب تبدیل نہیں ہو سکتی",
        _ => "عبوری: ابھی تبدیل ہو سکتی ہے",
    }
}
