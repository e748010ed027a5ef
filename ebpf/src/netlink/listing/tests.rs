use super::*;

/// `NLM_F_MULTI`
const MULTI: u16 = 2;
/// A kind of message of some family.
const NEW: u16 = 16;

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = [
        length.to_ne_bytes().as_slice(),
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &[0; 4],
        body,
    ]
    .concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn item(byte: u8) -> Vec<u8> {
    message(NEW, MULTI, 1, &[byte, 0, 0, 0])
}

fn done(code: i32) -> Vec<u8> {
    message(DONE, MULTI, 1, &code.to_ne_bytes())
}

fn first(message: Message<'_>) -> Result<Option<u8>, Malformed> {
    message.field(0).map(|[byte]| Some(byte))
}

/// What comes of datagrams, the last of which ends the list.
fn heard(datagrams: &[Vec<u8>]) -> Result<Outcome<u8>, Error> {
    let mut listing = Listing::new(1, End::Done);
    for (index, datagram) in datagrams.iter().enumerate() {
        let ended = listing.take(datagram, first)?;
        assert_eq!(ended, index + 1 == datagrams.len(), "datagram {index}");
    }
    Ok(listing.outcome()?)
}

fn errno(result: Result<Outcome<u8>, Error>) -> Option<nix::Error> {
    result.unwrap_err().errno()
}

#[test]
fn a_list_in_several_datagrams_is_whole_when_its_end_has_come() {
    let list = [[item(1), item(2)].concat(), item(3), done(0)];
    assert_eq!(heard(&list).unwrap(), Outcome::Whole(vec![1, 2, 3]));
    let ends_in_the_same_datagram = [[item(1), done(0)].concat()];
    assert_eq!(
        heard(&ends_in_the_same_datagram).unwrap(),
        Outcome::Whole(vec![1])
    );
    let ends_without_a_word = [item(1), message(DONE, MULTI, 1, &[])];
    assert_eq!(
        heard(&ends_without_a_word).unwrap(),
        Outcome::Whole(vec![1])
    );
}

#[test]
fn a_list_that_changed_meanwhile_is_read_again_wherever_the_kernel_says_it() {
    let interrupted = message(NEW, MULTI | INTERRUPTED, 1, &[2, 0, 0, 0]);
    assert_eq!(
        heard(&[item(1), interrupted, item(3), done(0)]).unwrap(),
        Outcome::Broken
    );
    let at_the_end = message(DONE, MULTI | INTERRUPTED, 1, &[0; 4]);
    assert_eq!(heard(&[item(1), at_the_end]).unwrap(), Outcome::Broken);
}

#[test]
fn an_overrun_breaks_a_list() {
    assert_eq!(
        heard(&[item(1), message(OVERRUN, 0, 1, &[]), done(0)]).unwrap(),
        Outcome::Broken
    );
    let mut listing = Listing::new(1, End::Done);
    listing.lost();
    listing.take(&done(0), first).unwrap();
    assert_eq!(listing.outcome().unwrap(), Outcome::Broken);
}

#[test]
fn an_error_is_no_end_of_a_list_however_the_kernel_gives_it() {
    let enoent = -2_i32;
    assert_eq!(errno(heard(&[done(enoent)])), Some(nix::Error::ENOENT));
    assert_eq!(
        errno(heard(&[item(1), done(enoent)])),
        Some(nix::Error::ENOENT)
    );
    let refused = message(ERROR, 0, 1, &(-1_i32).to_ne_bytes());
    assert_eq!(errno(heard(&[refused])), Some(nix::Error::EPERM));
}

#[test]
fn messages_for_somebody_else_or_of_an_older_question_are_left_out() {
    let older = [
        message(NEW, MULTI, 7, &[9, 0, 0, 0]),
        message(NEW, MULTI | INTERRUPTED, 7, &[9, 0, 0, 0]),
        message(DONE, MULTI, 7, &(-2_i32).to_ne_bytes()),
    ];
    assert_eq!(
        heard(&[older.concat(), item(1), done(0)]).unwrap(),
        Outcome::Whole(vec![1])
    );
}

#[test]
fn a_message_that_cannot_be_read_fails_the_list_and_the_rest_is_waited_for() {
    let cut = message(NEW, MULTI, 1, &[]);
    assert!(matches!(
        heard(&[item(1), cut, item(3), done(0)]),
        Err(Error::Malformed(_))
    ));
}

#[test]
fn a_question_ends_with_its_acknowledgement() {
    let acknowledged = message(ERROR, 0, 1, &[0; 20]);
    let mut listing = Listing::new(1, End::Acknowledged);
    assert!(!listing.take(&item(4), first).unwrap());
    assert!(listing.take(&acknowledged, first).unwrap());
    assert_eq!(listing.outcome().unwrap(), Outcome::Whole(vec![4]));
}

#[test]
fn datagrams_that_lie_about_lengths_are_errors() {
    for length in [0_u32, 15, 21, u32::MAX] {
        let mut lie = item(1);
        lie[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(
            matches!(heard(&[lie]), Err(Error::Malformed(_))),
            "{length}"
        );
    }
    assert!(matches!(heard(&[vec![1; 7]]), Err(Error::Malformed(_))));
}
