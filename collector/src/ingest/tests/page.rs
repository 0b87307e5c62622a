//! The page on what people and schedulers write is true: it has every address, and every body on it
//! is read.

use crate::allocation::PutText;
use crate::calibration::CalibrationText;
use crate::meterbook::TypedText;
use crate::period::PeriodText;
use crate::projects::ProjectText;
use crate::retirement::RetirementText;

const PAGE: &str = include_str!("../../../../docs/writing.md");

#[test]
fn every_address_that_takes_something_is_on_the_page() {
    let router = include_str!("../mod.rs");
    let (_, people) = router.split_once("pub fn people_router").expect("the router");
    let routes: Vec<&str> = people.split('"').filter(|quoted| quoted.starts_with("/v1/")).collect();
    assert!(routes.len() >= 6, "{routes:?}");
    for route in routes {
        assert!(PAGE.contains(&format!("`{route}`")), "{route}");
    }
}

#[test]
fn every_body_on_the_page_is_read() {
    let mut kinds = Vec::new();
    for block in PAGE.split("```json ").skip(1) {
        let (kind, rest) = block.split_once('\n').expect("a first line");
        let (body, _) = rest.split_once("```").expect("an end");
        let body = body.as_bytes();
        match kind {
            "allocation" => drop(PutText::from_json(body).expect(kind).read().expect(kind)),
            "calibration" => {
                drop(CalibrationText::from_json(body).expect(kind).read().expect(kind))
            }
            "period" => assert!(PeriodText::from_json(body).expect(kind).read().is_ok(), "{kind}"),
            "typed" => drop(TypedText::from_json(body).expect(kind).read().expect(kind)),
            "project" => drop(ProjectText::from_json(body).expect(kind).read().expect(kind)),
            "retirement" => drop(RetirementText::from_json(body).expect(kind).read().expect(kind)),
            other => panic!("{other}: a body that nobody reads"),
        }
        kinds.push(kind);
    }
    assert_eq!(kinds, ["allocation", "calibration", "typed", "retirement", "period", "project"]);
}
