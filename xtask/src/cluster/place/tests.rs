use std::process::Command;
use std::time::Duration;

use super::{Name, Process, eventually, stat_field};

const STAT: &str = "812 (a) (b) S 1 812 812 0 -1 4194560 9 0 0 0 3 4 0 0 20 0 7 0 55021 1 2 3";

#[test]
fn names_are_short_and_plain() {
    for text in ["one", "check-812", "2"] {
        assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
    }
    for text in ["", "-a", "A", "a/b", "..", "a b", "ä", &"a".repeat(41)] {
        text.parse::<Name>().unwrap_err();
    }
}

#[test]
fn fields_are_counted_behind_the_name() {
    assert_eq!(stat_field(STAT, 3), Some("S"));
    assert_eq!(stat_field(STAT, 4), Some("1"));
    assert_eq!(stat_field(STAT, 22), Some("55021"));
    assert_eq!(stat_field(STAT, 99), None);
    assert_eq!(stat_field("812", 4), None);
}

#[test]
fn a_process_is_its_number_and_its_beginning() {
    let own = Process::of(std::process::id().cast_signed()).unwrap();
    assert!(own.runs());
    let text = format!("{} {}\n", own.pid, own.began);
    assert_eq!(Process::read(&text), Some(own));
    let later = Process { began: own.began + 1, ..own };
    assert!(!later.runs());
    later.kill().unwrap();
    assert!(own.runs(), "this process would have been killed");
    for text in ["", "1", "a b", "1 2 3"] {
        assert_eq!(Process::read(text), None, "{text}");
    }
}

#[test]
fn a_killed_process_does_not_run_even_before_its_parent_asks() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let process = Process::of(child.id().cast_signed()).unwrap();
    process.kill().unwrap();
    assert!(!process.runs(), "it was not waited for yet, but it has ended");
    child.wait().unwrap();
    process.kill().unwrap();
}

#[test]
fn waiting_has_an_end() {
    let mut looks = 0;
    let third = eventually("three looks", Duration::from_secs(10), || {
        looks += 1;
        Ok((looks == 3).then_some(looks))
    });
    assert_eq!(third.unwrap(), 3);
    let never = eventually::<()>("the impossible", Duration::ZERO, || Ok(None));
    assert_eq!(never.unwrap_err().to_string(), "not within 0 s: the impossible");
}
