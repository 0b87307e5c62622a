//! A hub's name as that of a folder: no name of a hub, however hostile, leaves its place.

use bijli_wire::HubId;

/// The folder of a hub's log.
#[must_use]
pub fn folder(hub: &HubId) -> String {
    let mut name = String::new();
    for (place, letter) in hub.as_str().bytes().enumerate() {
        let is_plain = letter.is_ascii_alphanumeric()
            || matches!(letter, b'_' | b'-')
            || (letter == b'.' && place > 0);
        if is_plain {
            name.push(char::from(letter));
        } else {
            name.push_str(&format!("%{letter:02X}"));
        }
    }
    name
}

/// The hub of a folder; `None`: it is none of ours.
#[must_use]
pub fn hub_of(name: &str) -> Option<HubId> {
    let mut parts = name.split('%');
    let mut id = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        id.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        id.push_str(rest);
    }
    HubId::new(&id).ok().filter(|hub| folder(hub) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x11_hostile_names_stay_in_their_place() {
        for (id, name) in [
            ("isb", "isb"),
            ("a.b_c-D", "a.b_c-D"),
            ("..", "%2E."),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("a/b:c", "a%2Fb%3Ac"),
            (".hidden", "%2Ehidden"),
        ] {
            let hub = HubId::new(id).expect("a hub may be called so");
            assert_eq!(folder(&hub), name);
            assert_eq!(hub_of(name), Some(hub));
        }
        for name in ["isb@1", "%69sb", "%2", "%2e.", "", "progress.tmp~", "a%2Gb"] {
            assert_eq!(hub_of(name), None, "{name}");
        }
    }
}
