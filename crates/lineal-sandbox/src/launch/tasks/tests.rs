use super::*;

fn tasks() -> Tasks {
    let mut tasks = Tasks::new(&EntropyKey::new([1; 32]));
    tasks.insert_first(100);
    tasks
}

fn next_bytes(tasks: &mut Tasks, thread: i32) -> [u8; 8] {
    let mut bytes = [0; 8];
    assert!(tasks.get(thread).stream.fill(&mut bytes));
    bytes
}

#[test]
fn names_do_not_depend_on_ids_or_on_the_order_of_use() {
    let mut one = tasks();
    one.insert_child(100, 101);
    one.insert_child(100, 102);
    one.insert_child(101, 103);
    let mut other = tasks();
    other.insert_child(100, 250);
    other.insert_child(250, 300);
    other.insert_child(100, 200);

    let in_one = [101, 102, 103].map(|thread| next_bytes(&mut one, thread));
    let in_other = [300, 200, 250].map(|thread| next_bytes(&mut other, thread));
    assert_eq!(in_one, [in_other[2], in_other[1], in_other[0]]);
}

#[test]
fn a_replaced_program_goes_on_with_the_stream_of_its_thread() {
    let (mut plain, mut by_thread) = (tasks(), tasks());
    plain.insert_child(100, 101);
    by_thread.insert_child(100, 101);
    by_thread.exec(100, 101);
    assert_eq!(next_bytes(&mut plain, 101), next_bytes(&mut by_thread, 100));
    assert_eq!(by_thread.tasks.len(), 1);
}

#[test]
fn a_number_that_is_used_again_is_a_new_task() {
    let mut tasks = tasks();
    tasks.insert_child(100, 101);
    let first = next_bytes(&mut tasks, 101);
    tasks.ended(101);
    tasks.insert_child(100, 101);
    assert_ne!(next_bytes(&mut tasks, 101), first);
    assert_eq!(tasks.strangers(), 0);
}

#[test]
fn a_child_sees_a_later_time_than_its_creator_did() {
    let mut tasks = tasks();
    tasks.get(100).clock_ticks = 5;
    tasks.insert_child(100, 101);
    tasks.insert_child(100, 102);
    assert_eq!((tasks.get(101).clock_ticks, tasks.get(102).clock_ticks), (6, 7));
}

#[test]
fn unknown_tasks_are_counted() {
    let mut tasks = tasks();
    let bytes = [900, 901].map(|thread| next_bytes(&mut tasks, thread));
    assert_ne!(bytes[0], bytes[1]);
    assert_eq!(tasks.strangers(), 2);
}
