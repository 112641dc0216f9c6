use super::*;
use crate::launch::auxiliary::AuxiliaryVector;

fn own_image() -> Vec<u8> {
    let pid = std::process::id().cast_signed();
    let start = AuxiliaryVector::of(pid).unwrap().vdso.unwrap();
    let mut header = vec![0; 4096];
    memory::read(pid, start, &mut header).unwrap();
    let mut image = vec![0; image_size(&header).unwrap() as usize];
    memory::read(pid, start, &mut image).unwrap();
    image
}

#[test]
fn the_functions_of_this_kernel_are_found() {
    let Stubs(stubs) = Stubs::in_image(&own_image()).unwrap();
    for code in [CLOCK_GETTIME, GETTIMEOFDAY, TIME] {
        assert_eq!(stubs.iter().filter(|(_, found)| *found == code).count(), 1);
    }
}

#[test]
fn a_damaged_image_is_refused_or_read_but_never_a_panic() {
    let image = own_image();
    for end in (0..image.len()).step_by(7) {
        let _ = Stubs::in_image(&image[..end]);
    }
    // The headers and all tables are at the start.
    for at in 0..1200.min(image.len()) {
        for value in [0, 0x7f, 0xff] {
            let mut damaged = image.clone();
            damaged[at] = value;
            let _ = image_size(&damaged);
            let _ = Stubs::in_image(&damaged);
        }
    }
    assert_eq!(Stubs::in_image(&[]), None);
}
